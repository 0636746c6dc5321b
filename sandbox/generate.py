"""The demo shop: two years of a made-up home-goods brand, the same bytes for the same seed.

Orders are made one by one, each from its own random stream, so a shop of any size is streamed;
only people, the bare moments of purchase and the few left checkouts are held. All times lie before
00:00 UTC of `end`: an order from later today would come in as a new one and be owed a mail.
"""

import argparse
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sandbox import demo_checkouts
from sandbox.demo_basket import Basket, make_basket
from sandbox.demo_checkouts import Checkout
from sandbox.demo_history import (
    HISTORY_DAYS,
    Calendar,
    Person,
    Purchase,
    people_and_purchases,
)
from sandbox.demo_products import product_records
from sandbox.shop_folder import (
    Record,
    Shop,
    ShopFolderWriter,
    Totals,
    customer_record,
    email_record,
    line_item_record,
    order_record,
    refund_record,
)

SHOP = Shop(
    name="Hazel & Harbour",
    domain="hazel-and-harbour.myshopify.com",
    currency="EUR",
    time_zone="Europe/Berlin",
)

_FIRST_ORDER = 5_730_100_000_001
_ORDER_STEP = 1024
_FIRST_ORDER_NAME = 1001
_FIRST_ITEM = 14_390_000_000_001
_ITEMS_PER_ORDER = 64
_FIRST_REFUND = 930_200_000_001
_SHOP_HOURS = range(8, 17)  # UTC: the small shop at the harbour has a till
_HOUR = 3600
_DAY = 24 * _HOUR


class Fate(NamedTuple):
    """What becomes of an order: how often (per 1,000), and when it was last touched."""

    name: str
    share: int
    earliest: int
    latest: int


PAID = Fate("paid", 911, 6 * _HOUR, 4 * _DAY)
FATES = (
    PAID,
    Fate("partly_refunded", 38, 4 * _DAY, 28 * _DAY),
    Fate("refunded", 15, 4 * _DAY, 30 * _DAY),
    Fate("cancelled_refunded", 11, _HOUR, 2 * _DAY),
    Fate("cancelled_voided", 6, _HOUR, 3 * _DAY),
    Fate("voided", 3, 2 * _DAY, 5 * _DAY),
    Fate("expired", 2, 7 * _DAY, 8 * _DAY),
    Fate("free", 8, 6 * _HOUR, 4 * _DAY),
    Fate("test", 6, 10, _HOUR),
)
_SHARES = [fate.share for fate in FATES]
_AWAITING = "awaiting_payment"
_AWAITING_DAYS = 10

_STATUS = {
    "voided": "VOIDED",
    "cancelled_voided": "VOIDED",
    "expired": "EXPIRED",
    _AWAITING: "PENDING",
}


@dataclass(frozen=True)
class ShopCounts:
    """What was written. `by_fate` counts orders, `by_consent` customers with an address."""

    domain: str
    customers: int
    customers_without_order: int
    orders: int
    line_items: int
    products: int
    checkouts: int
    guest_orders: int
    by_fate: dict[str, int]
    by_consent: dict[str, int]
    first_order_at: str
    last_order_at: str


class _Order(NamedTuple):
    """An order before it is made; a history of any length is held in this form only."""

    updated: int
    sequence: int
    fate: str
    purchase: Purchase


def generate_shop(
    folder: Path, *, customers: int = 3000, seed: int = 1, end: date | None = None
) -> ShopCounts:
    """Write the demo shop into `folder` (made if absent, a shop in it is replaced).

    The history is the 730 days before `end` (today in UTC if None), which is not part of it.
    """
    if customers < 1:
        raise ValueError(f"a shop needs at least one customer, not {customers}")
    calendar = Calendar(end or datetime.now(UTC).date(), ZoneInfo(SHOP.time_zone))
    people, purchases = people_and_purchases(customers, seed=seed, calendar=calendar)
    orders = _plan(purchases, seed=seed, limit=calendar.limit)
    with ShopFolderWriter(folder, SHOP, seed=seed) as writer:
        totals = [Totals(SHOP.currency) for _ in people]
        checkouts = list(demo_checkouts.left(people, seed=seed, limit=calendar.limit))
        for order in orders:
            checkouts += _write_order(writer, order, people, totals, seed=seed)
        for person, bought in sorted(zip(people, totals, strict=True), key=_last_updated):
            writer.customer(_customer(person, bought))
        for product in product_records(SHOP, since=_time(calendar.limit - HISTORY_DAYS * _DAY)):
            writer.product(product)
        for root, items in demo_checkouts.records(SHOP, checkouts):
            writer.checkout(root, items)
    return _counts(people, orders, writer)


def _plan(purchases: Sequence[Purchase], *, seed: int, limit: int) -> list[_Order]:
    """Decide each order's fate; in the order of the bulk query, last touched last."""
    rng = random.Random(f"fates:{seed}")
    orders = []
    for sequence, purchase in enumerate(purchases):
        fate, updated = _fate(purchase, rng, limit)
        orders.append(_Order(updated, sequence, fate, purchase))
    orders.sort()
    return orders


def _fate(purchase: Purchase, rng: random.Random, limit: int) -> tuple[str, int]:
    fate = rng.choices(FATES, _SHARES)[0]
    updated = purchase.at + rng.randrange(fate.earliest, fate.latest)
    if updated < limit:
        return fate.name, updated
    # Not yet come to pass: a fresh order is paid, or waits for a bank transfer.
    waits = rng.random() < 0.15 and purchase.at > limit - _AWAITING_DAYS * _DAY  # noqa: PLR2004
    name = "free" if fate.name == "free" else _AWAITING if waits else PAID.name
    return name, min(purchase.at + 5, limit - 1)


