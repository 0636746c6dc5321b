"""What Shopify, the network and a kill can do to a sync, and how the next one goes on."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError, TransientError
from core.ingestion import runs
from core.models import Shop
from core.models.enums import SyncKind
from tests.core.ingestion.conftest import Rows, Sync
from tests.fixtures.shopify import FakeShopify, child, customer_node, graphql, order_node

RUNS = "SELECT state, error FROM raw_shopify.sync_runs ORDER BY sync_run_id"
# Of the two types without which there is nothing; 1 and 2 are their first operations.
NEEDED = "object_type IN ('Customer', 'Order')"
OPERATIONS = (
    f"SELECT object_type, state FROM raw_shopify.bulk_operations WHERE {NEEDED}"
    " ORDER BY length(operation_id), operation_id"
)
CURSORS = f"SELECT object_type FROM raw_shopify.sync_cursors WHERE {NEEDED} ORDER BY 1"


def on_poll(
    fake: FakeShopify, number: int, *, times: int = 10**6, **changes: Any
) -> Callable[[], int]:
    """Changes what Shopify says of operation `number`; returns a counter of the polls."""
    gid = f"gid://shopify/BulkOperation/{number}"
    polls = [0]

    def respond(request: httpx.Request) -> httpx.Response | None:
        asked = b"bulkOperation(id" in request.content and f'{gid}"'.encode() in request.content
        polls[0] += asked
        if not asked or polls[0] > times:
            return None
        state = {k: v for k, v in fake.operations[gid].items() if k != "content"}
        return graphql({"bulkOperation": state | changes})

    fake.before.append(respond)
    return lambda: polls[0]


def on_file(
    fake: FakeShopify, number: int, *answers: httpx.Response | BaseException | None
) -> None:
    """Answers the downloads of file `number` in turn; None and afterwards: as it is."""
    left = list(answers)

    def respond(request: httpx.Request) -> httpx.Response | None:
        if request.url.path != f"/bulk/{number}" or not left:
            return None
        answer = left.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    fake.before.append(respond)


@pytest.fixture(autouse=True)
def _shop_with_data(fake: FakeShopify) -> None:
    fake.customers = [customer_node(1)]
    fake.orders = [order_node(11, 1), child(11, 111), child(11, 112)]


@pytest.mark.requirement("SHOP-02")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objectCount": "4"}, "announced 4 lines and sent 3"),
        ({"objectCount": "2"}, "announced 2 lines and sent 3"),
        ({"fileSize": "7"}, "announced 7 bytes"),
    ],
)
def test_a_file_that_is_not_whole_changes_nothing(
    sync: Sync, fake: FakeShopify, rows: Rows, changes: dict[str, str], words: str
) -> None:
    on_poll(fake, 2, times=1, **changes)
    with pytest.raises(PermanentError, match=words):
        sync()
    assert rows("SELECT 1 FROM raw_shopify.orders") == []
    assert rows(CURSORS) == [("Customer",)]
    assert rows(OPERATIONS) == [("Customer", "loaded"), ("Order", "failed")]
    [(state, error)] = rows(RUNS)
    assert state == "failed"
    assert words in str(error)
    assert rows("SELECT orders_loaded, order_lines_loaded FROM raw_shopify.sync_runs") == [(0, 0)]
    sync()
    assert rows("SELECT count(*) FROM raw_shopify.order_lines") == [(2,)]


@pytest.mark.requirement("SHOP-02")
def test_lines_without_a_file_are_never_taken_for_none(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    """An ingester that read a finished job without an address as zero rows lost whole syncs."""
    for number in (2, 5, 6):
        on_poll(fake, number, url=None)
    with pytest.raises(TransientError, match="announced 3 lines and gave no file"):
        sync()
    assert rows(CURSORS) == [("Customer",)]


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "FAILED", "errorCode": "INTERNAL_SERVER_ERROR", "url": None},
        {"status": "CANCELED"},
        {"status": "EXPIRED"},
    ],
)
def test_an_operation_that_shopify_ended_is_asked_for_again(
    sync: Sync, fake: FakeShopify, rows: Rows, changes: dict[str, Any]
) -> None:
    on_poll(fake, 2, **changes)
    assert sync().orders == 1
    assert rows(OPERATIONS) == [("Customer", "loaded"), ("Order", "failed"), ("Order", "loaded")]
    assert not [request for request in fake.requests if request.url.path == "/bulk/2"]


def test_missing_access_ends_the_sync_and_says_which_scopes(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    on_poll(fake, 1, status="FAILED", errorCode="ACCESS_DENIED", url=None)
    with pytest.raises(PermanentError, match="read_customers"):
        sync()
    assert "protected customer data" in str(rows(RUNS)[0][1])


def test_an_operation_is_polled_until_it_is_done(sync: Sync, fake: FakeShopify) -> None:
    polls = on_poll(fake, 1, times=20, status="RUNNING", url=None, objectCount="0")
    assert sync().customers == 1
    assert polls() == 21


def test_a_busy_slot_is_waited_for(sync: Sync, fake: FakeShopify) -> None:
    left = [1, 2, 3]
    busy = {
        "bulkOperationRunQuery": {
            "bulkOperation": None,
            "userErrors": [
                {"field": None, "message": "in progress", "code": "OPERATION_IN_PROGRESS"}
            ],
        }
    }

    def respond(request: httpx.Request) -> httpx.Response | None:
        if b"bulkOperationRunQuery" in request.content and left:
            left.pop()
            return graphql(busy)
        return None

    fake.before.append(respond)
    assert sync().orders == 1


def test_a_refused_operation_ends_the_sync_in_shopifys_words(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    refusal = {"field": ["query"], "message": "Bulk queries must contain", "code": "INVALID"}
    answer = {"bulkOperationRunQuery": {"bulkOperation": None, "userErrors": [refusal]}}
    fake.before.append(
        lambda request: graphql(answer) if b"bulkOperationRunQuery" in request.content else None
    )
    with pytest.raises(PermanentError, match="Bulk queries must contain"):
        sync()
    assert "Bulk queries must contain" in str(rows(RUNS)[0][1])


class Cut(httpx.SyncByteStream):
    """A body that breaks off."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Any:
        yield self._content
        raise httpx.ReadError("cut")


