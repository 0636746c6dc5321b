"""The rarer topics: what each changes, in whatever order it comes."""

from datetime import UTC, datetime
from typing import Any

import pytest

from core.ingestion.inbox import Received
from core.models.enums import InboxState
from tests.core.ingestion.conftest import Post, Rows
from tests.fixtures.shopify import DOMAIN, SHOP_NUMBER, customer_body, order_body

APPLIED = Received(200, InboxState.APPLIED)
ORDERS = "SELECT order_id, customer_id FROM raw_shopify.orders ORDER BY 1"
COUNTS = """
    SELECT customer_id, order_count FROM raw_shopify.customer_statistics
    WHERE order_count > 0 ORDER BY 1"""
REQUESTS = """
    SELECT object_type, object_id FROM raw_shopify.refresh_requests
    WHERE object_type <> 'Product' ORDER BY 1, 2"""
TRIGGERED = datetime(2026, 11, 20, 11, 30, 0, 123456, tzinfo=UTC)


def merge(deleted: int, kept: int, status: str = "completed") -> dict[str, Any]:
    return {
        "admin_graphql_api_customer_kept_id": f"gid://shopify/Customer/{kept}",
        "admin_graphql_api_customer_deleted_id": f"gid://shopify/Customer/{deleted}",
        "admin_graphql_api_job_id": None,
        "status": status,
        "errors": [],
    }


def consent(number: int, state: str, at: str | None, **changes: Any) -> dict[str, Any]:
    told = {"state": state, "opt_in_level": "single_opt_in", "consent_updated_at": at}
    return {
        "customer_id": number,
        "email_address": f"c{number}@example.com",
        "email_marketing_consent": told,
    } | changes


def checkout(token: str, buyer: int | None, at: str, **changes: Any) -> dict[str, Any]:
    return {
        "token": token,
        "name": "#C1",
        "email": f"c{buyer}@example.com" if buyer else None,
        "created_at": "2026-11-20T10:00:00Z",
        "updated_at": at,
        "completed_at": None,
        "abandoned_checkout_url": f"https://{DOMAIN}/{SHOP_NUMBER}/checkouts/ac/{token}/recover?k=1",
        "currency": "EUR",
        "total_price": "20.00",
        "subtotal_price": "18.00",
        "discount_codes": [{"code": "TEA"}],
        "line_items": [{"title": "Tea", "quantity": 2, "product_id": 77, "price": "9.00"}],
        "customer": customer_body(buyer) if buyer else None,
    } | changes


# ---------------------------------------------------------------- deletions


@pytest.mark.requirement("SHOP-06", "RFM-04")
@pytest.mark.parametrize("is_first", [False, True])
def test_a_deleted_order_is_gone_with_its_lines_and_never_comes_back(
    post: Post, rows: Rows, *, is_first: bool
) -> None:
    told = [(order_body(11, 5), "orders/create"), ({"id": 11}, "orders/delete")]
    for body, topic in reversed(told) if is_first else told:
        assert post(body, topic) == APPLIED
    post(order_body(12, 5), "orders/create")
    later = "2026-11-21T00:00:00Z"
    assert post(order_body(11, 5, updated_at=later), "orders/updated") == APPLIED
    assert post({"id": 1, "order_id": 11, "transactions": []}, "refunds/create") == APPLIED
    assert rows(ORDERS) == [(12, 5)]
    assert rows("SELECT DISTINCT order_id FROM raw_shopify.order_lines") == [(12,)]
    assert rows(COUNTS) == [(5, 1)]
    assert rows(REQUESTS) == [("Customer", 5)]
    assert rows("SELECT object_type, object_id, deleted_at FROM raw_shopify.deleted_objects") == [
        ("Order", 11, TRIGGERED)
    ]


