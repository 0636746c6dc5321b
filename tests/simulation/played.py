"""A shop in the sandbox and in the product, played hour by hour at one clock that is moved by hand.

Webhooks go through the product's inbox in this process, mails over loopback to the sandbox's
Resend; the nightly scores are the SQL that dbt compiled. What was owed, the sandbox says.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from graphql import GraphQLSchema
from pydantic import SecretStr
from sqlalchemy import text

from activation.automation.presets import PRESETS, seed_presets
from activation.automation.switching import switch_on
from activation.cycle import Cycle, run_due
from activation.gate import Gate
from activation.provider import Provider
from activation.provider.resend import ResendProvider
from activation.scoring import decide_and_apply
from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.ingestion.inbox import receive
from core.ingestion.sync import run_sync
from core.models.enums import GateState, SyncKind
from core.settings import Settings
from core.shopify.client import ShopifyClient
from core.shops import connect_shop
from core.subscriptions import register_webhooks
from sandbox.clock import ManualClock
from sandbox.flow_facts import Story, story_of
from sandbox.flow_verdict import FlowVerdict, flow_verdict
from sandbox.open_shop import open_shop
from sandbox.outbox import SHOPIFY
from sandbox.shopify.webhooks import signer
from sandbox.shopkeeper import Shop
from tests.sandbox.conftest import receiving, running
from tests.sandbox.support import DOMAIN, KEY, SECRET, WHSEC, Running, write_folder
from tests.simulation.life import live
from tests.simulation.sabotage import CONSENT_TOPICS, UNSUBSCRIBED, BrokenProvider

HOUR = timedelta(hours=1)
NIGHT = 3  # o'clock in UTC
# A made-up shop of some dozens moves more in a night than any gate would let pass.
OPEN_GATE = Gate(is_on=False)


@dataclass
class Played:
    """`nights` and `looks` are when the product scored all, and when it looked at what is due.
    Webhooks of `lost_topics` never arrive.
    """

    sandbox: Running
    at: ManualClock
    clock: MovableClock
    factory: SessionFactory
    settings: Settings
    client: ShopifyClient
    provider: Provider
    shop_id: int
    compute_boundaries: Callable[[str, datetime], None]
    rng: random.Random
    per_hour: float = 0.5
    lost_topics: frozenset[str] = frozenset()
    on: dict[str, float] = field(default_factory=dict)
    looks: list[float] = field(default_factory=list)
    nights: list[float] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)

    # ------------------------------------------------------------------ time

    def begin(self) -> None:
        """The first sync, the first scores, and then every flow that there is is switched on."""
        self._sync(SyncKind.FULL)
        self._score()
        self.pass_time(timedelta(minutes=1))
        with session_scope(self.factory) as session:
            for preset in PRESETS:
                switch_on(
                    session, self.shop_id, preset.key, now=self.clock.now(), include_silent=False
                )
                self.on[preset.key] = self.at.now()

    def play(self, days: float, *, each: timedelta = HOUR) -> None:
        """Hour by hour: what happens, its webhooks, at night the scores, then what is due."""
        for _ in range(round(timedelta(days=days) / each)):
            self.live(each)
            self.step()

    def step(self) -> None:
        """What the product does at an instant."""
        self.deliver()
        now = self.clock.now()
        is_night = now.hour == NIGHT and (not self.nights or self.at.now() - self.nights[-1] > 7200)
        if is_night:
            self._score()
        self.work()
        self.looks.append(self.at.now())

    def live(self, span: timedelta) -> None:
        """Occasions come by chance within the span, at whole seconds, never at its very end."""
        seconds = int(span.total_seconds())
        count = sum(self.rng.random() < self.per_hour / 60 for _ in range(seconds // 60))
        times = sorted(self.rng.sample(range(1, seconds), count))
        passed = 0
        for second in times:
            self.pass_time(timedelta(seconds=second - passed))
            passed = second
            with self.shop() as shop:
                self.happened[live(shop, self.rng)] += 1
        self.pass_time(timedelta(seconds=seconds - passed))

    def shop(self) -> AbstractContextManager[Shop]:
        """For whoever lets something happen in it."""
        return open_shop(self.sandbox.world, DOMAIN)

    def pass_time(self, span: timedelta) -> None:
        self.at.move(span.total_seconds())
        self.clock.advance(span)

    # ------------------------------------------------------------------ the product's part

    def deliver(self) -> None:
        """Every webhook that waits, signed, to the inbox."""
        sign = signer(SECRET)
        with self.sandbox.world.store.write() as db:
            rows = db.execute(
                "select * from deliveries where state = 'pending' and channel = ? order by num",
                [SHOPIFY],
            ).fetchall()
            db.execute("update deliveries set state = 'delivered' where channel = ?", [SHOPIFY])
        for row in rows:
            if row["topic"] in self.lost_topics:
                continue
            headers = {
                **json.loads(row["headers"]),
                **sign(row["message_id"], row["body"], 0.0),
            }
            answer = receive(
                self.factory,
                headers=headers,
                body=row["body"],
                settings=self.settings,
                clock=self.clock,
            )
            assert answer.status == 200, (row["topic"], answer)

    def work(self, **options: Any) -> None:
        report = run_due(self.cycle(**options))
        assert report.failures == []

    def cycle(self, **options: Any) -> Cycle:
        return Cycle(
            **{
                "factory": self.factory,
                "settings": self.settings,
                "clock": self.clock,
                "provider": self.provider,
                "client_of": lambda _: self.client,
                "run_id": None,
                "stop": lambda: False,
                "patience": timedelta(),
                "gate": OPEN_GATE,
                **options,
            }
        )

    def _score(self) -> None:
        """The nightly full run: it is also when the shop is read anew."""
        run = f"night-{len(self.nights)}"
        self.compute_boundaries(run, self.clock.now())
        report = decide_and_apply(
            self.factory,
            shop_id=self.shop_id,
            rfm_run_id=run,
            now=self.clock.now(),
            run_id=None,
            gate=OPEN_GATE,
        )
        assert report.state is GateState.ACCEPTED, report
        self.nights.append(self.at.now())
        with session_scope(self.factory) as session:
            # Webhooks have told all there is; a sync of it takes two seconds, and 120 nights four
            # minutes.
            session.execute(
                text("UPDATE raw_shopify.sync_runs SET finished_at = :now"),
                {"now": self.clock.now()},
            )

    def _sync(self, kind: SyncKind) -> None:
        run_sync(
            self.factory,
            self.client,
            shop_id=self.shop_id,
            kind=kind,
            clock=self.clock,
            run_id=None,
            settings=self.settings,
            sleep=lambda _: None,
        )

    # ------------------------------------------------------------------ what came of it

    def verdict(self) -> FlowVerdict:
        return flow_verdict(self.story(), on=self.on, looks=self.looks, nights=self.nights)

    def story(self) -> Story:
        with self.sandbox.world.store.snapshot() as db:
            (shop,) = db.execute("select shop from shops where domain = ?", [DOMAIN]).fetchone()
            return story_of(db, shop)


@contextmanager
def a_played_shop(
    *,
    schema: GraphQLSchema,
    folder: Path,
    factory: SessionFactory,
    settings: Settings,
    compute_boundaries: Callable[[str, datetime], None],
    begin: datetime,
    seed: int,
    per_hour: float = 0.5,
    sabotage: str | None = None,
) -> Iterator[Played]:
    """Everything in force from `begin` on; time stands until it is moved."""
    at, clock = ManualClock(begin.timestamp()), MovableClock(begin.astimezone(UTC))
    with receiving() as receiver, running(schema, receiver, folder / "state", clock=at) as sandbox:
        sandbox.fault(webhook_off=True, resend_events_off=True, resend_rate_per_second=1_000_000)
        assert sandbox.load(write_folder(folder / "shop", customers=30, orders=45)).is_success
        local = settings.model_copy(
            update={
                "shopify_base_url": f"{sandbox.url}/shopify/{{shop}}",
                "resend_base_url": f"{sandbox.url}/resend",
                "resend_api_key": SecretStr(KEY),
                "resend_webhook_secret": SecretStr(WHSEC),
                "send_requests_per_second": 10_000,
            }
        )
        with (
            ShopifyClient(
                domain=DOMAIN,
                client_id="cid",
                client_secret=SecretStr(SECRET),
                base_url=local.shopify_base_url,
                api_version="2026-07",
            ) as client,
            _provider(local, sabotage, seed=seed) as provider,
        ):
            shop_id = _connect(factory, client, local, clock)
            played = Played(
                sandbox,
                at,
                clock,
                factory,
                local,
                client,
                provider,
                shop_id,
                compute_boundaries,
                random.Random(seed),  # noqa: S311 - chance, not secrets
                per_hour,
                CONSENT_TOPICS if sabotage == UNSUBSCRIBED else frozenset(),
            )
            played.begin()
            yield played


def _provider(settings: Settings, sabotage: str | None, *, seed: int) -> ResendProvider:
    if sabotage is None:
        return ResendProvider.from_settings(settings)
    provider = BrokenProvider.from_settings(settings)
    provider.breaks(sabotage, seed=seed)
    return provider


def _connect(
    factory: SessionFactory, client: ShopifyClient, settings: Settings, clock: MovableClock
) -> int:
    with session_scope(factory) as session:
        shop = connect_shop(session, client, settings=settings, is_sandbox=True, clock=clock)
        shop.sender_name = shop.name
        shop.sender_address = "hello@try.example"
        shop.postal_address = f"{shop.name}, 1 Sample Street, 10115 Berlin"
        seed_presets(session, shop.shop_id, now=clock.now())
    register_webhooks(client, "http://127.0.0.1:9/webhooks/shopify")
    return shop.shop_id
