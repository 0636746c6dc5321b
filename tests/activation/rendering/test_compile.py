"""What the compiler would lose or let in without a word."""

import re
import subprocess
from pathlib import Path

import pytest

from activation.rendering.compile import ACCENT, TemplateError, compile_mjml
from activation.rendering.templates import FOLDER
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
    assert "{{ shop.accent }}" in html


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


@pytest.fixture
def strict(tmp_path: Path) -> Path:
    assert MJML_COMMAND.exists(), "npm's mjml is missing: run `npm ci`"
    return tmp_path / "out.html"


@pytest.mark.requirement("EMAIL-06")
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.parent.name)
def test_every_shipped_template_passes_the_strict_check_of_mjml(source: Path, strict: Path) -> None:
    """mrml accepts what it does not know; mjml's own compiler names it."""
    checked = subprocess.run(
        [str(MJML_COMMAND), "--config.validationLevel=strict", str(source), "-o", str(strict)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_control_the_strict_check_refuses_a_bad_template(strict: Path) -> None:
    bad = strict.with_suffix(".mjml")
    bad.write_text(section('<mj-text colour="red">x</mj-text>'))
    checked = subprocess.run(
        [str(MJML_COMMAND), "--config.validationLevel=strict", str(bad), "-o", str(strict)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode != 0
