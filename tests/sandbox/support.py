"""Helpers of the sandbox's tests: a running sandbox to talk to, and made-up records."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from core.shopify import documents
from sandbox.shop_folder import (
    Shop,
    ShopFolderWriter,
    Totals,
    checkout_item_record,
    checkout_record,
    customer_record,
    email_record,
    line_item_record,
    order_record,
    product_record,
    recovery_url,
)
from sandbox.world import World

DOMAIN = "try.myshopify.com"
BUYER = {"email": "new@example.com", "first_name": "Zoë", "consent": "SUBSCRIBED"}
SECRET = "shpss_made_up"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY = "re_made_up"
THEN = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Takes webhooks; answers with the first of `answers`, 200 when there is none left."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    def on(self, path: str) -> list[Received]:
        return [each for each in self.received if each.path == path]


@dataclass
class Running:
    """A sandbox that answers at `url`."""

    url: str
    world: World
    client: httpx.Client
    receiver: Receiver

    @property
    def shop_url(self) -> str:
        return f"/shopify/{DOMAIN}"

    def load(self, folder: Path, **how: bool) -> httpx.Response:
        return self.client.post("/_sandbox/shops", json={"folder": str(folder), **how})

    def token(self) -> str:
        answer = self.client.post(
            f"{self.shop_url}/admin/oauth/access_token",
            data={"grant_type": "client_credentials", "client_id": "cid", "client_secret": SECRET},
        )
        return str(answer.json()["access_token"])

    def ask(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = self.client.post(
            f"{self.shop_url}/admin/api/2026-07/graphql.json",
            json={"query": query, "variables": variables or {}},
            headers={"X-Shopify-Access-Token": self.token()},
        )
        assert answer.status_code == 200, answer.text
        data: dict[str, Any] = answer.json()
        return data

    def data(self, query: str, variables: dict[str, Any] | None = None) -> Any:
        answer = self.ask(query, variables)
        assert "errors" not in answer, answer
        return answer["data"]

    def subscribe(self, topic: str) -> None:
        made = self.data(
            document("webhook_subscription_create"),
            {
                "topic": topic,
                "webhookSubscription": {"uri": f"{self.receiver.url}/shopify", "format": "JSON"},
            },
        )
        assert made["webhookSubscriptionCreate"]["userErrors"] == []

    def place(self, **order: Any) -> dict[str, Any]:
        answer = self.client.post(f"/_sandbox/shops/{DOMAIN}/orders", json=order)
        assert answer.status_code == 201, answer.text
        placed: dict[str, Any] = answer.json()
        return placed

    def send(self, *to: str, key: str | None = None, **more: Any) -> httpx.Response:
        return self.post_mail("/resend/emails", mail(*to, **more), key=key)

    def post_mail(self, path: str, body: Any, *, key: str | None = None) -> httpx.Response:
        headers = resend_headers() | ({"Idempotency-Key": key} if key else {})
        return self.client.post(path, json=body, headers=headers)

    def oracle(self, since: str = "2026-06-01T00:00:00Z") -> dict[str, Any]:
        answer = self.client.get(f"/_sandbox/shops/{DOMAIN}/oracle", params={"since": since})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def fault(self, **knobs: Any) -> None:
        answer = self.client.post("/_sandbox/faults", json=knobs)
        assert answer.status_code == 200, answer.text


RUN_BULK = documents.load("bulk_operation_run")
POLL_BULK = documents.load("bulk_operation")


def submit(sandbox: Running, query: str) -> dict[str, Any]:
    """The answer to a bulk query: `bulkOperation` and `userErrors`."""
    answer: dict[str, Any] = sandbox.data(RUN_BULK, {"query": query})["bulkOperationRunQuery"]
    return answer


def poll(sandbox: Running, id_: str) -> dict[str, Any]:
    answer: dict[str, Any] = sandbox.data(POLL_BULK, {"id": id_})["bulkOperation"]
    return answer


def run(
    sandbox: Running, query: str, filter_: str = "", *, until: str = "COMPLETED"
) -> dict[str, Any]:
    """The operation when it has that status."""
    id_ = submit(sandbox, query.replace("$filter$", filter_))["bulkOperation"]["id"]
    done: dict[str, Any] = wait_for(
        lambda: (found := poll(sandbox, id_))["status"] == until and found
    )
    return done


def lines(url: str) -> list[bytes]:
    """What stands at the address, line by line."""
    return httpx.get(url, trust_env=False).content.splitlines(keepends=True)


def document(name: str) -> str:
    """One of the product's GraphQL documents, as it is sent."""
    return documents.load(name)


