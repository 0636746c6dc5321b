"""Switching flows on and off from the command line, until the pages can."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from activation.automation.definition import Wait
from activation.automation.switching import (
    load_automations,
    set_delay,
    switch_off,
    switch_on,
)
from core.clock import SystemClock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.models import Automation, Shop
from core.shops import all_shops, business_clock

DELAY_STEP: Final = "delay"


@dataclass(frozen=True)
class Flow:
    """One flow of one shop."""

    shop: str
    key: str
    name: str
    is_on: bool
    on_since: datetime | None
    delay_seconds: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"on_since": self.on_since and self.on_since.isoformat()}


def flows_of(factory: SessionFactory, shop: str | None = None) -> list[Flow]:
    """The flows of one shop, or of all."""
    with session_scope(factory) as session:
        return [
            Flow(
                shop=each.domain,
                key=automation.key,
                name=automation.name,
                is_on=automation.is_active,
                on_since=automation.switched_on_at if automation.is_active else None,
                delay_seconds=sum(
                    step.seconds for step in automation.definition.steps if isinstance(step, Wait)
                ),
            )
            for each in _shops(session, shop)
            for automation in load_automations(session, each.shop_id)
        ]


def turn_on(
    factory: SessionFactory, key: str, *, shop: str | None = None, delay: timedelta | None = None
) -> datetime:
    """Switch a flow on, with another delay if given; returns since when moments count.

    Raises PermanentError when there is no such shop or flow.
    """
    since = []
    with session_scope(factory) as session:
        for each in _shops(session, shop):
            now = business_clock(each, SystemClock()).now()
            if delay is not None:
                set_delay(session, each.shop_id, key, DELAY_STEP, delay, now=now)
            automation = switch_on(session, each.shop_id, key, now=now)
            since.append(automation.switched_on_at or now)
    return max(since)


def turn_off(factory: SessionFactory, key: str, *, shop: str | None = None) -> None:
    """Switch a flow off: what is due afterwards is skipped with its reason."""
    with session_scope(factory) as session:
        for each in _shops(session, shop):
            now = business_clock(each, SystemClock()).now()
            switch_off(session, each.shop_id, key, now=now)


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


def _shops(session: Session, shop: str | None) -> Iterator[Shop]:
    found = [each for each in all_shops(session) if shop in (None, each.domain)]
    if not found:
        raise PermanentError(f"No shop {shop} is connected." if shop else "No shop is connected.")
    yield from found
