from typing import Any

import orjson
import pytest

from sandbox.clock import epoch
from tests.sandbox.support import DOMAIN, Running, mail, resend_headers, wait_for

SINCE = "2026-06-01T00:00:00Z"


def play(shop: Running, **asked: Any) -> dict[str, Any]:
    body = {"first_sync_started_at": SINCE, "spread_seconds": 0.2} | asked
    answer = shop.client.post(f"/_sandbox/shops/{DOMAIN}/scenario", json=body)
    assert answer.status_code == 201, answer.text
    played: dict[str, Any] = answer.json()
    return played


@pytest.mark.requirement("PIPE-01")
def test_the_scenario_has_every_kind_shuffled_and_a_fifth_twice(shop: Running) -> None:
    shop.subscribe("ORDERS_CREATE")
    played = play(shop, orders=60, seed=7)
    assert played["orders"] >= 60
    assert played["repeated"] == round(played["orders"] * 0.2)
    assert all(count >= 1 for count in played["kinds"].values())
    assert set(played["kinds"]) == {
        "new_subscribed",
        "new_unsubscribed",
        "new_not_subscribed",
        "consent_unknown_at_first",
        "returning",
        "test",
        "cancelled",
        "historical",
        "new_after_historical",
        "guest",
        "new_twice",
    }
    received = wait_for(
        lambda: len(shop.receiver.received) == played["deliveries"] and shop.receiver.received
    )
    ids = [each.headers["x-shopify-webhook-id"] for each in received]
    assert len(set(ids)) == played["orders"]
    numbers = [orjson.loads(each.body)["id"] for each in received]
    assert numbers != sorted(numbers)


def test_the_oracle_owes_exactly_the_new_subscribed_buyers(shop: Running) -> None:
    kinds = play(shop, orders=60)["kinds"]
    owed = kinds["new_subscribed"] + kinds["consent_unknown_at_first"] + kinds["new_twice"] // 2
    verdict = shop.oracle(SINCE)
    assert verdict["emails_expected"] == verdict["lost"] == owed


def test_mailing_everyone_is_seen_to_be_wrong(shop: Running) -> None:
    """A product that mails every customer once: only the owed mails are not forbidden."""
    shop.fault(resend_rate_per_second=1000)
    play(shop, orders=60)
    with shop.world.store.read() as db:
        addresses = [email for (email,) in db.execute("select email from customers order by num")]
    for start in range(0, len(addresses), 100):
        batch = [mail(address) for address in addresses[start : start + 100]]
        answer = shop.client.post("/resend/emails/batch", json=batch, headers=resend_headers())
        assert answer.status_code == 200
    verdict = shop.oracle(SINCE)
    unread = 6  # subscribed, but nobody could know it yet
    assert verdict["emails_accepted"] == len(addresses)
    assert verdict["emails_forbidden"] == len(addresses) - verdict["emails_expected"] + unread
    assert (verdict["lost"], verdict["duplicates"]) == (0, 0)


def test_historical_orders_lie_before_the_first_sync(shop: Running) -> None:
    play(shop, orders=60)
    with shop.world.store.read() as db:
        rows = db.execute(
            """select processed_at from orders join customers on customers.shop = orders.shop
               and customers.num = orders.customer where placed_at > 0 and email like 'smoke-%'
               and processed_at < ?""",
            [epoch(SINCE)],
        ).fetchall()
    assert len(rows) == 3 + 1


def test_a_shop_without_earlier_buyers_gets_its_orders_all_the_same(shop: Running) -> None:
    played = play(shop, orders=80, first_sync_started_at="2020-01-01T00:00:00Z")
    assert "returning" not in played["kinds"]
    assert played["orders"] >= 80


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"orders": 0}, "orders"),
        ({"seed": "x"}, "seed"),
        ({"first_sync_started_at": "2099-01-01T00:00:00Z"}, "future"),
        ({"speed": 1}, "unknown: speed"),
    ],
)
def test_a_scenario_asked_wrongly_is_refused(
    quiet_shop: Running, asked: dict[str, Any], words: str
) -> None:
    answer = quiet_shop.client.post(f"/_sandbox/shops/{DOMAIN}/scenario", json=asked)
    assert answer.status_code == 422
    assert words in answer.json()["error"]


def test_the_oracle_wants_to_know_the_flow_and_the_moment(quiet_shop: Running) -> None:
    url = f"/_sandbox/shops/{DOMAIN}/oracle"
    assert quiet_shop.client.get(url).status_code == 422
    other = quiet_shop.client.get(url, params={"flow": "vip", "since": SINCE})
    assert (other.status_code, other.json()["error"]) == (501, "not in the sandbox: the flow vip")
    missing = quiet_shop.client.get("/_sandbox/shops/no.myshopify.com/oracle?since=" + SINCE)
    assert missing.status_code == 404


def test_a_plus_that_a_query_string_ate_is_understood(quiet_shop: Running) -> None:
    url = f"/_sandbox/shops/{DOMAIN}/oracle?since=2026-06-01T00:00:00+00:00"
    assert quiet_shop.client.get(url).status_code == 200
