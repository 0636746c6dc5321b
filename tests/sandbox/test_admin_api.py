import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox.clock import ManualClock
from sandbox.shopify.cost import by_size
from tests.sandbox.support import SECRET, Running, document

CUSTOMERS = document("customers_by_id")
ORDERS = document("orders_by_id")


def post(sandbox: Running, token: str, body: Any, version: str = "2026-07") -> Any:
    return sandbox.client.post(
        f"{sandbox.shop_url}/admin/api/{version}/graphql.json",
        json=body,
        headers={"X-Shopify-Access-Token": token},
    )


@pytest.mark.parametrize("form", [True, False])
def test_a_token_is_given_for_form_and_json(quiet_shop: Running, *, form: bool) -> None:
    fields = {"grant_type": "client_credentials", "client_id": "cid", "client_secret": SECRET}
    url = f"{quiet_shop.shop_url}/admin/oauth/access_token"
    answer = (
        quiet_shop.client.post(url, data=fields)
        if form
        else quiet_shop.client.post(url, json=fields)
    )
    assert answer.status_code == 200
    assert answer.json()["expires_in"] == 86399
    assert "read_all_orders" in answer.json()["scope"].split(",")


def test_a_wrong_secret_gets_no_token(quiet_shop: Running) -> None:
    fields = {"grant_type": "client_credentials", "client_id": "cid", "client_secret": "x"}
    answer = quiet_shop.client.post(f"{quiet_shop.shop_url}/admin/oauth/access_token", data=fields)
    assert answer.status_code == 400
    assert answer.json() == {
        "error": "invalid_client",
        "error_description": "Client authentication failed",
    }


def test_a_bad_or_old_token_is_refused(start: Callable[..., Any], folder: Path) -> None:
    clock = ManualClock(time.time())
    with start(clock=clock) as sandbox:
        sandbox.load(folder)
        good = sandbox.token()
        query = {"query": "{ shop { name } }"}
        assert post(sandbox, good, query).status_code == 200
        clock.move(86_400)
        for token in (good, "", "made-up"):
            answer = post(sandbox, token, query)
            assert answer.status_code == 401
            assert answer.json() == {
                "errors": "[API] Invalid API key or access token "
                "(unrecognized login or wrong password)"
            }


def test_a_shop_that_is_not_loaded_is_not_found(sandbox: Running) -> None:
    answer = sandbox.client.post("/shopify/no.myshopify.com/admin/oauth/access_token", data={})
    assert answer.status_code == 404


def test_the_shop_and_its_scopes_are_shown(quiet_shop: Running) -> None:
    data = quiet_shop.data(document("shop"))
    assert data["shop"] == {
        "id": "gid://shopify/Shop/1",
        "name": "Try & Error",
        "myshopifyDomain": "try.myshopify.com",
        "currencyCode": "EUR",
        "ianaTimezone": "Europe/Berlin",
    }
    assert {"handle": "read_orders"} in data["currentAppInstallation"]["accessScopes"]


@pytest.mark.requirement("SHOP-01")
@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("2026-01", "2026-01"),
        ("2026-04", "2026-04"),
        ("2026-07", "2026-07"),
        ("2026-10", "2026-10"),
        ("2025-07", "2026-01"),  # an old version falls forward to the oldest supported one
    ],
)
def test_every_answer_says_which_version_was_served(
    quiet_shop: Running, asked: str, served: str
) -> None:
    answer = post(quiet_shop, quiet_shop.token(), {"query": "{ shop { name } }"}, version=asked)
    assert answer.headers["x-shopify-api-version"] == served
    assert "x-shopify-api-deprecated-reason" not in answer.headers
    assert answer.json()["data"] == {"shop": {"name": "Try & Error"}}


@pytest.mark.parametrize("asked", ["2099-01", "2026-02", "latest"])
def test_a_version_that_never_was_is_not_found(quiet_shop: Running, asked: str) -> None:
    answer = post(quiet_shop, quiet_shop.token(), {"query": "{ shop { name } }"}, version=asked)
    assert answer.status_code == 404


@pytest.mark.requirement("SHOP-01")
def test_a_knob_serves_another_version(shop: Running) -> None:
    shop.fault(shopify_served_version="2026-10")
    answer = post(shop, shop.token(), {"query": "{ shop { name } }"})
    assert answer.headers["x-shopify-api-version"] == "2026-10"


@pytest.mark.requirement("SHOP-01")
def test_revoked_tokens_are_refused_until_a_new_one_is_asked_for(shop: Running) -> None:
    query, old = {"query": "{ shop { name } }"}, shop.token()
    shop.fault(shopify_revoke_token_times=1)
    assert [post(shop, old, query).status_code for _ in range(2)] == [401, 401]
    assert post(shop, shop.token(), query).status_code == 200
    assert post(shop, old, query).status_code == 401


