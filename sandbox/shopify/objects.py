"""`nodes(ids:)` and `node(id:)`: the current state of single objects."""

import re
import sqlite3
from collections.abc import Callable, Collection
from typing import Any

import orjson

from sandbox.shopify.bulk import BulkJobs
from sandbox.shopify.connections import connection
from sandbox.shopify.errors import graphql_error, not_in_sandbox, only
from sandbox.shopify.scopes import OF_TYPE, denied, visible_since
from sandbox.store import Store
from sandbox.totals import as_shown

MAX_IDS = 250
Body = dict[str, Any]
Lookup = Callable[[int], Body | None]
PAGING = ("first", "last", "after", "before")
_GID = re.compile(r"gid://shopify/(\w+)/(\d+)")


def parse_gid(text: str) -> tuple[str, int]:
    """(kind, number). Raises Shopify's error for a malformed id."""
    found = _GID.fullmatch(text)
    if found is None:
        raise graphql_error(f"Invalid global id '{text}'", "argumentLiteralsIncompatible")
    return found[1], int(found[2])


class Objects:
    """Looks objects of one shop up, as one request sees them."""

    def __init__(
        self,
        store: Store,
        jobs: BulkJobs,
        shop: sqlite3.Row,
        *,
        base_url: str,
        now: float,
        scopes: Collection[str],
    ) -> None:
        self._store, self._jobs, self._shop = store, jobs, shop
        self._base_url, self._now, self._scopes = base_url, now, scopes
        self._kinds: dict[str, Lookup] = {
            "Customer": self.customer,
            "Order": self.order,
            "Product": self.product,
            "BulkOperation": self.bulk_operation,
        }

    def nodes(self, ids: list[str]) -> list[Body | None]:
        if len(ids) > MAX_IDS:
            raise graphql_error(
                f"The input array size of {len(ids)} is greater than the maximum allowed of "
                f"{MAX_IDS}.",
                "MAX_INPUT_SIZE_EXCEEDED",
            )
        return [self.node(each, field="nodes") for each in ids]

    def node(self, text: str, *, field: str = "node") -> Body | None:
        kind, number = parse_gid(text)
        if kind not in self._kinds:
            raise not_in_sandbox(f"a node of type {kind}")
        if OF_TYPE.get(kind) not in {None, *self._scopes}:
            raise denied(field, OF_TYPE[kind])
        return self._kinds[kind](number)

    def customer(self, number: int) -> Body | None:
        """The customer; null while it is not readable yet, which each read brings nearer."""
        with self._store.read() as db:
            row = self._customer_row(db, number)
        if row is None:
            return None
        if row["reads_left"] > 0 and not self._count_read(number):
            return None
        with self._store.read() as db:
            return as_shown(db, self._shop, row)

    def _customer_row(self, db: sqlite3.Connection, number: int) -> sqlite3.Row | None:
        row: sqlite3.Row | None = db.execute(
            "select * from customers where shop = ? and num = ?",
            [self._shop["shop"], number],
        ).fetchone()
        return row

    def _count_read(self, number: int) -> bool:
        """Whether this read is answered; the first that is makes the consent known."""
        with self._store.write() as db:
            row = self._customer_row(db, number)
            if row is None or row["reads_left"] == 0:
                return row is not None
            db.execute(
                "update customers set reads_left = reads_left - 1 where shop = ? and num = ?",
                [self._shop["shop"], number],
            )
            if row["reads_left"] > 1:
                return False
            db.execute(
                "insert into consent_changes (shop, customer, previous, state, at)"
                " values (?, ?, 'UNKNOWN', ?, ?)",
                [self._shop["shop"], number, row["consent"], self._now],
            )
            return True

    def order(self, number: int) -> Body | None:
        """The order; null too when it is older than the app may see."""
        with self._store.read() as db:
            row = db.execute(
                "select body from orders where shop = ? and num = ? and created_at >= ?",
                [self._shop["shop"], number, visible_since(self._scopes, now=self._now)],
            ).fetchone()
        if row is None:
            return None

        def line_items(_info: Any, **args: Any) -> Body:
            only("lineItems", {k: v for k, v in args.items() if k != "reverse"}, *PAGING)
            return connection(self._line_items(number), args)

        def refunds(_info: Any, first: int | None = None) -> list[Body]:
            found: list[Body] = body["refunds"]
            return found if first is None else found[:first]

        body = {"__typename": "Order", **orjson.loads(row["body"])}
        return {**body, "lineItems": line_items, "refunds": refunds}

    def _line_items(self, order: int) -> list[Body]:
        with self._store.read() as db:
            rows = db.execute(
                "select body from line_items where shop = ? and parent = ? order by num",
                [self._shop["shop"], order],
            ).fetchall()
        return [{"__typename": "LineItem", **orjson.loads(body)} for (body,) in rows]

    def product(self, number: int) -> Body | None:
        with self._store.read() as db:
            row = db.execute(
                "select body from products where shop = ? and num = ?", [self._shop["shop"], number]
            ).fetchone()
        if row is None:
            return None
        body = {"__typename": "Product", **orjson.loads(row["body"])}
        if body["featuredMedia"]:
            body["featuredMedia"] |= {"__typename": "MediaImage"}
        return body

    def count(self, table: str, limit: int | None) -> Body:
        """How many of `customers` or `orders`, counted up to `limit`."""
        since = visible_since(self._scopes, now=self._now) if table == "orders" else 0
        with self._store.read() as db:
            found = db.execute(
                f"select count(*) from {table} where shop = ? and created_at >= ?",
                [self._shop["shop"], since],
            ).fetchone()[0]
        if limit is None or found <= limit:
            return {"count": found, "precision": "EXACT"}
        return {"count": limit, "precision": "AT_LEAST"}

    def bulk_operation(self, number: int) -> Body | None:
        return self._jobs.poll(self._shop, number, base_url=self._base_url)