def resend_headers() -> dict[str, str]:
    return {"Authorization": f"Bearer {KEY}", "User-Agent": "tests"}


def mail(*to: str, **more: Any) -> dict[str, Any]:
    usual = {
        "from": "Try <hello@try.example>",
        "to": list(to) or ["ann@example.com"],
        "subject": "Welcome",
        "html": "<p>Welcome</p>",
        "text": "Welcome",
    }
    return usual | more


def wait_for(check: Callable[[], Any], *, seconds: float = 10.0) -> Any:
    """The first true value of `check`, asked again and again."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = check()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come true in time")


def write_folder(
    folder: Path, *, customers: int = 5, orders: int = 12, items: int = 3, checkouts: int = 4
) -> Path:
    about = Shop("Try & Error", DOMAIN, "EUR", "Europe/Berlin")
    with ShopFolderWriter(folder, about) as writer:
        totals = {number: Totals("EUR") for number in range(1, customers + 1)}
        for number in range(1, orders + 1):
            order = an_order(number, customer=1 + number % customers)
            lines = [a_line_item(number * 100 + place) for place in range(items)]
            writer.order(order, lines)
            totals[1 + number % customers].add(order, current=4990)
        for number in range(1, customers + 1):
            writer.customer(a_customer(number, totals=totals[number]))
        writer.product(a_product(7))
        for number in range(1, checkouts + 1):
            baskets = [a_checkout_item(number * 100 + place) for place in range(items)]
            writer.checkout(a_checkout(about, number), baskets)
    return folder


def a_customer(
    number: int, *, state: str = "SUBSCRIBED", totals: Totals | None = None
) -> dict[str, Any]:
    return customer_record(
        number,
        first_name="Ann & Jo",
        last_name=None,
        locale="en",
        tags=["a/b"],
        created_at=THEN,
        updated_at=THEN.replace(day=number % 28 + 1),
        email=email_record(f"c{number}@example.com", state, asked_at=THEN),
        totals=totals,
    )


def an_order(number: int, *, customer: int | None = 1) -> dict[str, Any]:
    return order_record(
        number,
        name=f"#{1000 + number}",
        email=f"c{customer}@example.com",
        created_at=THEN.replace(day=number % 28 + 1),
        updated_at=THEN.replace(day=number % 28 + 1, hour=15),
        status="PAID",
        currency="EUR",
        total=4990,
        current=4990,
        refunded=0,
        customer=customer,
    )


def a_line_item(number: int) -> dict[str, Any]:
    return line_item_record(
        number,
        title="Salt & Pepper 50/50",
        variant_title=None,
        sku="S-1",
        quantity=1,
        current_quantity=1,
        product=7,
        unit_price=1663,
        currency="EUR",
    )


def a_product(number: int) -> dict[str, Any]:
    return product_record(
        number,
        title="Salt & Pepper 50/50",
        handle="salt-pepper-50-50",
        created_at=THEN,
        updated_at=THEN,
        vendor="Try & Error",
        image_url="http://127.0.0.1/salt.png",
    )


def a_checkout(shop: Shop, number: int) -> dict[str, Any]:
    """Left by customer 1; every second one was taken up again."""
    return checkout_record(
        number,
        recovery_url=recovery_url(shop, f"token{number}"),
        created_at=THEN.replace(day=number),
        updated_at=THEN.replace(day=number, hour=18),
        completed_at=None if number % 2 else THEN.replace(day=number, hour=18),
        currency="EUR",
        total=4990,
        subtotal=4500,
        customer=1,
        address="c1@example.com",
    )


def a_checkout_item(number: int) -> dict[str, Any]:
    return checkout_item_record(
        number,
        title="Salt & Pepper 50/50",
        variant_title=None,
        sku="S-1",
        quantity=2,
        product=7,
        unit_price=1663,
        currency="EUR",
    )


def happens(sandbox: Running, path: str, status: int = 200, **asked: Any) -> dict[str, Any]:
    answer = sandbox.client.post(f"/_sandbox/shops/{DOMAIN}/{path}", json=asked)
    assert answer.status_code == status, answer.text
    done: dict[str, Any] = answer.json()
    return done