@pytest.mark.requirement("SHOP-01")
def test_scopes_that_were_not_given_are_in_no_list(shop: Running) -> None:
    shop.fault(shopify_missing_scopes="read_all_orders, read_customers")
    fields = {"grant_type": "client_credentials", "client_id": "cid", "client_secret": SECRET}
    answer = shop.client.post(f"{shop.shop_url}/admin/oauth/access_token", data=fields).json()
    data = shop.data(document("shop"))
    handles = {each["handle"] for each in data["currentAppInstallation"]["accessScopes"]}
    assert set(answer["scope"].split(",")) == handles
    assert "read_orders" in handles
    assert handles.isdisjoint({"read_all_orders", "read_customers", "write_customers"})


@pytest.mark.requirement("SHOP-01")
@pytest.mark.parametrize(
    ("missing", "query", "path"),
    [
        ("read_customers", "{ customersCount { count } }", ["customersCount"]),
        ("read_orders", "{ ordersCount { count } }", ["ordersCount"]),
        ("read_customers", '{ node(id: "gid://shopify/Customer/1") { id } }', ["node"]),
        ("read_products", '{ nodes(ids: ["gid://shopify/Product/7"]) { id } }', ["nodes"]),
        (
            "read_customers",
            '{ node(id: "gid://shopify/Order/1") { ... on Order { name customer { id } } } }',
            ["node", "customer"],
        ),
    ],
)
def test_a_field_without_its_scope_is_denied_in_shopify_s_shape(
    shop: Running, missing: str, query: str, path: list[str]
) -> None:
    assert "errors" not in shop.ask(query)
    shop.fault(shopify_missing_scopes=missing)
    (error,) = shop.ask(query)["errors"]
    assert error["path"] == path
    assert error["message"] == (
        f"Access denied for {path[-1]} field. Required access: `{missing}` access scope."
    )
    assert error["extensions"] == {
        "code": "ACCESS_DENIED",
        "documentation": "https://shopify.dev/api/usage/access-scopes",
        "requiredAccess": f"`{missing}` access scope.",
    }


@pytest.mark.parametrize(
    ("knob", "words"),
    [
        ({"shopify_missing_scopes": "read_order"}, "some of read_all_orders, read_customers"),
        ({"shopify_served_version": "latest"}, "a version such as 2026-01"),
        ({"shopify_served_version": 2026}, "must be a text"),
        ({"bulk_strangers": -1}, "not below zero"),
    ],
)
def test_a_knob_turned_to_what_it_cannot_be_is_refused(
    quiet_shop: Running, knob: dict[str, Any], words: str
) -> None:
    answer = quiet_shop.client.post("/_sandbox/faults", json=knob)
    assert answer.status_code == 422
    assert words in answer.json()["error"]


@pytest.mark.requirement("SHOP-04")
def test_customers_and_orders_are_counted(quiet_shop: Running) -> None:
    assert quiet_shop.data(document("counts")) == {
        "customersCount": {"count": 5, "precision": "EXACT"},
        "ordersCount": {"count": 12, "precision": "EXACT"},
    }
    some = quiet_shop.data("{ ordersCount(limit: 10) { count precision } }")
    assert some["ordersCount"] == {"count": 10, "precision": "AT_LEAST"}
    error = quiet_shop.ask('{ customersCount(query: "tag:vip") { count } }')["errors"][0]
    assert error["message"] == "not in the sandbox: customersCount(query:)"


@pytest.mark.requirement("SHOP-06")
def test_products_are_read_by_id(quiet_shop: Running) -> None:
    ids = ["gid://shopify/Product/7", "gid://shopify/Product/404"]
    known, unknown = quiet_shop.data(document("products_by_id"), {"ids": ids})["nodes"]
    assert unknown is None
    assert known["title"] == "Salt & Pepper 50/50"
    assert known["featuredMedia"] == {"preview": {"image": {"url": "http://127.0.0.1/salt.png"}}}


@pytest.mark.requirement("SHOP-01")
def test_a_search_can_be_misread(shop: Running) -> None:
    shop.fault(shopify_search_warning_times=1)
    first, second = shop.ask(document("counts")), shop.ask(document("counts"))
    (search,) = first["extensions"]["search"]
    assert search["path"] == ["customersCount"]
    assert search["warnings"][0]["code"] == "invalid_field"
    assert "search" not in second["extensions"]


