import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from graphql import GraphQLSchema

from sandbox.clock import ManualClock
from sandbox.http import NotInSandboxError
from sandbox.shopify.bulk_query import refusals
from sandbox.shopify.projection import compile_plan
from tests.sandbox.support import (
    DOMAIN,
    POLL_BULK,
    RUN_BULK,
    Running,
    a_customer,
    document,
    lines,
    poll,
    run,
    submit,
    wait_for,
)

ORDERS = document("bulk_orders").replace("$sort$", "UPDATED_AT")
CUSTOMERS = document("bulk_customers")
PRODUCTS = document("bulk_products")
CHECKOUTS = document("bulk_checkouts")
COMPARE = [document("bulk_compare_customers"), document("bulk_compare_orders")]


@pytest.mark.requirement("SHOP-02")
def test_customers_come_back_byte_for_byte(shop: Running, folder: Path) -> None:
    done = run(shop, CUSTOMERS)
    content = httpx.get(done["url"], trust_env=False).content
    assert content == (folder / "customers.jsonl").read_bytes()
    assert (done["objectCount"], done["rootObjectCount"]) == ("5", "5")
    assert done["fileSize"] == str(len(content))


@pytest.mark.requirement("SHOP-02")
@pytest.mark.parametrize("order", ["after_parent", "interleaved", "shuffled"])
def test_orders_come_back_byte_for_byte_in_any_order(
    shop: Running, folder: Path, order: str
) -> None:
    shop.fault(bulk_line_order=order)
    done = run(shop, ORDERS)
    found = lines(done["url"])
    assert sorted(found) == sorted((folder / "orders.jsonl").read_bytes().splitlines(keepends=True))
    assert (done["objectCount"], done["rootObjectCount"]) == ("48", "12")
    assert done["fileSize"] == str(sum(map(len, found)))


@pytest.mark.requirement("SHOP-02")
@pytest.mark.parametrize(("query", "name"), [(PRODUCTS, "products"), (CHECKOUTS, "checkouts")])
def test_products_and_checkouts_come_back_byte_for_byte(
    quiet_shop: Running, quiet_folder: Path, query: str, name: str
) -> None:
    found = lines(run(quiet_shop, query)["url"])
    written = (quiet_folder / f"{name}.jsonl").read_bytes()
    assert sorted(found) == sorted(written.splitlines(keepends=True))


@pytest.mark.requirement("SHOP-02")
def test_what_happened_to_an_order_comes_back_in_the_query_s_order_too(shop: Running) -> None:
    # Lines that ask for all that is stored are the stored text: whatever wrote it must have kept
    # the order of the fields. Selecting them under another name forces the fields to be picked.
    control = f"/_sandbox/shops/{DOMAIN}/orders"
    shop.place(customer={"email": "new@example.com"}, total="20.00")
    shop.client.post(f"{control}/1/refund", json={"amount": "5.00"})
    shop.client.post(f"{control}/1/refund", json={"amount": "5.00"})
    shop.client.post(f"{control}/2/cancel")
    shop.client.post(f"{control}/3/edit", json={"quantities": {"300": 0, "301": 4}})
    shop.fault(bulk_line_order="after_parent")
    picked = ORDERS.replace("name\n", "renamed: name\n").replace("sku\n", "renamed: sku\n")
    stored, made = lines(run(shop, ORDERS)["url"]), lines(run(shop, picked)["url"])
    assert b'"renamed":' in made[0]
    for line, other in zip(stored, made, strict=True):
        name = b"name" if b"__parentId" not in line else b"sku"
        assert line == other.replace(b'"renamed":', b'"%s":' % name)
    assert sum(line.count(rb"\/Refund\/") for line in stored) == 2


def test_a_checkout_shows_its_customer_as_they_are_now(shop: Running) -> None:
    with shop.world.store.write() as db:
        changed = a_customer(1) | {"defaultEmailAddress": None}
        db.execute("update customers set body = ? where num = 1", [orjson.dumps(changed)])
    (owner,) = {
        orjson.dumps(line["customer"])
        for line in map(orjson.loads, lines(run(shop, CHECKOUTS)["url"]))
        if "__parentId" not in line
    }
    assert orjson.loads(owner) == {"id": changed["id"], "defaultEmailAddress": None}


