"""A shop as a folder of bulk-shaped files: the records, and a writer that streams them.

docs/sandbox.md, "Shop folder", is the description of the format; tests hold the records to the
GraphQL documents they must look like. Nothing here knows where a shop's data comes from.
"""

import hashlib
import json
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from sandbox.jsonl import encode_line

Record = dict[str, Any]

FILES = ("customers.jsonl", "orders.jsonl", "checkouts.jsonl", "shop.json")

# How far a child may stray from its order, in orders before it and in lines after it.
_ORDERS_AHEAD = 40
_LINES_BEHIND = 400
_SHARE_EARLY = 0.08
_SHARE_LATE = 0.10


@dataclass(frozen=True)
class Shop:
    """What shop.json says. Domain ends in .myshopify.com, zone is an IANA name."""

    name: str
    domain: str
    currency: str
    time_zone: str


class Counts(NamedTuple):
    """Lines written so far."""

    customers: int
    orders: int
    line_items: int


# ------------------------------------------------------------------------------ values


def gid(kind: str, number: int) -> str:
    return f"gid://shopify/{kind}/{number}"


def utc_text(moment: datetime) -> str:
    """Shopify's form of a time: whole seconds, UTC, a ``Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def amount(cents: int) -> str:
    """Shopify's form of an amount: 5500 -> "55.0", 1299 -> "12.99", 0 -> "0.0"."""
    sign = "-" if cents < 0 else ""
    whole, part = divmod(abs(cents), 100)
    return f"{sign}{whole}.{part // 10}" if part % 10 == 0 else f"{sign}{whole}.{part:02d}"


def money(cents: int, currency: str) -> Record:
    return {"shopMoney": {"amount": amount(cents), "currencyCode": currency}}


