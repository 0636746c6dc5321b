"""What can be let happen in a shop, and what Shopify would tell of it."""

from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest

from sandbox.shopify.webhooks import COMPLIANCE_TOPICS
from tests.sandbox.support import BUYER, DOMAIN, Running, document, happens, wait_for

LINES = [
    {"title": "Teapot", "price": "20.00", "quantity": 2, "sku": "T-1", "product": 7},
    {"title": "Cup", "price": "5.50", "sku": "C-1", "product": 8},
]


def told(
    sandbox: Running,
    topic: str,
    path: str = "/shopify",
    *,
    when: Callable[[dict[str, Any]], Any] = lambda _: True,
) -> dict[str, Any]:
    """The newest body of the topic, once there is one that suits; they may come in any order."""

    def found() -> list[dict[str, Any]]:
        came = [x for x in sandbox.receiver.on(path) if x.headers["x-shopify-topic"] == topic]
        return [body for body in (orjson.loads(each.body) for each in came) if when(body)]

    body: dict[str, Any] = wait_for(found)[-1]
    return body


def bulk(sandbox: Running, query: str) -> list[dict[str, Any]]:
    """The lines of the result."""
    asked = sandbox.data(document("bulk_operation_run"), {"query": query.replace("$filter$", "")})
    ask = {"id": asked["bulkOperationRunQuery"]["bulkOperation"]["id"]}
    url = wait_for(lambda: sandbox.data(document("bulk_operation"), ask)["bulkOperation"]["url"])
    content = httpx.get(url, trust_env=False).content
    return [orjson.loads(line) for line in content.splitlines()]


def number(gid: str) -> int:
    return int(gid.rpartition("/")[2])


def node(sandbox: Running, gid: str) -> dict[str, Any] | None:
    name = "customers_by_id" if "Customer" in gid else "orders_by_id"
    found: dict[str, Any] | None = sandbox.data(document(name), {"ids": [gid]})["nodes"][0]
    return found


def lines_of(sandbox: Running, order: str) -> dict[str, dict[str, Any]]:
    found = node(sandbox, order)
    assert found is not None
    return {line["title"]: line for line in found["lineItems"]["nodes"]}


# ------------------------------------------------------------------ orders


@pytest.mark.requirement("SHOP-04")
def test_an_edit_says_which_lines_changed_and_not_what_the_order_is(all_topics: Running) -> None:
    order = all_topics.place(customer=BUYER, lines=LINES)["order"]
    pots = number(lines_of(all_topics, order)["Teapot"]["id"])
    spoon = {"title": "Spoon", "price": "3.00", "quantity": 2}
    happens(all_topics, f"orders/{number(order)}/edit", quantities={str(pots): 1}, add=[spoon])
    after = lines_of(all_topics, order)
    assert (after["Teapot"]["quantity"], after["Teapot"]["currentQuantity"]) == (2, 1)
    edit = told(all_topics, "orders/edited")["order_edit"]
    assert edit["order_id"] == number(order)
    assert edit["line_items"] == {
        "additions": [{"id": number(after["Spoon"]["id"]), "delta": 2}],
        "removals": [{"id": pots, "delta": 1}],
    }
    updated = told(all_topics, "orders/updated")
    assert (updated["total_price"], updated["current_total_price"]) == ("45.50", "31.50")
    assert [line["current_quantity"] for line in updated["line_items"]] == [1, 1, 2]


def test_more_units_than_were_ordered_raise_the_quantity(all_topics: Running) -> None:
    order = all_topics.place(customer=BUYER, lines=LINES)["order"]
    cups = number(lines_of(all_topics, order)["Cup"]["id"])
    happens(all_topics, f"orders/{number(order)}/edit", quantities={str(cups): 3})
    after = lines_of(all_topics, order)["Cup"]
    assert (after["quantity"], after["currentQuantity"]) == (3, 3)
    assert told(all_topics, "orders/updated")["current_total_price"] == "56.50"


@pytest.mark.requirement("SHOP-04")
def test_a_deleted_order_is_known_by_its_number_alone_and_cannot_be_read(
    all_topics: Running,
) -> None:
    order = all_topics.place(customer=BUYER)["order"]
    happens(all_topics, f"orders/{number(order)}/delete")
    assert told(all_topics, "orders/delete") == {"id": number(order)}
    assert node(all_topics, order) is None
    happens(all_topics, f"orders/{number(order)}/delete", 422)


