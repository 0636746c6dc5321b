"""One event comes in: its signature, its row, and what it changes if its message is there."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from activation.events.matching import apply_event
from activation.provider import BadSignature, Provider, ProviderEvent, UnreadableEvent
from core.clock import Clock
from core.database import SessionFactory, session_scope
from core.models import DeliveryEvent
from core.models.enums import EventState


@dataclass(frozen=True)
class Received:
    """`status` is the HTTP answer; `state` None: nothing was stored."""

    status: int
    state: EventState | None = None


def receive(
    factory: SessionFactory,
    *,
    headers: Mapping[str, str],
    body: bytes,
    provider: Provider,
    clock: Clock,
) -> Received:
    """Store one event of the provider, then apply it. 401: not signed by the provider."""
    try:
        event = provider.verify_webhook(headers=headers, body=body)
    except BadSignature:
        return Received(status=401)
    except UnreadableEvent as error:
        _store_unreadable(factory, provider.name, error, body)
        return Received(status=200, state=EventState.FAILED)
    with session_scope(factory) as session:
        _store(session, provider.name, event, now=clock.now())
    with session_scope(factory) as session:
        state = apply_event(session, provider.name, event.event_id, now=clock.now())
    return Received(status=200, state=state)


def _store(session: Session, provider: str, event: ProviderEvent, *, now: datetime) -> None:
    """Once per event id, however often it is delivered."""
    session.execute(
        insert(DeliveryEvent)
        .values(
            provider=provider,
            event_id=event.event_id,
            event_type=event.event_type,
            occurred_at=event.occurred_at or now,
            state=EventState.STORED,
            body=_storable(event.body),
        )
        .on_conflict_do_nothing()
    )


def _store_unreadable(
    factory: SessionFactory, provider: str, error: UnreadableEvent, body: bytes
) -> None:
    with session_scope(factory) as session:
        session.execute(
            insert(DeliveryEvent)
            .values(
                provider=provider,
                event_id=error.event_id,
                event_type="unreadable",
                occurred_at=text("clock_timestamp()"),
                state=EventState.FAILED,
                error=str(error),
                body=_storable({"raw": body.decode(errors="replace")}),
            )
            .on_conflict_do_nothing()
        )


def _storable(value: Any) -> Any:
    """JSONB holds no NUL character; a provider passing on a customer's text may send one."""
    match value:
        case str():
            return value.replace("\x00", "\N{REPLACEMENT CHARACTER}")
        case dict():
            return {_storable(key): _storable(each) for key, each in value.items()}
        case list():
            return [_storable(each) for each in value]
        case _:
            return value
