"""Is anything due? Cheap index look-ups for whoever starts activation runs."""

from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.automation.due import seconds_until_moment
from activation.discounts.wanted import IS_DUE as CODES_ARE_DUE
from activation.events import IS_MATCHABLE
from activation.outbox.outage import IS_SILENT

ORDERS_DUE = text(f"""
-- Returns whether orders, webhooks, refreshes, events or privacy requests wait to be worked on, or
-- consents have not been compared for long.
-- Changes nothing. Indexes pk_customer_touches, ix_webhook_inbox__due,
-- ix_refresh_requests__due, ix_delivery_events__unmatched, ix_privacy_requests__due,
-- ix_customer_merges__open, ix_write_backs__due.
SELECT
    EXISTS (
        SELECT 1
        FROM crm.shops
        WHERE
            shops.baseline_at IS NOT NULL
            AND shops.uninstalled_at IS NULL
            AND shops.first_sync_completed_at IS NOT NULL
            -- Held for its orders, they wait; by a swing of a full run they still start flows.
            AND (
                shops.segments_held_at IS NULL OR shops.segments_held_check = 'segments_swing'
            )
            AND EXISTS (
                SELECT 1
                FROM raw_shopify.customer_touches AS touches
                WHERE touches.shop_id = shops.shop_id
            )
    )
    OR EXISTS (
        SELECT 1
        FROM raw_shopify.customer_merges AS merges
        INNER JOIN crm.shops ON merges.shop_id = shops.shop_id
        WHERE merges.applied_at IS NULL AND shops.uninstalled_at IS NULL
    )
    OR EXISTS (
        SELECT 1
        FROM raw_shopify.webhook_inbox AS inbox
        WHERE
            inbox.state IN ('received', 'failed')
            AND inbox.next_attempt_at <= clock_timestamp()
    )
    OR EXISTS (
        SELECT 1
        FROM raw_shopify.refresh_requests AS requests
        WHERE requests.next_attempt_at <= clock_timestamp()
    )
    OR EXISTS (
        SELECT 1
        FROM crm.delivery_events AS events
        WHERE events.state = 'stored' AND {IS_MATCHABLE}
    )
    OR EXISTS (
        SELECT 1
        FROM crm.write_backs
        INNER JOIN crm.shops ON write_backs.shop_id = shops.shop_id
        WHERE
            write_backs.state = 'queued'
            AND write_backs.next_attempt_at <= clock_timestamp()
            AND shops.uninstalled_at IS NULL
    )
    OR EXISTS (
        SELECT 1
        FROM crm.privacy_requests
        WHERE
            privacy_requests.state = 'pending'
            AND privacy_requests.next_attempt_at <= clock_timestamp()
    )
    OR EXISTS (
        SELECT 1
        FROM crm.consent_policies AS policies
        INNER JOIN crm.shops ON policies.shop_id = shops.shop_id
        WHERE
            shops.uninstalled_at IS NULL
            AND (
                policies.compared_to > 0
                OR policies.compare_at <= clock_timestamp() - CASE
                    WHEN policies.double_opt_in THEN interval '5 minutes' ELSE interval '1 hour'
                END
            )
    )
""")

STEPS_DUE = text(f"""
-- Returns whether an enrolment, a message or an open batch is due, an unknown one is to be looked
-- for, or the stock of discount codes is. Changes nothing. Business time is the shop's own. Indexes
-- ix_enrollments__due, ix_messages__queue, ix_message_batches__open, ix_message_batches__unknown.
-- Of enrolments the one due first is asked for: whether one EXISTS, a planner looks up in the
-- table, read from its start.
SELECT EXISTS (
    SELECT 1
    FROM crm.shops
    WHERE
        shops.uninstalled_at IS NULL
        AND (
            (
                SELECT enrollments.due_at
                FROM crm.enrollments
                WHERE enrollments.shop_id = shops.shop_id AND enrollments.state = 'active'
                ORDER BY enrollments.due_at, enrollments.enrollment_id
                LIMIT 1
            ) <= :now + shops.clock_offset
            OR EXISTS (
                SELECT 1
                FROM crm.messages
                WHERE
                    messages.shop_id = shops.shop_id
                    AND messages.state = 'queued'
                    AND messages.due_at <= :now + shops.clock_offset
                    AND NOT {IS_SILENT}
            )
            OR EXISTS (
                SELECT 1
                FROM crm.message_batches AS batches
                WHERE
                    batches.shop_id = shops.shop_id
                    AND batches.state = 'open'
                    AND batches.lease_until <= clock_timestamp()
            )
            OR {CODES_ARE_DUE}
            OR EXISTS (
                SELECT 1
                FROM crm.message_batches AS batches
                WHERE
                    batches.shop_id = shops.shop_id
                    AND batches.state = 'unknown'
                    AND batches.next_attempt_at <= clock_timestamp()
            )
        )
)
""")