@pytest.mark.requirement("SHOP-06")
def test_nodes_give_what_the_folder_had(quiet_shop: Running) -> None:
    ids = ["gid://shopify/Customer/1", "gid://shopify/Customer/404"]
    known, unknown = quiet_shop.data(CUSTOMERS, {"ids": ids})["nodes"]
    assert unknown is None
    assert known["__typename"] == "Customer"
    assert known["firstName"] == "Ann & Jo"
    assert known["defaultEmailAddress"]["marketingState"] == "SUBSCRIBED"
    (order,) = quiet_shop.data(ORDERS, {"ids": ["gid://shopify/Order/1"]})["nodes"]
    assert order["totalPriceSet"] == {"shopMoney": {"amount": "49.9", "currencyCode": "EUR"}}
    assert len(order["lineItems"]["nodes"]) == 3


def test_line_items_are_paged(quiet_shop: Running) -> None:
    query = ORDERS.replace("first: 50", "first: 2")
    ids = ["gid://shopify/Order/1"]
    first = quiet_shop.data(query, {"ids": ids})["nodes"][0]["lineItems"]
    assert first["pageInfo"]["hasNextPage"] is True
    after = first["pageInfo"]["endCursor"]
    rest = quiet_shop.data(query, {"ids": ids, "after": after})["nodes"][0]["lineItems"]
    assert rest["pageInfo"]["hasNextPage"] is False
    nodes = first["nodes"] + rest["nodes"]
    assert [each["id"][-3:] for each in nodes] == ["100", "101", "102"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{ shop { shoeSize } }", "undefinedField"),
        ("{ shop }", "selectionMismatch"),
        ("{ nodes { id } }", "missingRequiredArguments"),
        ("{ shop { name }", "PARSE_ERROR"),
        ("{ nodes(ids: 3.5) { id } }", "argumentLiteralsIncompatible"),
        ("query($i: ID!) { node(id: $i) { id } }", "INVALID_VARIABLE"),
    ],
)
def test_a_wrong_query_is_refused_with_shopify_s_code(
    quiet_shop: Running, query: str, code: str
) -> None:
    answer = quiet_shop.ask(query)
    assert "data" not in answer
    assert answer["errors"][0]["extensions"]["code"] == code


def test_an_unknown_field_is_named_as_shopify_names_it(quiet_shop: Running) -> None:
    (error,) = quiet_shop.ask("{ shop { shoeSize } }")["errors"]
    assert error["message"] == "Field 'shoeSize' doesn't exist on type 'Shop'"


@pytest.mark.parametrize(
    ("query", "what"),
    [
        ("{ collections(first: 1) { nodes { id } } }", "QueryRoot.collections"),
        ("{ shop { email } }", "Shop.email"),
        ('{ node(id: "gid://shopify/Collection/1") { id } }', "a node of type Collection"),
        (
            'mutation { customerDelete(input: {id: "gid://shopify/Customer/1"}) { shop { id } } }',
            "Mutation.customerDelete",
        ),
    ],
)
def test_what_is_not_built_is_never_a_silent_success(
    quiet_shop: Running, query: str, what: str
) -> None:
    answer = quiet_shop.ask(query)
    assert answer["errors"][0]["message"] == f"not in the sandbox: {what}"
    assert answer["errors"][0]["extensions"] == {"code": "NOT_IN_SANDBOX"}


def test_other_paths_are_answered_with_501(quiet_shop: Running) -> None:
    for path in (f"{quiet_shop.shop_url}/admin/api/2026-07/orders.json", "/anthropic/v1/messages"):
        answer = quiet_shop.client.get(path)
        assert answer.status_code == 501
        assert "not in the sandbox" in answer.json()["error"]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"query": 1}', b'{"query":"{a}","variables":[]}'])
def test_a_body_that_is_no_question_is_a_400(quiet_shop: Running, body: bytes) -> None:
    answer = quiet_shop.client.post(
        f"{quiet_shop.shop_url}/admin/api/2026-07/graphql.json",
        content=body,
        headers={"X-Shopify-Access-Token": quiet_shop.token()},
    )
    assert answer.status_code == 400


@pytest.mark.requirement("SHOP-01")
def test_every_answer_carries_its_cost(quiet_shop: Running) -> None:
    cost = quiet_shop.ask(CUSTOMERS, {"ids": ["gid://shopify/Customer/1"]})["extensions"]["cost"]
    assert cost["requestedQueryCost"] == cost["actualQueryCost"] == 4
    assert cost["throttleStatus"]["maximumAvailable"] == 2000
    assert cost["throttleStatus"]["restoreRate"] == 100


@pytest.mark.requirement("SHOP-01")
def test_an_empty_bucket_throttles(shop: Running) -> None:
    shop.fault(shopify_bucket_size=12, shopify_restore_rate=1)
    query = "{ shop { name } currentAppInstallation { accessScopes { handle } } }"
    answers = [shop.ask(query) for _ in range(6)]
    throttled = next(each for each in answers if "data" not in each)
    assert throttled["errors"][0]["extensions"]["code"] == "THROTTLED"
    cost = throttled["extensions"]["cost"]
    assert cost["actualQueryCost"] is None
    assert cost["throttleStatus"]["currentlyAvailable"] < cost["requestedQueryCost"]


