"""BulkOperation as it is answered: what Shopify shows in each state, and what it leaves null."""

import re
import sqlite3
from typing import Any

from sandbox.clock import epoch, utc_z
from sandbox.shapes import gid

Body = dict[str, Any]
UNFINISHED = ("CREATED", "RUNNING")
HOLDS_SLOT = (*UNFINISHED, "CANCELING")
# Operations of another process of the app; ours are numbered from 1.
FIRST_STRANGER = 900_000_000_001
MOST_STRANGERS = 5
# EXPIRED can be read but not searched for.
SEARCHED_STATUSES = {"created", "running", "completed", "failed", "canceling", "canceled"}
_TIME = re.compile(r"(>=|<=|>|<|)(.+)")


def new_view(row: sqlite3.Row) -> Body:
    """The operation as it is answered while nothing is known of its result."""
    return {
        "__typename": "BulkOperation",
        "id": gid("BulkOperation", row["num"]),
        "status": "CREATED",
        "type": "QUERY",
        "errorCode": None,
        "createdAt": utc_z(row["created_at"]),
        "completedAt": None,
        "objectCount": "0",
        "rootObjectCount": "0",
        "fileSize": None,
        "url": None,
        "partialDataUrl": None,
        "query": row["query"],
    }


def finished_view(row: sqlite3.Row, url: str, *, is_expired: bool) -> Body:
    """The operation when it has ended; `url` leads to its file, if that is offered.

    A cancelled one keeps its counts and may have a url, but neither size nor end.
    """
    status, offered = row["status"], row["offered"]
    if status == "COMPLETED" and is_expired:
        status, offered = "EXPIRED", None
    cancelled = status == "CANCELED"
    has_size = status == "EXPIRED" or (status == "COMPLETED" and offered == "url")
    return new_view(row) | {
        "status": status,
        "errorCode": row["error_code"],
        "completedAt": None if cancelled else utc_z(row["completed_at"]),
        "objectCount": str(row["object_count"]),
        "rootObjectCount": str(row["root_object_count"]),
        "fileSize": str(row["file_size"]) if has_size and row["file_size"] else None,
        "url": url if offered == "url" else None,
        "partialDataUrl": url if offered == "partial" else None,
    }


def stranger_view(num: int, *, running: int, now: float) -> Body:
    """Another process's operation: RUNNING while it holds a slot, and nothing for us after."""
    is_running = num - FIRST_STRANGER < running
    row: Any = {
        "num": num,
        "created_at": now - 60,
        "query": "{ draftOrders { edges { node { id } } } }",
    }
    done = {"status": "COMPLETED", "completedAt": utc_z(now)}
    return new_view(row) | ({"status": "RUNNING"} if is_running else done)


def matching(found: list[Body], text: str) -> tuple[list[Body], list[Body]]:
    """(the operations that a search finds, warnings).

    As captured: a key that is not known matches everything and warns; a value that is not
    accepted matches nothing and warns.
    """
    warnings: list[Body] = []
    for term in text.split():
        key, _, quoted = term.partition(":")
        value = quoted.strip("'\"")
        if key not in _TESTS:
            warnings.append(_warning(key, "Invalid search field for this query.", "invalid_field"))
            continue
        accepts, holds = _TESTS[key]
        if accepts(value):
            found = [each for each in found if holds(each, value)]
        else:
            found = []
            warnings.append(
                _warning(key, f"Input `{value}` is not an accepted value.", "invalid_value")
            )
    return found, warnings


def _warning(field: str, message: str, code: str) -> Body:
    return {"field": field, "message": message, "code": code}


def _is_time(value: str) -> bool:
    found = _TIME.fullmatch(value)
    try:
        return found is not None and epoch(found[2].strip("'\"")) > 0
    except ValueError:
        return False


def _created(each: Body, value: str) -> bool:
    found = _TIME.fullmatch(value)
    if found is None:
        return False
    at, bound = epoch(each["createdAt"]), epoch(found[2].strip("'\""))
    return {
        ">=": at >= bound,
        "<=": at <= bound,
        ">": at > bound,
        "<": at < bound,
        "": at == bound,
    }[found[1]]


_TESTS: dict[str, Any] = {
    "status": (
        lambda value: value.lower() in SEARCHED_STATUSES,
        lambda each, value: each["status"].lower() == value.lower(),
    ),
    "operation_type": (
        lambda value: value.lower() in {"query", "mutation"},
        lambda each, value: each["type"].lower() == value.lower(),
    ),
    "id": (
        lambda value: value.isascii() and value.isdigit(),
        lambda each, value: each["id"].endswith(f"/{value}"),
    ),
    "created_at": (_is_time, _created),
}
