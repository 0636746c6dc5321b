"""What merchants write into a mail, and what becomes of it."""

import re
from html.parser import HTMLParser

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activation.rendering.content import LIMITS, TAGS, MailContent, clean_content
from activation.rendering.context import CustomerFacts
from activation.rendering.placeholders import ContentError
from activation.rendering.templates import load_template, render_mail
from tests.activation.rendering.samples import EMPTY, NAMES, brand, facts


def html_of(**words: str) -> str:
    return render_mail(load_template("vip"), MailContent(**words), brand(), facts()).html


@pytest.mark.requirement("CFG-04", "EMAIL-06")
@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("Hello", "<p>Hello</p>"),
        ("One\n\nTwo\nthree", "<p>One</p><p>Two<br>three</p>"),
        ("a < b & c", "<p>a &lt; b &amp; c</p>"),
        ("<p onclick='x' style='y'>Hi <b>you</b></p>", "<p>Hi you</p>"),
        ("<p><strong>Hi</strong><script>alert(1)</script></p>", "<p><strong>Hi</strong></p>"),
        ("<p><a href='javascript:alert(1)'>x</a></p>", "<p>x</p>"),
        ("<p>a</p><p> </p><img src=x onerror=y>", "<p>a</p>"),
        ('<p><a href="mailto:a@b.example">x</a></p>', '<p><a href="mailto:a@b.example">x</a></p>'),
        (
            '<p><a href="https://x.example/?a=1&b=2" target="_blank">x</a></p>',
            '<p><a href="https://x.example/?a=1&amp;b=2">x</a></p>',
        ),
        (
            '<p><a href="{{ cart.url }}">x</a></p>',
            '<p><a href="{{ cart.url }}">x</a></p>',
        ),
        ("<p>x\x00y\x1b\u202ez</p>", "<p>xyz</p>"),
        ("<iframe src='https://x'></iframe><style>p{}</style><p>x</p>", "<p>x</p>"),
    ],
)
def test_a_body_is_a_few_tags_and_nothing_else(written: str, kept: str) -> None:
    assert clean_content(MailContent(body=written)).body == kept


@pytest.mark.requirement("CFG-04", "EMAIL-06")
@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("subject", "{{ customer.lastname }}", "Subject: {{ customer.lastname }} is not known."),
        ("subject", "{{ shop.url }}", "is for links only"),
        ("subject", " \n ", "a mail needs one"),
        ("subject", "x" * 151, "151 characters of at most 150"),
        ("headline", "{% for a in b %}", "{% for a in b %} is logic"),
        ("headline", "{# note #}", "is logic"),
        ("preheader", "{{ customer.first_name", "{{ customer.first_name is not known"),
        ("preheader", "{{ 7 * 7 }}", "{{ 7 * 7 }} is not known"),
        ("preheader", "{{ customer.first_name | upper }}", "is not known"),
        ("preheader", "{{ customer.first_name | default: " + "'" + "x" * 61 + "' }}", "at most 60"),
        ("body", "<p>{{ <em>customer</em>.first_name }}</p>", "Body: "),
        ("body", "<p>{{ ''.__class__ }}</p>", "is not known"),
        ("body", '<a href="http://x.example">x</a>', "starts with https:// or mailto:"),
        ("body", '<a href="/relative">x</a>', "starts with https:// or mailto:"),
        ("body", '<a href="https://x.example/{{ customer.first_name }}">x</a>', "starts with"),
        ("body", "x" * 20_001, "at most 5,000"),
        ("button_text", "y" * 41, "at most 40"),
        ("button_link", "http://x.example", "a link starts with https://"),
        ("button_link", "javascript:alert(1)", "a link starts with https://"),
        ("button_link", "https://x.example/ bcc", "a link starts with https://"),
        ("button_link", "{{ customer.first_name }}", "a link starts with https://"),
        ("discount_code", "A<b>", "letters, digits"),
        ("discount_code", "{{ x }}", "letters, digits"),
        ("discount_note", "{{ nobody.knows }}", "Discount note: {{ nobody.knows }}"),
    ],
)
def test_words_that_cannot_be_kept_are_refused_by_name(field: str, value: str, words: str) -> None:
    with pytest.raises(ContentError, match=re.escape(words)):
        clean_content(MailContent(**{field: value}))