def whole_file(fake: FakeShopify) -> bytes:
    content: bytes = fake.operations["gid://shopify/BulkOperation/2"]["content"]
    return content


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_broken_download_goes_on_where_it_broke(
    sync: Sync, fake: FakeShopify, rows: Rows, *, has_ranges: bool
) -> None:
    asked: list[str | None] = []

    def respond(request: httpx.Request) -> httpx.Response | None:
        if request.url.path != "/bulk/2":
            return None
        asked.append(request.headers.get("Range"))
        if len(asked) == 1:
            return httpx.Response(200, stream=Cut(whole_file(fake)[:700]))
        if len(asked) == 2:
            raise httpx.ConnectError("refused")
        return None if has_ranges else httpx.Response(200, content=whole_file(fake))

    fake.before.append(respond)
    assert sync().order_lines == 2
    assert asked == [None, "bytes=700-", "bytes=700-"]
    read = "SELECT lines_read FROM raw_shopify.bulk_operations WHERE object_type = 'Order'"
    assert rows(read) == [(3,)]


def test_a_download_that_broke_after_the_last_byte_is_whole(sync: Sync, fake: FakeShopify) -> None:
    def respond(request: httpx.Request) -> httpx.Response | None:
        if request.url.path != "/bulk/2":
            return None
        if "Range" in request.headers:
            return httpx.Response(416)
        return httpx.Response(200, stream=Cut(whole_file(fake)))

    fake.before.append(respond)
    assert sync().order_lines == 2


