"""The freshness gate: may mail leave on data this old (DESIGN §4)?

Segments and silences are judged by all orders, so they need a sync of the last day. An order or a
checkout tells of itself by webhook: mail that it started waits only if, besides, webhooks have
been lying in the inbox.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

SYNC_IS_OLD_AFTER: Final = timedelta(hours=26)  # the nightly one, and two hours for it to take
INBOX_STALLS_AFTER: Final = timedelta(hours=1)

# Triggers that a webhook of their own starts. Any other is judged by everything we know.
TOLD_BY_WEBHOOK: Final = frozenset({"first_order", "abandoned_checkout"})

READ_FRESHNESS = text("""
-- Returns whether the shop's last full picture is older than :old, and whether a webhook has waited
-- for longer than :stalls. Changes nothing. Syncs finish in business time, webhooks arrive in real
-- time. Indexes ix_webhook_inbox__due, ix_sync_runs__started.
SELECT
    coalesce(
        greatest(
            shops.first_sync_completed_at,
            (
                SELECT max(sync_runs.finished_at)
                FROM raw_shopify.sync_runs
                WHERE
                    sync_runs.shop_id = shops.shop_id
                    AND sync_runs.state = 'completed'
                    AND sync_runs.kind <> 'reconcile'
            )
        ) < :now - :old,
        true
    ) AS sync_is_old,
    EXISTS (
        SELECT 1
        FROM raw_shopify.webhook_inbox AS inbox
        WHERE
            inbox.shop_id = shops.shop_id
            AND inbox.state IN ('received', 'failed')
            AND inbox.next_attempt_at IS NOT NULL
            AND inbox.received_at < clock_timestamp() - :stalls
    ) AS inbox_stalls
FROM crm.shops
WHERE shops.shop_id = :shop_id
""")


@dataclass(frozen=True)
class Freshness:
    """How far the data of one shop can be relied on at one instant."""

    sync_is_old: bool
    inbox_stalls: bool

    def holds(self, trigger: str) -> bool:
        """Whether mail of a flow with this type of trigger waits."""
        return self.sync_is_old and (self.inbox_stalls or trigger not in TOLD_BY_WEBHOOK)


def read_freshness(session: Session, shop_id: int, *, now: datetime) -> Freshness:
    row = session.execute(
        READ_FRESHNESS,
        {
            "shop_id": shop_id,
            "now": now,
            "old": SYNC_IS_OLD_AFTER,
            "stalls": INBOX_STALLS_AFTER,
        },
    ).one()
    return Freshness(sync_is_old=row.sync_is_old, inbox_stalls=row.inbox_stalls)