def bucket(key: str, *, of: int = 100) -> int:
    """A number in 0..of-1 that depends on the key alone: same on every run and machine."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) % of


def consent_of(key: str) -> str:
    """60 % SUBSCRIBED, 30 % NOT_SUBSCRIBED, 10 % PENDING (asked, not answered yet)."""
    place = bucket(f"consent:{key}")
    if place < 60:  # noqa: PLR2004 - the shares are the docstring's
        return "SUBSCRIBED"
    return "NOT_SUBSCRIBED" if place < 90 else "PENDING"  # noqa: PLR2004


# ------------------------------------------------------------------------------ records


def email_record(address: str, state: str, *, asked_at: datetime) -> Record:
    """`defaultEmailAddress`: someone never asked has no time, someone pending was asked twice."""
    return {
        "emailAddress": address,
        "marketingState": state,
        "marketingOptInLevel": "CONFIRMED_OPT_IN" if state == "PENDING" else "SINGLE_OPT_IN",
        "marketingUpdatedAt": None if state == "NOT_SUBSCRIBED" else utc_text(asked_at),
        "validFormat": True,
    }


def customer_record(
    number: int,
    *,
    first_name: str | None,
    last_name: str | None,
    locale: str,
    tags: Sequence[str],
    created_at: datetime,
    updated_at: datetime,
    email: Record | None,
    phone: str | None = None,
) -> Record:
    """One line of customers.jsonl, keys in the order of the bulk query."""
    return {
        "id": gid("Customer", number),
        "firstName": first_name,
        "lastName": last_name,
        "locale": locale,
        "tags": sorted(tags, key=str.casefold),
        "createdAt": utc_text(created_at),
        "updatedAt": utc_text(updated_at),
        "defaultEmailAddress": email,
        "defaultPhoneNumber": {"phoneNumber": phone} if phone else None,
    }


def order_record(
    number: int,
    *,
    name: str,
    email: str | None,
    created_at: datetime,
    updated_at: datetime,
    status: str,
    currency: str,
    total: int,
    current: int,
    refunded: int,
    customer: int | None,
    cancelled_at: datetime | None = None,
    test: bool = False,
    source: str = "web",
    checkout_token: str | None = None,
    discount_codes: Sequence[str] = (),
) -> Record:
    """One root line of orders.jsonl; amounts in cents, `customer` a number, None for a guest."""
    return {
        "id": gid("Order", number),
        "name": name,
        "email": email,
        "createdAt": utc_text(created_at),
        "updatedAt": utc_text(updated_at),
        "processedAt": utc_text(created_at),
        "cancelledAt": utc_text(cancelled_at) if cancelled_at else None,
        "test": test,
        "displayFinancialStatus": status,
        "sourceName": source,
        "checkoutToken": checkout_token,
        "discountCodes": list(discount_codes),
        "currencyCode": currency,
        "currentTotalPriceSet": money(current, currency),
        "totalPriceSet": money(total, currency),
        "totalRefundedSet": money(refunded, currency),
        "customer": {"id": gid("Customer", customer)} if customer is not None else None,
    }


def line_item_record(
    number: int,
    *,
    title: str,
    variant_title: str | None,
    sku: str | None,
    quantity: int,
    current_quantity: int,
    product: int | None,
    unit_price: int,
    currency: str,
) -> Record:
    """One child line of orders.jsonl without its `__parentId`, which the writer adds."""
    return {
        "id": gid("LineItem", number),
        "title": title,
        "variantTitle": variant_title,
        "sku": sku,
        "quantity": quantity,
        "currentQuantity": current_quantity,
        "product": {"id": gid("Product", product)} if product is not None else None,
        "originalUnitPriceSet": money(unit_price, currency),
    }


# ------------------------------------------------------------------------------ writer


class _Waiting(NamedTuple):
    order: bytes
    next_to_it: list[bytes]
    behind: list[bytes]


class ShopFolderWriter:
    """Streams a shop into a folder; the files appear all together when the block ends well.

    Orders keep the order they are given in. Their line items stray: most follow their order,
    some stand up to 40 orders before it and some some hundred lines after it, by `seed`.
    """

    def __init__(self, folder: Path, shop: Shop, *, seed: int = 1) -> None:
        self._folder = folder
        self._shop = shop
        self._random = random.Random(f"children:{seed}")
        self._ahead: deque[_Waiting] = deque()
        self._behind: list[bytes] = []
        self._written = [0, 0, 0]

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._customers = self._part("customers.jsonl").open("wb")
        self._orders = self._part("orders.jsonl").open("wb")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._flush_orders()
        finally:
            self._customers.close()
            self._orders.close()
        if kind is None:
            self._publish()
        else:
            self._discard()

    @property
    def counts(self) -> Counts:
        return Counts(*self._written)

    def customer(self, record: Record) -> None:
        self._customers.write(encode_line(record))
        self._written[0] += 1

    def order(self, record: Record, line_items: Sequence[Record]) -> None:
        """Take an order with its line items; they reach the file within the next 40 orders."""
        waiting = _Waiting(encode_line(record), [], [])
        for item in line_items:
            line = encode_line({**item, "__parentId": record["id"]})
            self._place(line, waiting)
        self._ahead.append(waiting)
        self._written[1] += 1
        self._written[2] += len(line_items)
        if len(self._ahead) > _ORDERS_AHEAD:
            self._write_next_order()

    def _place(self, line: bytes, waiting: _Waiting) -> None:
        chance = self._random.random()
        if chance < _SHARE_EARLY:
            self._orders.write(line)
        elif chance < _SHARE_EARLY + _SHARE_LATE:
            waiting.behind.append(line)
        else:
            waiting.next_to_it.append(line)

    def _write_next_order(self) -> None:
        waiting = self._ahead.popleft()
        self._orders.write(waiting.order)
        self._orders.writelines(waiting.next_to_it)
        self._behind.extend(waiting.behind)
        while len(self._behind) > _LINES_BEHIND:
            self._write_one_behind()

    def _write_one_behind(self) -> None:
        place = self._random.randrange(len(self._behind))
        self._behind[place], self._behind[-1] = self._behind[-1], self._behind[place]
        self._orders.write(self._behind.pop())

    def _flush_orders(self) -> None:
        while self._ahead:
            self._write_next_order()
        while self._behind:
            self._write_one_behind()

    def _part(self, name: str) -> Path:
        return self._folder / f".{name}.part"

    def _publish(self) -> None:
        """Swap the shop in; one that was here before goes as a whole, its checkouts too."""
        shop = json.dumps(asdict(self._shop), ensure_ascii=False, indent=2) + "\n"
        self._part("shop.json").write_text(shop, encoding="utf-8")
        for name in FILES:
            if self._part(name).exists():
                self._part(name).replace(self._folder / name)
            else:
                (self._folder / name).unlink(missing_ok=True)

    def _discard(self) -> None:
        for name in FILES:
            self._part(name).unlink(missing_ok=True)
