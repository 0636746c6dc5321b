"""Several exports at once, slots shared with strangers, and the webhook that wakes the poll."""

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.errors import TransientError
from core.ingestion.sync import run_sync
from core.models import Shop
from core.models.enums import SyncKind
from core.settings import Settings
from tests.core.ingestion.conftest import Rows, Sync
from tests.core.ingestion.test_sync_trouble import on_file
from tests.fixtures.shopify import FakeShopify, child, customer_node, graphql, order_node

pytestmark = pytest.mark.requirement("SHOP-02", "SHOP-03")
LOADED = "SELECT object_type FROM raw_shopify.bulk_operations WHERE state = 'loaded' ORDER BY "


class Slots:
    """Shopify's five slots: operations end when the test says so, strangers hold some."""

    def __init__(self, fake: FakeShopify, *, strangers: int = 0) -> None:
        self.fake = fake
        self.strangers = strangers
        self.fake.strangers = [
            {"id": f"gid://shopify/BulkOperation/90{number}", "status": "RUNNING"}
            for number in range(strangers)
        ]
        self.polls_left: dict[int, int] = {}
        self.most = 0
        self.refused = 0
        fake.before.append(self)

    def __call__(self, request: httpx.Request) -> httpx.Response | None:
        if b"bulkOperationRunQuery" in request.content:
            taken = self.strangers + self._running()
            if taken >= 5:
                self.refused += 1
                return graphql({"bulkOperationRunQuery": _refusal()})
            self.most = max(self.most, self._running() + 1)
        if b"bulkOperation(id" in request.content:
            gid = json.loads(request.content)["variables"]["id"]
            number = int(gid.rpartition("/")[2])
            left = self.polls_left.get(number, 0)
            self.polls_left[number] = left - 1
            if left > 0:
                state = {k: v for k, v in self.fake.operations[gid].items() if k != "content"}
                return graphql({"bulkOperation": state | {"status": "RUNNING", "url": None}})
        return None

    def _running(self) -> int:
        return sum(
            self.polls_left.get(number, 1) >= 0 for number in range(1, len(self.fake.queries) + 1)
        )


def _refusal() -> dict[str, Any]:
    words = "A bulk query operation for this app and shop is already in progress"
    error = {"field": None, "message": words, "code": "OPERATION_IN_PROGRESS"}
    return {"bulkOperation": None, "userErrors": [error]}


@pytest.fixture(autouse=True)
def _shop_with_data(fake: FakeShopify) -> None:
    fake.customers = [customer_node(1)]
    fake.orders = [order_node(11, 1), child(11, 111)]


@pytest.fixture
def slept(
    session_factory: SessionFactory,
    fake: FakeShopify,
    shop: Shop,
    clock: MovableClock,
    settings: Settings,
) -> Callable[..., list[float]]:
    """Runs a sync and returns what it would have slept; `on_sleep` is called each time."""

    def run(on_sleep: Callable[[float], None] = lambda _: None) -> list[float]:
        naps: list[float] = []

        def sleep(seconds: float) -> None:
            naps.append(seconds)
            on_sleep(sum(naps))

        with fake.client() as client:
            run_sync(
                session_factory,
                client,
                shop_id=shop.shop_id,
                kind=SyncKind.FULL,
                clock=clock,
                run_id=None,
                settings=settings,
                sleep=sleep,
            )
        return naps

    return run


def test_all_types_are_exported_at_once(fake: FakeShopify, slept: Callable[..., Any]) -> None:
    slots = Slots(fake)
    slots.polls_left = dict.fromkeys(range(1, 5), 3)
    slept()
    assert (slots.most, slots.refused) == (4, 0)


def test_what_is_ready_first_is_staged_while_the_others_run(
    fake: FakeShopify, slept: Callable[..., Any], rows: Rows
) -> None:
    """Orders are applied after the customers all the same: else every customer they name would be
    asked for one by one."""
    slots = Slots(fake)
    slots.polls_left = {1: 8}
    fetched: list[str] = []
    fake.before.insert(
        0, lambda r: fetched.append(r.url.path) if r.url.path.startswith("/bulk/") else None
    )
    slept()
    assert fetched == ["/bulk/2", "/bulk/1"]
    assert rows("SELECT count(*) FROM raw_shopify.refresh_requests") == [(0,)]
    assert rows("SELECT count(*) FROM raw_shopify.orders") == [(1,)]


