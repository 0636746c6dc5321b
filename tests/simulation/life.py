"""What happens in a played shop within an hour: people buy, leave carts, change their minds."""

import random
from decimal import Decimal

from sandbox import shopkeeper
from sandbox.shopkeeper import Buyer, Line, Purchase, Shop

WEIGHTS = {
    "first order": 30,
    "order": 30,
    "cart": 20,
    "cart changed": 5,
    "cart completed": 5,
    "cart deleted": 1,
    "unsubscribed": 4,
    "subscribed": 3,
    "cancelled": 3,
    "refunded": 2,
    "deleted": 1,
    "merged": 1,
}
OPEN_SECONDS = 2 * 86_400


def live(shop: Shop, rng: random.Random) -> str:
    """One occasion by chance; what it was."""
    (what,) = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))
    customers = [row[0] for row in _rows(shop, "select num from customers where shop = ?")]
    customer = rng.choice(customers)
    if what == "first order":
        _buy(shop, _newcomer(shop, rng), rng)
    elif what == "order":
        _buy(shop, customer, rng)
    elif what == "cart":
        shopkeeper.start_checkout(shop, customer, [_line(rng)])
    elif what.startswith("cart "):
        _change_cart(shop, what, rng)
    elif what in {"cancelled", "refunded"}:
        _take_back(shop, what, rng)
    elif what == "merged":
        other = rng.choice(customers)
        if other != customer:
            shopkeeper.merge_customers(shop, customer, other)
    elif what == "deleted":
        shopkeeper.delete_customer(shop, customer)
    else:
        shopkeeper.set_consent(shop, customer, what.upper())
    return what


def _rows(shop: Shop, sql: str) -> list[tuple[int, ...]]:
    return [tuple(row) for row in shop.db.execute(sql, [shop.num]).fetchall()]


def _newcomer(shop: Shop, rng: random.Random) -> Buyer:
    consent = "SUBSCRIBED" if rng.random() < 0.8 else "NOT_SUBSCRIBED"
    return Buyer(
        email=f"n{shop.row['next_customer']}@example.com", first_name="Ada", consent=consent
    )


def _line(rng: random.Random) -> Line:
    return Line(price=Decimal(rng.randrange(500, 20_000)) / 100)


def _buy(shop: Shop, who: Buyer | int, rng: random.Random) -> None:
    line = _line(rng)
    shopkeeper.place_order(shop, Purchase(customer=who, lines=[line], total=line.price))


def _change_cart(shop: Shop, what: str, rng: random.Random) -> None:
    rows = shop.db.execute(
        "select token from checkouts where shop = ? and completed_at is null"
        " and customer is not null and updated_at between ? and ?",
        [shop.num, shop.now - OPEN_SECONDS, shop.now - 1],
    ).fetchall()
    if not rows:
        return
    token = rng.choice(rows)["token"]
    if what == "cart changed":
        shopkeeper.update_checkout(shop, token, [_line(rng)])
    elif what == "cart completed":
        shopkeeper.complete_checkout(shop, token)
    else:
        shopkeeper.delete_checkout(shop, token)


def _take_back(shop: Shop, what: str, rng: random.Random) -> None:
    rows = shop.db.execute(
        "select num from orders where shop = ? and is_counted and customer is not null"
        " order by num desc limit 20",
        [shop.num],
    ).fetchall()
    number = rng.choice(rows)["num"] if rows else None
    if number is None:
        return
    if what == "cancelled":
        shopkeeper.cancel_order(shop, number)
    else:
        shopkeeper.refund_order(shop, number, None)