@pytest.mark.requirement("EMAIL-06")
@pytest.mark.parametrize("evil", ["\r\nBcc: x@y.example", "\nX: y", "\x00", "\u2028a", "\x85b"])
def test_no_subject_starts_another_header(evil: str) -> None:
    kept = clean_content(MailContent(subject=f"Hi {evil}!")).subject
    assert kept is not None
    assert kept.isprintable()
    mail = render_mail(
        load_template("welcome"),
        MailContent(subject="{{ customer.first_name }}" + evil),
        brand(),
        facts(customer=CustomerFacts(f"Anna{evil}")),
    )
    assert mail.subject.isprintable()


@pytest.mark.requirement("CFG-04", "EMAIL-06")
def test_placeholders_are_filled_and_what_is_filled_in_is_text() -> None:
    words = MailContent(
        subject="{{customer.first_name}} & {{ shop.name }}",
        headline="{{ customer.first_name | default: 'you' }}, {{ order.name }}",
        body="<p>{{ product.title }} for <strong>{{ customer.first_name }}</strong></p>",
    )
    evil = facts(customer=CustomerFacts("<i>A</i>"))
    mail = render_mail(load_template("vip"), words, brand(name="M&M"), evil)
    assert mail.subject == "<i>A</i> & M&M"
    assert "&lt;i&gt;A&lt;/i&gt;, #1042" in mail.html
    assert ">Becher Fjord for <strong>&lt;i&gt;A&lt;/i&gt;</strong></p>" in mail.html
    assert "Becher Fjord for <i>A</i>" in mail.text
    unknown = render_mail(load_template("vip"), words, brand(), EMPTY)
    assert "you, your order" in unknown.html


@pytest.mark.requirement("CFG-04", "EMAIL-06")
def test_what_a_merchant_leaves_empty_is_left_out() -> None:
    assert 'class="button"' in html_of()
    assert 'class="button"' not in html_of(button_text="")
    assert "From now on you hear" in html_of()
    assert "From now on you hear" not in html_of(body="")


@pytest.mark.requirement("EMAIL-06")
@pytest.mark.parametrize("name", NAMES)
def test_a_templates_own_words_are_clean_already(name: str) -> None:
    content = load_template(name).content
    assert clean_content(content) == content
    assert None not in msgspec.structs.astuple(content)


@pytest.mark.requirement("EMAIL-06")
def test_words_as_the_text_part_says_them() -> None:
    body = (
        "<p>Look at <a href='https://x.example/a'>this</a> or https://y.example and "
        "<a href='{{ cart.url }}'>your cart</a>.</p><ul><li>one</li><li>two, which is a longer "
        "point that goes on over the end of its line, as points do</li></ul><p>Bye<br>us</p>"
    )
    text = render_mail(load_template("vip"), MailContent(body=body), brand(), facts()).text
    assert (
        "Look at this (https://x.example/a) or https://y.example and your cart "
        "(https://nordlicht.example/checkouts/ac/t0k3n/recover?key=a&b=c).\n"
        "\n"
        "- one\n"
        "- two, which is a longer point that goes on over the end of its line, as\n"
        "  points do\n"
        "\n"
        "Bye\n"
        "us\n"
    ) in text


class Tags(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, attrs))


PIECES = (
    *("<p>", "</p>", "<a href='", "https://x.example", "javascript:", "'>", "</a>", "<script>"),
    *("&lt;", "<svg onload=", "\n\n", "x", '"', "<!--", "-->", "{{ customer.first_name }}"),
    *("&nbsp;", "<br>", "<ul><li>", "</div>"),
)
FRAGMENTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=12).map("".join)


@given(FRAGMENTS)
def test_whatever_is_written_comes_out_harmless_and_stays_as_it_is(written: str) -> None:
    try:
        kept = clean_content(MailContent(body=written))
    except ContentError:
        return
    assert clean_content(kept) == kept
    for tag, attributes in Tags(kept.body or "").found:
        assert tag in TAGS
        assert all(
            (tag, name) == ("a", "href") and re.match(r"https://|mailto:|\{\{ ", value or "")
            for name, value in attributes
        )


def test_every_field_has_a_limit() -> None:
    assert set(LIMITS) == set(MailContent.__struct_fields__)
