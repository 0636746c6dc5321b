"""The smoke scenario: every kind of order that must and must not lead to a welcome mail, their
webhooks shuffled and a fifth of them delivered twice.
"""

import random
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sandbox.http import BadRequestError
from sandbox.shopkeeper import Buyer, Purchase, Shop, place_order

DAY = 86_400
REPEATED_SHARE = 0.2
Body = dict[str, Any]

# Orders of each kind in a scenario of 60; others are scaled from it.
SHARES = {
    "new_subscribed": 18,
    "new_unsubscribed": 5,
    "new_not_subscribed": 5,
    "consent_unknown_at_first": 6,
    "returning": 7,
    "test": 4,
    "cancelled": 4,
    "historical": 3,
    "new_after_historical": 2,
    "guest": 2,
    "new_twice": 4,
}
_NAMES = ("Ada", "Björn", "Chloé", "Dimitri", "Eşref", "Fátima", "Grace", "Hiro", "Ines", "Jan")


@dataclass
class _Cast:
    """Who buys next; addresses are made from the seed and never repeat within a shop."""

    shop: Shop
    rng: random.Random
    before: float
    stem: str
    made: int = 0

    def buyer(self, consent: str) -> Buyer:
        self.made += 1
        name = self.rng.choice(_NAMES)
        address = f"smoke-{self.stem}-{self.made}@example.com"
        return Buyer(
            email=address, first_name=name, last_name=f"Smoke {self.made}", consent=consent
        )

    def total(self) -> Decimal:
        return Decimal(self.rng.randrange(500, 25_000)) / 100

    def order(self, customer: Buyer | int | None, **more: Any) -> Purchase:
        return Purchase(customer=customer, total=self.total(), **more)

    def long_ago(self) -> float:
        return self.before - self.rng.randrange(1, 400) * DAY - self.rng.randrange(DAY)


def play(shop: Shop, *, orders: int, seed: int, before: float, spread: float) -> Body:
    """Places about `orders` orders (never fewer) and answers with the counts by kind.

    `before`: the start of the first sync; historical orders were processed earlier.
    `spread`: seconds over which the webhooks are sent.
    """
    rng = random.Random(seed)
    cast = _Cast(shop, rng, before, f"{seed}-{int(shop.now * 1000):x}")
    if before > shop.now:
        raise BadRequestError("first_sync_started_at lies in the future")
    placed: list[tuple[str, Purchase]] = []
    for kind, count in _counts(orders).items():
        placed += [(kind, wanted) for wanted in _KINDS[kind](cast, count)]
    missing = max(0, orders - len(placed))  # a shop without earlier buyers has none to return
    placed += [("new_subscribed", wanted) for wanted in _new("SUBSCRIBED")(cast, missing)]
    repeated = set(rng.sample(range(len(placed)), round(len(placed) * REPEATED_SHARE)))
    kinds: dict[str, int] = {}
    deliveries = 0
    for place, (kind, wanted) in enumerate(placed):
        copies = 2 if place in repeated else 1
        at = [shop.now + rng.random() * spread for _ in range(copies)]
        place_order(shop, wanted, at=at)
        kinds[kind] = kinds.get(kind, 0) + 1
        deliveries += copies
    return {
        "orders": len(placed),
        "kinds": kinds,
        "repeated": len(repeated),
        "deliveries": deliveries,
    }


def _counts(orders: int) -> dict[str, int]:
    """How many of each kind; at least one of each, and together at least `orders`."""
    whole = sum(SHARES.values())
    return {kind: max(1, -(-share * orders // whole)) for kind, share in SHARES.items()}


# ------------------------------------------------------------------ the kinds


def _new(consent: str) -> Callable[[_Cast, int], list[Purchase]]:
    return lambda cast, count: [cast.order(cast.buyer(consent)) for _ in range(count)]


def _not_subscribed(cast: _Cast, count: int) -> list[Purchase]:
    states = ("NOT_SUBSCRIBED", "PENDING", "INVALID")
    return [cast.order(cast.buyer(states[i % len(states)])) for i in range(count)]


def _unknown_at_first(cast: _Cast, count: int) -> list[Purchase]:
    return [
        cast.order(cast.buyer("SUBSCRIBED"), readable_after_reads=1 + i % 2) for i in range(count)
    ]


def _returning(cast: _Cast, count: int) -> list[Purchase]:
    """Subscribed customers who bought before: the likeliest to be mailed by mistake."""
    numbers = _earlier_buyers(cast.shop.db, cast.shop.row["shop"], cast.before)
    return [cast.order(number) for number in cast.rng.sample(numbers, min(count, len(numbers)))]


def _earlier_buyers(db: sqlite3.Connection, shop: int, before: float) -> list[int]:
    rows = db.execute(
        """select customers.num from customers
           join orders on orders.shop = customers.shop and orders.customer = customers.num
           where customers.shop = ? and consent = 'SUBSCRIBED' and is_counted
           group by customers.num having min(processed_at) < ?
           order by customers.num limit 1000""",
        [shop, before],
    )
    return [num for (num,) in rows]


def _test(cast: _Cast, count: int) -> list[Purchase]:
    return [cast.order(cast.buyer("SUBSCRIBED"), test=True) for _ in range(count)]


def _cancelled(cast: _Cast, count: int) -> list[Purchase]:
    statuses = ("PAID", "VOIDED", "REFUNDED")
    return [
        cast.order(cast.buyer("SUBSCRIBED"), cancelled=True, status=statuses[i % len(statuses)])
        for i in range(count)
    ]


def _historical(cast: _Cast, count: int) -> list[Purchase]:
    """The last of them lies one second before the first sync."""
    last = [cast.before - 1] if count else []
    moments = [cast.long_ago() for _ in range(count - 1)] + last
    return [cast.order(cast.buyer("SUBSCRIBED"), processed_at=at) for at in moments]


def _new_after_historical(cast: _Cast, count: int) -> list[Purchase]:
    """A historical order and a new one by the same customer: the new one is not the first."""
    orders: list[Purchase] = []
    while len(orders) < count:
        buyer = cast.buyer("SUBSCRIBED")
        orders += [cast.order(buyer, processed_at=cast.long_ago()), cast.order(buyer)]
    return orders


def _guest(cast: _Cast, count: int) -> list[Purchase]:
    return [cast.order(None) for _ in range(count)]


def _new_twice(cast: _Cast, count: int) -> list[Purchase]:
    orders: list[Purchase] = []
    while len(orders) < count:
        buyer = cast.buyer("SUBSCRIBED")
        orders += [cast.order(buyer), cast.order(buyer)]
    return orders


_KINDS: dict[str, Callable[[_Cast, int], list[Purchase]]] = {
    "new_subscribed": _new("SUBSCRIBED"),
    "new_unsubscribed": _new("UNSUBSCRIBED"),
    "new_not_subscribed": _not_subscribed,
    "consent_unknown_at_first": _unknown_at_first,
    "returning": _returning,
    "test": _test,
    "cancelled": _cancelled,
    "historical": _historical,
    "new_after_historical": _new_after_historical,
    "guest": _guest,
    "new_twice": _new_twice,
}
