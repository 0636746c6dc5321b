"""Helper processes of a load bring what one process brings; their trouble ends the load."""

import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from sqlalchemy import text

from core.database import SessionFactory, make_engine, make_session_factory, session_scope
from core.ingestion import frames, staging, workers
from core.ingestion.frames import Frame, FrameKind, Job
from core.ingestion.staging import STAGING, drop_leftovers
from core.ingestion.workers import HelperDiedError, Helpers
from core.models import Shop
from core.models.enums import ObjectType
from core.paths import PROJECT_ROOT
from tests.core.ingestion.conftest import Rows
from tests.fixtures.loads import Loaded, encoded, load, stage_lines
from tests.fixtures.shopify import child, order_node, refund_node

LINES = [
    node
    for number in range(1, 2001)
    for node in (order_node(number, number % 50 + 1), child(number, number, title="x" * 400))
]


@pytest.fixture(autouse=True)
def _no_leftovers(session_factory: SessionFactory) -> None:
    with session_scope(session_factory) as session:
        drop_leftovers(session, 1)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Helpers]:
    """The helpers of the loads that follow."""
    found: list[Helpers] = []
    begin = Helpers.__init__

    def watched(self: Helpers, job: Job, count: int) -> None:
        begin(self, job, count)
        found.append(self)

    monkeypatch.setattr(Helpers, "__init__", watched)
    return found


def on_block(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[Helpers], None]) -> None:
    """Something happens before the block of that number is handed out."""
    offer, offered = Helpers.offer, [0]

    def watched(self: Helpers, block: bytes, first_number: int) -> bool:
        offered[0] += 1
        if offered[0] == number:
            act(self)
        return offer(self, block, first_number)

    monkeypatch.setattr(Helpers, "offer", watched)


@pytest.mark.requirement("SHOP-02")
def test_several_processes_bring_what_one_brings(
    session_factory: SessionFactory, shop: Shop, rows: Rows, made: list[Helpers]
) -> None:
    lines = [*LINES, "broken", child(1, 9_000_001, quantity="x"), child(777_777, 9_000_002)]
    loaded = load(session_factory, shop.shop_id, lines, processes=3)
    assert (loaded.counts.orders, loaded.counts.order_lines) == (2000, 2001)
    assert [number for number, _, _ in loaded.rejected] == [4001, 4002]
    assert loaded.rejected[0][1] == b"broken"
    assert rows("SELECT line_number FROM raw_shopify.rejected_lines") == [(4003,)]
    assert rows("SELECT count(*), count(DISTINCT order_id) FROM raw_shopify.order_lines") == [
        (2000, 2000)
    ]
    [used] = made
    assert len(used._all) == 2
    assert {helper.process.returncode for helper in used._all} == {0}


