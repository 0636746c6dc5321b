"""The webhook knobs, and what the control API refuses."""

from typing import Any

import pytest

from sandbox.config import OPTIONAL, from_environment
from tests.sandbox.support import BUYER, Running, happens


@pytest.mark.requirement("SHOP-05")
def test_knobs_repeat_delay_and_shuffle_every_webhook(all_topics: Running) -> None:
    all_topics.fault(webhook_copies=2, webhook_delay_seconds=30, webhook_shuffle_seconds=60)
    before = all_topics.world.clock.now()
    for _ in range(20):
        all_topics.place(customer=BUYER)
    with all_topics.world.store.read() as db:
        rows = db.execute(
            "select message_id, next_at from deliveries where topic = 'orders/create' order by num"
        ).fetchall()
    assert len(rows) == 40
    assert len({row["message_id"] for row in rows}) == 20
    due = [row["next_at"] for row in rows]
    assert min(due) >= before + 30
    assert max(due) <= all_topics.world.clock.now() + 90
    assert due != sorted(due)
    answer = all_topics.client.post("/_sandbox/faults", json={"webhook_copies": 0})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("path", "asked", "words"),
    [
        ("orders/1/edit", {}, "changes nothing"),
        ("orders/1/edit", {"quantities": {"x": 1}}, "numbers of lines"),
        ("orders/1/edit", {"quantities": {"9": 1}}, "no line 9"),
        ("orders/1/edit", {"quantities": {"100": -1}}, "0 to 1000"),
        ("orders/1/edit", {"add": [{"price": 5}]}, "amount as a text"),
        ("orders/999/edit", {"add": [{"price": "5"}]}, "no order 999"),
        ("checkouts", {"customer": None}, "has a customer"),
        ("checkouts", {"customer": {"email": "a@example.com"}, "lines": []}, "1 to 50 lines"),
        ("checkouts/none/update", {"lines": [{"price": "1"}]}, "no checkout none"),
        ("checkouts/none/update", {}, "lines must be given"),
        ("customers/1/tags", {"add": "vip"}, "list of texts"),
        ("customers/1/change", {}, "nothing to change"),
        ("customers/1/change", {"email": "no address"}, "email must be an address"),
        ("customers/1/change", {"phone": 1}, "text or null"),
        ("customers/404/delete", {}, "no customer 404"),
        ("customers/1/merge", {"customer": 2}, "customer's gid"),
        ("customers/1/redact", {"erase": "yes"}, "true or false"),
        ("customers/404/data_request", {}, "no customer 404"),
        ("customers/1/consent", {"consent": ["SUBSCRIBED"]}, "must be one of"),
    ],
)
def test_what_is_asked_wrongly_is_refused_with_the_reason(
    quiet_shop: Running, path: str, asked: dict[str, Any], words: str
) -> None:
    assert words in happens(quiet_shop, path, 422, **asked)["error"]


def test_the_config_names_the_compliance_address() -> None:
    environ = {
        "SANDBOX_CLIENT_ID": "a",
        "SANDBOX_CLIENT_SECRET": "b",
        "SANDBOX_RESEND_API_KEY": "c",
        "SANDBOX_RESEND_WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    }
    assert "SANDBOX_COMPLIANCE_URL" in OPTIONAL
    assert from_environment(environ).compliance_url is None
    given = from_environment(environ | {"SANDBOX_COMPLIANCE_URL": "http://127.0.0.1:1/x"})
    assert given.compliance_url == "http://127.0.0.1:1/x"
