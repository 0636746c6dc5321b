"""Hop 3: what the view says now against the open rows; the difference is the segment changes.

The rows are intervals, so the membership at any past instant is a look-up. Nothing here scores:
`marts.customer_segments` does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.holds import lock_shop
from core.models.enums import MembershipCause

MIN_BUYERS: Final = 5  # below it nobody is scored and nothing changes (DESIGN §4)

READ_SHOP = text("""
-- Returns whether the first sync is complete, whether there is a baseline, whether the gate holds
-- segments, and up to five buyers.
-- Index ix_customer_statistics__first_order.
SELECT
    shops.first_sync_completed_at IS NOT NULL AS is_synced,
    shops.baseline_at IS NOT NULL AS has_baseline,
    shops.segments_held_at IS NOT NULL AS is_held,
    (
        SELECT count(*)
        FROM (
            SELECT 1
            FROM raw_shopify.customer_statistics AS statistics
            WHERE statistics.shop_id = shops.shop_id AND statistics.first_order_at IS NOT NULL
            LIMIT 5
        ) AS buyers
    ) AS buyers
FROM crm.shops
WHERE shops.shop_id = :shop_id
""")

APPLY_CHANGES = text("""
-- Returns how many rows were opened and closed.
-- Changes crm.segment_memberships: closes the open row of who moved or is gone, opens the new one.
-- Only those who differ are kept (`changed`): two materialized lists of everybody took half as long
-- again. `opened` reads `closed`, so a customer's old row is closed before the new one meets the
-- constraint of one open row. Two runs may come with their instants in the wrong order: a stay
-- then lasts no time, never less. Index uq_segment_memberships__one_open.
WITH changed AS MATERIALIZED (
    SELECT
        coalesce(present.customer_id, known.customer_id) AS customer_id,
        present.customer_id IS NULL AS is_gone,
        known.customer_id IS NOT NULL AS is_known,
        present.segment,
        present.rfm_run_id,
        present.r_score,
        present.f_score,
        present.m_score
    FROM (
        SELECT customer_id, segment, rfm_run_id, r_score, f_score, m_score
        FROM marts.customer_segments
        WHERE
            shop_id = :shop_id
            AND (
                CAST(:customer_ids AS bigint []) IS NULL
                OR customer_id = ANY(CAST(:customer_ids AS bigint []))
            )
    ) AS present
    FULL JOIN (
        SELECT customer_id, segment
        FROM crm.segment_memberships
        WHERE
            shop_id = :shop_id
            AND exited_at IS NULL
            AND (
                CAST(:customer_ids AS bigint []) IS NULL
                OR customer_id = ANY(CAST(:customer_ids AS bigint []))
            )
    ) AS known
        ON present.customer_id = known.customer_id
    WHERE
        known.customer_id IS NULL
        OR present.customer_id IS NULL
        OR (:may_change AND present.segment <> known.segment)
),

closed AS (
    UPDATE crm.segment_memberships AS membership
    SET
        exited_at = greatest(:now, membership.entered_at),
        exit_cause = CASE WHEN changed.is_gone THEN 'delete' ELSE :cause END,
        exit_run_id = :run_id
    FROM changed
    WHERE
        changed.is_known
        AND membership.shop_id = :shop_id
        AND membership.customer_id = changed.customer_id
        AND membership.exited_at IS NULL
    RETURNING membership.customer_id, membership.segment, membership.exited_at
),

opened AS (
    INSERT INTO crm.segment_memberships (
        shop_id, customer_id, segment, previous_segment, entered_at, cause, run_id, rfm_run_id,
        r_score, f_score, m_score
    )
    SELECT
        :shop_id,
        changed.customer_id,
        changed.segment,
        CASE WHEN NOT :is_baseline THEN closed.segment END,
        coalesce(closed.exited_at, :now),
        :cause,
        :run_id,
        changed.rfm_run_id,
        changed.r_score,
        changed.f_score,
        changed.m_score
    FROM changed
    LEFT JOIN closed ON changed.customer_id = closed.customer_id
    WHERE
        NOT changed.is_gone
        AND (NOT changed.is_known OR closed.customer_id IS NOT NULL)
    RETURNING 1
)

SELECT
    (SELECT count(*) FROM opened) AS entered,
    (SELECT count(*) FROM closed) AS exited
""")

SET_BASELINE = text("""
-- Changes crm.shops: from now on its triggers are evaluated.
UPDATE crm.shops SET baseline_at = :now WHERE shop_id = :shop_id AND baseline_at IS NULL
""")


@dataclass(frozen=True)
class MembershipReport:
    """Rows opened and closed. At a baseline everyone's row opens and nobody entered anything.

    `is_held`: the data gate holds the shop, so nothing was applied.
    """

    entered: int = 0
    exited: int = 0
    baseline: bool = False
    is_held: bool = False


def apply_membership_changes(
    session: Session,
    shop_id: int,
    *,
    customer_ids: Sequence[int] | None,
    now: datetime,
    cause: MembershipCause,
    run_id: str | None,
) -> MembershipReport:
    """Bring the open rows in line with the view; `customer_ids` None means everyone.

    The first application to everyone is the shop's baseline. Before it, and before the first sync
    is complete, nothing is applied, nor while the data gate holds the shop. With `cause` BASELINE
    rows open without a previous segment.
    """
    lock_shop(session, shop_id)
    shop = session.execute(READ_SHOP, {"shop_id": shop_id}).one()
    becomes_baseline = not shop.has_baseline
    if not shop.is_synced or (becomes_baseline and customer_ids is not None):
        return MembershipReport()
    if shop.is_held:
        return MembershipReport(is_held=True)
    is_baseline = becomes_baseline or cause is MembershipCause.BASELINE
    changes = session.execute(
        APPLY_CHANGES,
        {
            "shop_id": shop_id,
            "customer_ids": None if customer_ids is None else list(customer_ids),
            "now": now,
            "cause": (MembershipCause.BASELINE if is_baseline else cause).value,
            "is_baseline": is_baseline,
            "may_change": shop.buyers >= MIN_BUYERS,
            "run_id": run_id,
        },
    ).one()
    if becomes_baseline:
        session.execute(SET_BASELINE, {"shop_id": shop_id, "now": now})
    return MembershipReport(
        entered=changes.entered, exited=changes.exited, baseline=becomes_baseline
    )
