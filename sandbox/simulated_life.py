"""One occasion in a shop that is played: someone buys, leaves, comes back, is merged.

Believable, and harmless to the verdict: nobody is deleted, merged or made a non-buyer while a mail
to them may be on its way, and nobody is given a first order late. A mail that crossed such a change
would be forbidden though nobody did wrong.
"""

import random
import sqlite3
from collections.abc import Callable
from decimal import ROUND_DOWN, Decimal
from typing import Any

import orjson

from sandbox import shopkeeper
from sandbox.demo_people import ORIGINS, address
from sandbox.shapes import amount
from sandbox.shopify.rest_shapes import number_of
from sandbox.shopkeeper import Buyer, Line, Purchase, Shop

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
QUIET = 2 * HOUR  # after an order nobody leaves for so long: longer than a welcome takes
COOLING = 10 * MINUTE  # before an order is taken back
LIVELY = 0.15  # buyers come from the latest 15 % of the orders mostly
TRIES = 10
FIRST_NAME = 1001
NEW_SHARE, GUEST_SHARE = 0.45, 0.05
FAILED_MERGES = 0.1
CONSENTS = {"SUBSCRIBED": 55, "NOT_SUBSCRIBED": 35, "PENDING": 10}
TAGS = ("gift buyer", "local", "newsletter", "press", "wholesale")
CENT = Decimal("0.01")
Body = dict[str, Any]
Happening = Callable[[Shop, random.Random], bool]
NOTHING = "nothing"


def live(shop: Shop, rng: random.Random) -> str:
    """What happened; `nothing` when the shop had nobody or nothing to whom it could."""
    (what,) = rng.choices(list(_LIFE), [weight for weight, _ in _LIFE.values()])
    return what if _LIFE[what][1](shop, rng) else NOTHING


# ------------------------------------------------------------------ who, and what they buy


def _someone(shop: Shop, rng: random.Random) -> Buyer | int:
    """Someone new, or an earlier buyer: the later and the oftener they bought, the likelier."""
    known = None if rng.random() < NEW_SHARE else _earlier_buyer(shop, rng)
    return _newcomer(shop, rng) if known is None else known


def _newcomer(shop: Shop, rng: random.Random) -> Buyer:
    (origin,) = rng.choices(ORIGINS, [each.weight for each in ORIGINS])
    first, last = rng.choice(origin.first), rng.choice(origin.last)
    (consent,) = rng.choices(list(CONSENTS), list(CONSENTS.values()))
    return Buyer(
        email=address(first, last, shop.row["next_name"] * 10 + rng.randrange(10)),
        first_name=first,
        last_name=last,
        consent=consent,
        locale=origin.locale,
    )


def _earlier_buyer(shop: Shop, rng: random.Random) -> int | None:
    for _ in range(TRIES):
        order = _some_order(shop, rng)
        if order is not None and order["customer"] is not None:
            return int(order["customer"])
    return None


def _some_order(shop: Shop, rng: random.Random) -> sqlite3.Row | None:
    """Of all orders, the later the likelier."""
    # Names begin at #1001. To count 45,000 orders takes 12 ms, several times an occasion.
    count = max(1, shop.row["next_name"] - FIRST_NAME)
    back = min(int(rng.expovariate(1 / max(1.0, count * LIVELY))), count - 1)
    row: sqlite3.Row | None = shop.db.execute(
        "select num, customer, placed_at, body from orders where shop = ?"
        " order by num desc limit 1 offset ?",
        [shop.num, back],
    ).fetchone()
    return row


def _basket(shop: Shop, rng: random.Random) -> list[Line]:
    """A few things that others bought as well."""
    lines: dict[str, Line] = {}
    for _ in range(rng.choices((1, 2, 3, 4), (50, 28, 15, 7))[0]):
        order = _some_order(shop, rng)
        items = shop.items("line_items", order["num"]) if order else []
        if items:
            line = _bought_again(rng.choice(items), quantity=rng.choices((1, 2, 3), (85, 12, 3))[0])
            lines[f"{line.sku} {line.title} {line.variant_title}"] = line
    return list(lines.values()) or [Line(price=Decimal(rng.randrange(500, 9_000)) / 100)]


def _bought_again(item: Body, *, quantity: int) -> Line:
    product = item["product"]
    return Line(
        title=item["title"],
        price=amount(item, "originalUnitPriceSet"),
        quantity=quantity,
        variant_title=item["variantTitle"],
        sku=item["sku"],
        product=number_of(product["id"]) if product else None,
    )


