"""The words of a mail that a merchant edits: cleaned when they are saved, and again when used.

A field that is None is the template's own (`template.toml` in its folder); an empty one is left
out.
"""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import nh3

from activation.rendering.brand import MAX_URL, https_url
from activation.rendering.placeholders import ContentError, Parts, link_name, parse
from activation.rendering.text import HIDDEN, one_line

TAGS: Final = frozenset({"p", "br", "strong", "em", "ul", "ol", "li", "a"})
MAX_BODY: Final = 5_000
LIMITS: Final = {
    "subject": 150,
    "preheader": 200,
    "headline": 120,
    "body": MAX_BODY,
    "button_text": 40,
    "button_link": MAX_URL,
    "discount_code": 60,
    "discount_note": 160,
}
LABELS: Final = {name: name.replace("_", " ").capitalize() for name in LIMITS}
SAID: Final = ("subject", "preheader", "headline", "body", "button_text", "discount_note")
MAILTO: Final = re.compile(r"mailto:[^\s\"'<>@]+@[^\s\"'<>@]+")
CODE: Final = re.compile(r"[^\s<>\"'{}&]+(?: [^\s<>\"'{}&]+)*")
CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
ANY_TAG: Final = re.compile(r"</?[a-zA-Z][^>]*>")
LOOSE_LINK: Final = re.compile(r"<a>(.*?)</a>", re.DOTALL)
HREF: Final = re.compile(r'(?<=<a href=")([^"]*)(?=">)')
EMPTY_PARAGRAPH: Final = re.compile(r"<p>\s*</p>")


class MailContent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Stored in the step's definition. `body` is a little HTML; links are https or mailto."""

    subject: str | None = None
    preheader: str | None = None
    headline: str | None = None
    body: str | None = None
    button_text: str | None = None
    button_link: str | None = None
    discount_code: str | None = None
    discount_note: str | None = None

    def over(self, defaults: "MailContent") -> "MailContent":
        """These words, and the template's own where there are none."""
        given = msgspec.structs.asdict(self)
        return msgspec.structs.replace(
            defaults, **{name: value for name, value in given.items() if value is not None}
        )


@dataclass(frozen=True)
class ParsedContent:
    """Ready for a template: every field's words and placeholders in turn; `body` is clean HTML."""

    subject: Parts
    preheader: Parts
    headline: Parts
    body: str
    button_text: Parts
    button_link: str
    discount_code: str
    discount_note: Parts


def clean_content(content: MailContent) -> MailContent:
    """The words as they are kept. Raises ContentError naming the field and what is wrong with it.

    Cleaning twice changes nothing more.
    """
    given = msgspec.structs.asdict(content)
    cleaned = {
        name: _clean_field(name, value) for name, value in given.items() if value is not None
    }
    for name in SAID:
        parse(HREF.sub("", cleaned.get(name, "")), field=LABELS[name])
    if content.subject is not None and not cleaned["subject"]:
        raise ContentError("Subject: a mail needs one.")
    return MailContent(**cleaned)


def parse_content(content: MailContent) -> ParsedContent:
    """Complete content, cleaned and read. Raises ContentError."""
    clean = msgspec.structs.asdict(clean_content(content))
    parts = {name: parse(clean[name] or "", field=LABELS[name]) for name in SAID if name != "body"}
    return ParsedContent(
        **parts,
        body=clean["body"] or "",
        button_link=clean["button_link"] or "",
        discount_code=clean["discount_code"] or "",
    )


def read_content(given: Mapping[str, Any]) -> MailContent:
    """A template's own words, all of them. Raises ContentError."""
    try:
        content = msgspec.convert(dict.fromkeys(LIMITS, "") | dict(given), MailContent)
    except msgspec.ValidationError as error:
        raise ContentError(f"These words cannot be read: {error}") from error
    return clean_content(content)


def _clean_field(name: str, value: str) -> str:
    label = LABELS[name]
    if len(value) > LIMITS[name] * 4:  # before any work on it
        raise ContentError(f"{label}: at most {LIMITS[name]:,} characters.")
    if name == "body":
        cleaned = clean_body(value)
    elif name == "button_link":
        cleaned = _clean_link(value, label)
    else:
        cleaned = one_line(value, limit=LIMITS[name] * 4)
    if len(cleaned) > LIMITS[name]:
        raise ContentError(f"{label}: {len(cleaned):,} characters of at most {LIMITS[name]:,}.")
    if name == "discount_code" and cleaned and not CODE.fullmatch(cleaned):
        raise ContentError(f"{label}: letters, digits and the like, no quotes or brackets.")
    return cleaned


def clean_body(value: str) -> str:
    """A few tags and nothing else; text without any becomes paragraphs."""
    value = HIDDEN.sub("", CONTROL.sub("", value.replace("\r\n", "\n").replace("\r", "\n")))
    if not ANY_TAG.search(value):
        value = _paragraphs(value)
    refused: list[str] = []

    def keep_link(tag: str, _attribute: str, href: str) -> str | None:
        if tag != "a":
            return None
        if link_name(href) or https_url(href) or MAILTO.fullmatch(href):
            return href
        refused.append(href)
        return None

    cleaned = nh3.clean(
        value,
        tags=set(TAGS),
        attributes={"a": {"href"}},
        url_schemes={"https", "http", "mailto"},
        link_rel=None,
        attribute_filter=keep_link,
    )
    if refused:
        raise ContentError(
            f"Body: a link starts with https:// or mailto:, not {one_line(refused[0], limit=60)!r}."
        )
    cleaned = EMPTY_PARAGRAPH.sub("", LOOSE_LINK.sub(r"\1", cleaned)).strip()
    return cleaned if not cleaned or ANY_TAG.search(cleaned) else f"<p>{cleaned}</p>"


def _paragraphs(value: str) -> str:
    blocks = [block.strip() for block in re.split(r"\n\s*\n", value)]
    return "".join(
        "<p>" + html.escape(block, quote=False).replace("\n", "<br>") + "</p>"
        for block in blocks
        if block
    )


def _clean_link(value: str, label: str) -> str:
    value = value.strip()
    name = link_name(value)
    if name:
        return f"{{{{ {name} }}}}"
    if not value or https_url(value) or MAILTO.fullmatch(value):
        return value
    raise ContentError(
        f"{label}: a link starts with https:// or mailto:, or is {{{{ shop.url }}}} or "
        "{{ cart.url }}."
    )
