"""What one event means for its message. Forward only: in whatever order events come, the furthest
state stays.

    queued, frozen, unknown → sent → delivered → bounced → complained
                                   ↘ skipped (the provider did not try), failed

An open or a click is no state: a machine may have made it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from activation.dedupe import is_erased
from core.models.enums import (
    BounceKind,
    MessageState,
    SkipReason,
    SuppressionReason,
)

UNDECIDED: Final = frozenset({MessageState.QUEUED, MessageState.FROZEN, MessageState.UNKNOWN})
BEFORE_DELIVERY: Final = UNDECIDED | {MessageState.SENT}
BEFORE_BOUNCE: Final = BEFORE_DELIVERY | {MessageState.DELIVERED}
BEFORE_COMPLAINT: Final = BEFORE_BOUNCE | {MessageState.BOUNCED}

ENGAGING: Final = frozenset({"email.opened", "email.clicked"})
# Two pages of the provider's name the same thing differently.
BOUNCES: Final[Mapping[str, BounceKind]] = {
    "Permanent": BounceKind.PERMANENT,
    "Transient": BounceKind.TRANSIENT,
    "Temporary": BounceKind.TRANSIENT,
}
SUPPRESSED: Final = "Suppressed"
CONDEMNING: Final = frozenset({BounceKind.PERMANENT, BounceKind.SUPPRESSED})


@dataclass(frozen=True)
class Standing:
    """A message as far as events change it."""

    shop_id: int
    message_id: int
    dedupe_key: str
    state: MessageState
    skip_reason: SkipReason | None
    failure: str | None
    bounce_kind: BounceKind | None
    provider_message_id: str | None
    sent_at: datetime | None
    delivered_at: datetime | None
    finished_at: datetime | None

    @property
    def is_erased(self) -> bool:
        return is_erased(self.dedupe_key)


@dataclass(frozen=True)
class Move:
    """Where the message stands now, and why its address is mailed no more, if it is not."""

    standing: Standing
    suppression: SuppressionReason | None = None


def move(standing: Standing, event_type: str, data: Mapping[str, Any], at: datetime) -> Move:
    if standing.provider_message_id is None and isinstance(data.get("email_id"), str):
        standing = replace(standing, provider_message_id=data["email_id"])
    mover = MOVERS.get(event_type)
    return Move(standing) if mover is None else mover(standing, data, at)


def forget(standing: Standing) -> Standing:
    """The provider names whom we have erased: of that only what happened stays."""
    return replace(standing, failure=None, provider_message_id=None)


def _advanced(standing: Standing, state: MessageState, before: frozenset[MessageState]) -> Standing:
    if standing.state not in before:
        return standing
    return replace(standing, state=state, failure=None)


def _ended(
    standing: Standing,
    state: MessageState,
    before: frozenset[MessageState],
    at: datetime,
    **more: Any,
) -> Standing:
    if standing.state not in before:
        return standing
    return replace(_advanced(standing, state, before), finished_at=at, **more)


def _sent(standing: Standing, _data: Mapping[str, Any], at: datetime) -> Move:
    sent = _advanced(standing, MessageState.SENT, UNDECIDED)
    return Move(replace(sent, sent_at=sent.sent_at or at))


def _delivered(standing: Standing, _data: Mapping[str, Any], at: datetime) -> Move:
    delivered = _advanced(standing, MessageState.DELIVERED, BEFORE_DELIVERY)
    return Move(replace(delivered, delivered_at=delivered.delivered_at or at))


def _complained(standing: Standing, _data: Mapping[str, Any], at: datetime) -> Move:
    ended = _ended(standing, MessageState.COMPLAINED, BEFORE_COMPLAINT, at)
    return Move(ended, SuppressionReason.COMPLAINT)


def _failed(standing: Standing, data: Mapping[str, Any], at: datetime) -> Move:
    words = _words(data, "failed", "reason")
    return Move(_ended(standing, MessageState.FAILED, BEFORE_DELIVERY, at, failure=words))


def _bounced(standing: Standing, data: Mapping[str, Any], at: datetime) -> Move:
    """Only a permanent bounce condemns the address; a full mailbox empties."""
    kind = bounce_kind(data)
    ended = _ended(
        standing,
        MessageState.BOUNCED,
        BEFORE_BOUNCE,
        at,
        failure=_words(data, "bounce", "message"),
        bounce_kind=kind,
    )
    return Move(ended, SuppressionReason.HARD_BOUNCE if kind in CONDEMNING else None)


def bounce_kind(data: Mapping[str, Any]) -> BounceKind:
    bounce = data.get("bounce")
    if not isinstance(bounce, dict):
        return BounceKind.UNDETERMINED
    if bounce.get("subType") == SUPPRESSED:
        return BounceKind.SUPPRESSED
    kind = bounce.get("type")
    return (
        BOUNCES.get(kind, BounceKind.UNDETERMINED)
        if isinstance(kind, str)
        else (BounceKind.UNDETERMINED)
    )


def _refused_by_list(standing: Standing, data: Mapping[str, Any], at: datetime) -> Move:
    """The provider knows the address as undeliverable and did not try: never sent."""
    ended = _ended(
        standing,
        MessageState.SKIPPED,
        BEFORE_DELIVERY,
        at,
        skip_reason=SkipReason.SUPPRESSED,
        failure=_words(data, "suppressed", "message"),
    )
    return Move(ended, SuppressionReason.HARD_BOUNCE)


def _words(data: Mapping[str, Any], part: str, key: str) -> str | None:
    inner = data.get(part)
    words = inner.get(key) if isinstance(inner, dict) else None
    return words if isinstance(words, str) else None


MOVERS: Final[Mapping[str, Callable[[Standing, Mapping[str, Any], datetime], Move]]] = {
    "email.sent": _sent,
    "email.delivered": _delivered,
    "email.bounced": _bounced,
    "email.complained": _complained,
    "email.suppressed": _refused_by_list,
    "email.failed": _failed,
}
