"""What the compiler would lose or let in without a word."""

import re
import subprocess
from pathlib import Path

import pytest

from activation.rendering.compile import ACCENT, TOKENS, TemplateError, compile_mjml
from activation.rendering.templates import FOLDER, with_shared
from core.paths import PROJECT_ROOT

MJML_COMMAND = PROJECT_ROOT / "node_modules" / ".bin" / "mjml"
SOURCES = sorted(FOLDER.glob("*/body.mjml"))


def mail(body: str, head: str = "") -> str:
    plain = '<mj-attributes><mj-all font-family="Arial" /></mj-attributes>'
    return f"<mjml><mj-head>{head}{plain}</mj-head><mj-body>{body}</mj-body></mjml>"


def section(inside: str) -> str:
    return mail(f"<mj-section><mj-column>{inside}</mj-column></mj-section>")


def test_expressions_and_loops_survive() -> None:
    html = compile_mjml(
        section(
            "<mj-raw>{% for line in order.lines %}</mj-raw>"
            "<mj-text>{{ line.title }}</mj-text>"
            "<mj-raw>{% endfor %}</mj-raw>"
        )
    )
    assert re.search(r"{% for .*{{ line.title }}.*{% endfor %}", html, re.DOTALL)


def test_colours_of_the_shop_take_the_place_of_their_stand_ins() -> None:
    html = compile_mjml(section(f'<mj-button background-color="{ACCENT}">Go</mj-button>'))
    assert ACCENT not in html
    assert "{{ brand.accent }}" in html


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (section("<mj-txt>hello</mj-txt>"), "<mj-txt> is not known"),
        (section('<mj-text colour="red">x</mj-text>'), "<mj-text> has no attribute colour"),
        (section('<mj-text css-inline="1">x</mj-text>'), "no attribute css-inline"),
        (mail('<mj-include path="/etc/passwd" />'), "<mj-include> is not known"),
        ("<mjml><mj-body>", "cannot be read"),
        (section('<mj-text font-family="Roboto">x</mj-text>'), "loads nothing from elsewhere"),
        (
            mail("", head="<mj-style>@import 'https://x';</mj-style>"),
            "loads nothing from elsewhere",
        ),
        (
            mail("", head="<mj-preview>{{ a }}</mj-preview><mj-preview>{{ b }}</mj-preview>"),
            "lost or moved {{ a }}",
        ),
    ],
)
def test_a_template_that_would_lose_something_is_refused(source: str, words: str) -> None:
    with pytest.raises(TemplateError, match=re.escape(words)):
        compile_mjml(source)


def strictly(folder: Path, sources: dict[str, str]) -> subprocess.CompletedProcess[str]:
    assert MJML_COMMAND.exists(), "npm's mjml is missing: run `npm ci`"
    for name, source in sources.items():
        (folder / f"{name}.mjml").write_text(source, encoding="utf-8")
    out = folder / "out"
    out.mkdir()
    return subprocess.run(
        [
            str(MJML_COMMAND),
            "--config.validationLevel=strict",
            *(str(folder / f"{name}.mjml") for name in sources),
            "-o",
            str(out),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.requirement("EMAIL-06")
def test_every_shipped_template_passes_the_strict_check_of_mjml(tmp_path: Path) -> None:
    """mrml accepts what it does not know; mjml's own compiler names it."""
    sources = {path.parent.name: with_shared(path.read_text("utf-8")) for path in SOURCES}
    assert len(sources) >= 5
    checked = strictly(tmp_path, sources)
    assert (checked.returncode, checked.stderr) == (0, "")
    for name, source in sources.items():
        # Both engines say the same: what one of them drops is caught here, too.
        theirs = (tmp_path / "out" / f"{name}.html").read_text("utf-8")
        ours = compile_mjml(source)
        assert {token for token in TOKENS.findall(theirs) if "brand." not in token} == {
            token for token in TOKENS.findall(ours) if "brand." not in token
        }


def test_control_the_strict_check_refuses_a_bad_template(tmp_path: Path) -> None:
    checked = strictly(tmp_path, {"bad": section('<mj-text colour="red">x</mj-text>')})
    assert checked.returncode != 0
