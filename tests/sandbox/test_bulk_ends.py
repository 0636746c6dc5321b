"""How a bulk operation can end other than well, who holds its slot, and who may cancel it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from sandbox.clock import ManualClock
from tests.sandbox.support import Running, document, lines, poll, run, submit, wait_for

ORDERS = document("bulk_orders").replace("$sort$", "UPDATED_AT")
CUSTOMERS = document("bulk_customers")
SLOTS = document("bulk_operations")
CANCEL = """mutation($id: ID!) { bulkOperationCancel(id: $id) {
    bulkOperation { id status } userErrors { field message } } }"""
LIST = "query($q: String) { bulkOperations(first: 20, query: $q) { nodes { id status } } }"


def cancel(sandbox: Running, id_: str) -> dict[str, Any]:
    answer: dict[str, Any] = sandbox.data(CANCEL, {"id": id_})["bulkOperationCancel"]
    return answer


def roots(found: list[bytes]) -> list[dict[str, Any]]:
    return [each for each in map(orjson.loads, found) if "__parentId" not in each]


@pytest.mark.requirement("SHOP-03")
@pytest.mark.parametrize("order", ["after_parent", "interleaved", "shuffled"])
def test_a_broken_job_offers_the_first_half_of_its_roots(shop: Running, order: str) -> None:
    whole = roots(lines(run(shop, ORDERS)["url"]))
    shop.fault(bulk_partial_times=1, bulk_line_order=order)
    broken = run(shop, ORDERS, until="FAILED")
    assert (broken["errorCode"], broken["url"]) == ("INTERNAL_SERVER_ERROR", None)
    assert broken["fileSize"] is None
    part = lines(broken["partialDataUrl"])
    # Those updated first, so that one can go on from the last of them.
    assert roots(part) == whole[:6]
    assert broken["rootObjectCount"] == "6"
    assert broken["objectCount"] == str(len(part))
    assert len(part) < 6 * 4  # the last of them lacks children


def test_half_of_one_is_nothing_to_read(shop: Running) -> None:
    shop.fault(bulk_partial_times=1)
    broken = run(shop, CUSTOMERS, "id:1", until="FAILED")
    assert (broken["objectCount"], broken["partialDataUrl"]) == ("0", None)


@pytest.mark.requirement("SHOP-03")
def test_a_job_can_run_out_of_time(shop: Running) -> None:
    shop.fault(bulk_timeout_times=1)
    late = run(shop, CUSTOMERS, until="FAILED")
    assert late["errorCode"] == "TIMEOUT"
    assert late["url"] is late["partialDataUrl"] is None
    assert run(shop, CUSTOMERS)["objectCount"] == "5"


@pytest.mark.requirement("SHOP-03")
def test_a_cancelled_job_looks_as_if_it_had_a_result(shop: Running) -> None:
    shop.fault(bulk_cancel_times=1)
    stopped = run(shop, CUSTOMERS, until="CANCELED")
    assert (stopped["objectCount"], stopped["rootObjectCount"]) == ("2", "2")
    assert stopped["completedAt"] is stopped["fileSize"] is stopped["errorCode"] is None
    assert len(lines(stopped["url"])) == 2


@pytest.mark.requirement("SHOP-03")
def test_an_expired_job_has_counts_and_no_url(shop: Running) -> None:
    shop.fault(bulk_expire_times=1)
    gone = run(shop, CUSTOMERS, until="EXPIRED")
    assert (gone["objectCount"], gone["url"]) == ("5", None)
    assert gone["completedAt"] is not None


def test_a_job_expires_with_its_url(start: Callable[..., Any], folder: Path) -> None:
    clock = ManualClock(time.time())
    with start(clock=clock) as sandbox:
        sandbox.load(folder)
        done = run(sandbox, CUSTOMERS)
        clock.move(604_801)
        later = poll(sandbox, done["id"])
        assert (later["status"], later["url"]) == ("EXPIRED", None)


@pytest.mark.requirement("SHOP-03")
def test_a_job_can_complete_with_objects_and_without_a_url(shop: Running) -> None:
    shop.fault(bulk_null_url_times=1)
    done = run(shop, CUSTOMERS)
    assert (done["objectCount"], done["url"], done["fileSize"]) == ("5", None, None)


@pytest.mark.requirement("SHOP-03")
def test_a_download_can_end_well_and_too_early(shop: Running) -> None:
    shop.fault(bulk_truncate_times=1)
    done = run(shop, ORDERS)
    short = httpx.get(done["url"], trust_env=False)
    assert int(short.headers["content-length"]) == len(short.content) < int(done["fileSize"])
    assert all(map(orjson.loads, short.content.splitlines()))
    assert len(lines(done["url"])) == 48


@pytest.mark.requirement("SHOP-03")
def test_an_address_can_expire_until_the_job_is_polled_again(shop: Running) -> None:
    shop.fault(bulk_expire_url_times=1)
    done = run(shop, ORDERS)
    for _ in range(2):
        refused = httpx.get(done["url"], trust_env=False)
        assert (refused.status_code, "ExpiredToken" in refused.text) == (400, True)
    assert len(lines(poll(shop, done["id"])["url"])) == 48


def test_lines_can_be_cut_in_the_middle(shop: Running) -> None:
    shop.fault(bulk_corrupt_lines=2)
    done = run(shop, CUSTOMERS)
    found = lines(done["url"])
    assert (len(found), done["objectCount"]) == (5, "5")
    assert done["fileSize"] == str(sum(map(len, found)))
    for line in found[:2]:
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(line)
    assert all(map(orjson.loads, found[2:]))


# ------------------------------------------------------------------ slots


@pytest.mark.requirement("SHOP-03")
def test_operations_of_another_process_hold_their_slots(shop: Running) -> None:
    shop.fault(bulk_strangers=4, bulk_hold=True)
    ours = submit(shop, ORDERS.replace("$filter$", ""))["bulkOperation"]["id"]
    refused = submit(shop, ORDERS.replace("$filter$", ""))["userErrors"][0]
    slots = shop.data(SLOTS)
    running = [each["id"] for each in slots["running"]["nodes"]]
    created = [each["id"] for each in slots["created"]["nodes"]]
    assert (len(running), created) == (4, [ours])
    assert refused["code"] == "OPERATION_IN_PROGRESS"
    ids = refused["message"].partition("already in progress: ")[2].split(", ")
    assert set(ids) == {*running, ours}
    assert poll(shop, running[0])["status"] == "RUNNING"
    shop.fault(bulk_strangers=0)
    assert poll(shop, running[0])["status"] == "COMPLETED"
    assert submit(shop, ORDERS.replace("$filter$", ""))["userErrors"] == []


@pytest.mark.requirement("SHOP-03")
def test_an_operation_that_nobody_polled_is_listed_as_it_is(shop: Running) -> None:
    # It was listed as CREATED for ever: whoever counted slots by the list saw one too few.
    id_ = submit(shop, CUSTOMERS.replace("$filter$", ""))["bulkOperation"]["id"]
    (done,) = wait_for(
        lambda: shop.data(LIST, {"q": "status:completed"})["bulkOperations"]["nodes"]
    )
    assert done["id"] == id_
    slots = shop.data(SLOTS)
    assert slots["running"]["nodes"] == slots["created"]["nodes"] == []


def test_nobody_else_s_operation_is_cancelled(shop: Running) -> None:
    shop.fault(bulk_strangers=1)
    (stranger,) = shop.data(SLOTS)["running"]["nodes"]
    error = shop.ask(CANCEL, {"id": stranger["id"]})["errors"][0]
    assert error["message"] == "not in the sandbox: cancelling another process's operation"


@pytest.mark.requirement("SHOP-03")
def test_a_cancelled_operation_keeps_its_slot_until_it_has_stopped(shop: Running) -> None:
    shop.fault(bulk_strangers=4, bulk_hold=True)
    query = CUSTOMERS.replace("$filter$", "")
    id_ = submit(shop, query)["bulkOperation"]["id"]
    assert cancel(shop, id_) == {
        "bulkOperation": {"id": id_, "status": "CANCELING"},
        "userErrors": [],
    }
    assert cancel(shop, id_)["bulkOperation"]["status"] == "CANCELING"
    assert poll(shop, id_)["status"] == "CANCELING"
    assert submit(shop, query)["userErrors"][0]["code"] == "OPERATION_IN_PROGRESS"
    shop.fault(bulk_hold=False)
    stopped = wait_for(lambda: (found := poll(shop, id_))["status"] == "CANCELED" and found)
    assert stopped["completedAt"] is None
    assert submit(shop, query)["userErrors"] == []


@pytest.mark.requirement("SHOP-03")
def test_what_was_under_way_at_a_restart_is_run_again_and_what_was_to_stop_stops(
    start: Callable[..., Any], folder: Path
) -> None:
    query = CUSTOMERS.replace("$filter$", "")
    with start() as sandbox:
        sandbox.load(folder)
        sandbox.fault(bulk_hold=True)
        runs, stops = (submit(sandbox, query)["bulkOperation"]["id"] for _ in range(2))
        cancel(sandbox, stops)
    with start() as sandbox:
        assert poll(sandbox, stops)["status"] == "CANCELING"
        sandbox.fault(bulk_hold=False)
        wait_for(lambda: poll(sandbox, stops)["status"] == "CANCELED")
        wait_for(lambda: poll(sandbox, runs)["status"] == "COMPLETED")
        assert len(lines(poll(sandbox, runs)["url"])) == 5


def test_what_is_over_or_unknown_cannot_be_cancelled(shop: Running) -> None:
    done = run(shop, CUSTOMERS)
    assert cancel(shop, done["id"]) == {
        "bulkOperation": {"id": done["id"], "status": "COMPLETED"},
        "userErrors": [
            {
                "field": None,
                "message": "A bulk operation cannot be canceled when it is completed",
            }
        ],
    }
    assert cancel(shop, "gid://shopify/BulkOperation/404") == {
        "bulkOperation": None,
        "userErrors": [{"field": ["id"], "message": "Bulk operation does not exist"}],
    }


def test_a_search_for_operations_matches_the_status_exactly(shop: Running) -> None:
    shop.fault(bulk_cancel_times=1)
    stopped = run(shop, CUSTOMERS, until="CANCELED")
    done = run(shop, CUSTOMERS)

    def found(query: str) -> list[str]:
        return [each["id"] for each in shop.data(LIST, {"q": query})["bulkOperations"]["nodes"]]

    assert found("status:canceled") == [stopped["id"]]
    assert found("status:COMPLETED operation_type:query") == [done["id"]]
    assert found("status:completed operation_type:mutation") == []
    assert found("id:2") == [done["id"]]
    assert found("created_at:>=2026-01-01T00:00:00Z") == [stopped["id"], done["id"]]
    assert found("created_at:<2026-01-01T00:00:00Z") == []


@pytest.mark.requirement("SHOP-01")
@pytest.mark.parametrize(
    ("query", "count", "code"),
    [
        ("type:QUERY", 1, "invalid_field"),  # what the guide says; it matches everything
        ("status:finished", 0, "invalid_value"),
        ("status:EXPIRED", 0, "invalid_value"),
    ],
)
def test_a_search_that_shopify_does_not_understand_warns(
    shop: Running, query: str, count: int, code: str
) -> None:
    run(shop, CUSTOMERS)
    answer = shop.ask(LIST, {"q": query})
    assert len(answer["data"]["bulkOperations"]["nodes"]) == count
    (search,) = answer["extensions"]["search"]
    assert search["path"] == ["bulkOperations"]
    assert [each["code"] for each in search["warnings"]] == [code]


# ------------------------------------------------------------------ what may be read


@pytest.mark.requirement("SHOP-01")
@pytest.mark.parametrize(
    ("missing", "query"),
    [
        ("read_customers", CUSTOMERS),
        ("read_orders", ORDERS),
        ("read_customers", ORDERS),  # an order's customer
        ("read_products", ORDERS),  # a line item's product
        ("read_orders", document("bulk_checkouts")),
        ("read_products", document("bulk_products")),
    ],
)
def test_a_job_without_the_scope_is_denied(shop: Running, missing: str, query: str) -> None:
    shop.fault(shopify_missing_scopes=missing)
    denied = run(shop, query, until="FAILED")
    assert (denied["errorCode"], denied["objectCount"]) == ("ACCESS_DENIED", "0")
    shop.fault(shopify_missing_scopes="")
    assert int(run(shop, query)["objectCount"]) > 0


@pytest.mark.requirement("SHOP-01")
def test_without_all_orders_only_the_last_sixty_days_are_there(
    start: Callable[..., Any], folder: Path
) -> None:
    clock = ManualClock(1_772_366_400.0 + 65 * 86_400)  # 60 days after 6 March
    with start(clock=clock) as sandbox:
        sandbox.load(folder)
        assert run(sandbox, ORDERS)["rootObjectCount"] == "12"
        sandbox.fault(shopify_missing_scopes="read_all_orders")
        assert run(sandbox, ORDERS)["rootObjectCount"] == "8"
        assert sandbox.data(document("counts"))["ordersCount"]["count"] == 8
        ids = ["gid://shopify/Order/1", "gid://shopify/Order/12"]
        old, new = sandbox.data(document("orders_by_id"), {"ids": ids})["nodes"]
        assert old is None
        assert new["id"] == ids[1]


@pytest.mark.requirement("SHOP-03")
@pytest.mark.parametrize(
    ("knob", "status", "error"),
    [
        ("bulk_partial_times", "failed", "internal_server_error"),
        ("bulk_timeout_times", "failed", "timeout"),
        ("bulk_cancel_times", "canceled", None),
        ("bulk_expire_times", "completed", None),
    ],
)
def test_every_end_is_told_by_webhook(
    shop: Running, knob: str, status: str, error: str | None
) -> None:
    shop.subscribe("BULK_OPERATIONS_FINISH")
    shop.fault(**{knob: 1})
    submit(shop, CUSTOMERS.replace("$filter$", ""))
    (received,) = wait_for(lambda: shop.receiver.on("/shopify"))
    body = orjson.loads(received.body)
    assert (body["status"], body["error_code"]) == (status, error)