@pytest.mark.requirement("SHOP-06")
@pytest.mark.parametrize("is_first", [False, True])
def test_a_deleted_customer_stays_hidden_and_keeps_the_orders(
    post: Post, rows: Rows, *, is_first: bool
) -> None:
    told = [(order_body(11, 5), "orders/create"), ({"id": 5}, "customers/delete")]
    for body, topic in reversed(told) if is_first else told:
        assert post(body, topic) == APPLIED
    post(customer_body(5, updated_at="2026-11-21T00:00:00Z"), "customers/update")
    assert rows("SELECT email, deleted_at FROM raw_shopify.customers") == [
        ("c5@example.com", TRIGGERED)
    ]
    assert rows(COUNTS) == [(5, 1)]


# ---------------------------------------------------------------- merges


@pytest.mark.requirement("SHOP-06", "RFM-04")
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
def test_merged_customers_follow_the_survivor_over_a_chain_in_any_order(
    post: Post, rows: Rows, order: tuple[int, ...]
) -> None:
    told = [
        (order_body(11, 5), "orders/create"),
        (merge(5, 6), "customers/merge"),
        (merge(6, 7), "customers/merge"),
    ]
    for position in order:
        assert post(*told[position]) == APPLIED
    post(order_body(12, 5), "orders/create")
    post(*told[1])
    assert rows(ORDERS) == [(11, 7), (12, 7)]
    assert rows(COUNTS) == [(7, 2)]
    merges = (
        "SELECT deleted_customer_id, kept_customer_id, applied_at FROM raw_shopify.customer_merges"
    )
    assert rows(f"{merges} ORDER BY 1") == [(5, 7, None), (6, 7, None)]
    hidden = (
        "SELECT customer_id, merged_into FROM raw_shopify.customers WHERE deleted_at IS NOT NULL"
    )
    assert rows(f"{hidden} ORDER BY 1") == [(5, 7), (6, 7)]
    assert ("Customer", 7) in rows(REQUESTS)


def test_a_merge_that_shopify_gave_up_changes_nothing(post: Post, rows: Rows) -> None:
    post(order_body(11, 5))
    assert post(merge(5, 6, status="failed"), "customers/merge") == APPLIED
    assert rows(ORDERS) == [(11, 5)]
    assert rows("SELECT 1 FROM raw_shopify.customer_merges") == []


def test_checkouts_follow_a_merge_too(post: Post, rows: Rows) -> None:
    post(checkout("t1", 5, "2026-11-20T10:00:00Z"), "checkouts/create")
    post(merge(5, 6), "customers/merge")
    post(checkout("t2", 5, "2026-11-20T10:00:00Z"), "checkouts/create")
    assert rows("SELECT DISTINCT customer_id FROM raw_shopify.checkouts") == [(6,)]


# ---------------------------------------------------------------- consent, tags


@pytest.mark.requirement("SHOP-06", "CRM-04")
@pytest.mark.parametrize("turned", [False, True])
def test_the_later_consent_wins_and_the_customer_is_read(
    post: Post, rows: Rows, *, turned: bool
) -> None:
    told = [
        consent(5, "subscribed", "2026-11-20T10:00:00Z"),
        consent(5, "unsubscribed", "2026-11-20T12:00:00+01:00"),
    ]
    for body in reversed(told) if turned else told:
        assert post(body, "customers_email_marketing_consent/update") == APPLIED
    post(customer_body(5), "customers/create")
    assert rows("SELECT email, consent_state, consent_level FROM raw_shopify.customers") == [
        ("c5@example.com", "UNSUBSCRIBED", "SINGLE_OPT_IN")
    ]
    assert rows(REQUESTS) == [("Customer", 5)]


@pytest.mark.requirement("CRM-04")
@pytest.mark.parametrize(
    "doubtful",
    [
        consent(5, "subscribed", None),
        consent(5, "subscribed", "2026-11-20T11:00:00Z", email_address="other@example.com"),
    ],
)
def test_a_consent_in_doubt_is_only_read(post: Post, rows: Rows, doubtful: dict[str, Any]) -> None:
    """Without a time, or of another address than the customer's: unknown consent never sends."""
    post(customer_body(5), "customers/create")
    assert post(doubtful, "customers_email_marketing_consent/update") == APPLIED
    assert rows("SELECT consent_state FROM raw_shopify.customers") == [(None,)]
    assert rows(REQUESTS) == [("Customer", 5)]


