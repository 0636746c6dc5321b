"""How a shop's segments stand: sizes, what changed at an instant, the cut-points in force, and what
is wrong with them. For whoever operates it; nothing here says anything about a single customer.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from activation.gate import Figures, fell
from activation.scoring import last_accepted, read_figures
from core.ingestion.statistics import mismatches
from core.models import RfmRun
from core.models.enums import GateCheck, Segment

READ_SEGMENTS = text("""
-- Returns a row per segment that has or had somebody: members now, who entered and left it at :at.
-- Changes nothing. Reads the whole history of the shop.
SELECT
    segment,
    count(*) FILTER (WHERE exited_at IS NULL) AS members,
    count(*) FILTER (WHERE entered_at = :at AND previous_segment IS NOT NULL) AS entered,
    count(*) FILTER (WHERE exited_at = :at) AS exited
FROM crm.segment_memberships
WHERE shop_id = :shop_id
GROUP BY segment
""")

READ_BOUNDARIES = text("""
-- Returns the cut-points of one run, by dimension and score. Changes nothing. Primary key.
SELECT dimension, score, lower_bound, lower_bound_at
FROM marts.rfm_boundaries
WHERE shop_id = :shop_id AND rfm_run_id = :rfm_run_id
ORDER BY array_position(ARRAY['recency', 'frequency', 'monetary'], dimension), score
""")

READ_LAST_RUN = text("""
-- Returns when the gate last decided on a full run. Changes nothing. Index ix_rfm_runs__decided.
SELECT max(decided_at) AS decided_at FROM crm.rfm_runs WHERE shop_id = :shop_id
""")

COUNT_BROKEN_KEYS = text("""
-- Returns what is wrong with the rows that decide on segments; all zero is right. Changes nothing.
-- Reads the view and the open memberships of the shop once, and no orders but those found: whoever
-- ordered has a row of statistics. Primary keys of our own tables are kept by the database; the
-- view joins a seed that an analyst may change, and nothing keeps that.
WITH present AS MATERIALIZED (
    SELECT customer_id, segment
    FROM marts.customer_segments
    WHERE shop_id = :shop_id
),

known AS MATERIALIZED (
    SELECT customer_id
    FROM crm.segment_memberships
    WHERE shop_id = :shop_id AND exited_at IS NULL
)

SELECT
    (SELECT count(*) FROM present WHERE customer_id IS NULL OR segment IS NULL) AS without_key,
    (SELECT count(*) - count(DISTINCT customer_id) FROM present) AS more_than_once,
    (
        SELECT count(*)
        FROM raw_shopify.customer_statistics AS statistics
        LEFT JOIN raw_shopify.customers
            ON
                statistics.shop_id = customers.shop_id
                AND statistics.customer_id = customers.customer_id
        INNER JOIN raw_shopify.orders
            ON
                statistics.shop_id = orders.shop_id
                AND statistics.customer_id = orders.customer_id
        WHERE
            statistics.shop_id = :shop_id
            AND customers.customer_id IS NULL
    ) AS orders_of_unknown_customers,
    (
        SELECT count(*)
        FROM known
        LEFT JOIN present ON known.customer_id = present.customer_id
        WHERE present.customer_id IS NULL
    ) AS members_unknown_to_the_marts
""")

COUNT_CURRENCIES = text("""
-- Returns the orders that count, and those in another currency than the shop's. Changes nothing.
-- Reads the shop's orders.
SELECT
    count(*) AS orders,
    count(*) FILTER (WHERE orders.currency <> shops.currency) AS in_another