def test_strangers_slots_are_respected_and_ours_free_the_next(
    fake: FakeShopify, slept: Callable[..., Any], rows: Rows
) -> None:
    slots = Slots(fake, strangers=4)
    slots.polls_left = dict.fromkeys(range(1, 5), 2)
    naps = slept()
    assert slots.most == 1
    assert slots.refused > 0
    assert sum(naps) < 30, "a slot of ours that is free is used at once"
    [(said, count)] = rows(
        "SELECT message, count(*) FROM raw_shopify.sync_log"
        " WHERE message LIKE '%as many exports%' GROUP BY 1"
    )
    assert "4 of them belong to other programs" in str(said)
    assert count == 3, "told once for each wait"
    assert rows("SELECT count(*) FROM raw_shopify.bulk_operations WHERE state = 'loaded'") == [(4,)]


def test_while_a_file_of_ours_is_ready_no_slot_is_waited_for(
    fake: FakeShopify, slept: Callable[..., Any]
) -> None:
    slots = Slots(fake, strangers=3)
    naps = slept()
    assert slots.refused > 0
    assert naps == []


def test_strangers_that_go_away_are_waited_for(
    fake: FakeShopify, slept: Callable[..., Any]
) -> None:
    slots = Slots(fake, strangers=5)

    def leave(seconds: float) -> None:
        if seconds >= 90:
            slots.strangers = 0

    assert 90 <= sum(slept(leave)) < 125


def test_strangers_that_stay_end_the_sync_after_an_hour(
    fake: FakeShopify, slept: Callable[..., Any], rows: Rows
) -> None:
    Slots(fake, strangers=5)
    with pytest.raises(TransientError, match="for an hour"):
        slept()
    assert "other programs" in str(rows("SELECT error FROM raw_shopify.sync_runs"))
    cancelled = [request for request in fake.requests if b"Cancel" in request.content]
    assert cancelled == [], "what is not ours is never cancelled"


def test_the_finish_webhook_wakes_the_poll(
    session_factory: SessionFactory, fake: FakeShopify, slept: Callable[..., Any]
) -> None:
    """Without it, the poll after the one at 10 s would have come up to 5 s later."""
    slots = Slots(fake)
    slots.polls_left = dict.fromkeys(range(1, 5), 10**6)
    polled_at: list[float] = []
    now = [0.0]

    def note(request: httpx.Request) -> None:
        if b"bulkOperation(id" in request.content:
            polled_at.append(now[0])

    def announce(seconds: float) -> None:
        now[0] = seconds
        if not slots.polls_left.get(0) and seconds >= 40.6:
            slots.polls_left = {0: 1}
            with session_scope(session_factory) as session:
                session.execute(
                    text("UPDATE raw_shopify.bulk_operations SET announced_at = clock_timestamp()")
                )

    fake.before.insert(0, note)
    naps = slept(announce)
    assert sum(naps) <= 40.6 + 0.6
    before = [moment for moment in polled_at if moment < 40.6]
    assert max(after - at for at, after in pairwise(before)) >= 4.5


def test_an_operation_that_is_being_cancelled_is_waited_for_and_asked_again(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    """While CANCELING it holds its slot; CANCELED it may have an address all the same."""
    gid, states = "gid://shopify/BulkOperation/2", ["CANCELING", "CANCELING", "CANCELED"]

    def respond(request: httpx.Request) -> httpx.Response | None:
        if b"bulkOperation(id" not in request.content or gid.encode() + b'"' not in request.content:
            return None
        state = {k: v for k, v in fake.operations[gid].items() if k != "content"}
        status = states.pop(0) if len(states) > 1 else states[0]
        return graphql({"bulkOperation": state | {"status": status}})

    fake.before.append(respond)
    assert sync().orders == 1
    assert [r for r in fake.requests if r.url.path == "/bulk/2"] == []
    said = rows("SELECT message FROM raw_shopify.sync_log WHERE level = 'warning'")
    assert said == [
        ("Export of orders: Shopify ended the bulk operation: CANCELED. Asking again.",)
    ]


def test_how_many_objects_are_expected_is_shown_while_shopify_exports(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    fake.customers = [customer_node(number) for number in range(1, 8)]
    sync()
    [(expected,)] = rows("SELECT objects_expected FROM raw_shopify.sync_runs")
    assert expected == {"Customer": 7, "Order": 1, "AbandonedCheckout": 0, "Product": 0}


def test_a_cancellation_that_shopify_refuses_holds_up_no_sync(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    refused = {"message": "no", "extensions": {"code": "ACCESS_DENIED"}}
    sync()
    on_file(fake, 5, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        sync(SyncKind.INCREMENTAL)
    fake.before.append(
        lambda asked: (
            graphql(None, errors=[refused]) if b"bulkOperationCancel" in asked.content else None
        )
    )
    sync(SyncKind.FULL)
    assert rows("SELECT count(*) FROM raw_shopify.bulk_operations WHERE state = 'failed'") == [(5,)]
