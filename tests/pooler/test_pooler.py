"""The hot paths behind a transaction-mode pooler, all at once, on fewer connections than workers.

Behind it a session is nobody's: the next transaction may get another server connection. A named
prepared statement, a SET, a session's advisory lock or a temporary table that outlives its
transaction is then an error, or worse, somebody else's.
"""

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.engine import make_url

from activation.liveness import hold, is_run_alive
from core.clock import MovableClock
from core.database import SessionFactory, make_engine, make_session_factory, session_scope
from core.errors import TransientError
from core.ingestion import runs, statistics
from core.ingestion.inbox import receive
from core.ingestion.sync import run_sync
from core.models import Shop
from core.models.enums import SyncKind
from core.secrets import SecretBox
from core.settings import Settings
from core.shopify.client import ShopifyClient
from tests.activation.fake_provider import FakeProvider
from tests.activation.world import World
from tests.fixtures.pooler import POOL_SIZE
from tests.fixtures.shopify import (
    CLIENT_SECRET,
    DOMAIN,
    SHOP_NUMBER,
    FakeShopify,
    add_shop,
    child,
    customer_node,
    encode,
    order_body,
    order_node,
    webhook_headers,
)
from webapp.app import create_app

WORKERS = 3 * POOL_SIZE
BUYERS = range(1000, 1040)  # first buyers, told by webhook
SYNCED = range(1, 121)  # customers with orders from before, read by a full sync

pytestmark = pytest.mark.requirement("FOUND-03")


@pytest.fixture
def pooled(engine: object, pooler_url: str) -> Iterator[SessionFactory]:
    """Sessions through the pooler, many more than it has connections."""
    behind = make_engine(pooler_url, pool_size=WORKERS)
    yield make_session_factory(behind)
    behind.dispose()


@pytest.fixture
def pooled_settings(settings: Settings, pooler_url: str) -> Settings:
    """As a process has them whose DATABASE_URL is the pooler."""
    given = settings.model_dump(by_alias=True) | {
        "DATABASE_URL": pooler_url,
        "DATABASE_DIRECT_URL": settings.database_url,
    }
    return Settings.model_validate(given)


def together(*works: Callable[[], Any]) -> list[Any]:
    """Do all of it at once; the first error of any is raised."""
    with ThreadPoolExecutor(len(works)) as pool:
        futures: list[Future[Any]] = [pool.submit(work) for work in works]
    return [future.result() for future in futures]


