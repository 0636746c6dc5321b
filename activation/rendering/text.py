"""Making text from elsewhere fit for a header or a greeting."""

import re
import unicodedata
from typing import Final

SPACE: Final = re.compile(r"\s+")
# Invisible characters that reorder or hide text; the joiners that scripts and emoji need stay.
HIDDEN: Final = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
LOOKS_LIKE_LINK: Final = re.compile(r"https?:|www\.|://|@", re.IGNORECASE)
ELLIPSIS: Final = "…"
SPECIALS: Final = re.compile(r'[()<>@,;:\\".\[\]]')


def one_line(text: str, *, limit: int) -> str:
    """Collapsed to a single line of at most `limit` characters, without control characters.

    A line break in what becomes a header would start another header.
    """
    if text.isprintable() and "  " not in text:  # nearly all text; printable but for plain spaces
        line = text.strip()
        return line if len(line) <= limit else line[: limit - 1].rstrip() + ELLIPSIS
    visible = "".join(
        " " if unicodedata.category(character) == "Cc" else character for character in text
    )
    line = SPACE.sub(" ", HIDDEN.sub("", visible)).strip()
    return line if len(line) <= limit else line[: limit - 1].rstrip() + ELLIPSIS


def ascii_html(markup: str) -> str:
    """What is HTML already, in ASCII."""
    return markup if markup.isascii() else markup.encode("ascii", "xmlcharrefreplace").decode()


def html_text(value: object) -> str:
    """As HTML says it, in ASCII: for text and for attributes in quotes.

    One letter beyond ASCII would double a mail in memory and take longer to encode than the whole
    mail takes to render.
    """
    text = value if type(value) is str else str(value)
    # As html.escape, without two calls more for each of the dozens of values of a mail.
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = text.replace('"', "&quot;").replace("'", "&#x27;")
    return text if text.isascii() else ascii_html(text)


def greeting_name(first_name: str | None) -> str:
    """The name to greet by; empty when there is none, or when it is an advertisement.

    Shops get sign-ups whose "first name" is a link, so that the shop's mail carries it.
    """
    name = one_line(first_name or "", limit=40)
    return "" if LOOKS_LIKE_LINK.search(name) else name


def mailbox(name: str, address: str) -> str:
    """`Name <address>` as RFC 5322 wants it; non-ASCII stays, the provider encodes it."""
    name = one_line(name, limit=100)
    if not name:
        return address
    if SPECIALS.search(name):
        name = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{name} <{address}>"
