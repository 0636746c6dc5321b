"""Pages of Resend's lists: `limit`, `after` and `before`, newest first."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.responses import Response

from sandbox.http import reply
from sandbox.resend.errors import invalid, not_in_sandbox

MAX_PAGE = 100
USUAL_PAGE = 20
BAD_CURSOR = "The pagination cursor is not valid."
Body = dict[str, Any]


def paged(
    rows: Sequence[Any],
    query: Mapping[str, str],
    show: Callable[[Any], Body],
    *,
    also: frozenset[str] = frozenset(),
) -> Response:
    """A page of `rows`, all there are, newest first, each with an `id`. Raises ResendError.

    `also` are parameters that the caller has dealt with.
    """
    limit = limit_of(query, also=also)
    ids = [row["id"] for row in rows]
    start, end = 0, len(rows)
    if "after" in query:
        start = _position(ids, query["after"]) + 1
    if "before" in query:
        end = _position(ids, query["before"])
        start = max(start, end - limit)
    page = rows[start : min(end, start + limit)]
    has_more = start > 0 if "before" in query else start + limit < end
    return reply({"object": "list", "has_more": has_more, "data": [show(row) for row in page]})


def limit_of(query: Mapping[str, str], *, also: frozenset[str] = frozenset()) -> int:
    """Raises ResendError for a limit that is none, and for parameters that are not known here."""
    for name in query.keys() - {"limit", "after", "before"} - also:
        raise not_in_sandbox(f"the parameter {name}= of a list")
    text = query.get("limit")
    if text is None:
        return USUAL_PAGE
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_PAGE):
        raise invalid(f"The `limit` must be between 1 and {MAX_PAGE}.")
    return int(text)


def _position(ids: list[str], cursor: str) -> int:
    if cursor not in ids:
        raise invalid(BAD_CURSOR)
    return ids.index(cursor)
