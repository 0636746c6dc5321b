"""Seeded orders in the exact shape of a bulk file: Shopify's escapes, children out of step.

Line items follow their order within a few hundred lines, mixed with those of others, as an export
without `groupObjects` may bring them.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path

CHILDREN = 2
MIXED = 60  # orders whose lines are shuffled together
BUYERS = 4  # orders per customer, on average

Json = dict[str, object]
TITLES = ("Tea & Tools", "Kettle 1/2 l", "Grüner Tee", "Mug, large", 'Sencha "Uji"', "Чай")


def write_orders(path: Path, orders: int, *, seed: int = 1) -> int:
    """`orders` orders and twice as many line items. Returns how many lines."""
    random_ = random.Random(seed)
    with path.open("wb") as file:
        for start in range(0, orders, MIXED):
            count = min(MIXED, orders - start)
            nodes = [
                node
                for number in range(start + 1, start + count + 1)
                for node in _order_with_lines(random_, number, max(orders // BUYERS, 1))
            ]
            random_.shuffle(nodes)
            file.writelines(_line(node) for node in nodes)
    return orders * (1 + CHILDREN)


def _line(node: Json) -> bytes:
    text = json.dumps(node, separators=(",", ":"), ensure_ascii=False)
    return text.replace("/", "\\/").replace("&", "\\u0026").encode() + b"\n"


def _order_with_lines(random_: random.Random, number: int, customers: int) -> Iterator[Json]:
    order_id = f"gid://shopify/Order/{5_000_000_000_000 + number}"
    buyer = random_.randint(1, customers)
    placed_at = _moment(random_)
    total = f"{random_.randint(500, 30_000) / 100}"
    refund = {"id": f"gid://shopify/Refund/{800_000_000_000 + number}", "processedAt": placed_at}
    is_refunded = random_.random() < 0.05
    yield {
        "id": order_id,
        "name": f"#{number}",
        "email": f"customer{buyer}@example.com",
        "createdAt": placed_at,
        "updatedAt": _moment(random_),
        "processedAt": placed_at,
        "cancelledAt": placed_at if random_.random() < 0.02 else None,
        "test": False,
        "displayFinancialStatus": "PARTIALLY_REFUNDED" if is_refunded else "PAID",
        "sourceName": "web",
        "checkoutToken": f"{random_.getrandbits(128):032x}",
        "discountCodes": ["TEA10"] if random_.random() < 0.2 else [],
        "currencyCode": "EUR",
        "currentTotalPriceSet": _money(total),
        "totalPriceSet": _money(total),
        "totalRefundedSet": _money("1.0" if is_refunded else "0.0"),
        "refunds": [refund | {"totalRefundedSet": _money("1.0")}] if is_refunded else [],
        "customer": {"id": f"gid://shopify/Customer/{7_000_000_000_000 + buyer}"},
    }
    for child in range(CHILDREN):
        yield {
            "id": f"gid://shopify/LineItem/{9_000_000_000_000 + number * CHILDREN + child}",
            "title": f"{random_.choice(TITLES)} {random_.randint(1, 40)}",
            "variantTitle": random_.choice(("Large", "Small", None)),
            "sku": f"SKU-{random_.randint(1, 999)}",
            "quantity": random_.randint(1, 3),
            "currentQuantity": 1,
            "product": {"id": f"gid://shopify/Product/{8_000_000_000_000 + child}"},
            "originalUnitPriceSet": _money(f"{random_.randint(100, 9999) / 100}"),
            "__parentId": order_id,
        }


def _money(amount: str) -> Json:
    return {"shopMoney": {"amount": amount, "currencyCode": "EUR"}}


def _moment(random_: random.Random) -> str:
    day = f"20{random_.randint(20, 25)}-{random_.randint(1, 12):02}-{random_.randint(1, 28):02}"
    return f"{day}T{random_.randint(0, 23):02}:{random_.randint(0, 59):02}:00Z"