def _last_updated(entry: tuple[Person, Totals]) -> tuple[int, int]:
    return entry[0].updated, entry[0].number


def _customer(person: Person, totals: Totals) -> Record:
    email = None
    if person.email:
        email = email_record(person.email, person.consent, asked_at=_time(person.consent_at))
    return customer_record(
        person.number,
        first_name=person.first,
        last_name=person.last,
        locale=person.locale,
        tags=person.tags,
        created_at=_time(person.created),
        updated_at=_time(person.updated),
        email=email,
        phone=person.phone,
        totals=totals,
    )


def _write_order(
    writer: ShopFolderWriter,
    order: _Order,
    people: Sequence[Person],
    totals: Sequence[Totals],
    *,
    seed: int,
) -> list[Checkout]:
    """Writes the order and adds it to its customer's totals; its checkout, if that was left."""
    rng = random.Random(f"order:{seed}:{order.sequence}")
    purchase = order.purchase
    person = None if purchase.person is None else people[purchase.person]
    at_till = person is None and _time(purchase.at).hour in _SHOP_HOURS and rng.random() < 0.7  # noqa: PLR2004
    basket = make_basket(
        rng,
        at=_time(purchase.at),
        taste=person.taste if person else 1.0,
        first_order=purchase.nth == 1,
        shipped=not at_till,
        free=order.fate == "free",
    )
    _settle(basket, order.fate, rng)
    number = _FIRST_ORDER + order.sequence * _ORDER_STEP
    token = None if at_till else f"{rng.getrandbits(128):032x}"
    record = order_record(
        number,
        name=f"#{_FIRST_ORDER_NAME + order.sequence}",
        email=_address(person, order.sequence, at_till=at_till),
        created_at=_time(purchase.at),
        updated_at=_time(order.updated),
        cancelled_at=_time(order.updated) if order.fate.startswith("cancelled") else None,
        test=order.fate == "test",
        status=_status(basket, order.fate),
        source="pos" if at_till else "web",
        checkout_token=token,
        discount_codes=basket.codes,
        currency=SHOP.currency,
        total=basket.total,
        current=basket.current,
        refunded=basket.refunded,
        customer=person.number if person else None,
        refunds=_refunds(basket, order),
    )
    writer.order(record, _line_items(basket, order.sequence))
    if purchase.person is not None:
        totals[purchase.person].add(record, current=basket.current)
    checkout = demo_checkouts.recovered(rng, basket, at=purchase.at, token=token, person=person)
    return [checkout] if checkout else []


def _refunds(basket: Basket, order: _Order) -> list[Record]:
    """All at once, when the order was last touched."""
    if not basket.refunded:
        return []
    return [
        refund_record(
            _FIRST_REFUND + order.sequence,
            processed_at=_time(order.updated),
            cents=basket.refunded,
            currency=SHOP.currency,
        )
    ]


def _address(person: Person | None, sequence: int, *, at_till: bool) -> str | None:
    if person:
        return person.email
    return None if at_till else f"guest{sequence}@example.com"


def _settle(basket: Basket, fate: str, rng: random.Random) -> None:
    """Give back, or take out of the order, what its fate says."""
    if fate in {"refunded", "cancelled_refunded"}:
        basket.refund_all()
    elif fate == "partly_refunded":
        basket.refund_some(rng)
    elif fate == "cancelled_voided":
        basket.void()


def _status(basket: Basket, fate: str) -> str:
    if basket.refunded:
        return "REFUNDED" if basket.refunded == basket.total else "PARTIALLY_REFUNDED"
    return _STATUS.get(fate, "PAID")


def _line_items(basket: Basket, sequence: int) -> list[Record]:
    return [
        line_item_record(
            _FIRST_ITEM + sequence * _ITEMS_PER_ORDER + place,
            title=line.title,
            variant_title=line.variant,
            sku=line.sku,
            quantity=line.quantity,
            current_quantity=line.current_quantity,
            product=line.product,
            unit_price=line.price,
            currency=SHOP.currency,
        )
        for place, line in enumerate(basket.lines)
    ]


def _counts(
    people: Sequence[Person], orders: Sequence[_Order], writer: ShopFolderWriter
) -> ShopCounts:
    buyers = {order.purchase.person for order in orders} - {None}
    moments = [order.purchase.at for order in orders] or [0]
    return ShopCounts(
        domain=SHOP.domain,
        customers=writer.counts.customers,
        customers_without_order=len(people) - len(buyers),
        orders=writer.counts.orders,
        line_items=writer.counts.line_items,
        products=writer.counts.products,
        checkouts=writer.counts.checkouts,
        guest_orders=sum(order.purchase.person is None for order in orders),
        by_fate=dict(sorted(Counter(order.fate for order in orders).items())),
        by_consent=dict(sorted(Counter(p.consent for p in people if p.email).items())),
        first_order_at=_time(min(moments)).isoformat(),
        last_order_at=_time(max(moments)).isoformat(),
    )


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def main(args: Sequence[str]) -> int:
    """`generate FOLDER [--customers N] [--seed N] [--end YYYY-MM-DD]`: one JSON line at the end."""
    parser = argparse.ArgumentParser(prog="python -m sandbox generate", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--customers", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--end", type=date.fromisoformat, default=None, metavar="YYYY-MM-DD")
    given = parser.parse_args(args)
    if given.customers < 1:
        parser.error("--customers must be at least 1")
    counts = generate_shop(given.folder, customers=given.customers, seed=given.seed, end=given.end)
    print(json.dumps(asdict(counts)))  # noqa: T201 - a command's report
    return 0
