import base64
import hashlib
import hmac
import re
import time
from typing import Any

import orjson
import pytest

from sandbox.clock import utc_nanos
from tests.sandbox.support import DOMAIN, SECRET, Received, Running, document, wait_for

BUYER = {"email": "New@Example.com", "first_name": "Zoë", "consent": "SUBSCRIBED"}


def arrived(sandbox: Running, count: int = 1) -> list[Received]:
    found: list[Received] = wait_for(
        lambda: len(sandbox.receiver.received) >= count and sandbox.receiver.received
    )
    return found


def delivery(sandbox: Running) -> dict[str, Any]:
    answer: dict[str, Any] = sandbox.client.get("/_sandbox/deliveries").json()["deliveries"][0]
    return answer


@pytest.mark.requirement("SHOP-04")
def test_an_order_is_announced_signed_and_with_every_header(shop: Running) -> None:
    shop.subscribe("ORDERS_CREATE")
    placed = shop.place(customer=BUYER)
    (received,) = arrived(shop)
    digest = hmac.digest(SECRET.encode(), received.body, hashlib.sha256)
    assert received.headers["x-shopify-hmac-sha256"] == base64.b64encode(digest).decode()
    assert received.headers["x-shopify-topic"] == "orders/create"
    assert received.headers["x-shopify-shop-domain"] == DOMAIN
    assert received.headers["x-shopify-api-version"] == "2026-07"
    assert received.headers["x-shopify-webhook-id"] == placed["webhook_id"]
    assert received.headers["x-shopify-event-id"] != placed["webhook_id"]
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", received.headers["x-shopify-triggered-at"]
    )


@pytest.mark.requirement("SHOP-06")
def test_the_body_has_the_rest_shape_and_leaves_out_what_shopify_leaves_out(shop: Running) -> None:
    shop.subscribe("ORDERS_CREATE")
    placed = shop.place(customer=BUYER, total="49.90")
    body = orjson.loads(arrived(shop)[0].body)
    assert body["admin_graphql_api_id"] == placed["order"]
    assert body["id"] == int(placed["order"].rpartition("/")[2])
    assert body["financial_status"] == "paid"
    assert body["current_total_price"] == "49.90"
    assert body["current_total_price_set"]["shop_money"] == {
        "amount": "49.90",
        "currency_code": "EUR",
    }
    assert body["processed_at"].endswith(("+01:00", "+02:00"))
    assert body["line_items"][0]["price"] == "49.90"
    assert body["customer"]["admin_graphql_api_id"] == placed["customer"]
    assert body["customer"]["email"] == "New@Example.com"
    left_out = {
        "tags",
        "email_marketing_consent",
        "sms_marketing_consent",
        "orders_count",
        "total_spent",
        "last_order_id",
    }
    assert not left_out & body["customer"].keys()
    assert "checkout_id" not in body


def test_a_new_buyer_is_a_new_customer_and_a_known_one_is_not(shop: Running) -> None:
    shop.subscribe("CUSTOMERS_CREATE")
    first = shop.place(customer=BUYER)
    second = shop.place(customer=BUYER | {"email": " new@example.COM "})
    by_id = shop.place(customer={"id": first["customer"]})
    guest = shop.place(customer=None)
    assert first["customer"] == second["customer"] == by_id["customer"]
    assert guest["customer"] is None
    (received,) = arrived(shop)
    assert orjson.loads(received.body)["admin_graphql_api_id"] == first["customer"]


@pytest.mark.requirement("SHOP-05")
def test_a_repeated_delivery_has_the_same_id_and_body(shop: Running) -> None:
    shop.subscribe("ORDERS_CREATE")
    shop.place(customer=BUYER, webhook={"copies": 3})
    received = arrived(shop, 3)
    assert len({each.headers["x-shopify-webhook-id"] for each in received}) == 1
    assert len({each.body for each in received}) == 1


def test_a_delivery_that_is_not_taken_is_tried_again_unchanged(shop: Running) -> None:
    shop.subscribe("ORDERS_CREATE")
    shop.fault(retry_scale=0.0005)
    shop.receiver.answers[:] = [500, 302]
    shop.place(customer=BUYER)
    received = arrived(shop, 3)
    assert len({(each.headers["x-shopify-webhook-id"], each.body) for each in received}) == 1
    wait_for(lambda: delivery(shop)["state"] == "delivered")
    assert delivery(shop)["attempts"] == 3


