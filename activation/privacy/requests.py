"""Privacy requests as a queue: claimed by a lease, tried until done, never forgotten.

Shopify gives 30 days. What cannot be done now says why in `error` and is tried again; only a
request that names nobody ends as failed.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from core.models import PrivacyRequest, Shop
from core.models.enums import PrivacyKind

LEASE: Final = timedelta(minutes=10)

CLAIM = text("""
-- Returns the oldest due request, and how far it is. Changes crm.privacy_requests: our lease.
-- Index ix_privacy_requests__due.
UPDATE crm.privacy_requests AS request
SET next_attempt_at = clock_timestamp() + :lease
WHERE (request.shop_id, request.privacy_request_id) = (
    SELECT due.shop_id, due.privacy_request_id
    FROM crm.privacy_requests AS due
    WHERE due.state = 'pending' AND due.next_attempt_at <= clock_timestamp()
    ORDER BY due.requested_at, due.privacy_request_id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING
    request.shop_id,
    request.privacy_request_id,
    request.kind,
    request.subject,
    request.attempts,
    coalesce(request.receipt ->> 'searched_to', '') AS searched_to,
    request.receipt ->> 'screened_at' IS NOT NULL AS is_screened,
    coalesce(
        CAST(request.receipt ->> 'screened_at' AS timestamptz) + :settling <= clock_timestamp(),
        false
    ) AS is_settled
""")

KEEP_SCREENED = text("""
-- Changes crm.privacy_requests: whom to erase, and since when nobody new is stored. Primary key.
UPDATE crm.privacy_requests
SET
    subject = :subject,
    receipt = jsonb_build_object('screened_at', clock_timestamp()),
    next_attempt_at = clock_timestamp() + :settling,
    error = NULL
WHERE shop_id = :shop_id AND privacy_request_id = :request_id AND state = 'pending'
""").bindparams(bindparam("subject", type_=JSONB))

KEEP_SEARCHED = text("""
-- Changes crm.privacy_requests: how far the inbox has been searched. Primary key.
UPDATE crm.privacy_requests
SET
    receipt = receipt || jsonb_build_object(
        'searched_to',
        CAST(:searched_to AS text),
        'webhook_bodies',
        coalesce(CAST(receipt ->> 'webhook_bodies' AS bigint), 0) + :erased
    )
WHERE shop_id = :shop_id AND privacy_request_id = :request_id AND state = 'pending'
""")

POSTPONE = text("""
-- Changes crm.privacy_requests: why it is not done yet, and when it is tried again. Primary key.
UPDATE crm.privacy_requests
SET
    next_attempt_at = CASE
        WHEN CAST(:ended_at AS timestamptz) IS NULL THEN clock_timestamp() + :delay
    END,
    attempts = attempts + :tried,
    error = :words,
    state = CASE WHEN CAST(:ended_at AS timestamptz) IS NULL THEN 'pending' ELSE 'failed' END,
    finished_at = :ended_at
WHERE shop_id = :shop_id AND privacy_request_id = :request_id AND state = 'pending'
""")

FINISH = text("""
-- Changes crm.privacy_requests: done. Only counts stay, and of a data request what it asked for.
-- Primary key.
UPDATE crm.privacy_requests
SET
    state = 'completed',
    subject = :subject,
    export = :export,
    receipt = (coalesce(receipt, '{}') || CAST(:receipt AS jsonb)) - 'searched_to',
    error = NULL,
    next_attempt_at = NULL,
    finished_at = :now
WHERE shop_id = :shop_id AND privacy_request_id = :request_id AND state = 'pending'
""").bindparams(
    bindparam("subject", type_=JSONB(none_as_null=True)),
    bindparam("export", type_=JSONB(none_as_null=True)),
    bindparam("receipt", type_=JSONB),
)


@dataclass(frozen=True)
class Claimed:
    """A request under our lease. `is_screened`: nobody new of it is stored; `is_settled`: nor by
    transactions that began before.
    """

    shop_id: int
    request_id: int
    kind: PrivacyKind
    subject: dict[str, Any] | None
    attempts: int
    searched_to: str
    is_screened: bool
    is_settled: bool


@dataclass(frozen=True)
class Shown:
    """A request as people see it. `days_left` until it must be done, None once it is."""

    request_id: int
    shop: str
    kind: str
    state: str
    requested_at: datetime
    due_at: datetime
    finished_at: datetime | None
    days_left: int | None
    error: str | None
    receipt: dict[str, Any] | None


def claim(session: Session, *, settling: timedelta) -> Claimed | None:
    """The oldest due request; the caller's commit takes the lease."""
    row = session.execute(CLAIM, {"lease": LEASE, "settling": settling}).one_or_none()
    if row is None:
        return None
    return Claimed(
        shop_id=row.shop_id,
        request_id=row.privacy_request_id,
        kind=PrivacyKind(row.kind),
        subject=row.subject,
        attempts=row.attempts,
        searched_to=row.searched_to,
        is_screened=row.is_screened,
        is_settled=row.is_settled,
    )


def keep_screened(
    session: Session, request: Claimed, *, subject: dict[str, Any] | None, settling: timedelta
) -> None:
    """To be gone on with once `settling` is over."""
    session.execute(
        KEEP_SCREENED,
        {
            "shop_id": request.shop_id,
            "request_id": request.request_id,
            "subject": subject,
            "settling": settling,
        },
    )


def keep_searched(session: Session, request: Claimed, *, searched_to: str, erased: int) -> None:
    """In the transaction that erased these bodies."""
    session.execute(
        KEEP_SEARCHED,
        {
            "shop_id": request.shop_id,
            "request_id": request.request_id,
            "searched_to": searched_to,
            "erased": erased,
        },
    )


def postpone(
    session: Session,
    request: Claimed,
    *,
    words: str | None,
    delay: timedelta,
    was_tried: bool = False,
    ended_at: datetime | None = None,
) -> None:
    """Again after `delay`; with `ended_at` never again, as failed."""
    session.execute(
        POSTPONE,
        {
            "shop_id": request.shop_id,
            "request_id": request.request_id,
            "words": words,
            "delay": delay,
            "tried": int(was_tried),
            "ended_at": ended_at,
        },
    )


def finish(
    session: Session,
    request: Claimed,
    *,
    now: datetime,
    receipt: dict[str, Any],
    subject: dict[str, Any] | None = None,
    export: dict[str, Any] | None = None,
) -> None:
    session.execute(
        FINISH,
        {
            "shop_id": request.shop_id,
            "request_id": request.request_id,
            "now": now,
            "receipt": receipt,
            "subject": subject,
            "export": export,
        },
    )


def list_requests(session: Session, *, now: datetime) -> list[Shown]:
    """All requests of all shops, the open ones first, by what is due."""
    rows = session.execute(
        select(PrivacyRequest, Shop.domain)
        .join(Shop, Shop.shop_id == PrivacyRequest.shop_id)
        .order_by(
            PrivacyRequest.finished_at.is_not(None),
            PrivacyRequest.due_at,
            PrivacyRequest.privacy_request_id,
        )
    ).all()
    return [_shown(request, domain, now=now) for request, domain in rows]


def export_of_request(session: Session, request_id: int) -> dict[str, Any] | None:
    """The answer to a data request; None when there is none (yet, or any more)."""
    return session.scalars(
        select(PrivacyRequest.export).where(PrivacyRequest.privacy_request_id == request_id)
    ).one_or_none()


def _shown(request: PrivacyRequest, domain: str, *, now: datetime) -> Shown:
    return Shown(
        request_id=request.privacy_request_id,
        shop=domain,
        kind=request.kind.value,
        state=request.state.value,
        requested_at=request.requested_at,
        due_at=request.due_at,
        finished_at=request.finished_at,
        days_left=None if request.finished_at else (request.due_at - now).days,
        error=request.error,
        receipt=request.receipt,
    )