def test_a_file_of_a_few_blocks_is_read_without_helpers(
    session_factory: SessionFactory,
    shop: Shop,
    rows: Rows,
    made: list[Helpers],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They would start long after it has been read."""
    monkeypatch.setattr(staging, "ALONE", 100)
    load(session_factory, shop.shop_id, LINES, processes=2)
    assert made == []
    assert rows("SELECT count(*) FROM raw_shopify.order_lines") == [(2000,)]


def test_a_helper_that_is_killed_fails_the_load_and_leaves_nothing(
    session_factory: SessionFactory,
    shop: Shop,
    rows: Rows,
    made: list[Helpers],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def kill(used: Helpers) -> None:
        used._all[1].process.send_signal(signal.SIGKILL)
        used._all[1].process.wait(10)

    on_block(monkeypatch, 3, kill)
    with pytest.raises(HelperDiedError, match="has died"):
        stage_lines(session_factory, shop.shop_id, LINES, processes=3, name="killed")
    [used] = made
    assert all(helper.process.returncode is not None for helper in used._all)
    staged = rows(f'SELECT count(*) FROM {STAGING}."s1__killed__orders"')
    assert staged == [(0,)]
    load(session_factory, shop.shop_id, LINES[:2], processes=2)
    assert rows("SELECT count(*) FROM raw_shopify.orders") == [(1,)]


def test_what_the_database_refuses_a_helper_is_told_without_the_row(
    session_factory: SessionFactory, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(_: Helpers) -> None:
        with session_scope(session_factory) as session:
            session.execute(text(f'DROP TABLE {STAGING}."s1__refused__orders"'))

    on_block(monkeypatch, 1, spoil)
    with pytest.raises(HelperDiedError, match="UndefinedTable") as raised:
        stage_lines(session_factory, shop.shop_id, LINES, processes=2, name="refused")
    assert "example.com" not in str(raised.value)


def test_trouble_of_ours_ends_the_helpers(
    session_factory: SessionFactory,
    shop: Shop,
    made: list[Helpers],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: Helpers) -> None:
        raise RuntimeError("the download broke")

    on_block(monkeypatch, 2, fail)
    with pytest.raises(RuntimeError, match="the download broke"):
        stage_lines(session_factory, shop.shop_id, LINES, processes=2)
    [used] = made
    assert all(helper.process.returncode is not None for helper in used._all)


def test_helpers_of_a_process_that_is_gone_commit_nothing(
    session_factory: SessionFactory, shop: Shop, rows: Rows, database_url: str
) -> None:
    """Killed before it could say that the file had ended: half a file is no file."""
    stage_lines(session_factory, shop.shop_id, [], name="orphaned")
    table = f'{STAGING}."s1__orphaned__orders"'
    tables = {name: f'{STAGING}."s1__orphaned__{name}"' for name in ("order_lines", "refunds")}
    conninfo = database_url.replace("postgresql+psycopg:", "postgresql:")
    job = Job(conninfo, ObjectType.ORDER.value, "load", tables | {"orders": table}, None)
    helper = subprocess.Popen(
        [sys.executable, "-m", "core.ingestion.copy_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert helper.stdin
    assert helper.stdout
    job.frame().write(helper.stdin)
    Frame(FrameKind.BLOCK, 1, encoded(LINES[:2])).write(helper.stdin)
    counted = frames.read(helper.stdout)
    assert counted
    assert counted.kind is FrameKind.COUNTED
    helper.stdin.close()
    assert helper.wait(20) == 1
    assert frames.read(helper.stdout) is None
    helper.stdout.close()
    assert rows(f"SELECT count(*) FROM {table}") == [(0,)]


def test_a_flood_of_rejected_lines_waits_and_is_told_whole(
    session_factory: SessionFactory, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Helpers waited to be read by a load that waited to write to them, for ever."""
    monkeypatch.setattr(workers, "TOLD_AT_ONCE", 4)
    loaded = Loaded()
    lines = [f"broken {number} {'x' * 500}" for number in range(3000)]
    stage_lines(session_factory, shop.shop_id, lines, processes=2, loaded=loaded)
    assert sorted(number for number, _, _ in loaded.rejected) == list(range(1, 3001))


@pytest.mark.requirement("FOUND-03")
@pytest.mark.parametrize("processes", [1, 2])
def test_a_load_fits_behind_a_pooler_of_few_connections(
    engine: object, pooler_url: str, shop: Shop, rows: Rows, processes: int
) -> None:
    """It held one connection for each of its tables and waited for the next for ever."""
    pooled = make_engine(pooler_url)
    factory = make_session_factory(pooled)
    with factory() as lock:  # as a sync holds one
        lock.execute(text("SELECT 1"))
        refunded = order_node(9_999, 1, refunds=[refund_node(1)])
        loaded = load(factory, shop.shop_id, [*LINES, refunded, "broken"], processes=processes)
    pooled.dispose()
    assert [number for number, _, _ in loaded.rejected] == [4002]
    assert rows("SELECT count(*) FROM raw_shopify.orders") == [(2001,)]
    assert rows("SELECT count(*) FROM raw_shopify.refunds") == [(1,)]


def test_a_helper_imports_neither_sqlalchemy_nor_http_nor_dagster() -> None:
    """Each is a second of every load."""
    code = (
        "import sys, core.ingestion.copy_worker; print(sorted({m.split('.')[0] for m in"
        " sys.modules} & {'sqlalchemy', 'httpx', 'dagster', 'pydantic', 'fastapi'}))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=PROJECT_ROOT,
    )
    assert told.stdout.strip() == "[]"
