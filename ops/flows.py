"""Flows from the command line: each function opens its own transaction and returns JSON."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from activation.automation import library, versions
from activation.automation.definition import Wait
from activation.automation.statistics import figures_of
from activation.automation.switching import set_delay, set_holdout
from activation.automation.trying import Trial, send_trial
from activation.automation.validation import LONGEST_WAIT, SHORTEST_WAIT
from activation.automation.yaml_files import (
    import_flows,
    plan_import,
    read_path,
    write_flow,
    write_flows,
)
from activation.discounts.problems import problems
from activation.outbox.worker import Outbox
from activation.provider.choice import provider_of
from core.clock import SystemClock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.models import Automation, Shop
from core.settings import Settings
from core.shops import all_shops, business_clock

DELAY_STEP: Final = "delay"


@dataclass(frozen=True)
class Flow:
    """One flow of one shop. `problem`: why it cannot work as it is stored; `blocked`: what it
    lacks though it is on.
    """

    shop: str
    key: str
    name: str
    is_on: bool
    on_since: datetime | None
    delay_seconds: int
    version: int
    problem: str | None
    blocked: str | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"on_since": self.on_since and self.on_since.isoformat()}


def flows_of(factory: SessionFactory, shop: str | None = None) -> list[Flow]:
    """The flows of one shop, or of all."""
    with session_scope(factory) as session:
        return [
            _row(each, flow, codes.get(flow.key))
            for each in _shops(session, shop)
            for codes in [_without_codes(session, each)]
            for flow in library.flows_of(session, each.shop_id)
        ]


def _without_codes(session: Session, shop: Shop) -> dict[str, str]:
    """Why flows that give each customer a code get none, by key."""
    found = problems(session, shop.shop_id, now=_now(shop))
    return {each.flow: each.words for each in found}


def _row(shop: Shop, flow: library.Flow, without_codes: str | None) -> Flow:
    steps = flow.definition.steps if flow.definition else ()
    waits = [step.duration for step in steps if isinstance(step, Wait)]
    return Flow(
        shop=shop.domain,
        key=flow.key,
        name=flow.name,
        is_on=flow.is_on,
        on_since=flow.on_since,
        delay_seconds=int(sum(waits, timedelta()).total_seconds()),
        version=flow.version,
        problem=flow.problem,
        blocked=flow.blocked or without_codes,
    )


def refuse_delay(delay: timedelta) -> None:
    """Raises PermanentError for a delay that no flow may have."""
    if not SHORTEST_WAIT <= delay <= LONGEST_WAIT:
        raise PermanentError(f"A delay lasts from 1 minute to {LONGEST_WAIT.days} days.")


def turn_on(
    factory: SessionFactory,
    key: str,
    *,
    shop: str | None = None,
    delay: timedelta | None = None,
    include_silent: bool = True,
    holdout_percent: int | None = None,
) -> datetime:
    """Switch a flow on, with another delay or holdout if given; returns since when moments count.

    A delay of 0 is for demos and tests (`refuse_delay` is for everybody else). Raises
    PermanentError when there is no such shop or flow, or it cannot go on.
    """
    since = []
    with session_scope(factory) as session:
        for each in _shops(session, shop):
            now = _now(each)
            if delay is not None:
                set_delay(session, each.shop_id, key, DELAY_STEP, delay, now=now)
            if holdout_percent is not None:
                set_holdout(session, each.shop_id, key, holdout_percent, now=now)
            flow = library.toggle(
                session, each.shop_id, key, on=True, now=now, include_silent=include_silent
            )
            since.append(flow.on_since or now)
    return max(since)


def turn_off(factory: SessionFactory, key: str, *, shop: str | None = None) -> None:
    """Switch a flow off: what is due afterwards is skipped with its reason."""
    with session_scope(factory) as session:
        for each in _shops(session, shop):
            library.toggle(session, each.shop_id, key, on=False, now=_now(each))


def was_ever_on(factory: SessionFactory, shop: str, key: str) -> bool:
    """Whether somebody has decided about this flow before."""
    with session_scope(factory) as session:
        return bool(
            session.scalar(
                select(Automation.switched_on_at)
                .join(Shop, Shop.shop_id == Automation.shop_id)
                .where(Shop.domain == shop, Automation.key == key)
            )
        )


def show(factory: SessionFactory, key: str, *, shop: str | None) -> dict[str, Any]:
    with _one_shop(factory, shop) as (session, each):
        flow = library.flow_of(session, each.shop_id, key)
        return flow.as_json() | {"shop": each.domain, "yaml": flow.definition and write_flow(flow)}


def export(factory: SessionFactory, key: str | None, *, shop: str | None) -> dict[str, str]:
    """Texts by file name."""
    with _one_shop(factory, shop) as (session, each):
        if key is not None:
            return write_flows([library.flow_of(session, each.shop_id, key)])
        return write_flows(library.flows_of(session, each.shop_id))


def load(
    factory: SessionFactory, path: Path, *, shop: str | None, writes: bool
) -> list[dict[str, Any]]:
    """What an import changes, and unless `writes` is false it does: all of it or nothing."""
    documents = read_path(path)
    with _one_shop(factory, shop) as (session, each):
        if writes:
            planned = import_flows(session, each.shop_id, documents, now=_now(each))
        else:
            planned = plan_import(session, each.shop_id, documents)
    return [one.as_json() for one in planned]


def history(factory: SessionFactory, key: str, *, shop: str | None) -> list[dict[str, Any]]:
    with _one_shop(factory, shop) as (session, each):
        return [one.as_json() for one in library.history_of(session, each.shop_id, key)]


def restore(factory: SessionFactory, key: str, version: int, *, shop: str | None) -> dict[str, Any]:
    with _one_shop(factory, shop) as (session, each):
        current = versions.lock(session, each.shop_id, key).current_version
        return versions.restore(
            session, each.shop_id, key, version, based_on=current, now=_now(each)
        ).as_json()


def statistics(factory: SessionFactory, key: str, *, days: int, shop: str | None) -> dict[str, Any]:
    with _one_shop(factory, shop) as (session, each):
        now = _now(each)
        return figures_of(
            session, each.shop_id, key, since=now - timedelta(days=days), until=now
        ).as_json()


def test(
    factory: SessionFactory,
    settings: Settings,
    key: str,
    *,
    to: str,
    step_key: str | None,
    customer_id: int | None,
    shop: str | None,
) -> dict[str, Any]:
    """Send one mail now. Raises as send_trial does."""
    with _one_shop(factory, shop) as (_, each):
        shop_id, clock = each.shop_id, business_clock(each, SystemClock())
    with provider_of(settings) as provider:
        outbox = Outbox(
            factory=factory,
            settings=settings,
            provider=provider,
            clock=clock,
            run_id=None,
            stop=lambda: False,
            sleep=time.sleep,
        )
        return send_trial(
            outbox, shop_id, Trial(key, to, step_key=step_key, customer_id=customer_id)
        ).as_json()


@contextmanager
def _one_shop(factory: SessionFactory, shop: str | None) -> Iterator[tuple[Session, Shop]]:
    """The shop that is meant, in a transaction. Raises PermanentError when it might be several."""
    with session_scope(factory) as session:
        found = list(_shops(session, shop))
        if len(found) > 1:
            raise PermanentError("Say which shop: --shop name.myshopify.com.")
        yield session, found[0]


def _now(shop: Shop) -> datetime:
    return business_clock(shop, SystemClock()).now()


def _shops(session: Session, shop: str | None) -> Iterator[Shop]:
    found = [each for each in all_shops(session) if shop in (None, each.domain)]
    if not found:
        raise PermanentError(f"No shop {shop} is connected." if shop else "No shop is connected.")
    yield from found
