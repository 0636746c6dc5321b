"""Reads a shop folder (docs/sandbox.md) into the store, line by line, in one transaction.

Children are joined to their parent by `__parentId` wherever they stand. A line that cannot be
one of Shopify's is counted, reported and kept out; the rest goes in.
"""

import json
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson

from sandbox import history
from sandbox.clock import epoch
from sandbox.shapes import (
    BadLineError,
    good_checkout,
    good_checkout_item,
    good_customer,
    good_line_item,
    good_order,
    good_product,
    id_number,
    is_counted,
    normal_email,
    recovery_token,
)
from sandbox.store import Store
from sandbox.totals import keep_differences

BATCH = 2_000
SHOWN = 20
INSERT_CUSTOMER = """
insert or ignore into customers (shop, num, email, consent, created_at, updated_at, body)
values (?, ?, ?, ?, ?, ?, ?)"""
INSERT_ORDER = """
insert or ignore into orders
    (shop, num, customer, processed_at, created_at, updated_at, placed_at, is_counted, body)
values (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
INSERT_LINE_ITEM = "insert or ignore into line_items (shop, parent, num, body) values (?, ?, ?, ?)"
INSERT_PRODUCT = """
insert or ignore into products (shop, num, created_at, updated_at, body) values (?, ?, ?, ?, ?)"""
INSERT_CHECKOUT = """
insert or ignore into checkouts
    (shop, num, token, customer, created_at, updated_at, completed_at, body)
values (?, ?, ?, ?, ?, ?, ?, ?)"""
INSERT_CHECKOUT_ITEM = """
insert or ignore into checkout_items (shop, parent, num, body) values (?, ?, ?, ?)"""
NEEDED = ("customers.jsonl", "orders.jsonl")
OPTIONAL = ("products.jsonl", "checkouts.jsonl")
TABLES = ("customers", "orders", "line_items", "products", "checkouts", "checkout_items")


class FolderError(ValueError):
    """The folder as a whole cannot be loaded; the text says why."""


class AlreadyLoadedError(Exception):
    """The shop is in the sandbox already, and nobody asked to replace it."""


class Rejected:
    """Lines kept out: how many by reason, and where the first of them stand."""

    def __init__(self) -> None:
        self.by_reason: Counter[str] = Counter()
        self.first: list[dict[str, Any]] = []

    def add(self, reason: str, *, file: str, line: int | None, count: int = 1) -> None:
        self.by_reason[reason] += count
        if len(self.first) < SHOWN:
            self.first.append({"file": file, "line": line, "reason": reason})

    def report(self) -> dict[str, Any]:
        return {
            "total": self.by_reason.total(),
            "by_reason": dict(self.by_reason),
            "first": self.first,
        }


def load_folder(
    store: Store, folder: Path, *, now: float, replace: bool = False, if_absent: bool = False
) -> dict[str, Any]:
    """Loads the shop and answers with its counts and the rejected lines.

    A shop that is there already: its data is replaced (`replace`; tokens and webhook
    subscriptions stay), or left as it is (`if_absent`), else AlreadyLoadedError.
    """
    began = time.perf_counter()
    about = read_shop_json(folder)
    for name in NEEDED:
        if not (folder / name).is_file():
            raise FolderError(f"{folder / name} is missing")
    rejected = Rejected()
    with store.write() as db:
        known = db.execute("select shop from shops where domain = ?", [about["domain"]]).fetchone()
        if known and if_absent:
            return {"shop": about["domain"], "loaded": False} | _counts(db, known["shop"])
        if known and not replace:
            raise AlreadyLoadedError(
                f"{about['domain']} is loaded already; ask with replace or if_absent"
            )
        shop = _fresh_shop(db, about, now)
        loading = _Loading(db, shop, folder, rejected)
        loading.roots("customers.jsonl", INSERT_CUSTOMER, customer_row)
        loading.families(
            "orders.jsonl", (INSERT_ORDER, order_row), (INSERT_LINE_ITEM, line_item_row)
        )
        loading.roots("products.jsonl", INSERT_PRODUCT, product_row)
        loading.families(
            "checkouts.jsonl",
            (INSERT_CHECKOUT, checkout_row),
            (INSERT_CHECKOUT_ITEM, checkout_item_row),
        )
        _drop_orphans(db, shop, rejected)
        keep_differences(db, shop)
        _set_counters(db, shop)
        counts = _counts(db, shop)
    return {
        "shop": about["domain"],
        "loaded": True,
        **counts,
        "rejected": rejected.report(),
        "not_loaded": sorted(
            path.name for path in folder.glob("*.jsonl") if path.name not in NEEDED + OPTIONAL
        ),
        "seconds": round(time.perf_counter() - began, 3),
    }


def read_shop_json(folder: Path) -> dict[str, str]:
    """`name, domain, currency, time_zone` of the folder's shop.json. Raises FolderError."""
    path = folder / "shop.json"
    try:
        about = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise FolderError(f"{path} is missing") from None
    except (OSError, ValueError) as error:
        raise FolderError(f"{path} cannot be read: {error}") from error
    names = ("name", "domain", "currency", "time_zone")
    if not isinstance(about, dict) or not all(isinstance(about.get(n), str) for n in names):
        raise FolderError(f"{path} must have the texts {', '.join(names)}")
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*\.myshopify\.com", about["domain"]):
        raise FolderError(f"{path}: domain must look like name.myshopify.com")
    if not re.fullmatch(r"[A-Z]{3}", about["currency"]):
        raise FolderError(f"{path}: currency must be three capital letters")
    try:
        ZoneInfo(about["time_zone"])
    except (ZoneInfoNotFoundError, ValueError):
        raise FolderError(f"{path}: time_zone must be a name such as Europe/Berlin") from None
    return {name: about[name] for name in names}


