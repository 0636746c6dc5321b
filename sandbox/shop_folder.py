"""A shop as a folder of bulk-shaped files: the records, and a writer that streams them.

docs/sandbox.md, "Shop folder", is the description of the format; tests hold the records to the
GraphQL documents they must look like. Nothing here knows where a shop's data comes from.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from sandbox.jsonl import encode_line
from sandbox.shapes import is_counted
from sandbox.straying import Straying

Record = dict[str, Any]

FILES = ("customers.jsonl", "orders.jsonl", "products.jsonl", "checkouts.jsonl", "shop.json")

_OPTIONAL = ("products.jsonl", "checkouts.jsonl")


@dataclass(frozen=True)
class Shop:
    """What shop.json says. Domain ends in .myshopify.com, zone is an IANA name."""

    name: str
    domain: str
    currency: str
    time_zone: str


class Counts(NamedTuple):
    """Lines written so far."""

    customers: int = 0
    orders: int = 0
    line_items: int = 0
    products: int = 0
    checkouts: int = 0


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


class Totals:
    """What a customer's orders come to, taken one by one (`add`)."""

    def __init__(self, currency: str) -> None:
        self.orders = self.spent = 0
        self._currency = currency

    def add(self, order: Record, *, current: int) -> None:
        """`current` cents are left of the order; tests are none of the customer's."""
        if not order["test"]:
            self.orders += 1
            self.spent += current if is_counted(order) else 0

    def amount_spent(self) -> Record:
        return {"amount": amount(self.spent), "currencyCode": self._currency}


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
    totals: Totals | None = None,
) -> Record:
    """One line of customers.jsonl, keys in the order of the bulk query.

    Without `totals` the sandbox counts the customer's orders itself.
    """
    return {
        "id": gid("Customer", number),
        "firstName": first_name,
        "lastName": last_name,
        "locale": locale,
        "tags": sorted(tags, key=str.casefold),
        "numberOfOrders": str(totals.orders) if totals else None,
        "amountSpent": totals.amount_spent() if totals else None,
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
    refunds: Sequence[Record] = (),
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
        "refunds": list(refunds),
        "customer": {"id": gid("Customer", customer)} if customer is not None else None,
    }


def refund_record(number: int, *, processed_at: datetime, cents: int, currency: str) -> Record:
    """One of an order's `refunds`."""
    return {
        "id": gid("Refund", number),
        "processedAt": utc_text(processed_at),
        "totalRefundedSet": money(cents, currency),
    }


def product_record(
    number: int,
    *,
    title: str,
    handle: str,
    created_at: datetime,
    updated_at: datetime,
    vendor: str,
    product_type: str = "",
    status: str = "ACTIVE",
    store_url: str | None = None,
    image_url: str | None = None,
) -> Record:
    """One line of products.jsonl; without `store_url` it is not published."""
    return {
        "id": gid("Product", number),
        "title": title,
        "handle": handle,
        "status": status,
        "vendor": vendor,
        "productType": product_type,
        "createdAt": utc_text(created_at),
        "updatedAt": utc_text(updated_at),
        "onlineStoreUrl": store_url,
        "featuredMedia": {"preview": {"image": {"url": image_url}}} if image_url else None,
    }


def checkout_record(
    number: int,
    *,
    recovery_url: str,
    created_at: datetime,
    updated_at: datetime,
    currency: str,
    total: int,
    subtotal: int,
    customer: int | None,
    address: str | None,
    completed_at: datetime | None = None,
    discount_codes: Sequence[str] = (),
) -> Record:
    """One root line of checkouts.jsonl; `address` is the customer's."""
    owner = {
        "id": gid("Customer", customer or 0),
        "defaultEmailAddress": {"emailAddress": address} if address else None,
    }
    return {
        "id": gid("AbandonedCheckout", number),
        "name": f"#{number}",
        "createdAt": utc_text(created_at),
        "updatedAt": utc_text(updated_at),
        "completedAt": utc_text(completed_at) if completed_at else None,
        "abandonedCheckoutUrl": recovery_url,
        "discountCodes": list(discount_codes),
        "totalPriceSet": money(total, currency),
        "subtotalPriceSet": money(subtotal, currency),
        "customer": None if customer is None else owner,
    }


def recovery_url(shop: Shop, token: str, *, shop_number: int = 1) -> str:
    """Where a left checkout is taken up again; the key depends on the token alone."""
    key = hashlib.blake2b(f"recover:{token}".encode(), digest_size=16).hexdigest()
    path = f"{shop_number}/checkouts/ac/{token}/recover"
    return f"https://{shop.domain}/{path}?key={key}&locale=en"


def checkout_item_record(number: int, **fields: Any) -> Record:
    """One child line of checkouts.jsonl: as `line_item_record`, but nothing was taken out."""
    item = line_item_record(number, current_quantity=0, **fields)
    del item["currentQuantity"]
    return item | {"id": gid("AbandonedCheckoutLineItem", number)}


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


class ShopFolderWriter:
    """Streams a shop into a folder; the files appear all together when the block ends well.

    Roots keep the order they are given in. The line items of orders and checkouts stray: most
    follow their root, some stand up to 40 roots before it and some some hundred lines after it,
    by `seed`. The files of products and checkouts appear when there is something in them.
    """

    def __init__(self, folder: Path, shop: Shop, *, seed: int = 1) -> None:
        self._folder = folder
        self._shop = shop
        self._seed = seed
        self._written: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._files = {
            name: self._part(name).open("wb") for name in FILES if name.endswith(".jsonl")
        }
        self._orders = Straying(self._files["orders.jsonl"], f"children:{self._seed}")
        self._checkouts = Straying(self._files["checkouts.jsonl"], f"baskets:{self._seed}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._orders.flush()
                self._checkouts.flush()
        finally:
            for file in self._files.values():
                file.close()
        if kind is None:
            self._publish()
        else:
            self._discard()

    @property
    def counts(self) -> Counts:
        return Counts(**self._written)

    def customer(self, record: Record) -> None:
        self._files["customers.jsonl"].write(encode_line(record))
        self._written["customers"] += 1

    def product(self, record: Record) -> None:
        self._files["products.jsonl"].write(encode_line(record))
        self._written["products"] += 1

    def order(self, record: Record, line_items: Sequence[Record]) -> None:
        """Take an order with its line items; they reach the file within the next 40 orders."""
        self._orders.take(record, line_items)
        self._written["orders"] += 1
        self._written["line_items"] += len(line_items)

    def checkout(self, record: Record, line_items: Sequence[Record]) -> None:
        """Take an abandoned checkout with what lies in it."""
        self._checkouts.take(record, line_items)
        self._written["checkouts"] += 1

    def _part(self, name: str) -> Path:
        return self._folder / f".{name}.part"

    def _publish(self) -> None:
        """Swap the shop in; one that was here before goes as a whole, what is optional too."""
        shop = json.dumps(asdict(self._shop), ensure_ascii=False, indent=2) + "\n"
        self._part("shop.json").write_text(shop, encoding="utf-8")
        for name in FILES:
            part = self._part(name)
            if name in _OPTIONAL and not part.stat().st_size:
                part.unlink()
                (self._folder / name).unlink(missing_ok=True)
            else:
                part.replace(self._folder / name)

    def _discard(self) -> None:
        for name in FILES:
            self._part(name).unlink(missing_ok=True)
