"""Writes the result of a bulk operation: one pass over a snapshot, nothing held but a window."""

import random
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from sandbox.jsonl import encode_line
from sandbox.shopify.projection import Plan, Project

WINDOW = 2_000
HELD_BACK = 500
MALFORMED = b'{"id":"gid:\\/\\/shopify\\/Order\\/1","name":\n'


@dataclass(frozen=True)
class Written:
    """Lines, root lines and bytes of a finished file."""

    lines: int
    roots: int
    size: int


def write_export(
    db: sqlite3.Connection, shop: int, plan: Plan, path: Path, *, line_order: str, malformed: int
) -> Written:
    """Writes the file at `path`; `db` is a snapshot.

    `malformed` lines that are not JSON are put in; Shopify would count them, so they are counted.
    """
    families = _families(db, shop, plan)
    lines = _ARRANGE[line_order](families)
    counts = {"lines": 0, "roots": 0}
    with path.open("wb", buffering=1 << 20) as file:
        for _ in range(malformed):
            file.write(MALFORMED)
        _write_all(file, lines, counts)
        size = file.tell()
    return Written(counts["lines"] + malformed, counts["roots"] + malformed, size)


def _write_all(file: BinaryIO, lines: Iterable[tuple[bool, bytes]], counts: dict[str, int]) -> None:
    total = roots = 0
    for is_root, line in lines:
        file.write(line)
        total += 1
        roots += is_root
    counts["lines"], counts["roots"] = total, roots


Line = tuple[bool, bytes]
Family = tuple[Line, list[Line]]


def _families(db: sqlite3.Connection, shop: int, plan: Plan) -> Iterator[Family]:
    """Each root line with its children. Customers not readable yet are left out."""
    readable = " and reads_left = 0" if plan.table == "customers" else ""
    rows = db.execute(
        f"select num, body from {plan.table} where shop = ? and {plan.condition.sql}{readable}"
        f" order by {plan.order_by}",
        [shop, *plan.condition.values],
    )
    project, child, loads = plan.project, plan.child, orjson.loads
    for num, body in rows:
        root = project(loads(body))
        children = _children(db, shop, num, child) if child else []
        yield (True, encode_line(root)), children


def _children(db: sqlite3.Connection, shop: int, order: int, project: Project) -> list[Line]:
    parent = f"gid://shopify/Order/{order}"
    lines = []
    for (body,) in db.execute(
        "select body from line_items where shop = ? and parent = ? order by num", [shop, order]
    ):
        line: dict[str, Any] = project(orjson.loads(body))
        line["__parentId"] = parent
        lines.append((False, encode_line(line)))
    return lines


def _after_parent(families: Iterable[Family]) -> Iterator[Line]:
    for root, children in families:
        yield root
        yield from children


def _interleaved(families: Iterable[Family]) -> Iterator[Line]:
    """Children after their parent, but with other parents and their children in between."""
    rng = random.Random(1)
    waiting: list[Line] = []
    for root, children in families:
        yield root
        waiting += children
        while len(waiting) > WINDOW:
            yield _pick(waiting, rng)
    while waiting:
        yield _pick(waiting, rng)


def _shuffled(families: Iterable[Family]) -> Iterator[Line]:
    """No order at all within a window; some parents stand at the very end of the file."""
    rng = random.Random(2)
    waiting: list[Line] = []
    held: list[Line] = []
    for number, (root, children) in enumerate(families):
        if number % 20 == 0 and len(held) < HELD_BACK:
            held.append(root)
        else:
            waiting.append(root)
        waiting += children
        while len(waiting) > WINDOW:
            yield _pick(waiting, rng)
    while waiting:
        yield _pick(waiting, rng)
    yield from held


def _pick(waiting: list[Line], rng: random.Random) -> Line:
    place = int(rng.random() * len(waiting))
    waiting[place], waiting[-1] = waiting[-1], waiting[place]
    return waiting.pop()


_ARRANGE: dict[str, Callable[[Iterable[Family]], Iterator[Line]]] = {
    "after_parent": _after_parent,
    "interleaved": _interleaved,
    "shuffled": _shuffled,
}