def _fresh_shop(db: sqlite3.Connection, about: dict[str, str], now: float) -> int:
    """The shop's number, its old data gone; tokens and webhook subscriptions stay."""
    row = db.execute("select shop from shops where domain = ?", [about["domain"]]).fetchone()
    number = (
        row["shop"]
        if row
        else db.execute("select coalesce(max(shop), 0) + 1 from shops").fetchone()[0]
    )
    discounts = ("discounts", "discount_codes", "discount_jobs")
    for table in (*TABLES, *history.TABLES, "bulk_operations", *discounts):
        db.execute(f"delete from {table} where shop = ?", [number])
    db.execute(
        "insert or replace into shops (shop, domain, name, currency, time_zone, loaded_at,"
        " next_customer, next_order, next_line, next_name) values (?, ?, ?, ?, ?, ?, 0, 0, 0, 0)",
        [number, about["domain"], about["name"], about["currency"], about["time_zone"], now],
    )
    return int(number)


def _lines(path: Path, rejected: Rejected) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of every line that is a JSON object; blank lines are no lines."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if not raw.strip():
                continue
            try:
                line = orjson.loads(raw)
            except orjson.JSONDecodeError:
                rejected.add("not JSON", file=path.name, line=number)
                continue
            if isinstance(line, dict):
                yield number, line
            else:
                rejected.add("not an object", file=path.name, line=number)


class _Batch:
    """Rows on their way into one table; a row whose key is there already is a rejected line."""

    def __init__(
        self, db: sqlite3.Connection, statement: str, file: str, rejected: Rejected
    ) -> None:
        self._db, self._statement, self._file, self._rejected = db, statement, file, rejected
        self._rows: list[tuple[Any, ...]] = []

    def add(self, row: tuple[Any, ...]) -> None:
        self._rows.append(row)
        if len(self._rows) >= BATCH:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            kept = self._db.executemany(self._statement, self._rows).rowcount
            if kept < len(self._rows):
                self._rejected.add(
                    "an id that came before",
                    file=self._file,
                    line=None,
                    count=len(self._rows) - kept,
                )
            self._rows.clear()


Row = tuple[Any, ...]
RowOf = Callable[[int, dict[str, Any]], Row]


@dataclass(frozen=True)
class _Loading:
    """Reads the folder's files into one shop; a file that need not be there may be absent."""

    db: sqlite3.Connection
    shop: int
    folder: Path
    rejected: Rejected

    def roots(self, name: str, statement: str, row_of: RowOf) -> None:
        """A file whose lines are all of one kind."""
        self.families(name, (statement, row_of), None)

    def families(self, name: str, root: tuple[str, RowOf], child: tuple[str, RowOf] | None) -> None:
        """A file in which children stand anywhere among their parents."""
        path = self.folder / name
        if not path.exists():
            return
        kinds = [
            (_Batch(self.db, statement, name, self.rejected), row_of)
            for statement, row_of in (root, *([child] if child else []))
        ]
        for number, line in _lines(path, self.rejected):
            batch, row_of = kinds[-1 if "__parentId" in line else 0]
            try:
                batch.add(row_of(self.shop, line))
            except BadLineError as error:
                self.rejected.add(str(error), file=name, line=number)
        for batch, _ in kinds:
            batch.flush()


