"""What merchants' words may hold besides words: `{{ customer.first_name | default: "you" }}`.

Read by a pattern and never by Jinja: what is not on the list is an error with a name, and there is
no logic to run.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from core.errors import PermanentError

# Every one has something to say where a customer, order or code has nothing.
FALLBACKS: Final[Mapping[str, str]] = {
    "customer.first_name": "there",
    "shop.name": "our shop",
    "order.name": "your order",
    "product.title": "your favourites",
    "discount.code": "your code",
}
LINKS: Final = frozenset({"shop.url", "cart.url"})
MAX_FALLBACK: Final = 60

PLACEHOLDER: Final = re.compile(
    r"\{\{\s*(?P<name>[a-z_]+\.[a-z_]+)\s*"
    r"(?:\|\s*default:\s*(?:\"(?P<double>[^\"{}<>&]*)\"|'(?P<single>[^'{}<>&]*)')\s*)?\}\}"
)
LOOKS_LIKE_CODE: Final = re.compile(r"\{\{[^}]*\}?\}?|\}\}|\{%[^%]*%?\}?|%\}|\{#|#\}")


class ContentError(PermanentError):
    """Words of a merchant that cannot be kept or sent; the message names the field and why."""


@dataclass(frozen=True)
class Placeholder:
    """`fallback` stands where there is nothing to say."""

    name: str
    fallback: str


Parts = tuple[str | Placeholder, ...]


def parse(text: str, *, field: str) -> Parts:
    """Words and placeholders in turn. Raises ContentError naming what is not known."""
    parts: list[str | Placeholder] = []
    end = 0
    for found in PLACEHOLDER.finditer(text):
        parts += [_words(text[end : found.start()], field), _placeholder(found, field)]
        end = found.end()
    parts.append(_words(text[end:], field))
    return tuple(part for part in parts if part)


def link_name(href: str) -> str | None:
    """`shop.url` for `{{ shop.url }}`; None for anything else."""
    found = PLACEHOLDER.fullmatch(href.strip())
    return found["name"] if found and found["name"] in LINKS else None


def _placeholder(found: re.Match[str], field: str) -> Placeholder:
    name = found["name"]
    if name not in FALLBACKS:
        raise ContentError(
            f"{field}: {{{{ {name} }}}} is not known. There is {_known(FALLBACKS)}."
            + (f" {{{{ {name} }}}} is for links only." if name in LINKS else "")
        )
    given = found["double"] if found["double"] is not None else found["single"]
    if given is not None and len(given) > MAX_FALLBACK:
        raise ContentError(f"{field}: a default has at most {MAX_FALLBACK} characters.")
    return Placeholder(name, FALLBACKS[name] if given is None else given)


def _words(text: str, field: str) -> str:
    found = LOOKS_LIKE_CODE.search(text)
    if found is None:
        return text
    shown = found.group()[:40]
    if shown.startswith(("{%", "%}", "{#", "#}")):
        raise ContentError(f"{field}: {shown} is logic, and there is none in these words.")
    raise ContentError(
        f"{field}: {shown} is not known. There is {_known(FALLBACKS)}; "
        'what to say where there is nothing follows as | default: "…".'
    )


def _known(names: Mapping[str, str]) -> str:
    return ", ".join(f"{{{{ {name} }}}}" for name in names)
