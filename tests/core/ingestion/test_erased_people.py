"""Nobody who was erased is stored again, by whatever way Shopify tells of them.

Files: test_staging.py; the whole way from a request to a second full sync: activation/privacy.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import insert, text

from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.ingestion import calls, inbox, keys
from core.ingestion.apply import Incoming
from core.ingestion.calls import Group
from core.ingestion.groups import receive_group
from core.ingestion.refresh import RefreshReport, refresh_due, request
from core.ingestion.screen import ErasureHasher
from core.models import Shop, Suppression
from core.models.enums import ObjectType, SuppressionReason
from core.settings import Settings
from tests.core.ingestion.conftest import Post, Rows
from tests.core.ingestion.test_webhook_topics import checkout, consent
from tests.fixtures.shopify import (
    DOMAIN,
    FakeShopify,
    customer_body,
    customer_node,
    encode,
    line_node,
    order_body,
    order_node,
)

ADA = 5
EMAIL = "c5@example.com"
ORDERS = "SELECT order_id, customer_id, email FROM raw_shopify.orders ORDER BY 1"
CUSTOMERS = "SELECT customer_id FROM raw_shopify.customers ORDER BY 1"
ASKED = "SELECT object_id FROM raw_shopify.refresh_requests WHERE object_type = 'Customer'"
LATER = "2026-11-21T00:00:00Z"
Told = list[tuple[dict[str, Any], str]]
Deliver = Callable[[Told], None]


@pytest.fixture(autouse=True)
def _forgetful() -> Iterator[None]:
    """Which shops have erased people a process learns as it goes; each test begins anew."""
    calls.erasing.clear()
    yield
    calls.erasing.clear()


@pytest.fixture(autouse=True)
def _ada_was_erased(
    session_factory: SessionFactory, shop: Shop, settings: Settings, clock: MovableClock
) -> None:
    hasher = ErasureHasher(settings.secret_key, shop.shop_id)
    with session_scope(session_factory) as session:
        session.execute(
            insert(Suppression),
            [
                {
                    "shop_id": shop.shop_id,
                    "email_normalized": kept,
                    "reason": SuppressionReason.ERASED,
                    "suppressed_at": clock.now(),
                }
                for kept in (hasher.customer(ADA), hasher.email(EMAIL), hasher.key_check)
            ],
        )


@pytest.fixture(params=["together", "one by one", "tried again"])
def deliver(
    request: pytest.FixtureRequest,
    post: Post,
    *,
    session_factory: SessionFactory,
    settings: Settings,
    clock: MovableClock,
) -> Deliver:
    """As one group, each alone, or from the inbox, where a file that was applied left them."""
    with session_scope(session_factory) as session:
        known = keys.load(session, DOMAIN, settings.secret_key)
    assert known is not None
    group = Group(session_factory, known, settings, clock)

    def together(told: Told) -> None:
        letters = [
            Incoming(known, topic, f"{len(told)}-{place}", encode(body))
            for place, (body, topic) in enumerate(told)
        ]
        assert {answer.status for answer in receive_group(group, letters)} == {200}

    def one_by_one(told: Told) -> None:
        for body, topic in told:
            assert post(body, topic).status == 200

    def tried_again(told: Told) -> None:
        with session_scope(session_factory) as session:
            session.execute(text("SELECT pg_advisory_xact_lock(hashtext('ecomcrm bulk apply'), 1)"))
            together(told)
        report = inbox.retry_due(session_factory, settings=settings, clock=clock)
        assert (report.applied, report.failed) == (len(told), 0)

    ways = {"together": together, "one by one": one_by_one, "tried again": tried_again}
    way: Deliver = ways[request.param]
    return way


@pytest.mark.requirement("SHOP-04")
def test_webhooks_bring_no_erased_person_back(deliver: Deliver, rows: Rows) -> None:
    """By number, by address, and both at once; neighbours are stored as ever."""
    elsewhere = order_body(13, 7, email=f" {EMAIL.upper()}")
    elsewhere["customer"]["email"] = EMAIL
    deliver(
        [
            (order_body(11, ADA), "orders/create"),
            (order_body(12, 6), "orders/create"),
            (elsewhere, "orders/create"),
            (customer_body(ADA, email=None, updated_at=LATER), "customers/update"),
            (customer_body(8, email=EMAIL), "customers/create"),
            (consent(ADA, "subscribed", LATER), "customers_email_marketing_consent/update"),
            (checkout("t1", ADA, LATER), "checkouts/create"),
            (checkout("t2", 6, LATER), "checkouts/create"),
        ]
    )
    assert rows(CUSTOMERS) == [(6,)]
    assert rows(ORDERS) == [(11, None, None), (12, 6, "c6@example.com"), (13, None, None)]
    assert rows(
        "SELECT token, customer_id, email, phone FROM raw_shopify.checkouts ORDER BY 1"
    ) == [("t2", 6, "c6@example.com", None)], (
        "of a checkout without anybody to write to nothing is kept"
    )
    assert rows("SELECT customer_id FROM raw_shopify.customer_statistics") == [(6,)]
    assert rows(ASKED) == [(6,)], "nobody asks Shopify for them"
    assert rows("SELECT DISTINCT state FROM raw_shopify.webhook_inbox") == [("applied",)]


@pytest.mark.requirement("SHOP-05")
def test_a_process_that_knows_of_the_erased_screens_the_next_group_at_once(
    deliver: Deliver, rows: Rows
) -> None:
    """The second time the hashes travel with the group, and what is free of them takes one call."""
    deliver([(order_body(11, ADA), "orders/create"), (order_body(12, 6), "orders/create")])
    deliver([(order_body(13, 6), "orders/create")])
    changed = order_body(11, ADA, updated_at=LATER, source_name="pos")
    deliver([(changed, "orders/updated"), (order_body(14, 6), "orders/create"), *_more()])
    assert rows(ORDERS) == [
        (11, None, None),
        *((number, 6, "c6@example.com") for number in (12, 13, 14)),
        (15, 7, "c7@example.com"),
    ]
    assert rows("SELECT source_name FROM raw_shopify.orders WHERE order_id = 11") == [("pos",)]
    assert rows(CUSTOMERS) == [(6,), (7,)]


def _more() -> Told:
    return [(order_body(15, 7), "orders/create")]


def test_an_order_that_was_theirs_passes_to_nobody_when_it_changes(
    post: Post, rows: Rows, session_factory: SessionFactory
) -> None:
    """One that was stored before the erasure, and that the erasure has not come to yet."""
    with session_scope(session_factory) as session:
        kept = session.execute(text("DELETE FROM crm.suppressions RETURNING *")).mappings().all()
    post(order_body(11, ADA))
    assert rows("SELECT customer_id, order_count FROM raw_shopify.customer_statistics") == [(5, 1)]
    with session_scope(session_factory) as session:
        session.execute(insert(Suppression), [dict(row) for row in kept])
    post(order_body(11, ADA, updated_at=LATER), "orders/updated")
    assert rows(ORDERS) == [(11, None, None)]
    assert rows("SELECT order_count FROM raw_shopify.customer_statistics") == [(0,)]


@pytest.fixture
def refresh(
    session_factory: SessionFactory,
    fake: FakeShopify,
    shop: Shop,
    settings: Settings,
    clock: MovableClock,
) -> Callable[..., RefreshReport]:
    client = fake.client()

    def run(kind: ObjectType, *nodes: dict[str, Any]) -> RefreshReport:
        for node in nodes:
            fake.nodes[node["id"]] = {"__typename": kind.value, **node}
        ids = [int(node["id"].rpartition("/")[2]) for node in nodes]
        with session_scope(session_factory) as session:
            session.execute(text("DELETE FROM raw_shopify.refresh_requests"))
            request(session, shop.shop_id, kind, ids, "test", at=clock.now())
        return refresh_due(session_factory, lambda _: client, settings=settings, clock=clock)

    return run


@pytest.mark.requirement("SHOP-06")
def test_reads_by_id_bring_no_erased_person_back(
    refresh: Callable[..., RefreshReport], rows: Rows
) -> None:
    by_address = customer_node(8)
    by_address["defaultEmailAddress"] |= {"emailAddress": EMAIL}
    nodes = [customer_node(ADA, consent=None), customer_node(6), by_address]
    assert refresh(ObjectType.CUSTOMER, *nodes) == RefreshReport(claimed=3, read=3)
    assert rows(CUSTOMERS) == [(6,)]
    orders = [
        order_node(11, ADA, email=None) | {"lineItems": [line_node(111)]},
        order_node(12, 6) | {"lineItems": [line_node(121)]},
        order_node(13, None, email=EMAIL) | {"lineItems": []},
    ]
    assert refresh(ObjectType.ORDER, *orders) == RefreshReport(claimed=3, read=3)
    assert rows(ORDERS) == [(11, None, None), (12, 6, "c6@example.com"), (13, None, None)]
    assert rows("SELECT customer_id FROM raw_shopify.customer_statistics") == [(6,)]
    assert rows(ASKED) == []
    everything = json.dumps(
        [
            [str(value) for value in row]
            for table in ("customers", "orders", "order_lines", "refresh_requests")
            for row in rows(f"SELECT to_jsonb(held) FROM raw_shopify.{table} AS held")
        ]
    )
    assert EMAIL not in everything


def test_under_another_key_nothing_is_stored(
    post: Post, rows: Rows, refresh: Callable[..., RefreshReport]
) -> None:
    """They could not be recognised any more; Shopify is to deliver again once the key is back."""
    with_other = (
        "UPDATE crm.suppressions SET email_normalized = email_normalized || 'x' RETURNING 1"
    )
    assert len(rows(with_other)) == 3
    assert post(order_body(11, ADA)).status == 503
    assert rows("SELECT 1 FROM raw_shopify.webhook_inbox") == []
    assert rows(ORDERS) == []