def customer_row(shop: int, line: dict[str, Any]) -> tuple[Any, ...]:
    """The values of INSERT_CUSTOMER. Raises BadLineError."""
    number = id_number(line.get("id"), "Customer")
    body = good_customer(line)
    address = body["defaultEmailAddress"]
    return (
        shop,
        number,
        normal_email(address["emailAddress"]) if address else None,
        address["marketingState"] if address else None,
        epoch(body["createdAt"]),
        epoch(body["updatedAt"]),
        orjson.dumps(body),
    )


def order_row(shop: int, line: dict[str, Any], *, placed_at: float = 0.0) -> tuple[Any, ...]:
    """The values of INSERT_ORDER; orders of a folder were always there. Raises BadLineError."""
    number = id_number(line.get("id"), "Order")
    body = good_order(line)
    customer = body["customer"]
    return (
        shop,
        number,
        id_number(customer["id"], "Customer") if customer else None,
        epoch(body["processedAt"]),
        epoch(body["createdAt"]),
        epoch(body["updatedAt"]),
        placed_at,
        is_counted(body),
        orjson.dumps(body),
    )


def line_item_row(shop: int, line: dict[str, Any]) -> tuple[Any, ...]:
    """The values of INSERT_LINE_ITEM. Raises BadLineError."""
    parent = id_number(line["__parentId"], "Order")
    number = id_number(line.get("id"), "LineItem")
    return shop, parent, number, orjson.dumps(good_line_item(line))


def product_row(shop: int, line: dict[str, Any]) -> tuple[Any, ...]:
    """The values of INSERT_PRODUCT. Raises BadLineError."""
    number, body = id_number(line.get("id"), "Product"), good_product(line)
    times = epoch(body["createdAt"]), epoch(body["updatedAt"])
    return shop, number, *times, orjson.dumps(body)


def checkout_row(shop: int, line: dict[str, Any], *, token: str | None = None) -> tuple[Any, ...]:
    """The values of INSERT_CHECKOUT. Raises BadLineError.

    `token`: as orders name it in `checkoutToken`; by default the one in the recovery address, and
    the checkout's number where that has none.
    """
    number, body = id_number(line.get("id"), "AbandonedCheckout"), good_checkout(line)
    customer, completed = body["customer"], body["completedAt"]
    return (
        shop,
        number,
        token or recovery_token(body["abandonedCheckoutUrl"]) or str(number),
        id_number(customer["id"], "Customer") if customer else None,
        epoch(body["createdAt"]),
        epoch(body["updatedAt"]),
        epoch(completed) if completed else None,
        orjson.dumps(body),
    )


def checkout_item_row(shop: int, line: dict[str, Any]) -> tuple[Any, ...]:
    """The values of INSERT_CHECKOUT_ITEM. Raises BadLineError."""
    parent = id_number(line["__parentId"], "AbandonedCheckout")
    number = id_number(line.get("id"), "AbandonedCheckoutLineItem")
    return shop, parent, number, orjson.dumps(good_checkout_item(line))


def _drop_orphans(db: sqlite3.Connection, shop: int, rejected: Rejected) -> None:
    for items, parents, name in (
        ("line_items", "orders", "order"),
        ("checkout_items", "checkouts", "checkout"),
    ):
        orphans = db.execute(
            f"delete from {items} where shop = ? and not exists (select 1 from {parents}"
            f" where {parents}.shop = {items}.shop and {parents}.num = {items}.parent)",
            [shop],
        ).rowcount
        if orphans:
            rejected.add(
                f"a line item without its {name}", file=f"{parents}.jsonl", line=None, count=orphans
            )


def _set_counters(db: sqlite3.Connection, shop: int) -> None:
    """New objects are numbered above everything that was loaded.

    Lines also above the orders: a refund that was made up for an order has the order's number,
    and new refunds are numbered as lines are.
    """
    highest = {
        table: db.execute(f"select max(num) from {table} where shop = ?", [shop]).fetchone()[0]
        for table in TABLES
    }
    lines = [highest[table] for table in ("line_items", "checkout_items", "orders")]
    db.execute(
        """update shops set next_customer = ?, next_order = ?, next_line = ?, next_checkout = ?,
             next_name = (select count(*) + 1001 from orders where shop = ?5) where shop = ?5""",
        [
            (highest["customers"] or 7_000_000_000_000) + 1,
            (highest["orders"] or 8_000_000_000_000) + 1,
            max((number for number in lines if number), default=9_000_000_000_000) + 1,
            (highest["checkouts"] or 6_000_000_000_000) + 1,
            shop,
        ],
    )


def _counts(db: sqlite3.Connection, shop: int) -> dict[str, int]:
    return {
        table: db.execute(f"select count(*) from {table} where shop = ?", [shop]).fetchone()[0]
        for table in ("customers", "orders", "line_items", "products", "checkouts")
    }
