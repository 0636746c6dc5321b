"""Every shipped mail over the contexts that break mails."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from activation.automation.definition import SendEmail
from activation.automation.presets import PRESETS
from activation.rendering.checks import MAX_HTML_BYTES, MailError, check_mail
from activation.rendering.compile import TemplateError
from activation.rendering.context import (
    MAX_LINES,
    CustomerFacts,
    LineFacts,
    OrderFacts,
    ShopFacts,
    mail_context,
    readable_on,
    shop_facts,
)
from activation.rendering.templates import (
    FOLDER,
    RenderedMail,
    build_template,
    load_template,
)
from core.models import Shop

NAMES = sorted(path.parent.name for path in FOLDER.glob("*/body.mjml"))
LINK = "https://crm.example.com/unsubscribe/1.abc.def"
ADDRESS = "Nordlicht Keramik GmbH, Lange Reihe 12, 20099 Hamburg"
LINE = LineFacts("Becher Fjord", "Blaugrau", 2, "44.00 EUR")
HOSTILE = "<script>alert(1)</script> & {{ 7 * 7 }} {% raw %}"


def context(
    *,
    first_name: str = "Anna",
    shop: str = "Nordlicht Keramik",
    order: OrderFacts | None = None,
) -> dict[str, Any]:
    return mail_context(
        ShopFacts(
            name=shop,
            url="https://nordlicht.myshopify.com",
            postal_address=ADDRESS,
            accent="#ffd400",
            accent_text="#1a1a1a",
        ),
        CustomerFacts(first_name),
        order if order is not None else OrderFacts("#1042", (LINE,)),
        unsubscribe_url=LINK,
    )


LONGEST = context(
    first_name="M" * 40,
    shop="S" * 80,
    order=OrderFacts(
        "#" * 40, tuple(LineFacts("T" * 120, "V" * 120, 99, "1,234.00 EUR") for _ in range(8)), 99
    ),
)
CONTEXTS = {
    "usual": context(),
    "no name": context(first_name=""),
    "no order": context(first_name="", order=OrderFacts()),
    "not ASCII": context(first_name="王小明", shop="Käse & Söhne"),
    "hostile": context(
        first_name=HOSTILE,
        shop=HOSTILE,
        order=OrderFacts(HOSTILE, (LineFacts(HOSTILE, HOSTILE, 1, "1"),)),
    ),
    "longest": LONGEST,
}


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for key, value in attrs if key in ("href", "src")]


@pytest.mark.requirement("EMAIL-05", "EMAIL-06")
@pytest.mark.parametrize("case", CONTEXTS)
def test_every_mail_is_whole_in_every_context(name: str, case: str) -> None:
    mail = load_template(name).render(CONTEXTS[case])
    page = Page(mail.html)
    assert page.links.count(LINK) == mail.text.count(LINK) == 1
    assert ADDRESS in mail.html
    assert ADDRESS in mail.text
    assert len(mail.html.encode()) < MAX_HTML_BYTES
    assert all(link.startswith(("https://", "mailto:")) for link in page.links)
    assert mail.subject
    assert "\n" not in mail.subject
    assert "  " not in mail.subject
    assert "Dear" not in mail.text
    assert not re.search(r"\bNone\b|\n\n\n\n", mail.text)
    if case != "hostile":
        assert "{{" not in mail.html + mail.text + mail.subject
        assert "{%" not in mail.html + mail.text + mail.subject


@pytest.mark.requirement("EMAIL-06")
def test_what_a_customer_or_shop_is_called_is_never_markup(name: str) -> None:
    mail = load_template(name).render(CONTEXTS["hostile"])
    assert "script" not in Page(mail.html).tags
    assert "&lt;script&gt;" in mail.html
    assert "49" not in mail.subject + mail.text  # 7 * 7 was not worked out


@pytest.mark.requirement("FLOW-01", "EMAIL-06")
def test_the_welcome_mail_greets_and_shows_the_order() -> None:
    mail = load_template("welcome").render(CONTEXTS["usual"])
    assert mail.subject == "Anna, welcome to Nordlicht Keramik"
    assert "Welcome, Anna" in mail.html
    assert "2 x Becher Fjord (Blaugrau), 44.00 EUR" in mail.text
    assert 'href="https://nordlicht.myshopify.com"' in mail.html
    assert "#ffd400" in mail.html


@pytest.mark.requirement("FLOW-01", "EMAIL-06")
def test_without_a_name_the_welcome_mail_still_reads_well() -> None:
    mail = load_template("welcome").render(CONTEXTS["no order"])
    assert mail.subject == "Welcome to Nordlicht Keramik"
    assert "In your order" not in mail.html + mail.text
    assert "Your first order is in good hands" in mail.text.replace("\n", " ")
    assert "()" not in mail.text


@pytest.mark.requirement("EMAIL-06")
def test_every_preset_has_its_template() -> None:
    used = {
        step.template
        for preset in PRESETS
        for step in preset.definition.steps
        if isinstance(step, SendEmail)
    }
    assert used == set(NAMES)


def test_a_subject_of_the_merchant_replaces_the_templates_own() -> None:
    mail = load_template("welcome").render(
        CONTEXTS["usual"], subject="Hi {{ customer.first_name }}\n!"
    )
    assert mail.subject == "Hi Anna !"


@pytest.mark.parametrize(
    "subject",
    [
        "{{ absent }}",
        "{{ customer.absent }}",
        "{{ ''.__class__ }}",
        "{{ order.lines.__init__ }}",
        "{{ 1 / 0 }}",
        "{{ shop + 1 }}",
        "{{ range(1000000) }}",
        "{{ shop.update({}) }}",
        "{{ shop.name|safe }}",
        "{{",
    ],
)
def test_a_bad_expression_costs_this_one_mail_and_says_so(subject: str) -> None:
    with pytest.raises(MailError, match="cannot be filled in"):
        load_template("welcome").render(CONTEXTS["usual"], subject=subject)


def test_a_template_that_is_not_there_or_not_readable_is_refused() -> None:
    with pytest.raises(TemplateError, match="no mail template 'absent'"):
        load_template("absent")
    with pytest.raises(TemplateError, match="cannot be read"):
        build_template(subject="{% if %}", mjml="<mjml><mj-body></mj-body></mjml>", text="")


def checked(mail: RenderedMail) -> None:
    check_mail(html=mail.html, text=mail.text, unsubscribe_url=LINK, postal_address=ADDRESS)


@pytest.mark.requirement("EMAIL-05")
@pytest.mark.parametrize(
    ("mail", "words"),
    [
        (RenderedMail("s", LINK + "x" * MAX_HTML_BYTES, LINK + ADDRESS), "too large"),
        (RenderedMail("s", "", LINK + ADDRESS), "no unsubscribe link"),
        (RenderedMail("s", LINK, ADDRESS), "no unsubscribe link"),
        (RenderedMail("s", LINK, LINK), "postal address"),
    ],
)
def test_a_mail_that_may_not_leave_is_refused(mail: RenderedMail, words: str) -> None:
    with pytest.raises(MailError, match=words):
        checked(mail)


def test_control_a_mail_with_everything_passes() -> None:
    checked(RenderedMail("s", LINK, LINK + ADDRESS))


@pytest.mark.parametrize(
    ("color", "text"),
    [
        ("#000000", "#ffffff"),
        ("#2f5d50", "#ffffff"),
        ("#ffd400", "#1a1a1a"),
        ("#ffffff", "#1a1a1a"),
    ],
)
def test_the_button_is_readable_on_any_colour(color: str, text: str) -> None:
    assert readable_on(color) == text


@pytest.mark.parametrize(
    ("color", "used"), [("#ABCDEF", "#ABCDEF"), ("red", "#2f5d50"), ('#000" x="', "#2f5d50")]
)
def test_a_colour_that_is_none_does_not_reach_the_mail(color: str, used: str) -> None:
    shop = Shop(
        name="S", domain="s.myshopify.com", accent_color=color, postal_address="A\nB\r\n C "
    )
    facts = shop_facts(shop)
    assert facts.accent == used
    assert facts.postal_address == "A, B, C"


def test_the_list_of_lines_is_short() -> None:
    assert MAX_LINES <= 10
