"""Changes that the product makes in Shopify: tags and consent."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from sandbox.clock import ManualClock, utc_z
from tests.sandbox.support import Running, document, wait_for

ADD, REMOVE = document("tags_add"), document("tags_remove")
CONSENT = document("customer_consent_update")
CUSTOMERS = document("customers_by_id")
ANN = "gid://shopify/Customer/1"
NOBODY = "gid://shopify/Customer/404"


def customer(sandbox: Running, id_: str = ANN) -> dict[str, Any]:
    found: dict[str, Any] = sandbox.data(CUSTOMERS, {"ids": [id_]})["nodes"][0]
    return found


def change(sandbox: Running, document_: str, tags: Any, id_: str = ANN) -> dict[str, Any]:
    (answer,) = sandbox.data(document_, {"id": id_, "tags": tags}).values()
    assert isinstance(answer, dict)
    return answer


def consent(
    sandbox: Running,
    state: str,
    level: str | None = None,
    at: str | None = None,
    id_: str = ANN,
) -> dict[str, Any]:
    asked = {"marketingState": state, "marketingOptInLevel": level, "consentUpdatedAt": at}
    given = {name: value for name, value in asked.items() if value is not None}
    return sandbox.ask(CONSENT, {"input": {"customerId": id_, "emailMarketingConsent": given}})


def refusal(answer: dict[str, Any]) -> dict[str, Any]:
    result = answer["data"]["customerEmailMarketingConsentUpdate"]
    assert result["customer"] is None
    (error,) = result["userErrors"]
    assert isinstance(error, dict)
    return error


@pytest.mark.requirement("SHOP-06")
def test_tags_are_split_kept_once_and_sorted(shop: Running) -> None:
    added = change(shop, ADD, ["Zebra, apple", "Red", "red", "A/B"])
    assert added == {"node": {"id": ANN}, "userErrors": []}
    # "a/b" was there first, so its spelling stays.
    assert customer(shop)["tags"] == ["a/b", "apple", "Red", "Zebra"]
    change(shop, REMOVE, ["ZEBRA,red", "never there"])
    assert customer(shop)["tags"] == ["a/b", "apple"]


def test_one_tag_is_taken_for_a_list_of_one(shop: Running) -> None:
    change(shop, ADD, "vip")
    assert "vip" in customer(shop)["tags"]


@pytest.mark.requirement("SHOP-06")
def test_tags_change_the_customer_s_time_and_are_announced_when_they_change(
    shop: Running,
) -> None:
    for topic in ("CUSTOMER_TAGS_ADDED", "CUSTOMER_TAGS_REMOVED"):
        shop.subscribe(topic)
    before = customer(shop)["updatedAt"]
    change(shop, ADD, ["vip"])
    assert customer(shop)["updatedAt"] > before
    change(shop, ADD, ["VIP"])  # it is there already
    change(shop, REMOVE, ["Vip"])
    received = wait_for(lambda: len(found := shop.receiver.on("/shopify")) == 2 and found)
    told = sorted(
        (each.headers["x-shopify-topic"], orjson.loads(each.body)["tags"]) for each in received
    )
    assert told == [("customer.tags_added", ["vip"]), ("customer.tags_removed", ["vip"])]


def test_a_customer_who_is_not_there_has_no_tags(quiet_shop: Running) -> None:
    for document_ in (ADD, REMOVE):
        assert change(quiet_shop, document_, ["vip"], NOBODY) == {
            "node": None,
            "userErrors": [{"field": ["id"], "message": "Customer does not exist"}],
        }


def test_what_takes_no_tags_is_not_found_and_other_things_are_not_built(
    quiet_shop: Running,
) -> None:
    wrong = quiet_shop.ask(ADD, {"id": "gid://shopify/Shop/1", "tags": ["vip"]})["errors"][0]
    assert (wrong["message"], wrong["extensions"]["code"]) == ("invalid id", "RESOURCE_NOT_FOUND")
    order = quiet_shop.ask(ADD, {"id": "gid://shopify/Order/1", "tags": ["vip"]})["errors"][0]
    assert order["message"] == "not in the sandbox: tags of the type Order"


def test_a_customer_has_at_most_250_tags(shop: Running) -> None:
    change(shop, ADD, [",".join(f"t{n:03}" for n in range(249))])
    assert len(customer(shop)["tags"]) == 250
    refused = change(shop, ADD, ["one more"])
    assert refused["node"] is None
    assert refused["userErrors"][0]["field"] == ["tags"]
    assert len(customer(shop)["tags"]) == 250


@pytest.mark.requirement("SHOP-06")
def test_consent_is_withdrawn_with_the_time_it_was_said_and_announced(shop: Running) -> None:
    shop.subscribe("CUSTOMERS_EMAIL_MARKETING_CONSENT_UPDATE")
    before = customer(shop)["updatedAt"]
    answer = consent(shop, "UNSUBSCRIBED", "SINGLE_OPT_IN", "2026-04-25T02:06:00Z")
    result = answer["data"]["customerEmailMarketingConsentUpdate"]
    assert result["userErrors"] == []
    assert result["customer"]["defaultEmailAddress"] == {
        "emailAddress": "c1@example.com",
        "marketingState": "UNSUBSCRIBED",
        "marketingOptInLevel": "SINGLE_OPT_IN",
        "marketingUpdatedAt": "2026-04-25T02:06:00Z",
    }
    assert customer(shop)["updatedAt"] > before
    (received,) = wait_for(lambda: shop.receiver.on("/shopify"))
    told = orjson.loads(received.body)["email_marketing_consent"]
    assert told["state"] == "unsubscribed"


@pytest.mark.requirement("SHOP-06")
def test_the_same_consent_said_again_changes_nothing_and_tells_nobody(shop: Running) -> None:
    shop.subscribe("CUSTOMERS_EMAIL_MARKETING_CONSENT_UPDATE")
    before = customer(shop)
    answer = consent(shop, "SUBSCRIBED", "SINGLE_OPT_IN", "2026-04-25T02:06:00Z")
    assert answer["data"]["customerEmailMarketingConsentUpdate"]["userErrors"] == []
    assert customer(shop) == before
    with shop.world.store.read() as db:
        assert db.execute("select count(*) from deliveries").fetchone()[0] == 0


@pytest.mark.parametrize(
    ("state", "level", "message", "code"),
    [
        ("SUBSCRIBED", None, "Marketing opt in level must exist", "MISSING_ARGUMENT"),
        (
            *("PENDING", "SINGLE_OPT_IN"),
            "Marketing opt in level must be confirmed opt-in for pending consent state",
            "INVALID",
        ),
    ],
)
def test_consent_without_the_right_level_is_refused(
    quiet_shop: Running, state: str, level: str | None, message: str, code: str
) -> None:
    assert refusal(consent(quiet_shop, state, level)) == {
        "field": ["input", "emailMarketingConsent", "marketingOptInLevel"],
        "message": message,
        "code": code,
    }
    assert customer(quiet_shop)["defaultEmailAddress"]["marketingState"] == "SUBSCRIBED"


def test_consent_of_the_future_is_refused(start: Callable[..., Any], folder: Path) -> None:
    clock = ManualClock(time.time())
    with start(clock=clock) as sandbox:
        sandbox.load(folder)
        later = utc_z(clock.now() + 60)
        error = refusal(consent(sandbox, "UNSUBSCRIBED", "SINGLE_OPT_IN", later))
        assert error["field"] == ["input", "emailMarketingConsent", "consentUpdatedAt"]
        assert error["message"] == "Consent updated at must not be in the future"
        clock.move(60)
        answer = consent(sandbox, "UNSUBSCRIBED", "SINGLE_OPT_IN", later)
        assert answer["data"]["customerEmailMarketingConsentUpdate"]["userErrors"] == []


def test_the_consent_of_nobody_is_not_found(quiet_shop: Running) -> None:
    assert refusal(consent(quiet_shop, "UNSUBSCRIBED", id_=NOBODY)) == {
        "field": ["input", "customerId"],
        "message": "Customer not found",
        "code": "INVALID",
    }


@pytest.mark.parametrize("state", ["NOT_SUBSCRIBED", "REDACTED", "INVALID"])
def test_a_state_that_only_shopify_sets_is_refused(quiet_shop: Running, state: str) -> None:
    answer = consent(quiet_shop, state)
    assert answer["data"] == {"customerEmailMarketingConsentUpdate": None}
    (error,) = answer["errors"]
    assert error["message"] == f"Cannot specify {state} as a marketing state input"
    assert error["extensions"]["code"] == "INVALID"


def test_who_has_no_address_keeps_having_no_consent(shop: Running) -> None:
    with shop.world.store.write() as db:
        body = orjson.loads(db.execute("select body from customers where num = 1").fetchone()[0])
        gone = orjson.dumps(body | {"defaultEmailAddress": None})
        db.execute("update customers set body = ?, email = null where num = 1", [gone])
    before = customer(shop)
    answer = consent(shop, "UNSUBSCRIBED")["data"]["customerEmailMarketingConsentUpdate"]
    assert answer["userErrors"] == []
    assert answer["customer"]["defaultEmailAddress"] is None
    assert customer(shop) == before


@pytest.mark.requirement("SHOP-01")
def test_without_the_scope_nothing_is_written(shop: Running) -> None:
    shop.fault(shopify_missing_scopes="write_customers")
    answer = shop.ask(ADD, {"id": ANN, "tags": ["vip"]})
    assert answer["data"] == {"tagsAdd": None}
    assert answer["errors"][0]["extensions"]["code"] == "ACCESS_DENIED"
    assert customer(shop)["tags"] == ["a/b"]