FROM raw_shopify.orders
INNER JOIN crm.shops ON orders.shop_id = shops.shop_id
WHERE orders.shop_id = :shop_id AND orders.is_counted
""")

_JUST: Final = timedelta(hours=1)

MAX_FOREIGN: Final = 0.02  # a shop that sells abroad has a few; many mean that sums leave out a lot


@dataclass(frozen=True)
class SegmentStanding:
    segment: Segment
    members: int = 0
    entered: int = 0
    exited: int = 0


@dataclass(frozen=True)
class Boundary:
    """The smallest value with this score: an amount or a count, or for recency an instant."""

    dimension: str
    score: int
    lower_bound: Decimal | None
    lower_bound_at: datetime | None

    @property
    def words(self) -> str:
        """For a person to read; empty when nobody has this score or a higher one."""
        if self.lower_bound_at is not None:
            return self.lower_bound_at.isoformat(timespec="minutes")
        if self.lower_bound is None:
            return ""
        return (
            f"{self.lower_bound:.2f}" if self.dimension == "monetary" else f"{self.lower_bound:.0f}"
        )


@dataclass(frozen=True)
class Currencies:
    orders: int
    in_another: int

    @property
    def is_mixed(self) -> bool:
        return self.in_another > self.orders * MAX_FOREIGN


@dataclass(frozen=True)
class Falls:
    """Figures now and at the last accepted full run, which is None before the first."""

    now: Figures
    accepted: Figures | None

    @property
    def fell(self) -> bool:
        if self.accepted is None:
            return False
        return fell(self.accepted.customers, self.now.customers) or fell(
            self.accepted.orders, self.now.orders
        )


def read_segments(session: Session, shop_id: int, *, at: datetime) -> list[SegmentStanding]:
    """All seven, in the fixed order."""
    rows = session.execute(READ_SEGMENTS, {"shop_id": shop_id, "at": at})
    found = {
        row.segment: SegmentStanding(Segment(row.segment), row.members, row.entered, row.exited)
        for row in rows
    }
    return [found.get(segment.value, SegmentStanding(segment)) for segment in Segment]


def read_boundaries(session: Session, shop_id: int, rfm_run_id: str) -> list[Boundary]:
    """Four a dimension; none where the run had too few buyers to score."""
    rows = session.execute(READ_BOUNDARIES, {"shop_id": shop_id, "rfm_run_id": rfm_run_id})
    return [Boundary(row.dimension, row.score, row.lower_bound, row.lower_bound_at) for row in rows]


def last_decided_at(session: Session, shop_id: int) -> datetime | None:
    decided_at: datetime | None = session.execute(READ_LAST_RUN, {"shop_id": shop_id}).scalar_one()
    return decided_at


def count_broken_keys(session: Session, shop_id: int) -> dict[str, int]:
    return dict(session.execute(COUNT_BROKEN_KEYS, {"shop_id": shop_id}).mappings().one())


def count_currencies(session: Session, shop_id: int) -> Currencies:
    row = session.execute(COUNT_CURRENCIES, {"shop_id": shop_id}).one()
    return Currencies(row.orders, row.in_another)


def just_judged(session: Session, shop_id: int, *, now: datetime) -> RfmRun | None:
    """The full run on which the gate has decided within the hour; none: look for yourself.

    The gate counts all orders of the shop; a check in the same night need not do it again.
    """
    return session.scalars(
        select(RfmRun)
        .where(RfmRun.shop_id == shop_id, RfmRun.decided_by.is_(None))
        .where(RfmRun.decided_at.between(now - _JUST, now))
        .order_by(RfmRun.decided_at.desc(), RfmRun.rfm_run_id.desc())
        .limit(1)
    ).one_or_none()


def count_wrong_statistics(session: Session, shop_id: int, *, judged: RfmRun | None) -> int:
    """Customers whose statistics differ from their orders; none where the gate just said so."""
    if judged is not None and judged.held_check is not GateCheck.STATISTICS_DIFFER:
        return 0
    return mismatches(session, shop_id)


def read_falls(session: Session, shop_id: int, *, judged: RfmRun | None) -> Falls:
    """By the figures that the gate has just counted, against those it compared them with."""
    if judged is None:
        return Falls(read_figures(session, shop_id), last_accepted(session, shop_id))
    now = Figures(judged.customer_count, judged.buyer_count, judged.order_count)
    return Falls(now, last_accepted(session, shop_id, before=judged))