# ------------------------------------------------------------------ buying


def _order(shop: Shop, rng: random.Random) -> bool:
    lines = _basket(shop, rng)
    customer = None if rng.random() < GUEST_SHARE else _someone(shop, rng)
    wanted = Purchase(customer=customer, lines=lines, total=shopkeeper.total_of(lines))
    shopkeeper.place_order(shop, wanted)
    return True


def _leave_checkout(shop: Shop, rng: random.Random) -> bool:
    shopkeeper.start_checkout(shop, _someone(shop, rng), _basket(shop, rng))
    return True


def _complete_checkout(shop: Shop, rng: random.Random) -> bool:
    token = _left_checkout(shop, rng)
    if token is None:
        return _order(shop, rng)
    shopkeeper.complete_checkout(shop, token)
    return True


def _change_checkout(shop: Shop, rng: random.Random) -> bool:
    token = _left_checkout(shop, rng)
    if token is not None:
        shopkeeper.update_checkout(shop, token, _basket(shop, rng))
    return token is not None


def _delete_checkout(shop: Shop, rng: random.Random) -> bool:
    token = _left_checkout(shop, rng)
    if token is not None:
        shopkeeper.delete_checkout(shop, token)
    return token is not None


def _left_checkout(shop: Shop, rng: random.Random) -> str | None:
    """One of the last two days, left a minute ago at least."""
    rows = shop.db.execute(
        """select token from checkouts
           where shop = ? and completed_at is null and customer is not null
             and updated_at between ? and ? order by num desc limit 100""",
        [shop.num, shop.now - 2 * DAY, shop.now - MINUTE],
    ).fetchall()
    return rng.choice(rows)["token"] if rows else None


# ------------------------------------------------------------------ second thoughts


def _refund_part(shop: Shop, rng: random.Random) -> bool:
    """Never so much that the order counts no more."""
    found = _paid_order(shop, rng)
    if found is None:
        return False
    number, order = found
    left = amount(order, "totalPriceSet") - amount(order, "totalRefundedSet")
    left = min(left, amount(order, "currentTotalPriceSet"))
    back = (left * Decimal(rng.randrange(10, 60)) / 100).quantize(CENT, ROUND_DOWN)
    if back > 0:
        shopkeeper.refund_order(shop, number, back)
    return back > 0


def _edit(shop: Shop, rng: random.Random) -> bool:
    found = _paid_order(shop, rng)
    items = shop.items("line_items", found[0]) if found else []
    if found is None or not items:
        return False
    if rng.random() < 0.5:  # noqa: PLR2004 - one edit in two adds something
        shopkeeper.edit_order(shop, found[0], quantities={}, add=_basket(shop, rng)[:1])
        return True
    item = rng.choice(items)
    units = max(0, item["currentQuantity"] + rng.choice((-1, 1)))
    if units == item["currentQuantity"]:
        return False
    shopkeeper.edit_order(shop, found[0], quantities={number_of(item["id"]): units})
    return True


def _paid_order(shop: Shop, rng: random.Random) -> tuple[int, Body] | None:
    for _ in range(TRIES):
        row = _some_order(shop, rng)
        if row is not None and _is_paid(order := orjson.loads(row["body"])):
            return row["num"], order
    return None


def _is_paid(order: Body) -> bool:
    paid = order["displayFinancialStatus"] in {"PAID", "PARTIALLY_REFUNDED"}
    return bool(paid and not order["cancelledAt"] and not order["test"])


def _refund_all(shop: Shop, rng: random.Random) -> bool:
    found = _recent_order(shop, rng)
    if found is None or amount(found[1], "currentTotalPriceSet") <= 0:
        return False
    shopkeeper.refund_order(shop, found[0], None)
    return True


def _cancel(shop: Shop, rng: random.Random) -> bool:
    found = _recent_order(shop, rng)
    if found is not None:
        shopkeeper.cancel_order(shop, found[0])
    return found is not None


def _delete_order(shop: Shop, rng: random.Random) -> bool:
    found = _recent_order(shop, rng)
    if found is not None:
        shopkeeper.delete_order(shop, found[0])
    return found is not None


def _recent_order(shop: Shop, rng: random.Random) -> tuple[int, Body] | None:
    """One placed while the shop was played: without an old one an old buyer would be a new one."""
    rows = shop.db.execute(
        """select num, body from
             (select * from orders where shop = ? order by num desc limit 300)
           where placed_at between ? and ?""",
        [shop.num, shop.now - 30 * DAY, shop.now - COOLING],
    ).fetchall()
    found = [(row["num"], order) for row in rows if _is_paid(order := orjson.loads(row["body"]))]
    return rng.choice(found) if found else None