def libpq(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def test_session_state_does_not_survive_here(engine: object, pooler_url: str) -> None:
    """The control: what we avoid does fail behind this very pooler."""
    connections = [
        psycopg.connect(libpq(pooler_url), autocommit=True, prepare_threshold=0) for _ in range(8)
    ]

    def ask(connection: psycopg.Connection[Any]) -> Callable[[], None]:
        def run() -> None:
            for number in range(50):
                connection.execute("SELECT %s::int", (number,))

        return run

    try:
        with pytest.raises(psycopg.Error, match="prepared statement"):
            together(*map(ask, connections))
    finally:
        for connection in connections:
            connection.close()


def test_all_workers_share_the_few_connections_of_the_pooler(
    pooled: SessionFactory, session_factory: SessionFactory
) -> None:
    barrier = threading.Barrier(WORKERS)

    def work() -> set[int]:
        barrier.wait(timeout=30)
        backends = set()
        for _ in range(20):
            with session_scope(pooled) as session:
                backends.add(session.execute(text("SELECT pg_backend_pid()")).scalar_one())
        return backends

    seen = together(*[work] * WORKERS)
    assert len(set.union(*seen)) <= POOL_SIZE
    assert any(len(backends) > 1 for backends in seen), "no session met two connections"


def versions(seed: int) -> list[tuple[str, bytes]]:
    """Webhooks of 30 orders in three versions each: shuffled, a fifth of them twice."""
    bodies = [
        (
            f"w{number}-{version}",
            encode(
                order_body(
                    number,
                    10 + (number + version) % 7,
                    total=f"{number + version}.10",
                    updated_at=f"2026-11-20T12:3{version}:00+01:00",
                )
            ),
        )
        for number in range(1, 31)
        for version in range(3)
    ]
    chooser = random.Random(seed)  # noqa: S311 - not a secret
    bodies += chooser.sample(bodies, len(bodies) // 5)
    chooser.shuffle(bodies)
    return bodies


Deliver = Callable[[SessionFactory, Settings, MovableClock, list[tuple[str, bytes]]], None]


def one_by_one(
    factory: SessionFactory,
    settings: Settings,
    clock: MovableClock,
    deliveries: list[tuple[str, bytes]],
) -> None:
    """Each in a transaction of its own, many at once."""

    def work(part: list[tuple[str, bytes]]) -> None:
        for webhook_id, body in part:
            headers = webhook_headers(body, "orders/updated", webhook_id)
            answer = receive(factory, headers=headers, body=body, settings=settings, clock=clock)
            assert answer.status == 200

    together(*(lambda start=start: work(deliveries[start::WORKERS]) for start in range(WORKERS)))


def in_groups(
    _factory: SessionFactory,
    settings: Settings,
    clock: MovableClock,
    deliveries: list[tuple[str, bytes]],
) -> None:
    """Through two web processes' worth of the application, which commits in groups."""

    async def post(app: FastAPI, part: list[tuple[str, bytes]]) -> None:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://crm.example") as client:
            answers = await asyncio.gather(
                *(
                    client.post(
                        "/webhooks/shopify",
                        content=body,
                        headers=webhook_headers(body, "orders/updated", webhook_id),
                    )
                    for webhook_id, body in part
                )
            )
        assert {answer.status_code for answer in answers} == {200}

    async def post_all() -> None:
        await asyncio.gather(*(post(app, deliveries[n::2]) for n, app in enumerate(apps)))

    apps = [create_app(settings, clock=clock) for _ in range(2)]
    try:
        asyncio.run(post_all())
    finally:
        for app in apps:
            app.state.services.close()


TABLES = {
    "orders": "order_id, customer_id, updated_at, current_total, is_counted",
    "order_lines": "line_id, order_id, unit_price",
    "customers": "customer_id, email",
    "customer_statistics": "customer_id, order_count, total_spent, first_order_at, last_order_at",
    "webhook_inbox": "webhook_id, state",
}


def stored(factory: SessionFactory, shop_id: int) -> dict[str, list[tuple[Any, ...]]]:
    with session_scope(factory) as session:
        return {
            table: [
                tuple(row)
                for row in session.execute(
                    text(
                        f"SELECT {columns} FROM raw_shopify.{table} "
                        "WHERE shop_id = :shop_id ORDER BY 1"
                    ),
                    {"shop_id": shop_id},
                )
            ]
            for table, columns in TABLES.items()
        }


@pytest.mark.requirement("SHOP-05", "SHOP-06", "RFM-04")
@pytest.mark.parametrize("deliver", [one_by_one, in_groups])
def test_webhooks_in_disorder_end_in_the_rows_of_one_ordered_pass(
    pooled: SessionFactory,
    pooled_settings: Settings,
    session_factory: SessionFactory,
    settings: Settings,
    clock: MovableClock,
    *,
    deliver: Deliver,
) -> None:
    with session_scope(session_factory) as session:
        shop_id = add_shop(session, settings).shop_id
        box = SecretBox(settings.secret_key)
        other = add_shop(
            session,
            settings,
            domain="other.myshopify.com",
            shopify_id=SHOP_NUMBER,
            client_secret_encrypted=box.encrypt("another"),
        )
        other_id = other.shop_id

    deliveries = versions(seed=7)
    deliver(pooled, pooled_settings, clock, deliveries)
    for webhook_id, body in sorted(set(deliveries)):
        headers = webhook_headers(
            body, "orders/updated", webhook_id, domain="other.myshopify.com", secret="another"
        )
        receive(session_factory, headers=headers, body=body, settings=settings, clock=clock)
    assert stored(session_factory, shop_id) == stored(session_factory, other_id)
    with session_scope(pooled) as session:
        assert statistics.mismatches(session, shop_id) == 0


def shopify() -> FakeShopify:
    """The past of the shop, and what it tells of the first buyers, also when it is asked."""
    return FakeShopify(
        customers=[customer_node(number) for number in (*SYNCED, *BUYERS)],
        orders=[
            line
            for number in SYNCED
            for line in (order_node(number, number), child(number, number))
        ],
        nodes={f"gid://shopify/Customer/{number}": customer_node(number) for number in BUYERS},
    )


def let_real_time_pass(factory: SessionFactory) -> None:
    """What waits for its next attempt is due.

    Reads by id that met the sync's own writing wait for seconds of real time, which no clock of a
    test moves: on a busy machine five consents were still unread when the mails were counted.
    """
    with session_scope(factory) as session:
        for table in ("refresh_requests", "webhook_inbox"):
            session.execute(
                text(
                    f"UPDATE raw_shopify.{table} SET next_attempt_at = clock_timestamp()"
                    " WHERE next_attempt_at IS NOT NULL"
                )
            )


@pytest.mark.requirement("PIPE-01", "SHOP-02")
def test_a_sync_webhooks_and_two_activation_runs_at_once_lose_and_double_nothing(
    pooled: SessionFactory,
    pooled_settings: Settings,
    session_factory: SessionFactory,
    clock: MovableClock,
    marts: object,
) -> None:
    """COPY and staging, the receiver, enrolment, steps, frozen batches and membership changes."""
    fake, provider = shopify(), FakeProvider()
    world = World(pooled, pooled_settings, clock, provider)
    world.shop_id = world.add_shop(
        domain=DOMAIN,
        shopify_id=SHOP_NUMBER,
        client_secret_encrypted=SecretBox(pooled_settings.secret_key).encrypt(CLIENT_SECRET),
    )
    world.switch_welcome_on()
    clock.advance(timedelta(minutes=1))
    at = clock.now().isoformat()
    clock.advance(timedelta(minutes=1))
    lock = threading.Lock()

    def client_of(_shop_id: int) -> ShopifyClient:
        with lock:
            return fake.client()

    def sell(buyers: range) -> None:
        for number in buyers:
            body = encode(order_body(number, number, processed_at=at, created_at=at, updated_at=at))
            headers = webhook_headers(body, "orders/create", f"w{number}")
            for _ in range(2):
                answer = receive(
                    pooled, headers=headers, body=body, settings=pooled_settings, clock=clock
                )
                assert answer.status == 200

    def read_everything() -> int:
        with fake.client() as client:
            return run_sync(
                pooled,
                client,
                shop_id=world.shop_id,
                kind=SyncKind.FULL,
                clock=clock,
                run_id="run",
                settings=pooled_settings,
                sleep=lambda _: None,
            ).orders

    def act() -> None:
        for _ in range(5):
            world.run_cleanly(client_of=client_of)

    sellers = [lambda part=BUYERS[start::4]: sell(part) for start in range(4)]
    orders, *_ = together(read_everything, act, act, *sellers)
    for _ in range(5):  # a mail whose consent was not known yet is looked at again later
        clock.advance(timedelta(minutes=5))
        let_real_time_pass(session_factory)
        world.run_cleanly(client_of=client_of)

    assert orders == len(SYNCED)
    # Whoever bought before the first sync is no first buyer.
    assert sorted(provider.addresses()) == sorted(f"c{number}@example.com" for number in BUYERS)
    with session_scope(session_factory) as session:
        assert statistics.mismatches(session, world.shop_id) == 0
        [(open_stays, customers)] = session.execute(
            text(
                "SELECT (SELECT count(*) FROM crm.segment_memberships WHERE exited_at IS NULL), "
                "(SELECT count(*) FROM raw_shopify.customers)"
            )
        ).all()
    assert open_stays == customers == len(SYNCED) + len(BUYERS)


def test_the_sync_lock_holds_behind_the_pooler(
    pooled: SessionFactory, session_factory: SessionFactory, settings: Settings
) -> None:
    with session_scope(session_factory) as session:
        shop_id = add_shop(session, settings).shop_id

    def others_use_every_connection() -> None:
        for _ in range(10):
            with session_scope(pooled) as session:
                session.execute(text("SELECT 1"))

    with runs.only_one(pooled, shop_id):
        together(*[others_use_every_connection] * WORKERS)
        with session_scope(pooled) as session:
            assert runs.is_alive(session, shop_id)
        with pytest.raises(TransientError, match="Another sync"), runs.only_one(pooled, shop_id):
            pass
    with session_scope(pooled) as session:
        assert not runs.is_alive(session, shop_id)


def test_the_activation_lock_is_held_beside_the_pooler(
    pooled: SessionFactory, pooled_settings: Settings, session: object
) -> None:
    """It belongs to a session, which the pooler would hand on: the direct address takes it."""
    with hold(pooled_settings.listen_url) as first, hold(pooled_settings.listen_url) as second:
        assert (first, second) == (True, False)
        with session_scope(pooled) as asking:
            assert is_run_alive(asking)
    with session_scope(pooled) as asking:
        assert not is_run_alive(asking)
        assert asking.get(Shop, 1) is None