def test_a_subscription_is_deleted_after_eight_retries(shop: Running) -> None:
    shop.subscribe("ORDERS_CREATE")
    shop.fault(retry_scale=0.0)
    shop.receiver.answers[:] = [500] * 9
    shop.place(customer=BUYER)
    wait_for(lambda: delivery(shop)["state"] == "failed")
    assert len(shop.receiver.received) == 9
    left = shop.data(document("webhook_subscriptions"))["webhookSubscriptions"]["nodes"]
    assert left == []


def test_webhooks_wait_while_they_are_switched_off(shop: Running) -> None:
    shop.subscribe("ORDERS_CREATE")
    shop.fault(webhook_off=True)
    shop.place(customer=BUYER)
    time.sleep(0.2)
    assert shop.receiver.received == []
    shop.fault(webhook_off=False)
    arrived(shop)


def test_a_webhook_can_get_lost(shop: Running) -> None:
    shop.subscribe("ORDERS_CREATE")
    shop.fault(webhook_lose_times=1)
    lost, came = shop.place(customer=BUYER), shop.place(customer=BUYER)
    (received,) = arrived(shop)
    assert received.headers["x-shopify-webhook-id"] in {lost["webhook_id"], came["webhook_id"]}
    states = shop.client.get("/_sandbox/deliveries").json()["states"]
    assert states["lost"] == 1


def test_cancelling_and_refunding_announce_the_order_as_it_is_then(shop: Running) -> None:
    shop.subscribe("ORDERS_UPDATED")
    placed = shop.place(customer=BUYER, total="50.00")
    number = placed["order"].rpartition("/")[2]
    url = f"/_sandbox/shops/{DOMAIN}/orders/{number}"
    assert shop.client.post(f"{url}/refund", json={"amount": "20.00"}).status_code == 200
    assert shop.client.post(f"{url}/refund", json={"amount": "40.00"}).status_code == 422
    partly = orjson.loads(arrived(shop)[0].body)
    assert partly["financial_status"] == "partially_refunded"
    assert partly["current_total_price"] == "30.00"
    assert shop.client.post(f"{url}/refund").status_code == 200
    assert orjson.loads(arrived(shop, 2)[1].body)["financial_status"] == "refunded"
    assert shop.client.post(f"{url}/cancel").status_code == 200
    assert orjson.loads(arrived(shop, 3)[2].body)["cancelled_at"] is not None
    assert shop.client.post(f"{url}/cancel").status_code == 422


def test_a_change_of_consent_is_announced_by_its_own_topic(shop: Running) -> None:
    shop.subscribe("CUSTOMERS_EMAIL_MARKETING_CONSENT_UPDATE")
    url = f"/_sandbox/shops/{DOMAIN}/customers/1/consent"
    assert shop.client.post(url, json={"consent": "UNSUBSCRIBED"}).status_code == 200
    body = orjson.loads(arrived(shop)[0].body)
    assert body["customer_id"] == 1
    assert body["email_address"] == "c1@example.com"
    assert body["email_marketing_consent"]["state"] == "unsubscribed"


@pytest.mark.requirement("SHOP-06")
def test_a_customer_can_be_unreadable_for_the_first_reads(shop: Running) -> None:
    placed = shop.place(customer=BUYER, readable_after_reads=2)
    ask = {"ids": [placed["customer"]]}
    nodes = [shop.data(document("customers_by_id"), ask)["nodes"][0] for _ in range(3)]
    assert nodes[:2] == [None, None]
    assert nodes[2]["defaultEmailAddress"]["marketingState"] == "SUBSCRIBED"


def test_triggered_at_has_nine_digits_for_any_instant() -> None:
    assert utc_nanos(1_767_225_600.0) == "2026-01-01T00:00:00.000000741Z"
    assert utc_nanos(1_767_225_599.9999999) == "2026-01-01T00:00:00.000000741Z"


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"customer": {"email": "no address"}}, "customer.email"),
        ({"customer": {"email": "a@example.com", "consent": "YES"}}, "customer.consent"),
        ({"customer": {"id": "gid://shopify/Order/1"}}, "customer's gid"),
        ({"customer": {"id": "gid://shopify/Customer/404"}}, "no customer 404"),
        ({"total": 49.9}, "amount as a text"),
        ({"total": "-1"}, "below zero"),
        ({"test": "yes"}, "test must be"),
        ({"processed_at": "2026-01-01"}, "processed_at"),
        ({"colour": "red"}, "unknown: colour"),
        ({"webhook": {"copies": 99}}, "copies"),
    ],
)
def test_an_order_asked_wrongly_is_refused_with_the_reason(
    quiet_shop: Running, order: dict[str, Any], words: str
) -> None:
    answer = quiet_shop.client.post(
        f"/_sandbox/shops/{DOMAIN}/orders", json={"customer": None} | order
    )
    assert answer.status_code == 422
    assert words in answer.json()["error"]
