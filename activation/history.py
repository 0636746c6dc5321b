"""Questions to the history of segments: who was in which at a past instant, and how restless it is.

A stay holds from `entered_at` on and no longer at `exited_at`, so at any instant a customer is in
one segment or in none. Stays of erased people count in sizes and belong to nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.models.enums import MembershipCause, Segment

FLAP_WITHIN: Final = timedelta(days=7)

MEMBERSHIPS_AS_OF = text("""
-- Returns the stay of every asked customer that held at :at, by customer. Changes nothing.
-- Index ix_segment_memberships__customer where customers are asked for, else it reads the shop's
-- history.
SELECT
    customer_id, segment, previous_segment, entered_at, exited_at, cause, run_id, rfm_run_id,
    r_score, f_score, m_score
FROM crm.segment_memberships
WHERE
    shop_id = :shop_id
    AND customer_id > 0
    AND segment = ANY(CAST(:segments AS text []))
    AND (
        CAST(:customer_ids AS bigint []) IS NULL
        OR customer_id = ANY(CAST(:customer_ids AS bigint []))
    )
    AND entered_at <= :at
    AND (exited_at > :at OR exited_at IS NULL)
    AND customer_id > :after
ORDER BY customer_id
LIMIT :limit
""")

SIZES_AS_OF = text("""
-- Returns how many customers were in each segment at :at. Changes nothing.
-- Reads the shop's history.
SELECT segment, count(*) AS members
FROM crm.segment_memberships
WHERE
    shop_id = :shop_id
    AND segment = ANY(CAST(:segments AS text []))
    AND entered_at <= :at
    AND (exited_at > :at OR exited_at IS NULL)
GROUP BY segment
""")

FLAPS = text("""
-- Returns how many moves there were from :since on and before :until, and how many of them led back
-- into a segment that the same customer had left no longer than :within before. Changes nothing.
-- Reads the shop's history; index ix_segment_memberships__customer for each move.
SELECT
    count(*) AS moves,
    count(*) FILTER (
        WHERE EXISTS (
            SELECT 1
            FROM crm.segment_memberships AS before
            WHERE
                before.shop_id = stays.shop_id
                AND before.customer_id = stays.customer_id
                AND before.segment = stays.segment
                AND before.exited_at <= stays.entered_at
                AND before.exited_at >= stays.entered_at - :within
                AND before.membership_id <> stays.membership_id
        )
    ) AS returns
FROM crm.segment_memberships AS stays
WHERE
    stays.shop_id = :shop_id
    AND stays.segment = ANY(CAST(:segments AS text []))
    AND stays.entered_at >= :since
    AND stays.entered_at < :until
    AND stays.previous_segment <> stays.segment
""")

_ALL: Final = tuple(Segment)
_NO_LIMIT: Final = 2**31 - 1


@dataclass(frozen=True)
class Stay:
    """One customer's stay in a segment, with the scores and boundaries it began by."""

    customer_id: int
    segment: Segment
    previous_segment: Segment | None
    entered_at: datetime
    exited_at: datetime | None
    cause: MembershipCause
    run_id: str | None
    rfm_run_id: str | None
    r_score: int
    f_score: int
    m_score: int

    @property
    def rfm_score(self) -> str:
        return f"{self.r_score}{self.f_score}{self.m_score}"


@dataclass(frozen=True)
class Flaps:
    """Moves, and those among them that went back within a week."""

    moves: int
    returns: int

    @property
    def rate(self) -> float:
        return self.returns / self.moves if self.moves else 0.0


def memberships_as_of(
    session: Session,
    shop_id: int,
    at: datetime,
    *,
    segments: Sequence[Segment] = _ALL,
    customer_ids: Sequence[int] | None = None,
    after: int = 0,
    limit: int = _NO_LIMIT,
) -> list[Stay]:
    """Who was in `segments` at `at`, by customer; `after` and `limit` give a page of them."""
    rows = session.execute(
        MEMBERSHIPS_AS_OF,
        {
            "shop_id": shop_id,
            "at": at,
            "segments": [segment.value for segment in segments],
            "customer_ids": None if customer_ids is None else list(customer_ids),
            "after": after,
            "limit": limit,
        },
    )
    return [
        Stay(
            row.customer_id,
            Segment(row.segment),
            Segment(row.previous_segment) if row.previous_segment else None,
            row.entered_at,
            row.exited_at,
            MembershipCause(row.cause),
            row.run_id,
            row.rfm_run_id,
            row.r_score,
            row.f_score,
            row.m_score,
        )
        for row in rows
    ]


def sizes_as_of(session: Session, shop_id: int, at: datetime) -> dict[Segment, int]:
    """Members of every segment at `at`, in the fixed order; none is 0."""
    rows = session.execute(
        SIZES_AS_OF, {"shop_id": shop_id, "at": at, "segments": [each.value for each in _ALL]}
    )
    found = {Segment(row.segment): row.members for row in rows}
    return {segment: found.get(segment, 0) for segment in _ALL}


def flaps(session: Session, shop_id: int, *, since: datetime, until: datetime) -> Flaps:
    """How often customers came back to a segment they had just left."""
    row = session.execute(
        FLAPS,
        {
            "shop_id": shop_id,
            "segments": [each.value for each in _ALL],
            "since": since,
            "until": until,
            "within": FLAP_WITHIN,
        },
    ).one()
    return Flaps(moves=row.moves, returns=row.returns)
