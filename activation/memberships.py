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
-- Changes crm.segment_memberships. The open row of who moved is changed where it stands, and the
-- stay that ended is written beside it: no index hears of the former, which is on its page, and the
-- latter is appended (decision 25). Who is gone has the open row closed; who is new gets one.
-- Only those who differ are kept (`changed`): two materialized lists of everybody took half as long
-- again. What ended is taken from there, and only with a row that is still theirs and open: `moved`
-- finds it where it was seen. Two runs may come with their instants in the wrong order: a stay then
-- lasts no time, never less. Index uq_segment_memberships__one_open.
WITH changed AS MATERIALIZED (
    SELECT
        coalesce(present.customer_id, known.customer_id) AS customer_id,
        present.customer_id IS NULL AS is_gone,
        known.customer_id IS NOT NULL AS is_known,
        present.segment,
        present.rfm_run_id,
        present.r_score,
        present.f_score,
        present.m_score,
        known.place,
        known.segment AS segment_before,
        known.previous_segment,
        known.entered_at,
        known.cause,
        known.run_id,
        known.rfm_run_id AS rfm_run_id_before,
        known.r_score AS r_score_before,
        known.f_score AS f_score_before,
        known.m_score AS m_score_before
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
        SELECT
            ctid AS place, customer_id, segment, previous_segment, entered_at, cause, run_id,
            rfm_run_id, r_score, f_score, m_score
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

gone AS (
    UPDATE crm.segment_memberships AS membership
    SET
        exited_at = greatest(:now, membership.entered_at),
        exit_cause = 'delete',
        exit_run_id = :run_id
    FROM changed
    WHERE
        changed.is_gone
        AND membership.shop_id = :shop_id
        AND membership.customer_id = changed.customer_id
        AND membership.exited_at IS NULL
    RETURNING 1
),

moved AS (
    UPDATE crm.segment_memberships AS membership
    SET
        segment = changed.segment,
        previous_segment = CASE WHEN NOT :is_baseline THEN membership.segment END,
        entered_at = greatest(:now, membership.entered_at),
        cause = :cause,
        run_id = :run_id,
        rfm_run_id = changed.rfm_run_id,
        r_score = changed.r_score,
        f_score = changed.f_score,
        m_score = changed.m_score
    FROM changed
    WHERE
        changed.is_known
        AND NOT changed.is_gone
        AND membership.ctid = changed.place
        AND membership.shop_id = :shop_id
        AND membership.customer_id = changed.customer_id
        AND membership.exited_at IS NULL
    RETURNING membership.customer_id, membership.entered_at
),

written AS (
    INSERT INTO crm.segment_memberships (
        shop_id, customer_id, segment, previous_segment, entered_at, exited_at, cause, run_id,
        rfm_run_id, r_score, f_score, m_score, exit_cause, exit_run_id
    )
    SELECT
        :shop_id,
        changed.customer_id,
        changed.segment_before,
        changed.previous_segment,
        changed.entered_at,
        moved.entered_at,
        changed.cause,
        changed.run_id,
        changed.rfm_run_id_before,
        changed.r_score_before,
        changed.f_score_before,
        changed.m_score_before,
        :cause,
        :run_id
    FROM changed
    INNER JOIN moved ON changed.customer_id = moved.customer_id
    UNION ALL
    SELECT
        :shop_id,
        changed.customer_id,
        changed.segment,
        NULL,
        :now,
        NULL,
        :cause,
        :run_id,
        changed.rfm_run_id,
        changed.r_score,
        changed.f_score,
        changed.m_score,
        NULL,
        NULL
    FROM changed
    WHERE NOT changed.is_known
    RETURNING 1
)

SELECT
    (SELECT count(*) FROM written) AS entered,
    (SELECT count(*) FROM moved) + (SELECT count(*) FROM gone) AS exited
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