@pytest.mark.requirement("SHOP-04")
def test_a_refund_is_told_without_its_order_and_stands_in_the_order_from_then_on(
    all_topics: Running,
) -> None:
    order = all_topics.place(customer=BUYER, total="50.00")["order"]
    for part in ("20.00", "5.25"):
        done = happens(all_topics, f"orders/{number(order)}/refund", amount=part)
    refund = told(
        all_topics, "refunds/create", when=lambda x: x["admin_graphql_api_id"] == done["refund"]
    )
    assert refund["order_id"] == number(order)
    assert not {"order", "customer", "email"} & refund.keys()
    updated = told(all_topics, "orders/updated", when=lambda order: len(order["refunds"]) > 1)
    paid_back = [each["transactions"][0]["amount"] for each in updated["refunds"]]
    assert paid_back == ["20.00", "5.25"]
    read = node(all_topics, order)
    assert read is not None
    money = [each["totalRefundedSet"]["shopMoney"]["amount"] for each in read["refunds"]]
    assert money == ["20.0", "5.25"]
    assert read["currentTotalPriceSet"]["shopMoney"]["amount"] == "24.75"


def test_a_body_about_an_order_names_the_shop(all_topics: Running) -> None:
    all_topics.place(customer=BUYER)
    assert told(all_topics, "orders/create")["order_status_url"].startswith(f"https://{DOMAIN}/1/")


# ------------------------------------------------------------------ checkouts


@pytest.mark.requirement("SHOP-04")
def test_a_checkout_goes_from_the_till_to_an_order_with_the_same_token(
    all_topics: Running,
) -> None:
    begun = happens(all_topics, "checkouts", 201, customer=BUYER, lines=LINES)
    body = told(all_topics, "checkouts/create")
    assert body["token"] == begun["token"]
    assert f"/checkouts/ac/{begun['token']}/recover?" in body["abandoned_checkout_url"]
    assert not {"id", "admin_graphql_api_id"} & body.keys()
    assert (body["email"], body["total_price"], body["completed_at"]) == (
        "new@example.com",
        "45.50",
        None,
    )
    assert [line["product_id"] for line in body["line_items"]] == [7, 8]
    happens(all_topics, f"checkouts/{begun['token']}/update", lines=LINES[:1])
    assert told(all_topics, "checkouts/update")["total_price"] == "40.00"
    bought = happens(all_topics, f"checkouts/{begun['token']}/complete", 201)
    order = told(all_topics, "orders/create")
    assert order["checkout_token"] == begun["token"]
    assert "checkout_id" not in order
    assert order["customer"]["admin_graphql_api_id"] == begun["customer"] == bought["customer"]
    assert [line["title"] for line in order["line_items"]] == ["Teapot"]
    assert told(all_topics, "checkouts/update", when=lambda body: body["completed_at"])
    happens(all_topics, f"checkouts/{begun['token']}/complete", 422)
    happens(all_topics, f"checkouts/{begun['token']}/update", 422, lines=LINES)


@pytest.mark.requirement("SHOP-02")
def test_a_left_checkout_is_in_the_bulk_results_until_it_is_deleted(all_topics: Running) -> None:
    buyer = {"id": "gid://shopify/Customer/2"}
    begun = happens(all_topics, "checkouts", 201, customer=buyer, lines=LINES)

    def found() -> list[dict[str, Any]]:
        """The checkout with its children, as the bulk result has them."""
        all_lines = bulk(all_topics, document("bulk_checkouts"))
        return [x for x in all_lines if begun["checkout"] in (x["id"], x.get("__parentId"))]

    root = next(line for line in found() if "__parentId" not in line)
    assert f"/{begun['token']}/recover?" in root["abandonedCheckoutUrl"]
    assert root["customer"]["id"] == begun["customer"] == buyer["id"]
    assert sorted(x["title"] for x in found() if "__parentId" in x) == ["Cup", "Teapot"]
    happens(all_topics, f"checkouts/{begun['token']}/delete")
    gone, was = told(all_topics, "checkouts/delete"), told(all_topics, "checkouts/create")
    assert "token" not in gone
    assert gone["id"] == number(begun["checkout"])
    assert gone["cart_token"] == was["cart_token"]
    assert was["name"] == f"#{gone['id']}"
    assert found() == []


# ------------------------------------------------------------------ customers


