"""Lists as Shopify pages them."""

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

from sandbox.shopify.errors import graphql_error, not_in_sandbox

MAX_PAGE = 250


def connection(items: Sequence[dict[str, Any]], args: dict[str, Any]) -> dict[str, Any]:
    """`items` as a connection: `first` with `after`, or `last`.

    Raises the GraphQL errors of Shopify for a missing or too large page.
    """
    if args.get("before") is not None:
        raise not_in_sandbox("paging with before:")
    start = _position(args["after"]) if args.get("after") else 0
    first, last = args.get("first"), args.get("last")
    if first is None and last is None:
        raise graphql_error("you must provide one of first or last", "BAD_REQUEST")
    size = int(first if first is not None else last or 0)
    if size > MAX_PAGE:
        raise graphql_error(
            f"first cannot be greater than {MAX_PAGE}", "argumentLiteralsIncompatible"
        )
    end = min(len(items), start + size) if first is not None else len(items)
    start = start if first is not None else max(0, len(items) - size)
    return _page(items, start, end)


def _page(items: Sequence[dict[str, Any]], start: int, end: int) -> dict[str, Any]:
    shown = list(items[start:end])
    edges = [{"node": node, "cursor": _cursor(start + i + 1)} for i, node in enumerate(shown)]
    return {
        "nodes": shown,
        "edges": edges,
        "pageInfo": {
            "hasNextPage": end < len(items),
            "hasPreviousPage": start > 0,
            "startCursor": edges[0]["cursor"] if edges else None,
            "endCursor": edges[-1]["cursor"] if edges else None,
        },
    }


def _cursor(position: int) -> str:
    return base64.b64encode(json.dumps({"last_id": position}).encode()).decode()


def _position(cursor: str) -> int:
    try:
        return int(json.loads(base64.b64decode(cursor, validate=True))["last_id"])
    except (binascii.Error, ValueError, KeyError, TypeError):
        raise graphql_error(f"Invalid cursor '{cursor}'", "BAD_REQUEST") from None