SECONDS_UNTIL_NEXT = text(f"""
-- Returns seconds until the next enrolment, message, batch, refresh or webhook is due; NULL when
-- nothing waits. Changes nothing. Indexes as above.
SELECT
    CAST(extract(
        EPOCH FROM least(
            (
                SELECT min(following.due_at - shops.clock_offset - :now)
                FROM crm.shops
                CROSS JOIN LATERAL (
                    SELECT enrollments.due_at
                    FROM crm.enrollments
                    WHERE enrollments.shop_id = shops.shop_id AND enrollments.state = 'active'
                    ORDER BY enrollments.due_at, enrollments.enrollment_id
                    LIMIT 1
                ) AS following
                WHERE shops.uninstalled_at IS NULL
            ),
            (
                SELECT min(messages.due_at - shops.clock_offset - :now)
                FROM crm.messages
                INNER JOIN crm.shops ON messages.shop_id = shops.shop_id
                WHERE messages.state = 'queued'
                    AND shops.uninstalled_at IS NULL
                    AND messages.due_at <= :now + shops.clock_offset + :horizon
                    AND NOT {IS_SILENT}
            ),
            (
                SELECT min(batches.lease_until - clock_timestamp())
                FROM crm.message_batches AS batches
                INNER JOIN crm.shops ON batches.shop_id = shops.shop_id
                WHERE batches.state = 'open' AND shops.uninstalled_at IS NULL
            ),
            (
                SELECT min(creations.next_attempt_at - clock_timestamp())
                FROM crm.discount_creations AS creations
                INNER JOIN crm.shops ON creations.shop_id = shops.shop_id
                WHERE creations.state = 'open' AND shops.uninstalled_at IS NULL
            ),
            (
                SELECT min(requests.next_attempt_at - clock_timestamp())
                FROM raw_shopify.refresh_requests AS requests
            ),
            (
                SELECT min(inbox.next_attempt_at - clock_timestamp())
                FROM raw_shopify.webhook_inbox AS inbox
                WHERE inbox.state IN ('received', 'failed')
            ),
            (
                SELECT min(privacy_requests.next_attempt_at - clock_timestamp())
                FROM crm.privacy_requests
                WHERE privacy_requests.state = 'pending'
            ),
            (
                SELECT min(write_backs.next_attempt_at - clock_timestamp())
                FROM crm.write_backs
                INNER JOIN crm.shops ON write_backs.shop_id = shops.shop_id
                WHERE write_backs.state = 'queued' AND shops.uninstalled_at IS NULL
            )
        )
    ) AS double precision)
""")


def orders_due(session: Session) -> bool:
    """Whether something arrived from Shopify or the provider that has not been worked on."""
    return bool(session.execute(ORDERS_DUE).scalar_one())


def steps_due(session: Session, *, now: datetime) -> bool:
    """Whether a step or a mail is due. `now` is the base clock's; each shop's offset is added."""
    return bool(session.execute(STEPS_DUE, {"now": now}).scalar_one())


def seconds_until_next(session: Session, *, now: datetime, horizon: timedelta) -> float | None:
    """Seconds until the next thing is due (0: already); None when nothing is within `horizon`."""
    told: float | None = session.execute(
        SECONDS_UNTIL_NEXT, {"now": now, "horizon": horizon}
    ).scalar_one()
    moment = seconds_until_moment(session, now=now, horizon=horizon)
    seconds = min((each for each in (told, moment) if each is not None), default=None)
    if seconds is None or seconds > horizon.total_seconds():
        return None
    return max(0.0, seconds)
