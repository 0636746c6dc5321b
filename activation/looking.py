"""What is due, stage by stage: a lingering run does only that for an order that has just come.

All stages of a pass with nothing to do cost some twenty transactions; two statements say which of
them to spare. They save work and decide nothing: every few seconds all stages are gone through
whatever is said here (activation/lingering.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.events import IS_MATCHABLE

OF_NO_SHOP = text(f"""
-- Returns whether privacy requests, events, refreshes and webhooks wait. Changes nothing.
-- Indexes ix_privacy_requests__due, ix_delivery_events__unmatched, ix_refresh_requests__due,
-- ix_webhook_inbox__due.
SELECT
    EXISTS (
        SELECT 1
        FROM crm.privacy_requests
        WHERE
            privacy_requests.state = 'pending'
            AND privacy_requests.next_attempt_at <= clock_timestamp()
    ) AS privacy,
    EXISTS (
        SELECT 1
        FROM crm.delivery_events AS events
        WHERE events.state = 'stored' AND {IS_MATCHABLE}
    ) AS events,
    EXISTS (
        SELECT 1
        FROM raw_shopify.refresh_requests AS requests
        WHERE requests.next_attempt_at <= clock_timestamp()
    ) AS refreshes,
    EXISTS (
        SELECT 1
        FROM raw_shopify.webhook_inbox AS inbox
        WHERE
            inbox.state IN ('received', 'failed')
            AND inbox.next_attempt_at <= clock_timestamp()
    ) AS inbox
""")

OF_SHOPS = text("""
-- Returns a row per shop that may be worked for, with what waits in it. Changes nothing. Business
-- time is the shop's own. Indexes ix_customer_merges__open, pk_customer_touches,
-- ix_enrollments__due, ix_messages__queue, ix_message_batches__open, ix_write_backs__due.
SELECT
    shops.shop_id,
    EXISTS (
        SELECT 1
        FROM raw_shopify.customer_merges AS merges
        WHERE merges.shop_id = shops.shop_id AND merges.applied_at IS NULL
    ) AS merges,
    EXISTS (
        SELECT 1
        FROM raw_shopify.customer_touches AS touches
        WHERE touches.shop_id = shops.shop_id
    ) AS touched,
    coalesce((
        SELECT enrollments.due_at
        FROM crm.enrollments
        WHERE enrollments.shop_id = shops.shop_id AND enrollments.state = 'active'
        ORDER BY enrollments.due_at, enrollments.enrollment_id
        LIMIT 1
    ) <= :now + shops.clock_offset, false) AS steps,
    EXISTS (
        SELECT 1
        FROM crm.messages
        WHERE
            messages.shop_id = shops.shop_id
            AND messages.state = 'queued'
            AND messages.due_at <= :now + shops.clock_offset
    )
    OR EXISTS (
        SELECT 1
        FROM crm.message_batches AS batches
        WHERE
            batches.shop_id = shops.shop_id
            AND batches.state = 'open'
            AND batches.lease_until <= clock_timestamp()
    ) AS mails,
    EXISTS (
        SELECT 1
        FROM crm.write_backs
        WHERE
            write_backs.shop_id = shops.shop_id
            AND write_backs.state = 'queued'
            AND write_backs.next_attempt_at <= clock_timestamp()
    ) AS write_backs
FROM crm.shops
WHERE shops.uninstalled_at IS NULL
""")


AUTOMATIONS_STAMP = text("""
-- Returns a text that changes when an automation of the shop is switched or edited. Changes
-- nothing.
-- Primary key.
SELECT
    coalesce(
        string_agg(
            concat_ws(
                '/', automation_id, current_version, is_active, switched_on_at
            ),
            ' ' ORDER BY automation_id
        ),
        ''
    )
FROM crm.automations
WHERE shop_id = :shop_id
""")


@dataclass(frozen=True)
class ShopDue:
    """What waits in a shop. `all`: the stages too that nothing is asked of here."""

    merges: bool = False
    touched: bool = False
    steps: bool = False
    mails: bool = False
    write_backs: bool = False
    all: bool = False

    @property
    def is_any(self) -> bool:
        return any((self.merges, self.touched, self.steps, self.mails, self.write_backs, self.all))


_EVERYTHING: Final = ShopDue(True, True, True, True, True, True)
_NOTHING: Final = ShopDue()


@dataclass(frozen=True)
class Due:
    """What a pass is to do; as it is made without arguments: everything."""

    privacy: bool = True
    events: bool = True
    refreshes: bool = True
    inbox: bool = True
    shops: Mapping[int, ShopDue] | None = field(default=None)

    def of(self, shop_id: int) -> ShopDue:
        return _EVERYTHING if self.shops is None else self.shops.get(shop_id, _NOTHING)

    @property
    def is_any(self) -> bool:
        return (
            self.privacy
            or self.events
            or self.refreshes
            or self.inbox
            or self.shops is None
            or any(shop.is_any for shop in self.shops.values())
        )


EVERYTHING: Final = Due()


def look(session: Session, *, now: datetime) -> Due:
    """What waits now. `now` is the base clock's; each shop's offset is added."""
    common = session.execute(OF_NO_SHOP).one()
    shops = {
        row.shop_id: ShopDue(row.merges, row.touched, row.steps, row.mails, row.write_backs)
        for row in session.execute(OF_SHOPS, {"now": now})
    }
    return Due(common.privacy, common.events, common.refreshes, common.inbox, shops)


def automations_stamp(session: Session, shop_id: int) -> str:
    """What differs once an automation was switched or edited: everyone is looked at again then."""
    return str(session.execute(AUTOMATIONS_STAMP, {"shop_id": shop_id}).scalar_one())
