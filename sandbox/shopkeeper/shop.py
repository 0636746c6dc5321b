"""One shop within one transaction: what stands in it, written back as it changes."""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from sandbox.clock import utc_z
from sandbox.history import note_address, note_consent
from sandbox.http import BadRequestError
from sandbox.loader import customer_row
from sandbox.shapes import is_counted
from sandbox.shop_folder import amount as cents_text
from sandbox.shopify import rest_shapes
from sandbox.shopify.webhooks import announce, announce_compliance

Body = dict[str, Any]
CENTS = 100


@dataclass(frozen=True, kw_only=True)
class Shop:
    """`compliance_url` None: the app named no address for the compliance topics."""

    db: sqlite3.Connection
    row: sqlite3.Row
    version: str
    now: float
    compliance_url: str | None = None

    @property
    def num(self) -> int:
        return int(self.row["shop"])

    @property
    def zone(self) -> str:
        return str(self.row["time_zone"])

    @property
    def currency(self) -> str:
        return str(self.row["currency"])

    def number(self, counter: str) -> int:
        """The next number of `next_customer`, `…_order`, `…_line`, `…_name`, `…_checkout`."""
        row = self.db.execute(
            f"update shops set {counter} = {counter} + 1 where shop = ? returning {counter} - 1",
            [self.num],
        ).fetchone()
        return int(row[0])

    def announce(
        self, topic: str, payload: Body, *, order: int | None = None, at: Sequence[float] = ()
    ) -> str | None:
        return announce(
            self.db,
            self.row,
            topic,
            payload,
            version=self.version,
            now=self.now,
            order_num=order,
            at=at,
        )

    def announce_compliance(self, topic: str, payload: Body) -> str | None:
        return announce_compliance(
            self.db,
            self.row,
            topic,
            payload,
            url=self.compliance_url,
            version=self.version,
            now=self.now,
        )

    # ------------------------------------------------------------------ customers

    def find_customer(self, number: int) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self.db.execute(
            "select * from customers where shop = ? and num = ?", [self.num, number]
        ).fetchone()
        return row

    def customer(self, number: int) -> sqlite3.Row:
        """The customer's row. Raises BadRequestError when there is none."""
        row = self.find_customer(number)
        if row is None:
            raise BadRequestError(f"the shop has no customer {number}")
        return row

    def save_customer(self, before: sqlite3.Row, customer: Body) -> None:
        """Writes the customer, updated now; keeps what consent and address were before."""
        customer["updatedAt"] = utc_z(self.now)
        _, num, email, consent, _, updated_at, body = customer_row(self.num, customer)
        note_consent(self.db, self.num, before, consent, at=self.now)
        note_address(self.db, self.num, before, email, at=self.now)
        self.db.execute(
            "update customers set email = ?, consent = ?, updated_at = ?, body = ?"
            " where shop = ? and num = ?",
            [email, consent, updated_at, body, self.num, num],
        )

    # ------------------------------------------------------------------ orders

    def order(self, number: int) -> Body:
        """Raises BadRequestError when there is none."""
        row = self.db.execute(
            "select body from orders where shop = ? and num = ?", [self.num, number]
        ).fetchone()
        if row is None:
            raise BadRequestError(f"the shop has no order {number}")
        order: Body = orjson.loads(row["body"])
        return order

    def save_order(self, number: int, order: Body) -> Body:
        """Stores the order, updated now; its webhook body. When it stopped counting is kept."""
        order["updatedAt"] = utc_z(self.now)
        counts = is_counted(order)
        self.db.execute(
            """update orders set body = ?, updated_at = ?,
                 uncounted_at = case when is_counted and not ? then ? else uncounted_at end,
                 is_counted = ? where shop = ? and num = ?""",
            [orjson.dumps(order), self.now, counts, self.now, counts, self.num, number],
        )
        owner = order["customer"]
        row = owner and self.find_customer(rest_shapes.number_of(owner["id"]))
        return rest_shapes.order_payload(
            order,
            self.items("line_items", number),
            orjson.loads(row["body"]) if row else None,
            shop=self.row,
        )

    def items(self, table: str, parent: int) -> list[Body]:
        """Of `line_items` those of an order, of `checkout_items` those of a checkout."""
        rows = self.db.execute(
            f"select body from {table} where shop = ? and parent = ? order by num",
            [self.num, parent],
        )
        return [orjson.loads(body) for (body,) in rows]

    def rewrite(self, table: str, customer: int, change: Body, *, owner: int | None) -> None:
        """Gives the customer's `orders` or `checkouts` another owner, and `change` to their bodies.

        Shopify tells nobody of it, and does not say when: `updatedAt` stays.
        """
        rows = self.db.execute(
            f"select num, body from {table} where shop = ? and customer = ?", [self.num, customer]
        ).fetchall()
        self.db.executemany(
            f"update {table} set customer = ?, body = ? where shop = ? and num = ?",
            [
                (owner, orjson.dumps(orjson.loads(body) | change), self.num, num)
                for num, body in rows
            ],
        )


def money(value: Decimal, currency: str) -> Body:
    cents = int((value * CENTS).to_integral_value())
    return {"shopMoney": {"amount": cents_text(cents), "currencyCode": currency}}


def sorted_tags(tags: Iterable[str]) -> list[str]:
    """Split at commas, each once by its first spelling, in alphabetical order, as Shopify does."""
    kept: dict[str, str] = {}
    for text in tags:
        for tag in text.split(","):
            if tag.strip():
                kept.setdefault(tag.strip().casefold(), tag.strip())
    return [kept[key] for key in sorted(kept)]
