"""Stored events find their messages and move them, many at a time.

Everything of a chunk is read, locked and written in one statement each: a burst of a hundred
thousand events takes a thousand of them a time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy.orm import Session

from activation.events import engagements, health, lists
from activation.events.moves import ENGAGING, Standing, forget, move
from activation.events.statements import (
    CLAIM_STORED,
    FIND_BY_PROVIDER_ID,
    FIND_MESSAGES,
    FINISH_EVENTS,
    GIVE_UP_AFTER,
    LOCK_EVENT,
    LOCK_FREE_MESSAGES,
    LOCK_MESSAGES,
    MAIL_PREFIX,
    MESSAGE_DIGITS,
    MOVE_MESSAGES,
    SHOP_DIGITS,
)
from activation.suppressions.adding import Entry, add
from core.clock import Clock
from core.database import SessionFactory, session_scope
from core.models.enums import (
    BounceKind,
    EventState,
    MessageState,
    SkipReason,
    SuppressionSource,
)

CHUNK: Final = 1000
MOST_CHUNKS: Final = 20  # in one call: mail that waits behind a burst must not wait for long
_MOVED: Final = tuple(each.name for each in fields(Standing) if each.name != "dedupe_key")
Key = tuple[int, int]


@dataclass(frozen=True)
class MatchReport:
    """Events by what became of them, and shops that stopped sending because of them."""

    matched: int = 0
    unmatched: int = 0
    shops_held: int = 0

    def __add__(self, other: "MatchReport") -> "MatchReport":
        return MatchReport(
            self.matched + other.matched,
            self.unmatched + other.unmatched,
            self.shops_held + other.shops_held,
        )


@dataclass(frozen=True)
class _Outcome:
    """`message` None: about none of ours. `state` STORED: it waits for its message."""

    event: Row[Any]
    state: EventState
    error: str | None = None
    message: Key | None = None
    is_erased: bool = False


def match_stored(factory: SessionFactory, *, clock: Clock, limit: int = CHUNK) -> MatchReport:
    """Apply stored events whose message is there; what finds none for a day is not ours."""
    report = MatchReport()
    for _ in range(MOST_CHUNKS):
        with session_scope(factory) as session:
            claimed = session.execute(CLAIM_STORED, {"limit": limit}).all()
            chunk, _ = _apply(session, claimed, now=clock.now(), waits=False)
        report += chunk
        if len(claimed) < limit or not chunk.matched + chunk.unmatched:
            break
    return report


def apply_event(session: Session, provider: str, event_id: str, *, now: datetime) -> EventState:
    """Apply one stored event, once; its state afterwards."""
    event = session.execute(LOCK_EVENT, {"provider": provider, "event_id": event_id}).one()
    if event.state != EventState.STORED:
        return EventState(event.state)
    _, [outcome] = _apply(session, [event], now=now, waits=True)
    return outcome.state


def _apply(
    session: Session, events: Sequence[Row[Any]], *, now: datetime, waits: bool
) -> tuple[MatchReport, list[_Outcome]]:
    if not events:
        return MatchReport(), []
    mails = [each for each in events if each.event_type.startswith(MAIL_PREFIX)]
    about_lists = [each for each in events if each.event_type in lists.EVENTS]
    others = [
        each
        for each in events
        if not each.event_type.startswith(MAIL_PREFIX) and each.event_type not in lists.EVENTS
    ]
    outcomes, held = _apply_mails(session, mails, now=now, waits=waits)
    for event in about_lists:
        is_ours = lists.apply(session, event.event_type, _data(event), now=now)
        state = EventState.MATCHED if is_ours else EventState.UNMATCHED
        outcomes.append(_Outcome(event, state, None if is_ours else "no shop knows this address"))
    outcomes += [_Outcome(each, EventState.UNMATCHED, "not about a mail") for each in others]
    _finish(session, [each for each in outcomes if each.state is not EventState.STORED])
    states = [each.state for each in outcomes]
    report = MatchReport(
        states.count(EventState.MATCHED), states.count(EventState.UNMATCHED), shops_held=held
    )
    return report, outcomes


def _apply_mails(
    session: Session, events: Sequence[Row[Any]], *, now: datetime, waits: bool
) -> tuple[list[_Outcome], int]:
    if not events:
        return [], 0
    keys = _references(session, events)
    standings, addresses = _lock(session, {key for key in keys if key}, waits=waits)
    moved = dict(standings)
    outcomes: list[_Outcome] = []
    waiting: list[tuple[Row[Any], Key | None]] = []
    suppressed: list[Entry] = []
    seen: list[engagements.Seen] = []
    paired = sorted(zip(events, keys, strict=True), key=lambda pair: pair[0].occurred_at)
    for event, key in paired:
        if key is None or key not in standings:
            waiting.append((event, key))
            continue
        done = move(moved[key], event.event_type, _data(event), event.occurred_at)
        is_erased = done.standing.is_erased
        moved[key] = forget(done.standing) if is_erased else done.standing
        address = addresses[key]
        if done.suppression is not None and address:
            suppressed.append(Entry(key[0], address, done.suppression, now, key[1]))
        if event.event_type in ENGAGING:
            seen.append(
                engagements.told_by(
                    key,
                    event.event_id,
                    event.event_type,
                    _data(event),
                    event.occurred_at,
                    is_erased=is_erased,
                )
            )
        outcomes.append(_Outcome(event, EventState.MATCHED, None, key, is_erased))
    outcomes += _waiting(session, waiting)
    changed = [each for key, each in moved.items() if each != standings[key]]
    _move(session, changed)
    add(session, suppressed, source=SuppressionSource.EVENT)
    _judge(session, seen, changed, standings)
    held = _check_health(session, changed, standings, now=now)
    return outcomes, held


def _judge(
    session: Session,
    seen: Sequence[engagements.Seen],
    changed: Iterable[Standing],
    before: Mapping[Key, Standing],
) -> None:
    """Opens and clicks of these messages; a delivery that is told late may show that a click came
    too soon after it.
    """
    engagements.store(session, seen)
    touched = {(each.shop_id, each.message_id) for each in seen}
    touched |= {
        (each.shop_id, each.message_id)
        for each in changed
        if each.delivered_at != before[each.shop_id, each.message_id].delivered_at
    }
    engagements.classify(session, touched)


def _check_health(
    session: Session, changed: Iterable[Standing], before: Mapping[Key, Standing], *, now: datetime
) -> int:
    """Shops with a new bounce or complaint; returns how many stop sending."""
    shops = {
        each.shop_id
        for each in changed
        if each.state in health.BAD and before[each.shop_id, each.message_id].state != each.state
    }
    return sum(health.hold_if_unhealthy(session, shop_id, now=now) for shop_id in sorted(shops))


def _data(event: Row[Any]) -> dict[str, Any]:
    data = event.body.get("data") if isinstance(event.body, dict) else None
    return data if isinstance(data, dict) else {}


def _references(session: Session, events: Sequence[Row[Any]]) -> list[Key | None]:
    """By our own tags, which exist before the provider's id reaches us; else by that id."""
    by_tags = [_tagged(_data(event)) for event in events]
    unknown = [
        _data(event).get("email_id") for event, key in zip(events, by_tags, strict=True) if not key
    ]
    ids = sorted({each for each in unknown if isinstance(each, str)})
    known: dict[str, Key] = {}
    if ids:
        rows = session.execute(FIND_BY_PROVIDER_ID, {"ids": ids})
        known = {row.provider_message_id: (row.shop_id, row.message_id) for row in rows}
    return [
        key or known.get(str(_data(event).get("email_id")))
        for event, key in zip(events, by_tags, strict=True)
    ]


