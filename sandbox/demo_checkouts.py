"""Checkouts of the made-up shop: those that were left, and those that were taken up again.

Shopify lists both as abandoned; `completedAt` tells them apart, and a completed one has the
token of its order.
"""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from sandbox.demo_basket import Basket, Line, make_basket
from sandbox.demo_history import Person
from sandbox.shop_folder import Record, Shop, checkout_item_record, checkout_record, recovery_url

_FIRST_CHECKOUT = 36_520_100_000_001
_CHECKOUT_STEP = 512
_FIRST_ITEM = 15_720_000_000_001
_ITEMS_PER_CHECKOUT = 64
_SHARE_RECOVERED = 0.03
_LEFT_PER_CUSTOMER = 0.05
_HOUR = 3600
_DAY = 24 * _HOUR
_KEPT_DAYS = 90  # Shopify forgets what was left longer ago


class Checkout(NamedTuple):
    """One checkout before it is made; times are Unix seconds."""

    created: int
    updated: int
    completed: int | None
    token: str
    person: Person | None
    basket: Basket


def recovered(
    rng: random.Random, basket: Basket, *, at: int, token: str | None, person: Person | None
) -> Checkout | None:
    """The checkout of an order placed `at`, for the few that had been left before."""
    if token is None or person is None or person.email is None:
        return None
    if rng.random() >= _SHARE_RECOVERED:
        return None
    created = max(at - rng.randrange(_HOUR, 3 * _DAY), person.created)
    return Checkout(created, at, at, token, person, basket)


def left(people: Sequence[Person], *, seed: int, limit: int) -> Iterator[Checkout]:
    """Checkouts of the last 90 days before `limit` that nobody has completed."""
    reachable = [person for person in people if person.email]
    for n in range(round(len(reachable) * _LEFT_PER_CUSTOMER)):
        rng = random.Random(f"checkout:{seed}:{n}")
        person = rng.choice(reachable) if rng.random() < 0.97 else None  # noqa: PLR2004 - a few are nobody's
        updated = limit - 1 - rng.randrange(_KEPT_DAYS * _DAY)
        if person:
            updated = min(max(updated, person.created + 60), limit - 1)
        basket = make_basket(
            rng,
            at=datetime.fromtimestamp(updated, UTC),
            taste=person.taste if person else 1.0,
            first_order=False,
            shipped=True,
            free=False,
        )
        created = updated - rng.randrange(30, 15 * 60)
        token = f"{rng.getrandbits(128):032x}"
        yield Checkout(created, updated, None, token, person, basket)


def records(shop: Shop, checkouts: Sequence[Checkout]) -> Iterator[tuple[Record, list[Record]]]:
    """(root, children) of each, the first created first."""
    for n, checkout in enumerate(sorted(checkouts, key=lambda each: (each.created, each.token))):
        person, basket = checkout.person, checkout.basket
        completed = checkout.completed
        root = checkout_record(
            _FIRST_CHECKOUT + n * _CHECKOUT_STEP,
            recovery_url=recovery_url(shop, checkout.token),
            created_at=datetime.fromtimestamp(checkout.created, UTC),
            updated_at=datetime.fromtimestamp(checkout.updated, UTC),
            completed_at=None if completed is None else datetime.fromtimestamp(completed, UTC),
            currency=shop.currency,
            total=basket.total,
            subtotal=basket.total - basket.shipping,
            customer=person.number if person else None,
            address=person.email if person else None,
            discount_codes=basket.codes,
        )
        first = _FIRST_ITEM + n * _ITEMS_PER_CHECKOUT
        yield root, [_item(first + place, line, shop) for place, line in enumerate(basket.lines)]


def _item(number: int, line: Line, shop: Shop) -> Record:
    return checkout_item_record(
        number,
        title=line.title,
        variant_title=line.variant,
        sku=line.sku,
        quantity=line.quantity,
        product=line.product,
        unit_price=line.price,
        currency=shop.currency,
    )