# ------------------------------------------------------------------ customers


def _unsubscribe(shop: Shop, rng: random.Random) -> bool:
    row = _customer(shop, rng, lambda row: row["consent"] == "SUBSCRIBED" and _is_quiet(shop, row))
    if row is not None:
        shopkeeper.set_consent(shop, row["num"], "UNSUBSCRIBED")
    return row is not None


def _subscribe(shop: Shop, rng: random.Random) -> bool:
    row = _customer(
        shop,
        rng,
        lambda row: row["email"] and row["consent"] != "SUBSCRIBED" and _is_old_buyer(shop, row),
    )
    if row is not None:
        shopkeeper.set_consent(shop, row["num"], "SUBSCRIBED")
    return row is not None


def _retag(shop: Shop, rng: random.Random) -> bool:
    row = _customer(shop, rng, lambda _: True)
    if row is None:
        return False
    tag = rng.choice(TAGS)
    has_it = tag in orjson.loads(row["body"])["tags"]
    change = {"remove": [tag]} if has_it else {"add": [tag]}
    shopkeeper.change_tags(shop, row["num"], **change)
    return True


def _rename(shop: Shop, rng: random.Random) -> bool:
    row = _customer(shop, rng, lambda row: _is_old_buyer(shop, row))
    if row is not None:
        (origin,) = rng.choices(ORIGINS, [each.weight for each in ORIGINS])
        shopkeeper.change_customer(shop, row["num"], {"last_name": rng.choice(origin.last)})
    return row is not None


def _delete_customer(shop: Shop, rng: random.Random) -> bool:
    row = _customer(shop, rng, lambda row: _is_quiet(shop, row))
    if row is not None:
        shopkeeper.delete_customer(shop, row["num"])
    return row is not None


def _merge(shop: Shop, rng: random.Random) -> bool:
    """Into someone who bought long ago, so that nobody is owed a welcome by it."""
    kept = _customer(
        shop,
        rng,
        lambda row: row["email"] and _is_quiet(shop, row) and _is_old_buyer(shop, row),
    )
    gone = kept and _customer(
        shop, rng, lambda row: row["num"] != kept["num"] and _is_quiet(shop, row)
    )
    if not (kept and gone):
        return False
    fails = rng.random() < FAILED_MERGES
    shopkeeper.merge_customers(shop, kept["num"], gone["num"], fails=fails)
    return True


def _customer(
    shop: Shop, rng: random.Random, suits: Callable[[sqlite3.Row], Any]
) -> sqlite3.Row | None:
    for _ in range(TRIES):
        number = _earlier_buyer(shop, rng)
        row = None if number is None else shop.find_customer(number)
        if row is not None and suits(row):
            return row
    return None


def _is_quiet(shop: Shop, row: sqlite3.Row) -> bool:
    """Whether the customer's last order is long enough ago."""
    (last,) = shop.db.execute(
        "select max(placed_at) from orders where shop = ? and customer = ?", [shop.num, row["num"]]
    ).fetchone()
    return last is None or last < shop.now - QUIET


def _is_old_buyer(shop: Shop, row: sqlite3.Row) -> bool:
    """Whether their first order that counts was there before the shop was played."""
    first = shop.db.execute(
        "select placed_at from orders where shop = ? and customer = ? and is_counted"
        " order by processed_at, num limit 1",
        [shop.num, row["num"]],
    ).fetchone()
    return first is not None and first["placed_at"] == 0


# Of 100 orders so many are completed checkouts, and so often does everything else happen.
_LIFE: dict[str, tuple[float, Happening]] = {
    "order": (70, _order),
    "checkout_completed": (30, _complete_checkout),
    "checkout_left": (100, _leave_checkout),
    "checkout_changed": (12, _change_checkout),
    "checkout_deleted": (2, _delete_checkout),
    "refunded_in_part": (5, _refund_part),
    "refunded": (2, _refund_all),
    "cancelled": (3, _cancel),
    "edited": (4, _edit),
    "order_deleted": (0.5, _delete_order),
    "unsubscribed": (3, _unsubscribe),
    "subscribed": (3, _subscribe),
    "tagged": (6, _retag),
    "renamed": (2, _rename),
    "customer_deleted": (0.4, _delete_customer),
    "merged": (0.6, _merge),
}
OCCASIONS_PER_ORDER = sum(weight for weight, _ in _LIFE.values()) / 100