@pytest.mark.requirement("SHOP-04")
def test_a_deleted_customer_leaves_and_their_orders_stay(all_topics: Running) -> None:
    placed = all_topics.place(customer=BUYER)
    token = happens(all_topics, "checkouts", 201, customer=BUYER)["token"]
    happens(all_topics, f"customers/{number(placed['customer'])}/delete")
    body = told(all_topics, "customers/delete")
    assert body["admin_graphql_api_id"] == placed["customer"]
    assert body.keys() == {"id", "admin_graphql_api_id", "tax_exemptions"}
    assert node(all_topics, placed["customer"]) is None
    order = node(all_topics, placed["order"])
    assert order is not None
    assert order["customer"] is None
    happens(all_topics, f"checkouts/{token}/complete", 422)
    assert all_topics.place(customer=BUYER)["customer"] != placed["customer"]


@pytest.mark.requirement("SHOP-04")
def test_two_merged_customers_are_one_with_the_orders_and_tags_of_both(
    all_topics: Running,
) -> None:
    kept = all_topics.place(customer=BUYER)
    gone = all_topics.place(customer={"email": "other@example.com", "consent": "UNSUBSCRIBED"})
    happens(all_topics, f"customers/{number(kept['customer'])}/tags", add=["Red", "b"])
    happens(all_topics, f"customers/{number(gone['customer'])}/tags", add=["red", "A"])
    before = node(all_topics, gone["order"])
    happens(all_topics, f"customers/{number(kept['customer'])}/merge", customer=gone["customer"])
    assert told(all_topics, "customers/merge") == {
        "admin_graphql_api_customer_kept_id": kept["customer"],
        "admin_graphql_api_customer_deleted_id": gone["customer"],
        "admin_graphql_api_job_id": None,
        "status": "completed",
        "errors": [],
    }
    assert node(all_topics, gone["customer"]) is None
    survivor, moved = node(all_topics, kept["customer"]), node(all_topics, gone["order"])
    assert survivor is not None
    assert moved is not None
    assert before is not None
    assert survivor["tags"] == ["A", "b", "Red"]
    assert survivor["numberOfOrders"] == "2"
    assert survivor["defaultEmailAddress"]["marketingState"] == "SUBSCRIBED"
    assert moved["customer"] == {"id": kept["customer"]}
    # An incremental sync does not see the order again: whoever missed the webhook stays wrong.
    assert moved["updatedAt"] == before["updatedAt"]
    assert told(all_topics, "customer.tags_added", when=lambda body: body["tags"] == ["A"])


def test_a_merge_that_failed_is_told_of_and_changes_nothing(all_topics: Running) -> None:
    other = "gid://shopify/Customer/2"
    done = happens(all_topics, "customers/1/merge", customer=other, fails=True)
    assert done["deleted"] is None
    body = told(all_topics, "customers/merge")
    assert body["status"] == "failed"
    assert body["errors"][0]["field"] == "merge_in_progress"
    assert node(all_topics, other) is not None


def test_shopify_keeps_the_customer_who_has_an_address(all_topics: Running) -> None:
    happens(all_topics, "customers/1/change", email=None)
    answer = happens(all_topics, "customers/1/merge", 422, customer="gid://shopify/Customer/2")
    assert "who has an address" in answer["error"]
    happens(all_topics, "customers/1/merge", 422, customer="gid://shopify/Customer/1")


@pytest.mark.requirement("SHOP-06")
def test_tags_are_told_as_what_came_and_what_went(all_topics: Running) -> None:
    done = happens(all_topics, "customers/1/tags", add=["VIP, Gold", "vip"], remove=["A/B"])
    assert done["tags"] == ["Gold", "VIP"]
    added, removed = (
        told(all_topics, "customer.tags_added"),
        told(all_topics, "customer.tags_removed"),
    )
    assert added.keys() == {"customerId", "tags", "occurredAt"}
    assert added["customerId"] == "gid://shopify/Customer/1"
    assert (added["tags"], removed["tags"]) == (["Gold", "VIP"], ["a/b"])
    assert not {"tags", "email_marketing_consent"} & told(all_topics, "customers/update").keys()


def test_tags_that_change_nothing_are_told_to_nobody(all_topics: Running) -> None:
    assert happens(all_topics, "customers/1/tags", add=["A/B"])["webhook_id"] is None
    assert all_topics.client.get("/_sandbox/deliveries").json()["states"] == {}
    many = [f"t{count}" for count in range(250)]
    assert "at most 250" in happens(all_topics, "customers/1/tags", 422, add=many)["error"]