@pytest.mark.requirement("SHOP-01")
def test_a_knob_throttles_and_fails_on_demand(shop: Running) -> None:
    shop.fault(shopify_throttle_times=1, shopify_times=1, shopify_status=429)
    token, query = shop.token(), {"query": "{ shop { name } }"}
    failed = post(shop, token, query)
    assert (failed.status_code, failed.headers["retry-after"]) == (429, "2.0")
    assert post(shop, token, query).json()["errors"][0]["message"] == "Throttled"
    assert "errors" not in post(shop, token, query).json()


def test_too_many_ids_and_too_dear_a_query_are_refused(quiet_shop: Running) -> None:
    many = quiet_shop.ask(CUSTOMERS, {"ids": ["gid://shopify/Customer/1"] * 251})
    assert many["errors"][0]["extensions"]["code"] == "MAX_INPUT_SIZE_EXCEEDED"
    dear = ORDERS.replace("first: 50", "first: 250")
    ids = {"ids": ["gid://shopify/Order/1"] * 250}
    several = " ".join(f'a{n}: node(id: "gid://shopify/Order/1") {{ id }}' for n in range(1001))
    assert quiet_shop.ask(dear, ids)["extensions"]["cost"]["requestedQueryCost"] > 418
    error = quiet_shop.ask(f"{{ {several} }}")["errors"][0]
    assert error["extensions"]["code"] == "MAX_COST_EXCEEDED"
    assert error["message"].startswith("Query cost is 1001, which exceeds")


def test_the_cost_of_a_list_follows_the_captures() -> None:
    captured = {1: 3, 2: 4, 3: 4, 5: 5, 10: 6, 20: 7, 50: 9, 250: 13}
    assert {size: 2 + by_size(size) for size in captured} == captured


def test_a_call_without_a_token_is_refused_whatever_it_asks(quiet_shop: Running) -> None:
    answer = quiet_shop.client.post(
        f"{quiet_shop.shop_url}/admin/api/2026-07/graphql.json", json={}
    )
    assert answer.status_code == 401


def test_webhook_subscriptions_are_made_listed_moved_and_deleted(shop: Running) -> None:
    shop.subscribe("ORDERS_CREATE")
    (listed,) = shop.data(document("webhook_subscriptions"))["webhookSubscriptions"]["nodes"]
    assert listed["topic"] == "ORDERS_CREATE"
    moved = shop.data(
        "mutation($id: ID!, $w: WebhookSubscriptionInput!) {"
        " webhookSubscriptionUpdate(id: $id, webhookSubscription: $w) {"
        " webhookSubscription { uri } userErrors { message } } }",
        {"id": listed["id"], "w": {"uri": "https://elsewhere.example/hook"}},
    )["webhookSubscriptionUpdate"]
    assert moved["webhookSubscription"] == {"uri": "https://elsewhere.example/hook"}
    delete = (
        "mutation($id: ID!) { webhookSubscriptionDelete(id: $id) {"
        " deletedWebhookSubscriptionId userErrors { message } } }"
    )
    gone = shop.data(delete, {"id": listed["id"]})["webhookSubscriptionDelete"]
    assert gone["deletedWebhookSubscriptionId"] == listed["id"]
    again = shop.data(delete, {"id": listed["id"]})["webhookSubscriptionDelete"]
    assert again["userErrors"] == [{"message": "Webhook subscription does not exist"}]


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("", "Address can't be blank"),
        ("http://shop.example/hook", "Address protocol http:// is not supported"),
        ("http://127.0.0.1:1/taken", "Address for this topic has already been taken"),
    ],
)
def test_a_wrong_address_for_webhooks_is_refused(
    quiet_shop: Running, uri: str, message: str
) -> None:
    create = document("webhook_subscription_create")
    topic = "ORDERS_CREATE"
    taken = {"topic": topic, "webhookSubscription": {"uri": "http://127.0.0.1:1/taken"}}
    quiet_shop.data(create, taken)
    asked = {"topic": topic, "webhookSubscription": {"uri": uri}}
    answer = quiet_shop.data(create, asked)["webhookSubscriptionCreate"]
    assert answer["webhookSubscription"] is None
    assert answer["userErrors"][0]["message"] == message


def test_a_topic_that_nothing_sets_off_is_refused(quiet_shop: Running) -> None:
    asked = {"topic": "CARTS_UPDATE", "webhookSubscription": {"uri": "http://127.0.0.1:1/x"}}
    error = quiet_shop.ask(document("webhook_subscription_create"), asked)["errors"][0]
    assert error["message"] == "not in the sandbox: webhooks of the topic CARTS_UPDATE"