@pytest.mark.requirement("SHOP-04")
@pytest.mark.parametrize(("query", "count"), list(zip(COMPARE, (5, 12), strict=True)))
def test_a_comparison_lists_ids_and_times_by_id(
    quiet_shop: Running, query: str, count: int
) -> None:
    found = [orjson.loads(line) for line in lines(run(quiet_shop, query)["url"])]
    assert len(found) == count
    assert all(list(each) == ["id", "updatedAt"] for each in found)
    numbers = [int(each["id"].rsplit("/", 1)[1]) for each in found]
    assert numbers == sorted(numbers)


def _distances(found: list[bytes]) -> list[int]:
    """How many lines after its parent each child stands."""
    objects = [orjson.loads(line) for line in found]
    places = {each["id"]: place for place, each in enumerate(objects)}
    return [
        place - places[each["__parentId"]]
        for place, each in enumerate(objects)
        if "__parentId" in each
    ]


def test_children_stand_after_their_parent_but_not_next_to_it(quiet_shop: Running) -> None:
    distances = _distances(lines(run(quiet_shop, ORDERS)["url"]))
    assert min(distances) >= 1
    assert max(distances) > 3


def test_shuffled_children_also_stand_before_their_parent(shop: Running) -> None:
    shop.fault(bulk_line_order="shuffled")
    assert min(_distances(lines(run(shop, ORDERS)["url"]))) < 0


def test_an_operation_is_created_runs_and_completes(quiet_shop: Running) -> None:
    made = submit(quiet_shop, CUSTOMERS.replace("$filter$", ""))
    assert made["userErrors"] == []
    assert made["bulkOperation"]["status"] == "CREATED"
    first = poll(quiet_shop, made["bulkOperation"]["id"])
    assert (first["status"], first["objectCount"], first["url"]) == ("RUNNING", "0", None)
    done = wait_for(
        lambda: (found := poll(quiet_shop, first["id"]))["status"] == "COMPLETED" and found
    )
    assert done["completedAt"].endswith("Z")
    assert done["partialDataUrl"] is done["errorCode"] is None


def test_an_empty_result_has_no_url(quiet_shop: Running) -> None:
    done = run(quiet_shop, ORDERS, "updated_at:>='2026-10-01T00:00:00Z'")
    assert (done["objectCount"], done["url"], done["fileSize"]) == ("0", None, None)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "Invalid bulk query: syntax error, unexpected end of file"),
        ("{ shop { name } }", "Bulk queries must contain at least one connection."),
        (
            "{ orders { nodes { id } } }",
            (
                "All connection fields in a bulk query must select their contents using 'edges' > "
                "'node', e.g: 'orders { edges { node {'. Selecting via 'nodes' is not supported. "
                "Invalid connection fields: 'orders'."
            ),
        ),
        (
            '{ node(id: "gid://shopify/Order/1") { id } }',
            "Bulk queries cannot contain a top level `node` field.",
        ),
        (
            "{ orders { edges { node { lineItems { edges { node { id } } } } } } }",
            (
                "The parent 'node' field for a nested connection must select the 'id' field "
                "without an alias and must be of 'ID' return type. "
                "Connection fields without 'id': orders."
            ),
        ),
        (
            'mutation { tagsAdd(id: "gid://shopify/Customer/1", tags: []) { node { id } } }',
            "Invalid operation type. Only `query` operations are supported.",
        ),
        (
            (
                "{ orders { edges { node { id refunds { refundLineItems { edges { node { quantity }"
                " } } } } } } }"
            ),
            (
                "Queries that contain a connection field within a list field are not currently "
                "supported."
            ),
        ),
        (
            (
                "{ customers { edges { node { id orders { edges { node { id lineItems { edges {"
                " node { id } } } } } } } } } }"
            ),
            "Bulk queries cannot contain connections with a nesting depth greater than 2.",
        ),
        (
            (
                "{ a: orders { edges { node { id } } } b: orders { edges { node { id } } }"
                " c: orders { edges { node { id } } } d: orders { edges { node { id } } }"
                " e: orders { edges { node { id } } } f: orders { edges { node { id } } } }"
            ),
            "Bulk queries cannot contain more than 5 connections.",
        ),
        (
            "{ orders { edges { node { id } } } }".ljust(65_536),
            "Query is too large (65536 bytes; maximum is 65535 bytes)",
        ),
        (
            "{ orders { edges { node { id shoeSize } } } }",
            "Invalid bulk query: Cannot query field 'shoeSize' on type 'Order'.",
        ),
    ],
)
def test_a_query_is_refused_in_shopify_s_own_words(
    schema: GraphQLSchema, query: str, message: str
) -> None:
    assert message in refusals(schema, query)


