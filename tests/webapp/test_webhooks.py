import base64
import hashlib
import hmac
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from starlette.testclient import TestClient
from uvicorn import Config, Server

from core.database import SessionFactory, session_scope
from core.models import Customer, CustomerStatistics, DeliveryEvent, InboxMessage, Order, Shop
from core.models.enums import EventState, InboxState
from core.settings import Settings
from tests.webapp.conftest import SECRET

LIMIT = 5 * 1024 * 1024


def order(**changes: Any) -> dict[str, Any]:
    """As Shopify sends it: no consent, money as text, times with the shop's offset."""
    return {
        "id": 5001,
        "admin_graphql_api_id": "gid://shopify/Order/5001",
        "name": "#5001",
        "email": "grace@example.com",
        "created_at": "2026-11-20T11:00:00+00:00",
        "updated_at": "2026-11-20T11:00:00+00:00",
        "processed_at": "2026-11-20T11:00:00+00:00",
        "cancelled_at": None,
        "test": False,
        "financial_status": "paid",
        "source_name": "web",
        "checkout_token": None,
        "currency": "GBP",
        "total_price": "49.90",
        "current_total_price": "49.90",
        "total_price_set": {"shop_money": {"amount": "49.90", "currency_code": "GBP"}},
        "current_total_price_set": {"shop_money": {"amount": "49.90", "currency_code": "GBP"}},
        "discount_codes": [],
        "refunds": [],
        "line_items": [],
        "customer": {
            "id": 1001,
            "admin_graphql_api_id": "gid://shopify/Customer/1001",
            "email": "grace@example.com",
            "first_name": "Grace",
            "last_name": "Hopper",
            "phone": None,
            "created_at": "2026-11-20T10:59:00+00:00",
            "updated_at": "2026-11-20T11:00:00+00:00",
        },
    } | changes


def signed(body: bytes, *, secret: str = SECRET, webhook_id: str = "w1") -> dict[str, str]:
    digest = hmac.new(secret.encode(), body, hashlib.sha256).digest()
    return {
        "x-shopify-topic": "orders/create",
        "x-shopify-shop-domain": "birch.myshopify.com",
        "x-shopify-api-version": "2026-07",
        "x-shopify-webhook-id": webhook_id,
        "x-shopify-triggered-at": "2026-11-20T11:00:01.027877041Z",
        "x-shopify-hmac-sha256": base64.b64encode(digest).decode(),
        "content-type": "application/json",
    }


def inbox_states(factory: SessionFactory) -> list[InboxState]:
    with session_scope(factory) as session:
        return list(session.scalars(select(InboxMessage.state)))


@pytest.mark.requirement("SHOP-04", "RFM-04")
def test_a_signed_order_is_stored_and_counted_before_the_answer(
    client: TestClient, shop: Shop, session_factory: SessionFactory
) -> None:
    body = json.dumps(order()).encode()
    response = client.post("/webhooks/shopify", content=body, headers=signed(body))
    assert (response.status_code, response.json()) == (200, {"state": "applied"})
    with session_scope(session_factory) as session:
        assert session.scalars(select(Order.name)).all() == ["#5001"]
        assert session.scalars(select(CustomerStatistics.order_count)).all() == [1]
        assert session.scalars(select(Customer.consent_state)).all() == [None]


@pytest.mark.requirement("SHOP-05")
def test_the_same_delivery_twice_is_one(
    client: TestClient, shop: Shop, session_factory: SessionFactory
) -> None:
    body = json.dumps(order()).encode()
    statuses = [
        client.post("/webhooks/shopify", content=body, headers=signed(body)).status_code
        for _ in range(2)
    ]
    assert statuses == [200, 200]
    assert inbox_states(session_factory) == [InboxState.APPLIED]


@pytest.mark.requirement("SHOP-04")
def test_a_wrong_signature_is_refused_and_nothing_is_stored(
    client: TestClient, shop: Shop, session_factory: SessionFactory
) -> None:
    body = json.dumps(order()).encode()
    for headers in (signed(body, secret="other"), signed(body + b" "), {}):
        response = client.post("/webhooks/shopify", content=body, headers=headers)
        assert response.status_code == 401
    assert inbox_states(session_factory) == []


