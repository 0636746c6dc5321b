"""Writes the result of a bulk operation: one pass over a snapshot, nothing held but a window."""

import random
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from sandbox.jsonl import encode_line, escape
from sandbox.shopify.projection import Plan, Selection
from sandbox.shopify.roots import CUSTOMERS, RootList

WINDOW = 2_000
ROOTS_AT_ONCE = 500
HELD_BACK = 500
MALFORMED = b'{"id":"gid:\\/\\/shopify\\/Order\\/1","name":\n'


@dataclass(frozen=True)
class Written:
    """Lines, root lines and bytes of a finished file."""

    lines: int
    roots: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Faulty:
    """What is wrong with the file on purpose; counted as Shopify would count it.

    `malformed`: so many lines that are not JSON come first. `corrupt`: so many of its own lines
    are cut in the middle. `is_half`: the file ends after the first half of its root objects, and
    with them ends whatever of their children had not been written yet.
    """

    malformed: int = 0
    corrupt: int = 0
    is_half: bool = False


def write_export(
    db: sqlite3.Connection, shop: int, plan: Plan, path: Path, *, line_order: str, faulty: Faulty
) -> Written:
    """Writes the file at `path`; `db` is a snapshot."""
    most = _count(db, shop, plan) // 2 if faulty.is_half else None
    # Shopify keeps the order of the roots; a part of a shuffled file would have no last of them.
    arrange = _ARRANGE["interleaved" if faulty.is_half and line_order == "shuffled" else line_order]
    lines = arrange(_families(db, shop, plan))
    if most is not None:
        lines = _until(lines, most)
    if faulty.corrupt:
        lines = _corrupted(lines, faulty.corrupt)
    with path.open("wb", buffering=1 << 20) as file:
        for _ in range(faulty.malformed):
            file.write(MALFORMED)
        total, roots = _write_all(file, lines)
        size = file.tell()
    return Written(total + faulty.malformed, roots + faulty.malformed, size)


def _write_all(file: BinaryIO, lines: Iterable[tuple[bool, bytes]]) -> tuple[int, int]:
    total = roots = 0
    for is_root, line in lines:
        file.write(line)
        total += 1
        roots += is_root
    return total, roots


Line = tuple[bool, bytes]
Family = tuple[Line, list[Line]]


def _until(lines: Iterable[Line], roots: int) -> Iterator[Line]:
    """The lines up to the root of that number."""
    if roots == 0:
        return
    seen = 0
    for line in lines:
        yield line
        seen += line[0]
        if seen == roots:
            return


def _corrupted(lines: Iterable[Line], count: int) -> Iterator[Line]:
    for place, (is_root, line) in enumerate(lines):
        yield is_root, (line[: len(line) // 2] + b"\n" if place < count else line)


def _count(db: sqlite3.Connection, shop: int, plan: Plan) -> int:
    found = db.execute(
        f"select count(*) from {plan.root.table} t where t.shop = ? and {_where(plan)}",
        [shop, *plan.condition.values],
    )
    return int(found.fetchone()[0])


def _where(plan: Plan) -> str:
    """Customers that are not readable yet are left out."""
    readable = " and t.reads_left = 0" if plan.root is CUSTOMERS else ""
    return f"({plan.condition.sql}){readable}"


def _families(db: sqlite3.Connection, shop: int, plan: Plan) -> Iterator[Family]:
    """Each root line with its children."""
    root, whole = plan.root, plan.root.whole if plan.is_whole else None
    select, binds = (root.select, root.binds) if whole else (RootList.select, 1)
    rows = db.execute(
        f"{select.format(table=root.table)} and {_where(plan)} order by {plan.order_by}",
        [*[shop] * binds, *plan.condition.values],
    )
    text, loads = _text_of(plan.selection), orjson.loads
    line_of = encode_line if plan.selection.is_verbatim else _picked(plan.selection)
    while found := rows.fetchmany(ROOTS_AT_ONCE):
        children = _children(db, shop, [row[0] for row in found], plan) if plan.child else {}
        for row in found:
            line = line_of(whole(loads(row[1]), row)) if whole else text(row[1])
            yield (True, line), children.get(row[0], [])


def _children(
    db: sqlite3.Connection, shop: int, parents: list[int], plan: Plan
) -> dict[int, list[Line]]:
    """The child lines of some roots; reads by the table's primary key."""
    table = plan.root.children.table if plan.root.children else ""
    text = _text_of(plan.child) if plan.child else bytes
    stem = escape(f',"__parentId":"gid://shopify/{plan.root.type_name}/'.encode())
    lines: dict[int, list[Line]] = {}
    for parent, body in db.execute(
        f"select parent, body from {table} where shop = ? and parent in"
        " (select value from json_each(?)) order by parent, num",
        [shop, orjson.dumps(parents).decode()],
    ):
        # The line without its end, which the parent's id takes the place of.
        line = text(body)[:-2] + stem + b'%d"}\n' % parent
        lines.setdefault(parent, []).append((False, line))
    return lines


def _text_of(selection: Selection) -> Callable[[bytes], bytes]:
    """From a stored body to its line."""
    if selection.is_verbatim:
        return lambda body: escape(body) + b"\n"
    line_of, loads = _picked(selection), orjson.loads
    return lambda body: line_of(loads(body))


def _picked(selection: Selection) -> Callable[[dict[str, Any]], bytes]:
    """From an object to the line with what is selected of it."""
    project = selection.project
    return lambda body: encode_line(project(body))


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
