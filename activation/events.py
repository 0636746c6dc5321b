"""What became of sent mails, as the provider tells it: stored first, matched later.

An event may come before our own commit, twice, or out of order. So the row is unique per event,
states only move forward, and what finds no message is tried again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from activation.dedupe import is_erased
from activation.provider import BadSignature, Provider, ProviderEvent, UnreadableEvent
from activation.unsubscribe import Recipient, suppress
from core.clock import Clock
from core.database import SessionFactory, session_scope
from core.models import DeliveryEvent, Message
from core.models.enums import EventState, MessageState, SkipReason, SuppressionReason

MAIL_PREFIX: Final = "email."
GIVE_UP_AFTER: Final = timedelta(days=1)
SHOP_DIGITS: Final = 9  # what integer and bigint can hold of any digits
MESSAGE_DIGITS: Final = 18

UNDECIDED: Final = frozenset({MessageState.QUEUED, MessageState.FROZEN, MessageState.UNKNOWN})
BEFORE_DELIVERY: Final = UNDECIDED | {MessageState.SENT}
BEFORE_BOUNCE: Final = BEFORE_DELIVERY | {MessageState.DELIVERED}
BEFORE_COMPLAINT: Final = BEFORE_BOUNCE | {MessageState.BOUNCED}

PERMANENT: Final = "Permanent"

# For a query that has crm.delivery_events AS events: there is its message, as `_find_message` looks
# for it, or no reason to wait for one. What other programs send through the same account is neither
# for a day, and must not be read again and again.
IS_MATCHABLE: Final = rf"""(
    events.event_type NOT LIKE '{MAIL_PREFIX}%'
    OR events.received_at < clock_timestamp() - interval '{GIVE_UP_AFTER.total_seconds():.0f} s'
    OR CASE
        WHEN
            events.body
            @? 'strict $.data.tags.shop_id ? (@ like_regex "^[0-9]{{1,{SHOP_DIGITS}}}$")'
            AND events.body
            @? 'strict $.data.tags.send_id ? (@ like_regex "^[0-9]{{1,{MESSAGE_DIGITS}}}$")'
            THEN EXISTS (
                SELECT 1
                FROM crm.messages
                WHERE
                    messages.shop_id = CAST(events.body #>> '{{data,tags,shop_id}}' AS integer)
                    AND messages.message_id
                    = CAST(events.body #>> '{{data,tags,send_id}}' AS bigint)
            )
        WHEN events.body @? 'strict $.data.email_id ? (@.type() == "string")'
            THEN EXISTS (
                SELECT 1
                FROM crm.messages
                WHERE messages.provider_message_id = events.body #>> '{{data,email_id}}'
            )
        ELSE false
    END
)"""

CLAIM_STORED = text(f"""
-- Returns stored events, oldest first, and locks them; a row another worker holds is passed over.
-- Indexes ix_delivery_events__unmatched, pk_messages, ix_messages__provider.
SELECT events.provider, events.event_id
FROM crm.delivery_events AS events
WHERE events.state = 'stored' AND {IS_MATCHABLE}
ORDER BY events.received_at
LIMIT :limit
FOR UPDATE OF events SKIP LOCKED
""")


@dataclass(frozen=True)
class Received:
    """`status` is the HTTP answer; `state` None: nothing was stored."""

    status: int
    state: EventState | None = None


@dataclass(frozen=True)
class MatchReport:
    matched: int = 0
    unmatched: int = 0


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
        stored = _lock_event(session, provider.name, event.event_id)
        if stored.state is EventState.STORED:
            _apply(session, stored, now=clock.now())
        return Received(status=200, state=stored.state)


def match_stored(factory: SessionFactory, *, clock: Clock, limit: int = 500) -> MatchReport:
    """Apply stored events whose message is there; what finds none for a day is not ours."""
    states: list[EventState] = []
    with session_scope(factory) as session:
        for row in session.execute(CLAIM_STORED, {"limit": limit}).all():
            event = _lock_event(session, row.provider, row.event_id)
            _apply(session, event, now=clock.now())
            states.append(event.state)
    return MatchReport(
        matched=states.count(EventState.MATCHED),
        unmatched=states.count(EventState.UNMATCHED),
    )


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


def _lock_event(session: Session, provider: str, event_id: str) -> DeliveryEvent:
    return session.execute(
        select(DeliveryEvent)
        .where(DeliveryEvent.provider == provider, DeliveryEvent.event_id == event_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).scalar_one()


def _apply(session: Session, event: DeliveryEvent, *, now: datetime) -> None:
    """Match one locked event to its message and move that forward."""
    if not event.event_type.startswith(MAIL_PREFIX):
        event.state = EventState.UNMATCHED
        event.error = "not about a mail"
        return
    data = event.body.get("data")
    message = _find_message(session, data if isinstance(data, dict) else {})
    if message is None:
        if _age(event) > GIVE_UP_AFTER:
            event.state = EventState.UNMATCHED
            event.error = "no message of ours within a day"
        return
    event.shop_id, event.message_id = message.shop_id, message.message_id
    event.state = EventState.MATCHED
    _move(session, message, event, data if isinstance(data, dict) else {}, now=now)
    if is_erased(message.dedupe_key):
        # The provider names whom we have erased: of that only what happened stays.
        event.body = {}
        message.failure = message.provider_message_id = None
    session.flush()


def _age(event: DeliveryEvent) -> timedelta:
    return datetime.now(event.received_at.tzinfo) - event.received_at


def _find_message(session: Session, data: Mapping[str, Any]) -> Message | None:
    """By our own tags, which exist before the provider's id reaches us; else by that id."""
    tags = data.get("tags")
    tags = tags if isinstance(tags, dict) else {}
    shop_id = _id(tags.get("shop_id"), SHOP_DIGITS)
    message_id = _id(tags.get("send_id"), MESSAGE_DIGITS)
    statement = select(Message).with_for_update().execution_options(populate_existing=True)
    if shop_id is not None and message_id is not None:
        return session.scalar(
            statement.where(Message.shop_id == shop_id, Message.message_id == message_id)
        )
    provider_id = data.get("email_id")
    if not isinstance(provider_id, str):
        return None
    return session.scalar(statement.where(Message.provider_message_id == provider_id))


def _id(value: object, digits: int) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= digits:
        return int(value)
    return None


def _move(
    session: Session,
    message: Message,
    event: DeliveryEvent,
    data: Mapping[str, Any],
    *,
    now: datetime,
) -> None:
    at = event.occurred_at
    if message.provider_message_id is None and isinstance(data.get("email_id"), str):
        message.provider_message_id = data["email_id"]
    match event.event_type:
        case "email.sent":
            _advance(message, MessageState.SENT, UNDECIDED)
            message.sent_at = message.sent_at or at
        case "email.delivered":
            _advance(message, MessageState.DELIVERED, BEFORE_DELIVERY)
            message.delivered_at = message.delivered_at or at
        case "email.opened" | "email.clicked":
            _engaged(message, event.event_type, at=at)
        case "email.bounced":
            _bounced(session, message, data, at=at, now=now)
        case "email.complained":
            _end(message, MessageState.COMPLAINED, BEFORE_COMPLAINT, at=at)
            _suppress(session, message, SuppressionReason.COMPLAINT, now=now)
        case "email.suppressed":
            _refused_by_list(session, message, data, at=at, now=now)
        case "email.failed":
            _failed(message, data, at=at)


def _engaged(message: Message, event_type: str, *, at: datetime) -> None:
    """An open may be a machine's, so it is a time and never a state."""
    if event_type == "email.opened":
        message.first_opened_at = message.first_opened_at or at
    else:
        message.first_clicked_at = message.first_clicked_at or at


def _advance(message: Message, state: MessageState, before: frozenset[MessageState]) -> bool:
    """Forward only: whatever order events come in, the furthest state stays."""
    if message.state not in before:
        return False
    message.state = state
    message.failure = None
    return True


def _end(
    message: Message, state: MessageState, before: frozenset[MessageState], *, at: datetime
) -> bool:
    moved = _advance(message, state, before)
    if moved:
        message.finished_at = at
    return moved


def _bounced(
    session: Session, message: Message, data: Mapping[str, Any], *, at: datetime, now: datetime
) -> None:
    """Only a permanent bounce condemns the address; a full mailbox empties."""
    if _end(message, MessageState.BOUNCED, BEFORE_BOUNCE, at=at):
        message.failure = _words(data, "bounce", "message")
    bounce = data.get("bounce")
    if isinstance(bounce, dict) and bounce.get("type") == PERMANENT:
        _suppress(session, message, SuppressionReason.HARD_BOUNCE, now=now)


def _failed(message: Message, data: Mapping[str, Any], *, at: datetime) -> None:
    if _end(message, MessageState.FAILED, BEFORE_DELIVERY, at=at):
        message.failure = _words(data, "failed", "reason")


def _refused_by_list(
    session: Session, message: Message, data: Mapping[str, Any], *, at: datetime, now: datetime
) -> None:
    """The provider knows the address as undeliverable and did not try: never sent."""
    if _end(message, MessageState.SKIPPED, BEFORE_DELIVERY, at=at):
        message.skip_reason = SkipReason.SUPPRESSED
        message.failure = _words(data, "suppressed", "message")
    _suppress(session, message, SuppressionReason.HARD_BOUNCE, now=now)


def _suppress(
    session: Session, message: Message, reason: SuppressionReason, *, now: datetime
) -> None:
    recipient = Recipient(message.shop_id, message.message_id)
    suppress(session, recipient, reason=reason.value, now=now)


def _words(data: Mapping[str, Any], part: str, key: str) -> str | None:
    inner = data.get(part)
    words = inner.get(key) if isinstance(inner, dict) else None
    return words if isinstance(words, str) else None