@pytest.mark.parametrize("topic", ["customer.tags_added", "customer.tags_removed"])
def test_tags_are_read_whole(post: Post, rows: Rows, topic: str) -> None:
    body = {"customerId": "gid://shopify/Customer/5", "tags": ["a"], "occurredAt": "2026-11-20"}
    assert post(body, topic) == APPLIED
    assert rows(REQUESTS) == [("Customer", 5)]
    assert rows("SELECT 1 FROM raw_shopify.customers") == []


# ---------------------------------------------------------------- checkouts


@pytest.mark.requirement("SHOP-06")
@pytest.mark.parametrize("turned", [False, True])
def test_the_last_state_of_a_checkout_stays(post: Post, rows: Rows, *, turned: bool) -> None:
    early = checkout("t1", 5, "2026-11-20T10:00:00Z")
    late = checkout("t1", 5, "2026-11-20T12:00:00+01:00", total_price="30.00")
    for body in (late, early) if turned else (early, late):
        assert post(body, "checkouts/update") == APPLIED
    assert rows(
        "SELECT checkout_key, token, customer_id, email, total::text, discount_codes,"
        " line_items -> 0 ->> 'unit_price' FROM raw_shopify.checkouts"
    ) == [("t1", "t1", 5, "c5@example.com", "30.0000", ["TEA"], "9.00")]
    assert ("Product", 77) in rows(REQUESTS.replace("<>", "="))


def test_a_checkout_of_nobody_is_not_kept(post: Post, rows: Rows) -> None:
    assert post(checkout("t1", None, "2026-11-20T10:00:00Z"), "checkouts/create") == APPLIED
    assert rows("SELECT 1 FROM raw_shopify.checkouts") == []


@pytest.mark.parametrize("is_first", [False, True])
def test_a_deleted_checkout_stays_deleted(post: Post, rows: Rows, *, is_first: bool) -> None:
    told = [
        (checkout("t1", 5, "2026-11-20T10:00:00Z"), "checkouts/create"),
        ({"token": "t1", "id": 981}, "checkouts/delete"),
    ]
    for body, topic in reversed(told) if is_first else told:
        assert post(body, topic) == APPLIED
    assert rows("SELECT email, deleted_at FROM raw_shopify.checkouts") == [
        ("c5@example.com", TRIGGERED)
    ]


@pytest.mark.requirement("SHOP-06")
@pytest.mark.parametrize("is_first", [True, False])
def test_a_checkout_deleted_by_its_id_alone_stays_deleted_in_any_order(
    post: Post, rows: Rows, *, is_first: bool
) -> None:
    """Shopify's body names the id only, and one that came before the checkout found nothing to
    hide: the customer was reminded of a cart that was gone.
    """
    told = [
        (checkout("t1", 5, "2026-11-20T10:00:00Z", name="#981"), "checkouts/create"),
        (checkout("t1", 5, "2026-11-20T12:00:00Z", name="#981"), "checkouts/update"),
        ({"id": 981}, "checkouts/delete"),
        (checkout("t2", 5, "2026-11-20T10:00:00Z", name="#982"), "checkouts/create"),
        (checkout("t3", 5, "2026-11-20T10:00:00Z", name="Basket 981"), "checkouts/create"),
    ]
    for body, topic in reversed(told) if is_first else told:
        assert post(body, topic) == APPLIED
    assert rows("SELECT token, deleted_at FROM raw_shopify.checkouts ORDER BY 1") == [
        ("t1", TRIGGERED),
        ("t2", None),
        ("t3", None),
    ]


# ---------------------------------------------------------------- the app, the law


