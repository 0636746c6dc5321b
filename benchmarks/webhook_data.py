"""Signed order webhooks of 2.2 KB, as Shopify sends them, whole requests over HTTP."""

import base64
import hmac
import json
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

DOMAIN = "bench-webhooks.myshopify.com"
SECRET = "shpss_bench"  # noqa: S105 - of a shop that lives for a minute
BODY_BYTES = 2_200
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def deliveries(
    count: int, *, first: int, customers: int, seed: int
) -> list[tuple[str, str, bytes]]:
    """(webhook id, topic, body): new orders, and every eighth an update or a refund of an earlier
    one. The ids of orders begin at `first`.
    """
    drawn = random.Random(seed)
    states: dict[int, dict[str, Any]] = {}
    found = []
    for number in range(count):
        if number % 8 == 7 and states:
            order_id = drawn.choice(list(states)[-200:])
            body = _later(states[order_id], seconds=number, is_refund=number % 16 == 15)
            topic = "orders/updated"
        else:
            order_id = first + number
            body = _order(order_id, drawn.randint(1, customers), drawn, seconds=number)
            topic = "orders/create"
        states[order_id] = body
        text = json.dumps(body, separators=(",", ":"))
        body = body | {"note": "x" * max(0, BODY_BYTES - len(text))}
        raw = json.dumps(body, separators=(",", ":")).encode()
        found.append((f"bench-{seed}-{number}", topic, raw))
    return found


def request(webhook_id: str, topic: str, body: bytes) -> bytes:
    signature = base64.b64encode(hmac.digest(SECRET.encode(), body, "sha256")).decode()
    head = (
        "POST /webhooks/shopify HTTP/1.1\r\n"
        "Host: 127.0.0.1\r\n"
        "User-Agent: Shopify-Captain-Hook\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"X-Shopify-Topic: {topic}\r\n"
        f"X-Shopify-Hmac-Sha256: {signature}\r\n"
        f"X-Shopify-Shop-Domain: {DOMAIN}\r\n"
        "X-Shopify-API-Version: 2026-07\r\n"
        f"X-Shopify-Webhook-Id: {webhook_id}\r\n"
        f"X-Shopify-Event-Id: event-{webhook_id}\r\n"
        "X-Shopify-Triggered-At: 2026-11-20T12:00:00.123456789Z\r\n\r\n"
    )
    return head.encode() + body


def framed(requests: Iterable[bytes]) -> bytes:
    return b"".join(len(one).to_bytes(4) + one for one in requests)


def _order(number: int, buyer: int, drawn: random.Random, *, seconds: int) -> dict[str, Any]:
    at = (NOON + timedelta(seconds=seconds)).isoformat()
    prices = [drawn.randint(500, 9000) for _ in range(drawn.randint(1, 3))]
    lines = [_line(number * 10 + at_, price, drawn) for at_, price in enumerate(prices)]
    total = f"{sum(prices) / 100:.2f}"
    return {
        "id": number,
        "admin_graphql_api_id": f"gid://shopify/Order/{number}",
        "name": f"#{number}",
        "email": f"customer{buyer}@example.com",
        "order_status_url": f"https://{DOMAIN}/548380009/orders/{number:032x}/authenticate",
        "created_at": at,
        "updated_at": at,
        "processed_at": at,
        "cancelled_at": None,
        "test": False,
        "currency": "EUR",
        "presentment_currency": "EUR",
        "financial_status": "paid",
        "source_name": "web",
        "checkout_token": f"{number:032x}",
        "discount_codes": [],
        **_money("current_total_price", total),
        **_money("total_price", total),
        "line_items": lines,
        "refunds": [],
        "customer": {
            "id": buyer,
            "admin_graphql_api_id": f"gid://shopify/Customer/{buyer}",
            "email": f"customer{buyer}@example.com",
            "first_name": "Ada",
            "last_name": f"Number {buyer}",
            "phone": None,
            "created_at": "2026-01-01T00:00:00+00:00",
            "updated_at": at,
        },
    }


def _line(number: int, price: int, drawn: random.Random) -> dict[str, Any]:
    return {
        "id": number,
        "admin_graphql_api_id": f"gid://shopify/LineItem/{number}",
        "title": "Tea & Tools",
        "variant_title": None,
        "sku": "T-1",
        "product_id": drawn.randint(1, 50),
        "quantity": 1,
        "current_quantity": 1,
        **_money("price", f"{price / 100:.2f}"),
    }


def _later(state: dict[str, Any], *, seconds: int, is_refund: bool) -> dict[str, Any]:
    at = (NOON + timedelta(seconds=seconds)).isoformat()
    later = state | {"updated_at": at, "customer": state["customer"] | {"updated_at": at}}
    if not is_refund or state["refunds"]:
        return later | {"source_name": "pos"}
    paid = {"kind": "refund", "status": "success", "amount": "1.00", "currency": "EUR"}
    number = state["id"] * 10 + 9
    refund = {
        "id": number,
        "admin_graphql_api_id": f"gid://shopify/Refund/{number}",
        "order_id": state["id"],
        "created_at": at,
        "processed_at": at,
        "transactions": [paid],
    }
    left = f"{float(state['total_price']) - 1:.2f}"
    return later | {
        "financial_status": "partially_refunded",
        "refunds": [refund],
        **_money("current_total_price", left),
    }


def _money(name: str, amount: str) -> dict[str, Any]:
    bag = {"amount": amount, "currency_code": "EUR"}
    return {name: amount, f"{name}_set": {"shop_money": bag, "presentment_money": bag}}
