"""Templates that merchants may one day write: what no template may say, and what one may cost."""

import re
import sys
from datetime import timedelta

import pytest

from activation.rendering.compile import TemplateError
from activation.rendering.content import MailContent
from activation.rendering.samples import USUAL
from activation.rendering.templates import FOLDER, Shows, load_template, render_mail, with_shared
from activation.rendering.trial import TOO_MUCH, Draft, build_draft, try_draft
from tests.activation.rendering.samples import brand

WHOLE = "{{ brand.postal_address }} {{ unsubscribe_url }}"


def draft(said: str, *, text: str = WHOLE) -> Draft:
    return Draft(
        name="own",
        mjml="<mjml><mj-head><mj-attributes><mj-all font-family='Arial' /></mj-attributes>"
        f"</mj-head><mj-body><mj-section><mj-column><mj-text>{said}</mj-text></mj-column>"
        "</mj-section></mj-body></mjml>",
        text=text,
        content=MailContent(subject="s"),
        shows=Shows.NOTHING,
    )


@pytest.mark.requirement("EMAIL-06")
@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("{{ 'a' * 30000000 }}", "no multiplication"),
        ("{{ '%99999999d' % 1 }}", "no the % operator"),
        ("{{ '%99999999d'|format(1) }}", "no filter format"),
        ("{{ brand.name|safe }}", "no filter safe"),
        ("{% for a in range(1000000000) %}x{% endfor %}", "a loop goes over items"),
        ("{% for a in items %}{% for b in items %}x{% endfor %}{% endfor %}", "not inside another"),
        ("{% for a in items recursive %}{{ loop(items) }}{% endfor %}", "a loop goes over items"),
        ("{{ lipsum(n=1000) }}", "no calls"),
        ("{% set a = 'x' %}", "no {% set %}"),
        ("{% macro m() %}{% endmacro %}", "no macros"),
        ("{% include 'x' %}", "no {% include %}"),
        ("{{ brand.name.__class__.__mro__ }}", "nothing is called"),
        ("{{ 2 ** 9999999 }}", "no powers"),
        ("{{ " + "not " * 90 + "a }}", "nested too deeply"),
        ("{{ " + "(" * 3000 + "a" + ")" * 3000 + " }}", "cannot be read"),
        ("{{", "cannot be read"),
    ],
)
def test_what_makes_much_out_of_little_is_refused_before_it_runs(said: str, words: str) -> None:
    with pytest.raises(TemplateError, match=re.escape(words)):
        try_draft(draft(said))


@pytest.mark.requirement("EMAIL-06")
def test_a_template_that_lacks_what_the_law_asks_for_is_refused_when_it_is_saved() -> None:
    with pytest.raises(TemplateError, match="sample 'usual': The mail has no unsubscribe link"):
        try_draft(draft("hello"))
    with pytest.raises(TemplateError, match="postal address"):
        try_draft(draft("{{ unsubscribe_url }}", text="{{ unsubscribe_url }}"))
    with pytest.raises(TemplateError, match="sample 'longest': The mail is too large"):
        try_draft(draft(WHOLE + "{% for a in items %}" + "x" * 14_000 + "{% endfor %}"))


@pytest.mark.requirement("EMAIL-06")
def test_a_shipped_template_passes_as_a_merchants_own_and_gives_the_same_mail() -> None:
    shipped = load_template("abandoned_cart")
    mjml, text = (
        with_shared((FOLDER / "abandoned_cart" / part).read_text())
        for part in ("body.mjml", "body.txt")
    )
    own = build_draft(Draft("own", mjml, text, shipped.content, shipped.shows))
    assert render_mail(own, MailContent(), brand(), USUAL) == render_mail(
        shipped, MailContent(), brand(), USUAL
    )


@pytest.mark.requirement("EMAIL-06")
def test_a_template_that_ends_its_compiler_is_refused_and_harms_nobody_else() -> None:
    """A stack that overflows in native code cannot be caught: it ends the process."""
    deep = draft("x")
    nested = "<div>" * 15_000
    with pytest.raises(TemplateError):
        build_draft(
            Draft("own", deep.mjml.replace("x</mj", f"{nested}</mj"), "", deep.content, deep.shows)
        )


@pytest.mark.requirement("EMAIL-06")
@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(60)",
        "import sys; sys.stdout.write('x' * 30_000_000)",
        "import os; os.kill(os.getpid(), 9)",
    ],
)
def test_a_trial_that_takes_too_long_or_too_much_is_ended(code: str) -> None:
    with pytest.raises(TemplateError, match=re.escape(TOO_MUCH)):
        build_draft(
            draft("x"), patience=timedelta(seconds=0.5), command=(sys.executable, "-c", code)
        )


def test_a_source_of_any_length_is_not_even_tried() -> None:
    with pytest.raises(TemplateError, match="at most 100,000 characters"):
        build_draft(draft("x" * 100_001))