@pytest.mark.requirement("SHOP-03")
def test_the_end_of_a_bulk_operation_is_announced(post: Post, rows: Rows) -> None:
    rows(
        "INSERT INTO raw_shopify.sync_runs (shop_id, kind, state, started_at)"
        " VALUES (1, 'full', 'running', now()) RETURNING 1"
    )
    rows(
        "INSERT INTO raw_shopify.bulk_operations (shop_id, operation_id, sync_run_id, object_type,"
        " state, filter, api_version, submitted_at) VALUES (1, 'gid://shopify/BulkOperation/7', 1,"
        " 'Order', 'submitted', '', '2026-07', now()) RETURNING 1"
    )
    body = {"admin_graphql_api_id": "gid://shopify/BulkOperation/7", "status": "completed"}
    assert post(body, "bulk_operations/finish") == APPLIED
    announced = "SELECT announced_at IS NOT NULL FROM raw_shopify.bulk_operations"
    assert rows(announced) == [(True,)]


def test_a_removed_app_is_noted_unless_the_shop_has_answered_since(post: Post, rows: Rows) -> None:
    body = {"id": SHOP_NUMBER, "myshopify_domain": DOMAIN}
    rows("UPDATE crm.shops SET webhooks_checked_at = '2026-11-20T12:00:00Z' RETURNING 1")
    post(body, "app/uninstalled")
    assert rows("SELECT uninstalled_at FROM crm.shops") == [(None,)]
    rows("UPDATE crm.shops SET webhooks_checked_at = '2026-11-20T11:00:00Z' RETURNING 1")
    post(body, "app/uninstalled")
    assert rows("SELECT uninstalled_at FROM crm.shops") == [(TRIGGERED,)]


@pytest.mark.requirement("SHOP-08")
def test_compliance_topics_become_requests_and_who_is_to_be_erased_is_hidden_at_once(
    post: Post, rows: Rows
) -> None:
    shop = {"shop_id": SHOP_NUMBER, "shop_domain": DOMAIN}
    person = {"id": 5, "email": "c5@example.com", "phone": None}
    post(customer_body(5), "customers/create")
    asked = shop | {"customer": person, "orders_requested": [11], "data_request": {"id": 9999}}
    assert post(asked, "customers/data_request") == APPLIED
    assert rows("SELECT deleted_at FROM raw_shopify.customers") == [(None,)]
    erased = shop | {"customer": person, "orders_to_redact": [11]}
    assert post(erased, "customers/redact", webhook_id="redact") == APPLIED
    assert post(erased, "customers/redact", webhook_id="redact").status == 200
    assert post(shop, "shop/redact") == APPLIED
    assert rows("SELECT deleted_at FROM raw_shopify.customers") == [(TRIGGERED,)]
    assert rows(
        "SELECT kind, state, shopify_request_id, subject ->> 'customer_id',"
        " subject -> 'order_ids', due_at - requested_at = interval '30 days'"
        " FROM crm.privacy_requests ORDER BY privacy_request_id"
    ) == [
        ("data_request", "pending", 9999, "5", [11], True),
        ("customer_redact", "pending", None, "5", [11], True),
        ("shop_redact", "pending", None, None, None, True),
    ]


@pytest.mark.requirement("SHOP-04")
@pytest.mark.parametrize(
    ("topic", "body"),
    [
        ("orders/delete", {"id": "11"}),
        ("customers/delete", {}),
        ("customers/merge", merge(5, 5)),
        ("customers/merge", {"status": "completed"}),
        ("customers_email_marketing_consent/update", {"customer_id": 5}),
        ("customers_email_marketing_consent/update", consent(5, "maybe", None)),
        ("customers_email_marketing_consent/update", consent(5, "pending", "yesterday")),
        ("customer.tags_added", {"customerId": 5}),
        ("checkouts/create", {"token": "t"}),
        ("checkouts/delete", {}),
        ("bulk_operations/finish", {"admin_graphql_api_id": "gid://shopify/Order/1"}),
        ("customers/redact", {"customer": {}}),
        ("customers/data_request", {"customer": {"id": 5}, "orders_requested": 7}),
    ],
)
def test_a_body_that_cannot_be_applied_is_kept_as_failed(
    post: Post, rows: Rows, topic: str, body: dict[str, Any]
) -> None:
    assert post(body, topic) == Received(200, InboxState.FAILED)
    [(error,)] = rows("SELECT error FROM raw_shopify.webhook_inbox")
    assert error
    assert rows("SELECT 1 FROM raw_shopify.customers") == []
