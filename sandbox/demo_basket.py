"""What lies in one order of the made-up shop: lines, discount, shipping and returns, in cents."""

import math
import random
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from itertools import accumulate

from sandbox.demo_catalogue import CATALOGUE, Product

_FIRST_PRODUCT = 8_420_300_000_001
_PRODUCT_STEP = 32_768
_TYPICAL_VALUE = 4_600
_SPREAD = 0.55
_MOST_LINES = 8
_SHIPPING = 490
_FREE_SHIPPING_FROM = 6_900
_CHEAP = 3_000


@dataclass(slots=True)
class Line:
    title: str
    variant: str | None
    sku: str
    product: int
    price: int
    quantity: int
    current_quantity: int


@dataclass(slots=True)
class Basket:
    """`total` was asked at first, `shipping` of it, `current` is left, `refunded` went back."""

    lines: list[Line]
    discount: int
    codes: list[str]
    total: int
    shipping: int
    current: int = field(init=False)
    refunded: int = 0

    def __post_init__(self) -> None:
        self.current = self.total

    def refund_all(self) -> None:
        self.void()
        self.refunded = self.total

    def void(self) -> None:
        """Take everything out without money going back: it had never been taken."""
        for line in self.lines:
            line.current_quantity = 0
        self.current = 0

    def refund_some(self, rng: random.Random) -> None:
        """One line comes back, in part or whole; shipping is not given back."""
        line = rng.choice(self.lines)
        units = rng.randint(1, line.quantity)
        line.current_quantity -= units
        paid = line.price * units * (100 - self.discount) // 100
        self.refunded = min(paid, self.total)
        self.current = self.total - self.refunded


def make_basket(
    rng: random.Random, *, at: datetime, taste: float, first_order: bool, shipped: bool, free: bool
) -> Basket:
    """Lines worth about a lognormal draw, with the discount of the season or the occasion."""
    worth = _TYPICAL_VALUE * taste * math.exp(rng.gauss(0, _SPREAD))
    lines = _fill(rng, worth, at.month)
    code, discount = _discount(rng, at=at, first_order=first_order)
    if free:
        code, discount = rng.choice((("REPLACEMENT", 100), ("GIFTED", 100)))
    goods = sum(line.price * line.quantity for line in lines) * (100 - discount) // 100
    shipping = _SHIPPING if shipped and not free and goods < _FREE_SHIPPING_FROM else 0
    return Basket(lines, discount, [code] if code else [], goods + shipping, shipping)


def _fill(rng: random.Random, worth: float, month: int) -> list[Line]:
    lines: dict[str, Line] = {}
    left = worth
    while len(lines) < _MOST_LINES:
        line = _pick(rng, left, month)
        if line.sku in lines:
            lines[line.sku].quantity += line.quantity
            lines[line.sku].current_quantity += line.quantity
        else:
            lines[line.sku] = line
        left -= line.price * line.quantity
        if left < worth * 0.25:
            break
    return list(lines.values())


def _pick(rng: random.Random, left: float, month: int) -> Line:
    """A product in season; after some tries, one that costs more than is left."""
    place, product = 0, CATALOGUE[0]
    for _ in range(6):
        place = rng.choices(range(len(CATALOGUE)), cum_weights=_weights(month))[0]
        product = CATALOGUE[place]
        if product.price <= left * 1.2:
            break
    version = rng.randrange(len(product.variants)) if product.variants else None
    price = _price(product, version)
    few = price < _CHEAP and rng.random() < 0.3  # noqa: PLR2004 - cheap things come in pairs
    quantity = rng.choice((2, 2, 2, 3, 4)) if few else 1
    return Line(
        title=product.title,
        variant=None if version is None else product.variants[version],
        sku=product.sku if version is None else f"{product.sku}-{version + 1}",
        product=product_number(place),
        price=price,
        quantity=quantity,
        current_quantity=quantity,
    )


def product_number(place: int) -> int:
    """The id of the product at that place of the catalogue."""
    return _FIRST_PRODUCT + place * _PRODUCT_STEP


def _price(product: Product, version: int | None) -> int:
    """Colours cost the same; each larger size a third more, ending on 90 cents."""
    sized = any(character.isdigit() for variant in product.variants for character in variant)
    if not version or not sized:
        return product.price
    return round(product.price * (1 + version / 3) / 100) * 100 - 10


@cache
def _weights(month: int) -> list[int]:
    """Running sums of the products' weights in that month, scaled by ten to stay whole."""
    winter = 25 if month >= 10 else 10 if month <= 2 else 2  # noqa: PLR2004 - months
    summer = 25 if 4 <= month <= 8 else 3  # noqa: PLR2004 - months
    by_season = {"winter": winter, "summer": summer, "": 10}
    return list(accumulate(item.popularity * by_season[item.season] for item in CATALOGUE))


def _discount(rng: random.Random, *, at: datetime, first_order: bool) -> tuple[str, int]:
    """A code and its percentage, ("", 0) for most."""
    chance = rng.random()
    if (at.month, at.day) >= (11, 22) and at.month == 11:  # noqa: PLR2004 - Black Friday week
        return ("COSY20", 20) if chance < 0.45 else ("", 0)  # noqa: PLR2004
    if first_order and chance < 0.22:  # noqa: PLR2004
        return "WELCOME10", 10
    if at.month == 4 and chance < 0.35:  # noqa: PLR2004
        return "SPRING/15", 15
    return ("FRIENDS&FAMILY", 25) if chance > 0.985 else ("", 0)  # noqa: PLR2004