def test_a_download_that_never_works_leaves_the_operation_to_the_next_sync(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    on_file(fake, 2, *[httpx.Response(500)] * 6)
    with pytest.raises(TransientError, match="500"):
        sync()
    assert rows(OPERATIONS) == [("Customer", "loaded"), ("Order", "submitted")]
    sync()
    assert len(fake.queries) == 4 + 1, "the orders were not asked for again"
    assert rows("SELECT count(*) FROM raw_shopify.order_lines") == [(2,)]


def test_an_expired_address_is_asked_for_anew(sync: Sync, fake: FakeShopify) -> None:
    on_file(fake, 2, httpx.Response(400, text="<Error>ExpiredToken</Error>"))
    assert sync().orders == 1


def test_a_file_that_is_gone_is_made_anew(sync: Sync, fake: FakeShopify, rows: Rows) -> None:
    on_file(fake, 2, httpx.Response(404))
    on_poll(fake, 2, url=None, status="EXPIRED")
    assert sync().orders == 1
    assert ("Order", "failed") in rows(OPERATIONS)


@pytest.mark.requirement("SHOP-02")
@pytest.mark.parametrize("kill", [KeyboardInterrupt(), SystemExit(1), RuntimeError("a bug")])
def test_a_killed_sync_is_gone_on_with_and_not_paid_for_twice(
    sync: Sync, fake: FakeShopify, rows: Rows, kill: BaseException
) -> None:
    on_file(fake, 1, kill)
    with pytest.raises(type(kill)):
        sync()
    assert rows(OPERATIONS) == [("Customer", "submitted"), ("Order", "submitted")]
    assert "a bug" not in str(rows(RUNS)[0][1])
    assert "goes on where it was" in str(rows(RUNS)[0][1])
    assert sync().order_lines == 2
    assert len(fake.queries) == 4
    assert rows("SELECT DISTINCT sync_run_id FROM raw_shopify.bulk_operations") == [(2,)]


def test_a_window_left_behind_long_ago_is_loaded_and_then_brought_up_to_date(
    sync: Sync, fake: FakeShopify, clock: MovableClock
) -> None:
    on_file(fake, 1, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        sync()
    clock.advance(timedelta(days=2))
    sync(SyncKind.INCREMENTAL)
    assert len(fake.queries) == 8
    assert all("updated_at:>=" in query for query in fake.queries[4:])


def test_a_window_left_behind_does_not_stand_for_everything(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    sync()
    on_file(fake, 5, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        sync(SyncKind.INCREMENTAL)
    sync(SyncKind.FULL)
    assert "updated_at" not in fake.queries[-1]
    by_state = "SELECT state, count(*) FROM raw_shopify.bulk_operations GROUP BY 1 ORDER BY 1"
    assert rows(by_state) == [
        ("failed", 5),
        ("loaded", 8),
    ]
    given_up = "SELECT operation_id FROM raw_shopify.bulk_operations WHERE state = 'failed'"
    assert sorted(fake.cancelled) == sorted(str(gid) for (gid,) in rows(given_up))


def test_the_operation_is_remembered_before_it_is_polled(
    sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    seen: list[Any] = []

    def watch(request: httpx.Request) -> None:
        if b"bulkOperation(id" in request.content and not seen:
            seen.extend(rows(OPERATIONS))

    fake.before.append(watch)
    sync()
    assert seen == [("Customer", "submitted"), ("Order", "submitted")]


def test_only_one_sync_of_a_shop_runs_and_a_dead_one_does_not_stand_in_the_way(
    session_factory: SessionFactory, shop: Shop, sync: Sync, rows: Rows, clock: MovableClock
) -> None:
    with runs.only_one(session_factory, shop.shop_id):
        runs.start(session_factory, shop.shop_id, kind=SyncKind.FULL, run_id=None, clock=clock)
        with pytest.raises(TransientError, match="Another sync"):
            sync()
    assert rows(RUNS) == [("running", None)]
    sync()
    [(dead, words), (state, _)] = rows(RUNS)
    assert (dead, state) == ("failed", "completed")
    assert "died" in str(words)


def test_the_sync_lock_holds_no_snapshot_and_no_transaction_id(
    session_factory: SessionFactory, shop: Shop
) -> None:
    """Else a long sync would keep vacuum from cleaning up behind everybody."""
    with runs.only_one(session_factory, shop.shop_id), session_scope(session_factory) as session:
        found = session.execute(
            text(
                "SELECT backend_xid, backend_xmin FROM pg_stat_activity"
                " WHERE state = 'idle in transaction' AND datname = current_database()"
            )
        ).all()
    assert [tuple(row) for row in found] == [(None, None)]


def test_a_database_that_fails_under_a_sync_is_said_in_words(
    session_factory: SessionFactory, sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    def cut(request: httpx.Request) -> None:
        if request.url.path == "/bulk/2":
            with session_scope(session_factory) as session:
                session.execute(text("DROP SCHEMA raw_shopify_staging CASCADE"))
                session.execute(text("CREATE SCHEMA raw_shopify_staging"))

    fake.before.append(cut)
    with pytest.raises(TransientError, match="database had a problem"):
        sync()
    assert "The database had a problem" in str(rows(RUNS)[0][1])
    fake.before.remove(cut)
    sync()
    assert rows("SELECT count(*) FROM raw_shopify.order_lines") == [(2,)]


def test_a_sync_whose_lock_connection_was_cut_still_ends_well(
    session_factory: SessionFactory, sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    def cut(request: httpx.Request) -> None:
        if request.url.path == "/bulk/2":
            rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE state = 'idle in transaction'"
                " AND query LIKE '%idle_in_transaction_session_timeout%'"
            )

    fake.before.append(cut)
    assert sync().order_lines == 2
    assert rows(RUNS) == [("completed", None)]


def test_a_database_that_crashed_after_a_file_was_staged_has_it_read_again(
    session_factory: SessionFactory, sync: Sync, fake: FakeShopify, rows: Rows
) -> None:
    """Recovery empties unlogged tables: the empty ones passed for a file without orders, and the
    cursor went over all that was in it."""
    polls = on_poll(fake, 1, times=3, status="RUNNING", url=None)  # the orders wait for customers

    def recover(_: httpx.Request) -> None:
        if polls() != 3:
            return
        with session_scope(session_factory) as session:
            for table in session.scalars(
                text(
                    "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE '%orders'"
                    " AND relnamespace = 'raw_shopify_staging'::regnamespace"
                )
            ).all():
                session.execute(text(f'TRUNCATE raw_shopify_staging."{table}"'))

    fake.before.append(recover)
    with pytest.raises(TransientError, match="lost a file"):
        sync()
    assert rows(CURSORS) == [("Customer",)]
    fake.before.remove(recover)
    sync()
    assert rows("SELECT count(*) FROM raw_shopify.order_lines") == [(2,)]
    assert rows(CURSORS) == [("Customer",), ("Order",)]
