"""The parts of an explained mail, each read by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Row
from sqlalchemy.orm import Session

from activation.automation.definition import Branch, Definition, Step, Wait
from activation.explain import words
from activation.explain.reading import (
    READ_ATTEMPTS,
    READ_CHECKOUT,
    READ_ENGAGEMENTS,
    READ_EVENTS,
    READ_ORDERS,
)
from activation.explain.shapes import (
    AttemptPart,
    BatchPart,
    CheckoutPart,
    EngagementPart,
    EntryPart,
    EventPart,
    FlowPart,
    HoldoutPart,
    OrderPart,
    TimingPart,
    WaitPart,
)

MOST_ORDERS: Final = 20


@dataclass(frozen=True)
class Reading:
    """The row of READ_MESSAGE and what it is read with. `is_erased`: the person is."""

    session: Session
    shop_id: int
    row: Row[Any]
    definition: Definition
    is_erased: bool
    now: datetime
    zone: ZoneInfo

    @property
    def has_entry(self) -> bool:
        return self.row.enrollment_id is not None and not self.is_erased


def flow_part(reading: Reading) -> FlowPart:
    row, definition = reading.row, reading.definition
    step = definition.step_of(row.step_key)
    return FlowPart(
        automation_id=row.automation_id,
        key=row.automation_key,
        name=row.automation_name,
        version=row.version,
        step_key=row.step_key,
        trigger=msgspec.to_builtins(definition.trigger),
        step=None if step is None else msgspec.to_builtins(step),
        is_current_version=row.version == row.current_version,
    )


def entry_part(reading: Reading) -> EntryPart | None:
    if not reading.has_entry:
        return None
    row = reading.row
    return EntryPart(
        event=reading.definition.trigger_type,
        moment_at=row.moment_at,
        entry_key=row.entry_key,
        enrolled_at=row.enrolled_at,
        entered_version=row.entered_version,
        state=row.enrollment_state,
        exit_reason=row.exit_reason,
        segment=row.segment,
        orders=_orders(reading),
        checkout=_checkout(reading),
    )


def _orders(reading: Reading) -> tuple[OrderPart, ...]:
    row = reading.row
    rows = reading.session.execute(
        READ_ORDERS,
        {
            "shop_id": reading.shop_id,
            "customer_id": row.customer_id,
            "order_id": row.order_id,
            "until": row.moment_at,
            "limit": MOST_ORDERS,
        },
    )
    return tuple(
        OrderPart(
            order_id=each.order_id,
            name=each.name,
            processed_at=each.processed_at,
            total=each.current_total,
            currency=each.currency,
            is_counted=each.is_counted,
            started_it=each.started_it,
        )
        for each in rows
    )


def _checkout(reading: Reading) -> CheckoutPart | None:
    if reading.row.checkout_key is None:
        return None
    row = (
        reading.session.execute(
            READ_CHECKOUT, {"shop_id": reading.shop_id, "checkout_key": reading.row.checkout_key}
        )
        .mappings()
        .one_or_none()
    )
    return None if row is None else CheckoutPart(**row)


def timing_part(reading: Reading) -> TimingPart:
    row = reading.row
    first_due_at = row.expires_at - reading.definition.late_after
    waits = waits_before(reading.definition.steps, row.step_key) or ()
    return TimingPart(
        waits=tuple(WaitPart(each.step_key, each.seconds, each.days) for each in waits),
        first_due_at=first_due_at,
        due_at=row.due_at,
        expires_at=row.expires_at,
        waits_for=row.defer_reason,
        waited_for=row.waited_for,
        queued_at=row.queued_at,
        frozen_at=row.frozen_at,
        sent_at=row.sent_at,
        delivered_at=row.delivered_at,
        finished_at=row.finished_at,
        words=_why_then(reading, first_due_at),
    )


def _why_then(reading: Reading, first_due_at: datetime) -> str:
    row, zone = reading.row, reading.zone
    said = f"It was due on {words.when(first_due_at, zone)}"
    if reading.has_entry and first_due_at > row.moment_at:
        event = words.EVENTS.get(reading.definition.trigger_type, "what started it")
        said += f", {words.span(first_due_at - row.moment_at)} after {event}"
    if row.defer_reason and row.state == "queued":
        said += f"; it waits for {words.waiting(row.defer_reason)}"
        said += f" and is looked at again on {words.when(row.due_at, zone)}"
    elif row.waited_for or row.due_at > first_due_at:
        waited = words.waiting(row.waited_for) if row.waited_for else "a reason no longer known"
        said += f"; then it waited for {waited} until {words.when(row.due_at, zone)}"
    return f"{said}."


def waits_before(steps: Sequence[Step], step_key: str) -> tuple[Wait, ...] | None:
    """The waits on the way to a step; of branches on the way only the one it is in is known."""
    waits: list[Wait] = []
    for step in steps:
        if step.step_key == step_key:
            return tuple(waits)
        if isinstance(step, Wait):
            waits.append(step)
        elif isinstance(step, Branch):
            for way in (step.then, step.otherwise):
                inside = waits_before(way, step_key)
                if inside is not None:
                    return (*waits, *inside)
    return None


def holdout_part(reading: Reading) -> HoldoutPart | None:
    if not reading.has_entry:
        return None
    percent = reading.definition.holdout_percent
    is_held_out = reading.row.is_held_out
    said = (
        f"They are in the {percent} % of customers who get no mail of this flow, to measure it."
        if is_held_out
        else "They are not held out."
    )
    return HoldoutPart(is_held_out, percent, said)


def batch_part(reading: Reading) -> BatchPart | None:
    row = reading.row
    if row.batch_id is None:
        return None
    attempts = reading.session.execute(
        READ_ATTEMPTS, {"shop_id": reading.shop_id, "batch_id": row.batch_id}
    ).mappings()
    hidden: dict[str, None] = {"error": None} if reading.is_erased else {}
    return BatchPart(
        batch_id=row.batch_id,
        position=row.batch_position,
        message_count=row.message_count,
        state=row.batch_state,
        body_sha256=row.body_sha256,
        frozen_at=row.batch_frozen_at,
        attempts=tuple(AttemptPart(**{**each, **hidden}) for each in attempts),
    )


def event_parts(reading: Reading) -> tuple[EventPart, ...]:
    rows = reading.session.execute(
        READ_EVENTS, {"shop_id": reading.shop_id, "message_id": reading.row.message_id}
    ).mappings()
    return tuple(EventPart(**row) for row in rows)


def engagement_parts(reading: Reading) -> tuple[EngagementPart, ...]:
    rows = reading.session.execute(
        READ_ENGAGEMENTS, {"shop_id": reading.shop_id, "message_id": reading.row.message_id}
    )
    return tuple(
        EngagementPart(
            kind=row.kind,
            source=row.source,
            engaged_at=row.engaged_at,
            url=None if reading.is_erased else row.url,
            by="machine" if row.is_bot else "person",
            bot_reason=row.bot_reason,
        )
        for row in rows
    )