def _tagged(data: Mapping[str, Any]) -> Key | None:
    tags = data.get("tags")
    tags = tags if isinstance(tags, dict) else {}
    shop_id = _id(tags.get("shop_id"), SHOP_DIGITS)
    message_id = _id(tags.get("send_id"), MESSAGE_DIGITS)
    return None if shop_id is None or message_id is None else (shop_id, message_id)


def _id(value: object, digits: int) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= digits:
        return int(value)
    return None


def _lock(
    session: Session, keys: Iterable[Key], *, waits: bool
) -> tuple[dict[Key, Standing], dict[Key, str | None]]:
    wanted = _keys(keys)
    if not wanted["shop_ids"]:
        return {}, {}
    rows = session.execute(LOCK_MESSAGES if waits else LOCK_FREE_MESSAGES, wanted).all()
    standings = {
        (row.shop_id, row.message_id): Standing(
            shop_id=row.shop_id,
            message_id=row.message_id,
            dedupe_key=row.dedupe_key,
            state=MessageState(row.state),
            skip_reason=row.skip_reason and SkipReason(row.skip_reason),
            failure=row.failure,
            bounce_kind=row.bounce_kind and BounceKind(row.bounce_kind),
            provider_message_id=row.provider_message_id,
            sent_at=row.sent_at,
            delivered_at=row.delivered_at,
            finished_at=row.finished_at,
        )
        for row in rows
    }
    return standings, {(row.shop_id, row.message_id): row.email for row in rows}


def _waiting(session: Session, events: Sequence[tuple[Row[Any], Key | None]]) -> list[_Outcome]:
    """Those without a message, and those whose message another worker holds right now."""
    oldest = datetime.now(UTC) - GIVE_UP_AFTER
    keys = _keys([key for event, key in events if key and event.received_at < oldest])
    held: set[Key] = set()
    if keys["shop_ids"]:
        held = {(row.shop_id, row.message_id) for row in session.execute(FIND_MESSAGES, keys)}
    return [
        _Outcome(event, EventState.STORED)
        if event.received_at >= oldest or key in held
        else _Outcome(event, EventState.UNMATCHED, "no message of ours within a day")
        for event, key in events
    ]


def _keys(keys: Iterable[Key]) -> dict[str, list[int]]:
    wanted = sorted(set(keys))
    return {
        "shop_ids": [shop_id for shop_id, _ in wanted],
        "message_ids": [message_id for _, message_id in wanted],
    }


def _move(session: Session, changed: Sequence[Standing]) -> None:
    if not changed:
        return
    session.execute(
        MOVE_MESSAGES, {name: [getattr(each, name) for each in changed] for name in _MOVED}
    )


def _finish(session: Session, outcomes: Sequence[_Outcome]) -> None:
    if not outcomes:
        return
    session.execute(
        FINISH_EVENTS,
        {
            "providers": [each.event.provider for each in outcomes],
            "event_ids": [each.event.event_id for each in outcomes],
            "states": [each.state.value for each in outcomes],
            "errors": [each.error for each in outcomes],
            "shop_ids": [each.message and each.message[0] for each in outcomes],
            "message_ids": [each.message and each.message[1] for each in outcomes],
            "are_erased": [each.is_erased for each in outcomes],
        },
    )
