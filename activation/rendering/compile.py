"""MJML → HTML, once per template version, with guards against what the compiler does silently.

mrml drops unknown tags, accepts unknown attributes, and an unlucky place for a Jinja tag loses a
loop without an error. So: an allow-list of tags and attributes before, the same Jinja tokens after.
The strict check by npm's mjml is a test.
"""

import re
from collections import Counter
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Final

from mjml import mjml2html

from activation.rendering.text import ascii_html
from core.errors import PermanentError

# MJML checks colours, and writes fonts on every element, so a template cannot hold an expression
# where one belongs; these stand in.
ACCENT: Final = "#acce55"
STANDS_FOR: Final[Mapping[str, str]] = {
    ACCENT: "{{ brand.accent }}",
    "#acce56": "{{ brand.accent_text }}",
    "#acce57": "{{ brand.accent_ink }}",
    "#acce58": "{{ brand.accent_soft }}",
    "#acce59": "{{ brand.background }}",
    "#acce5a": "{{ brand.background_ink }}",
    "#acce5b": "{{ brand.background_soft }}",
    "Heading, sans-serif": "{{ brand.heading_font }}",
    "Text, sans-serif": "{{ brand.text_font }}",
}

TOKENS: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
INDENT: Final = re.compile(r"\n\s+")
# The title comes back a second time as the body's label.
BODY_LABEL: Final = re.compile(r'<div aria-label="[^"]*"')
REMOTE: Final = re.compile(r"@import|<link\b|<script\b|url\(", re.IGNORECASE)

_TEXT = frozenset(
    {
        "align",
        "color",
        "font-family",
        "font-size",
        "font-weight",
        "letter-spacing",
        "line-height",
        "padding",
        "text-decoration",
        "text-transform",
    }
)
_CLASS = frozenset({"css-class", "mj-class"})
ALLOWED: Final[Mapping[str, frozenset[str]]] = {
    "mjml": frozenset({"lang", "dir"}),
    "mj-head": frozenset(),
    "mj-title": frozenset(),
    "mj-preview": frozenset(),
    "mj-breakpoint": frozenset({"width"}),
    "mj-attributes": frozenset(),
    "mj-all": _TEXT,
    "mj-raw": frozenset(),
    "mj-style": frozenset(),  # inline="inline" is ignored by mrml, so it is not offered
    "mj-body": frozenset({"width", "background-color"}) | _CLASS,
    "mj-wrapper": frozenset({"background-color", "border", "border-radius", "padding"}) | _CLASS,
    "mj-section": frozenset({"background-color", "border", "border-radius", "padding"}) | _CLASS,
    "mj-column": frozenset({"background-color", "border", "border-radius", "padding", "width"})
    | _CLASS,
    "mj-text": _TEXT | _CLASS,
    "mj-table": _TEXT | _CLASS | {"table-layout", "width"},
    "mj-divider": frozenset({"align", "border-color", "border-width", "padding", "width"}) | _CLASS,
    "mj-spacer": frozenset({"height"}) | _CLASS,
    "mj-image": frozenset({"align", "alt", "height", "href", "padding", "src", "width"}) | _CLASS,
    "mj-button": _TEXT
    | _CLASS
    | {"background-color", "border", "border-radius", "href", "inner-padding", "width"},
}


class TemplateError(PermanentError):
    """A template that must not be used; the message says where and why."""


def compile_mjml(source: str) -> str:
    """HTML that still holds every Jinja token of `source`. Raises TemplateError."""
    _check_names(source)
    try:
        html: str = mjml2html(source)
    except ValueError as error:
        raise TemplateError(f"This MJML cannot be read: {error}") from error
    _check_tokens(source, html)
    _check_nothing_remote(html)
    for stand_in, expression in STANDS_FOR.items():
        html = html.replace(stand_in, expression)
    return ascii_html(INDENT.sub("\n", html))  # indents would be sent with every mail


class _Names(HTMLParser):
    """Collects MJML tags and attributes that are not on the list; plain HTML passes."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if not tag.startswith("mj"):
            return
        line, _ = self.getpos()
        if tag not in ALLOWED:
            self.problems.append(f"line {line}: <{tag}> is not known")
            return
        self.problems += [
            f"line {line}: <{tag}> has no attribute {name}"
            for name, _ in attrs
            if name not in ALLOWED[tag]
        ]


def _check_names(source: str) -> None:
    names = _Names()
    names.feed(_inside_attributes_is_free(source))
    names.close()
    if names.problems:
        raise TemplateError("This MJML would lose content: " + "; ".join(names.problems))


def _inside_attributes_is_free(source: str) -> str:
    """Jinja may hold quotes and comparisons that would end a tag early for the name check."""
    return TOKENS.sub(lambda token: "\n" * token.group().count("\n"), source)


def _check_tokens(source: str, html: str) -> None:
    before = TOKENS.findall(re.sub(r"<!--.*?-->", "", source, flags=re.DOTALL))
    after = TOKENS.findall(BODY_LABEL.sub("<div", html))
    if Counter(before) != Counter(after) or _control(before) != _control(after):
        lost = [token for token, _ in (Counter(before) - Counter(after)).items()]
        raise TemplateError(
            f"Compiling lost or moved {', '.join(lost) or 'a loop or condition'}: between "
            "components, control tags belong inside <mj-raw>."
        )


def _control(tokens: list[str]) -> list[str]:
    return [token for token in tokens if token.startswith("{%")]


def _check_nothing_remote(html: str) -> None:
    found = REMOTE.search(html)
    if found:
        raise TemplateError(
            f"A mail loads nothing from elsewhere, but compiling left {found.group()!r} "
            "(a web font in font-family does this, and so does leaving mj-all's font-family out)."
        )