def test_a_refused_query_makes_no_operation(quiet_shop: Running) -> None:
    assert submit(quiet_shop, "{ shop { name } }") == {
        "bulkOperation": None,
        "userErrors": [
            {
                "field": ["query"],
                "message": "Bulk queries must contain at least one connection.",
                "code": "INVALID",
            }
        ],
    }


@pytest.mark.requirement("SHOP-02")
@pytest.mark.parametrize("query", [ORDERS, CUSTOMERS, PRODUCTS, CHECKOUTS, *COMPARE])
def test_the_product_s_own_queries_are_taken(schema: GraphQLSchema, query: str) -> None:
    assert refusals(schema, query) == []


@pytest.mark.parametrize(
    ("query", "what"),
    [
        ("{ collections { edges { node { id } } } }", "a bulk query over collections"),
        ("{ orders { edges { node { id note } } } }", "Order.note"),
        ("{ orders { edges { node { id customer { email } } } } }", "Order.customer.email"),
        ('{ orders(query: "tag:vip") { edges { node { id } } } }', "search key tag"),
        ("{ orders(sortKey: TOTAL_PRICE) { edges { node { id } } } }", "sortKey: TOTAL_PRICE"),
        ('{ orders(query: "id:1 OR") { edges { node { id } } } }', "search text"),
        ('{ orders(query: "(id:1") { edges { node { id } } } }', "search text"),
        ('{ orders(query: "id:one") { edges { node { id } } } }', "search value"),
        ('{ orders(query: "NOT id:1") { edges { node { id } } } }', "search text"),
        ('{ orders(query: "updated_at:soon") { edges { node { id } } } }', "search value"),
    ],
)
def test_what_is_valid_but_not_built_is_refused(
    schema: GraphQLSchema, query: str, what: str
) -> None:
    assert refusals(schema, query) == []
    with pytest.raises(NotInSandboxError, match=re.escape(what)):
        compile_plan(query)


def test_what_is_not_built_is_answered_with_an_error(quiet_shop: Running) -> None:
    answer = quiet_shop.ask(RUN_BULK, {"query": "{ collections { edges { node { id } } } }"})
    assert answer["errors"][0]["message"] == "not in the sandbox: a bulk query over collections"
    assert answer["errors"][0]["extensions"] == {"code": "NOT_IN_SANDBOX"}


def test_a_sixth_operation_has_to_wait(shop: Running) -> None:
    shop.fault(bulk_hold=True)
    query = "{ orders { edges { node { id } } } }"
    ids = [submit(shop, query)["bulkOperation"]["id"] for _ in range(5)]
    refused = submit(shop, query)
    assert refused["bulkOperation"] is None
    assert refused["userErrors"] == [
        {
            "field": None,
            "message": "A bulk query operation for this app and shop is already in progress: "
            + ", ".join(ids),
            "code": "OPERATION_IN_PROGRESS",
        }
    ]
    shop.fault(bulk_hold=False)
    wait_for(lambda: poll(shop, ids[-1])["status"] == "COMPLETED")
    assert submit(shop, query)["userErrors"] == []


def test_a_job_that_fails_says_so(shop: Running) -> None:
    shop.fault(bulk_fail_times=1)
    id_ = submit(shop, CUSTOMERS.replace("$filter$", ""))["bulkOperation"]["id"]
    done = wait_for(lambda: (found := poll(shop, id_))["status"] == "FAILED" and found)
    assert (done["errorCode"], done["url"]) == ("INTERNAL_SERVER_ERROR", None)


