"""What the Shopify app must be allowed, each with what is missing without it."""

from collections.abc import Sequence
from typing import Final

NEEDED: Final = {
    "read_customers": "customers, their consent and tags cannot be read",
    "write_customers": "tags of flows and unsubscribes cannot be written to Shopify",
    "read_orders": "orders, refunds and abandoned checkouts cannot be read",
    "read_all_orders": "only orders of the last 60 days can be read, so old customers look new",
    "read_products": "titles and pictures of products are missing from mails",
}


# Without this one the rest can be read all the same: what needs it is left out of every document.
DISPENSABLE: Final = frozenset({"read_products"})


def left_out(granted: Sequence[str]) -> frozenset[str]:
    """The scopes that documents do without. None where it is not known yet what is granted."""
    return DISPENSABLE.intersection(missing_scopes(granted)) if granted else frozenset()


def missing_scopes(granted: Sequence[str]) -> list[str]:
    """The scopes the app needs and has not; a write scope includes reading."""
    included = {f"read_{name.removeprefix('write_')}" for name in granted if _writes(name)}
    return [scope for scope in NEEDED if scope not in included.union(granted)]


def _writes(scope: str) -> bool:
    return scope.startswith("write_")
