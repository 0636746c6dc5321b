"""Shopify's global ids: `gid://shopify/<Type>/<number>`."""

from typing import Final

PREFIX: Final = "gid://shopify/"
LARGEST: Final = 2**63 - 1
SURE_DIGITS: Final = 19  # fewer never exceed LARGEST


def parse(gid: str) -> tuple[str, int]:
    """("Order", 123) of gid://shopify/Order/123. Raises ValueError for anything else."""
    head, _, tail = gid.rpartition("/")
    kind = head.removeprefix(PREFIX)
    is_kind = kind != head and kind.isascii() and kind.isalnum()
    if not is_kind or not (tail.isascii() and tail.isdigit()):
        raise ValueError(f"not a Shopify id: {gid[:80]!r}")
    number = int(tail)
    if not 0 < number <= LARGEST:
        raise ValueError(f"not a Shopify id: {gid[:80]!r}")
    return kind, number


def number(gid: str, kind: str) -> int:
    """The number of a gid that must be of type `kind`. Raises ValueError."""
    head = f"{PREFIX}{kind}/"
    tail = gid[len(head) :]
    if gid.startswith(head) and tail.isascii() and tail.isdigit() and len(tail) < SURE_DIGITS:
        value = int(tail)
        if value:
            return value
    found, value = parse(gid)
    if found != kind:
        raise ValueError(f"the id of a {found} where one of a {kind} is due")
    return value


def make(kind: str, number: int) -> str:
    return f"{PREFIX}{kind}/{number}"