def test_malformed_lines_can_be_put_into_a_result(shop: Running) -> None:
    shop.fault(bulk_malformed_lines=2)
    done = run(shop, CUSTOMERS)
    found = lines(done["url"])
    assert done["objectCount"] == "7"
    assert len(found) == 7
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(found[0])


def test_a_download_can_be_cut_short(shop: Running) -> None:
    shop.fault(bulk_drop_download_times=1)
    done = run(shop, ORDERS)
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(done["url"], trust_env=False)
    assert len(httpx.get(done["url"], trust_env=False).content) == int(done["fileSize"])


def test_the_url_is_signed_and_expires(start: Callable[..., Any], folder: Path) -> None:
    clock = ManualClock(time.time())
    with start(clock=clock) as sandbox:
        sandbox.load(folder)
        done = run(sandbox, CUSTOMERS)
        url = httpx.URL(done["url"])
        assert int(url.params["Expires"]) == int(clock.now()) + 604_800
        assert httpx.get(done["url"], trust_env=False).headers["content-type"] == (
            "application/jsonl"
        )
        later = url.copy_set_param("Expires", str(int(clock.now()) + 999_999))
        assert httpx.get(later, trust_env=False).status_code == 403
        clock.move(604_801)
        assert "ExpiredToken" in httpx.get(url, trust_env=False).text


def test_results_that_no_url_leads_to_are_deleted(start: Callable[..., Any], folder: Path) -> None:
    clock = ManualClock(time.time())
    with start(clock=clock) as sandbox:
        sandbox.load(folder)
        run(sandbox, CUSTOMERS)
        clock.move(604_801)
        run(sandbox, CUSTOMERS)
        files = sorted(each.name for each in (sandbox.world.state / "bulk").iterdir())
        assert files == ["bulk-2.jsonl"]


def test_a_malformed_an_unknown_and_a_foreign_id_are_told_apart(quiet_shop: Running) -> None:
    malformed = quiet_shop.ask(POLL_BULK, {"id": "not-a-gid"})["errors"][0]
    assert malformed["message"] == "Invalid global id 'not-a-gid'"
    assert malformed["extensions"]["code"] == "argumentLiteralsIncompatible"
    foreign = quiet_shop.ask(POLL_BULK, {"id": "gid://shopify/Product/1"})
    assert foreign["errors"][0]["message"] == "Invalid id: gid://shopify/Product/1"
    assert foreign["errors"][0]["extensions"]["code"] == "RESOURCE_NOT_FOUND"
    assert foreign["data"] == {"bulkOperation": None}
    assert poll(quiet_shop, "gid://shopify/BulkOperation/404") is None


def test_operations_are_listed_by_status(shop: Running) -> None:
    run(shop, CUSTOMERS)
    query = "query($q: String) { bulkOperations(first: 5, query: $q) { nodes { id status } } }"
    found = shop.data(query, {"q": "status:completed operation_type:query"})["bulkOperations"]
    assert [each["status"] for each in found["nodes"]] == ["COMPLETED"]
    assert shop.data(query, {"q": "status:running"})["bulkOperations"]["nodes"] == []
    missing = shop.ask("{ bulkOperations { nodes { id } } }")["errors"][0]
    assert missing["message"] == "you must provide one of first or last"


@pytest.mark.requirement("SHOP-03")
def test_the_end_is_told_by_webhook_in_lower_case(shop: Running) -> None:
    shop.subscribe("BULK_OPERATIONS_FINISH")
    done = run(shop, CUSTOMERS)
    (received,) = wait_for(lambda: shop.receiver.on("/shopify"))
    body = orjson.loads(received.body)
    assert received.headers["x-shopify-topic"] == "bulk_operations/finish"
    assert body["admin_graphql_api_id"] == done["id"]
    assert (body["status"], body["type"], body["error_code"]) == ("completed", "query", None)
    assert "url" not in body
