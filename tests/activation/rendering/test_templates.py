"""Every shipped mail over the brands, words and people that break mails."""

import re
from dataclasses import replace
from email import message_from_bytes, policy
from html.parser import HTMLParser

import pytest

from activation.automation.definition import SendEmail
from activation.automation.presets import PRESETS
from activation.provider import mime
from activation.rendering.checks import MAX_HTML_BYTES, MailError, check_mail
from activation.rendering.compile import TemplateError
from activation.rendering.content import MailContent
from activation.rendering.letters import request_of
from activation.rendering.samples import SAMPLES
from activation.rendering.templates import (
    MailTemplate,
    RenderedMail,
    Shows,
    build_template,
    load_template,
)
from activation.rendering.templates import render_mail as render
from tests.activation.rendering.samples import (
    ADDRESS_LINE,
    CART,
    FLOWS,
    HOSTILE,
    ITEM,
    LINK,
    MAILS,
    NAMES,
    brand,
    facts,
)


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for key, value in attrs if key in ("href", "src")]


VOID = frozenset({"br", "img", "meta", "hr", "input", "link"})


class Structure(HTMLParser):
    """What a browser would mend in silence and a mail client perhaps would not."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.faults: list[str] = []
        self._open: list[str] = []
        self._ids: set[str | None] = set()
        self.feed(html)
        self.close()
        self.faults += [f"<{tag}> is never closed" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        self.faults += [f"<{tag}> has {name} twice" for name in names if names.count(name) > 1]
        if tag == "img" and "alt" not in names:
            self.faults.append("an image without alt")
        for name, value in attrs:
            if name == "id" and value in self._ids:
                self.faults.append(f"id {value} twice")
            elif name == "id":
                self._ids.add(value)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()
        else:
            self.faults.append(f"</{tag}> closes {self._open[-1:]}")


def mail_of(name: str, case: str) -> RenderedMail:
    its_brand, content, its_facts = MAILS[case]
    return render(load_template(name), content, its_brand, its_facts)


@pytest.mark.requirement("EMAIL-06")
def test_the_five_flows_and_the_question_have_their_templates() -> None:
    assert set(NAMES) == {*FLOWS, "confirm_subscription"}
    used = {
        step.template
        for preset in PRESETS
        for step in preset.definition.steps
        if isinstance(step, SendEmail)
    }
    assert used <= set(NAMES)


@pytest.mark.requirement("EMAIL-05", "EMAIL-06")
@pytest.mark.parametrize("case", MAILS)
@pytest.mark.parametrize("name", NAMES)
def test_every_mail_is_whole_in_every_context(name: str, case: str) -> None:
    mail = mail_of(name, case)
    page = Page(mail.html)
    assert page.links.count(LINK) == 1
    assert mail.text.count(f"{LINK}\n") == 1
    assert name not in FLOWS or f"{LINK}#preferences" in page.links
    assert ADDRESS_LINE in mail.html
    assert ADDRESS_LINE in mail.text
    assert len(mail.html.encode()) < MAX_HTML_BYTES
    assert [link for link in page.links if not link.startswith(("https://", "mailto:"))] == []
    assert mail.subject
    assert mail.subject.isprintable()
    assert Structure(mail.html).faults == []
    assert not re.search(r"\bNone\b|\n\n\n", mail.text)
    if case != "hostile":
        assert not re.search(r"\{\{|\{%|\}\}|%\}", mail.html + mail.text + mail.subject)


def test_control_the_structure_of_a_broken_page_is_found_broken() -> None:
    broken = '<table><tr><td>x</tr></table><img src="y"><p id="a" id="a"></p><b id="a">'
    assert len(Structure(broken).faults) >= 4


@pytest.mark.requirement("EMAIL-06")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sample", SAMPLES)
def test_every_mail_reads_for_each_sample_that_previews_use(name: str, sample: str) -> None:
    mail = render(load_template(name), MailContent(), brand(), SAMPLES[sample])
    assert "Dear" not in mail.text
    assert not re.search(r"Hi ,| {2}\S.*,\n", mail.text)


@pytest.mark.requirement("EMAIL-06")
@pytest.mark.parametrize("name", NAMES)
def test_what_a_customer_or_shop_is_called_is_never_markup(name: str) -> None:
    mail = mail_of(name, "hostile")
    assert "script" not in Page(mail.html).tags
    assert "&lt;script&gt;" in mail.html
    assert "49" not in mail.subject + mail.text  # 7 * 7 was not worked out
    assert HOSTILE in mail.text


@pytest.mark.requirement("EMAIL-06")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", ["usual", "not ASCII", "hostile", "longest"])
def test_every_mail_is_a_message_that_a_parser_finds_nothing_wrong_with(
    name: str, case: str
) -> None:
    mail = mail_of(name, case)
    tags = {"shop_id": "1", "send_id": "2", "automation": name}
    request = request_of(mail, MAILS[case][0], to="c@example.com", unsubscribe_url=LINK, tags=tags)
    thawed = mime.thaw(mime.freeze(request))
    assert thawed is not None
    parsed = message_from_bytes(thawed[1], policy=policy.default)
    parts = list(parsed.walk())
    assert [part.get_content_type() for part in parts] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]
    assert [part.defects for part in parts] == [[], [], []]
    assert parsed["Subject"] == mail.subject
    assert max(map(len, thawed[1].splitlines())) <= 998
    assert parts[1].get_content().replace("\r\n", "\n") == mail.text


@pytest.mark.requirement("FLOW-01", "EMAIL-06")
def test_the_welcome_mail_greets_and_shows_the_order() -> None:
    mail = mail_of("welcome", "usual")
    assert mail.subject == "Anna, welcome to Nordlicht Keramik"
    assert "Hi Anna," in mail.html
    assert "2 x Becher Fjord (Blaugrau), €44.00" in mail.text
    assert 'href="https://nordlicht.myshopify.com"' in mail.html
    assert ITEM.image_url.replace("&", "&amp;") in mail.html
    assert "#ffd400" in mail.html


@pytest.mark.requirement("FLOW-01", "EMAIL-06")
def test_without_a_name_the_welcome_mail_still_reads_well() -> None:
    mail = mail_of("welcome", "nothing known")
    assert mail.subject == "Hello, welcome to Nordlicht Keramik"
    assert "Hi there," in mail.text
    assert "In your order" not in mail.html + mail.text


@pytest.mark.requirement("FLOW-02", "EMAIL-06")
def test_the_cart_mail_leads_back_to_the_cart() -> None:
    mail = mail_of("abandoned_cart", "usual")
    assert mail.subject == "Still thinking about Becher Fjord?"
    assert mail.html.count(CART.url.replace("&", "&amp;")) == 1
    assert f"Go back to your cart: {CART.url}" in mail.text
    assert "Subtotal" in mail.html
    gone = mail_of("abandoned_cart", "nothing known")
    assert "Go back to your cart: https://nordlicht.myshopify.com" in gone.text
    assert gone.subject == "Still thinking about it?"


@pytest.mark.requirement("FLOW-04", "FLOW-05", "EMAIL-06")
@pytest.mark.parametrize("name", FLOWS)
def test_a_code_is_shown_and_the_customers_own_goes_first(name: str) -> None:
    for part in ("html", "text"):
        assert "DANKE10" not in getattr(mail_of(name, "usual"), part)
        assert "DANKE10" in getattr(mail_of(name, "with a code"), part)
        own = getattr(mail_of(name, "with a code of their own"), part)
        assert "ANNA-7Q2" in own
        assert "DANKE10" not in own


@pytest.mark.requirement("EMAIL-06")
def test_links_to_the_shop_count_and_those_to_unsubscribe_never_do() -> None:
    seen: list[str] = []

    def track(url: str) -> str:
        seen.append(url)
        return f"https://crm.example.com/c/{len(seen)}"

    content = MailContent(body='<p>Look <a href="https://nordlicht.example/new">here</a>.</p>')
    counted = facts(track=track, trap_url="https://crm.example.com/c/trap")
    mail = render(load_template("abandoned_cart"), content, brand(), counted)
    assert set(seen) == {
        "https://nordlicht.myshopify.com",
        "https://nordlicht.example/new",
        CART.url,
        ITEM.url,
    }
    links = Page(mail.html).links
    assert [link for link in links if "nordlicht" in link] == []
    assert {LINK, f"{LINK}#preferences"} <= set(links)
    assert "/c/" not in mail.text  # there people see where a link leads


@pytest.mark.requirement("EMAIL-06")
@pytest.mark.parametrize("name", NAMES)
def test_both_schemes_are_told_and_a_logo_is_seen_on_both(name: str) -> None:
    assert '<meta name="color-scheme" content="light dark"' in mail_of(name, "usual").html
    assert "prefers-color-scheme: dark" in mail_of(name, "usual").html
    shown = mail_of(name, "usual").html.replace("font-size:1px;color:#ffffff", "")  # the preheader
    assert not re.search(r"#(fff|000)\b|#ffffff|#000000", shown, re.IGNORECASE)
    assert 'class="logo-plate"' in mail_of(name, "logo").html
    two = mail_of(name, "two logos").html
    assert "https://x.example/d.png" in two
    assert 'class="logo-plate"' not in two


def test_a_template_that_is_not_there_or_not_readable_is_refused() -> None:
    with pytest.raises(TemplateError, match="no mail template 'absent'"):
        load_template("absent")
    with pytest.raises(TemplateError, match="cannot be read"):
        build("{% if %}")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("{{ absent }}", "'absent' is undefined"),
        ("{{ customer.last_name }}", "last_name"),
        ("{{ customer['__class__'] }}", "__class__"),
        ("{{ brand.secret }}", "there is no brand.secret"),
        ("{{ content.secret }}", "there is no content.secret"),
    ],
)
def test_a_bad_expression_costs_this_one_mail_and_is_named(said: str, words: str) -> None:
    with pytest.raises((MailError, TemplateError), match=re.escape(words)):
        render(build(said), MailContent(), brand(), facts())


def build(said: str) -> MailTemplate:
    return build_template(
        name="tried",
        mjml="<mjml><mj-head><mj-attributes><mj-all font-family='Arial' /></mj-attributes>"
        "</mj-head>"
        f"<mj-body><mj-section><mj-column><mj-text>{said}</mj-text></mj-column></mj-section>"
        "</mj-body></mjml>",
        text="",
        content=MailContent(subject="s"),
        shows=Shows.NOTHING,
    )


def checked(mail: RenderedMail) -> None:
    check_mail(
        html=mail.html,
        text=mail.text,
        unsubscribe_url=LINK,
        postal_address="A & B",
        address_html="A &amp; B",
    )


WHOLE = RenderedMail("s", f"{LINK} A &amp; B", f"{LINK} A & B")


@pytest.mark.requirement("EMAIL-05")
@pytest.mark.parametrize(
    ("mail", "words"),
    [
        (replace(WHOLE, html=WHOLE.html + "x" * MAX_HTML_BYTES), "too large"),
        (replace(WHOLE, html=WHOLE.html + "é" * (MAX_HTML_BYTES // 2)), "too large"),
        (replace(WHOLE, html="A &amp; B"), "no unsubscribe link"),
        (replace(WHOLE, text="A & B"), "no unsubscribe link"),
        (replace(WHOLE, html=LINK), "postal address"),
        (replace(WHOLE, text=LINK), "postal address"),
    ],
)
def test_a_mail_that_may_not_leave_is_refused(mail: RenderedMail, words: str) -> None:
    checked(WHOLE)
    with pytest.raises(MailError, match=words):
        checked(mail)