def test_a_customer_changes_name_address_and_phone(all_topics: Running) -> None:
    happens(
        all_topics,
        "customers/1/change",
        first_name="Åsa",
        email="asa@example.com",
        phone="+4915550001",
    )
    body = told(all_topics, "customers/update")
    assert (body["first_name"], body["email"], body["phone"]) == (
        "Åsa",
        "asa@example.com",
        "+4915550001",
    )
    taken = happens(all_topics, "customers/2/change", 422, email="ASA@example.com")
    assert "another customer" in taken["error"]


# ------------------------------------------------------------------ privacy and the app


@pytest.mark.requirement("CRM-04")
def test_a_request_for_data_goes_to_the_address_of_the_app(all_topics: Running) -> None:
    placed = all_topics.place(customer=BUYER)
    done = happens(all_topics, f"customers/{number(placed['customer'])}/data_request")
    body = told(all_topics, "customers/data_request", "/compliance")
    assert (body["shop_id"], body["shop_domain"]) == (1, DOMAIN)
    assert body["customer"] == {
        "id": number(placed["customer"]),
        "email": "new@example.com",
        "phone": None,
    }
    assert body["orders_requested"] == [number(placed["order"])]
    assert body["data_request"]["id"] > 0
    assert done["webhook_id"]


@pytest.mark.requirement("CRM-04")
@pytest.mark.parametrize("erase", [True, False])
def test_an_erasure_names_the_person_once_more_and_shopify_forgets_them(
    all_topics: Running, *, erase: bool
) -> None:
    placed = all_topics.place(customer=BUYER)
    happens(all_topics, f"customers/{number(placed['customer'])}/redact", erase=erase)
    body = told(all_topics, "customers/redact", "/compliance")
    assert body["customer"]["email"] == "new@example.com"
    assert body["orders_to_redact"] == [number(placed["order"])]
    customer, order = node(all_topics, placed["customer"]), node(all_topics, placed["order"])
    assert customer is not None
    assert order is not None
    assert (customer["defaultEmailAddress"] is None) == erase
    assert (order["email"] is None) == erase
    happens(all_topics, "redact")
    shop = told(all_topics, "shop/redact", "/compliance")
    assert shop == {"shop_id": 1, "shop_domain": DOMAIN}


@pytest.mark.requirement("CRM-04")
def test_whoever_was_deleted_can_still_be_erased_but_only_once(all_topics: Running) -> None:
    placed = all_topics.place(customer=BUYER)
    path = f"customers/{number(placed['customer'])}"
    happens(all_topics, f"{path}/delete")
    happens(all_topics, f"{path}/redact")
    body = told(all_topics, "customers/redact", "/compliance")
    assert body["customer"]["email"] == "new@example.com"
    assert body["orders_to_redact"] == [number(placed["order"])]
    assert "erased" in happens(all_topics, f"{path}/redact", 422)["error"]


def test_an_app_without_an_address_is_told_of_no_request(shop: Running) -> None:
    assert happens(shop, "customers/1/redact")["webhook_id"] is None
    assert shop.client.get("/_sandbox/deliveries").json()["states"] == {}


def test_nobody_can_subscribe_to_the_compliance_topics(quiet_shop: Running) -> None:
    for topic in COMPLIANCE_TOPICS:
        name = topic.replace("/", "_").upper()
        answer = quiet_shop.ask(
            document("webhook_subscription_create"),
            {"topic": name, "webhookSubscription": {"uri": "https://app.example/hooks"}},
        )
        assert "errors" in answer


@pytest.mark.requirement("SHOP-04")
def test_a_removed_app_is_told_so_and_has_neither_token_nor_subscriptions(
    all_topics: Running,
) -> None:
    token = all_topics.token()
    happens(all_topics, "uninstall")
    body = told(all_topics, "app/uninstalled")
    assert (body["id"], body["myshopify_domain"]) == (1, DOMAIN)
    url = f"{all_topics.shop_url}/admin/api/2026-07/graphql.json"
    asked = all_topics.client.post(
        url, json={"query": "{shop{name}}"}, headers={"X-Shopify-Access-Token": token}
    )
    assert asked.status_code == 401
    grant = {"grant_type": "client_credentials", "client_id": "cid", "client_secret": "x"}
    grant["client_secret"] = all_topics.world.config.client_secret
    refused = all_topics.client.post(f"{all_topics.shop_url}/admin/oauth/access_token", data=grant)
    assert (refused.status_code, refused.json()["error"]) == (400, "app_not_installed")
    assert all_topics.place(customer=BUYER)["webhook_id"] is None
    assert happens(all_topics, "install") == {"installed": True}
    left = all_topics.data(document("webhook_subscriptions"))["webhookSubscriptions"]["nodes"]
    assert left == []