@pytest.mark.requirement("SHOP-04")
def test_a_signed_body_that_cannot_be_read_is_kept_and_answered_200(
    client: TestClient, shop: Shop, session_factory: SessionFactory
) -> None:
    body = b'{"id": "not an order'
    response = client.post("/webhooks/shopify", content=body, headers=signed(body))
    assert (response.status_code, response.json()) == (200, {"state": "failed"})
    assert inbox_states(session_factory) == [InboxState.FAILED]


def chunks(size: int) -> Iterator[bytes]:
    for _ in range(size // 65536 + 1):
        yield b"x" * 65536


@pytest.mark.requirement("SHOP-04")
@pytest.mark.parametrize("path", ["/webhooks/shopify", "/webhooks/resend"])
def test_an_oversize_body_is_refused_whether_announced_or_not(
    client: TestClient, shop: Shop, session_factory: SessionFactory, path: str
) -> None:
    announced = b"x" * (LIMIT + 1)
    assert client.post(path, content=announced, headers=signed(b"")).status_code == 413
    assert client.post(path, content=chunks(LIMIT), headers=signed(b"")).status_code == 413
    assert inbox_states(session_factory) == []


def test_a_body_of_exactly_the_limit_is_read(
    client: TestClient, shop: Shop, session_factory: SessionFactory
) -> None:
    body = json.dumps(order()).encode().ljust(LIMIT)
    response = client.post("/webhooks/shopify", content=body, headers=signed(body))
    assert response.json() == {"state": "applied"}


def event(settings: Settings, body: bytes, *, event_id: str) -> dict[str, str]:
    assert settings.resend_webhook_secret
    key = base64.b64decode(settings.resend_webhook_secret.get_secret_value().removeprefix("whsec_"))
    sent_at = str(int(time.time()))
    content = f"{event_id}.{sent_at}.".encode() + body
    digest = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return {"svix-id": event_id, "svix-timestamp": sent_at, "svix-signature": f"v1,{digest}"}


def delivered() -> bytes:
    data = {"email_id": str(uuid.uuid4()), "to": ["grace@example.com"], "subject": "Hello"}
    return json.dumps(
        {"type": "email.delivered", "created_at": "2026-11-20T12:00:00.126Z", "data": data}
    ).encode()


def test_a_signed_event_is_stored_once_even_before_its_message_is_known(
    client: TestClient, settings: Settings, session_factory: SessionFactory
) -> None:
    body = delivered()
    for _ in range(2):
        headers = event(settings, body, event_id="msg_1")
        assert client.post("/webhooks/resend", content=body, headers=headers).status_code == 200
    with session_scope(session_factory) as session:
        assert session.scalars(select(DeliveryEvent.state)).all() == [EventState.STORED]


def test_an_event_with_a_wrong_signature_is_refused(
    client: TestClient, settings: Settings, session_factory: SessionFactory
) -> None:
    headers = event(settings, delivered(), event_id="msg_1")
    response = client.post("/webhooks/resend", content=delivered(), headers=headers)
    assert response.status_code == 401
    with session_scope(session_factory) as session:
        assert session.scalar(select(func.count()).select_from(DeliveryEvent)) == 0


def test_a_client_that_sends_everything_before_it_reads_gets_the_413(
    app: FastAPI, shop: Shop
) -> None:
    # The connection was closed under the client's feet: it saw a reset, not the answer.
    server = Server(Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        address = server.servers[0].sockets[0].getsockname()
        with socket.create_connection(address, timeout=30) as connection:
            head = "POST /webhooks/shopify HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            size = 20 * 1024 * 1024
            connection.sendall(f"{head}content-length: {size}\r\n\r\n".encode() + b"x" * size)
            answer = connection.recv(65536)
    finally:
        server.should_exit = True
        thread.join()
    assert answer.startswith(b"HTTP/1.1 413 ")
