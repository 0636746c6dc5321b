"""The SQL of matching: events are claimed, their messages locked, and both written, in sets."""

from datetime import timedelta
from typing import Final

from sqlalchemy import text

MAIL_PREFIX: Final = "email."
GIVE_UP_AFTER: Final = timedelta(days=1)
SHOP_DIGITS: Final = 9  # what integer and bigint can hold of any digits
MESSAGE_DIGITS: Final = 18

# For a query that has crm.delivery_events AS events: there is its message, as `_reference` looks
# for it, or no reason to wait for one. What other programs send through the same account is neither
# for a day, and must not be read again and again.
IS_MATCHABLE: Final = rf"""(
    events.event_type NOT LIKE '{MAIL_PREFIX}%'
    OR events.received_at < clock_timestamp() - interval '{GIVE_UP_AFTER.total_seconds():.0f} s'
    OR CASE
        WHEN
            events.body
            @? 'strict $.data.tags.shop_id ? (@ like_regex "^[0-9]{{1,{SHOP_DIGITS}}}$")'
            AND events.body
            @? 'strict $.data.tags.send_id ? (@ like_regex "^[0-9]{{1,{MESSAGE_DIGITS}}}$")'
            THEN EXISTS (
                SELECT 1
                FROM crm.messages
                WHERE
                    messages.shop_id = CAST(events.body #>> '{{data,tags,shop_id}}' AS integer)
                    AND messages.message_id
                    = CAST(events.body #>> '{{data,tags,send_id}}' AS bigint)
            )
        WHEN events.body @? 'strict $.data.email_id ? (@.type() == "string")'
            THEN EXISTS (
                SELECT 1
                FROM crm.messages
                WHERE messages.provider_message_id = events.body #>> '{{data,email_id}}'
            )
        ELSE false
    END
)"""

_COLUMNS = """
    events.provider,
    events.event_id,
    events.event_type,
    events.occurred_at,
    events.received_at,
    events.state,
    events.body
FROM crm.delivery_events AS events
"""

CLAIM_STORED = text(f"""
-- Returns stored events, oldest first, and locks them; a row another worker holds is passed over.
-- Indexes ix_delivery_events__unmatched, pk_messages, ix_messages__provider.
SELECT {_COLUMNS}
WHERE events.state = 'stored' AND {IS_MATCHABLE}
ORDER BY events.received_at
LIMIT :limit
FOR UPDATE OF events SKIP LOCKED
""")

LOCK_EVENT = text(f"""
-- Returns one event and locks it. Primary key.
SELECT {_COLUMNS}
WHERE events.provider = :provider AND events.event_id = :event_id
FOR UPDATE OF events
""")

FIND_BY_PROVIDER_ID = text("""
-- Returns the messages that the provider knows by these ids. Changes nothing.
-- Index ix_messages__provider.
SELECT messages.provider_message_id, messages.shop_id, messages.message_id
FROM crm.messages
WHERE messages.provider_message_id = ANY(CAST(:ids AS text []))
""")

FIND_MESSAGES = text("""
-- Returns which of these messages exist. Changes nothing. Primary key.
SELECT messages.shop_id, messages.message_id
FROM crm.messages
INNER JOIN
    unnest(CAST(:shop_ids AS integer []), CAST(:message_ids AS bigint []))
        AS wanted (shop_id, message_id)
    ON messages.shop_id = wanted.shop_id AND messages.message_id = wanted.message_id
""")

_LOCK_MESSAGES = """
-- Returns these messages in the order of their key, and locks them. Primary key.
SELECT
    messages.shop_id,
    messages.message_id,
    messages.dedupe_key,
    messages.state,
    messages.skip_reason,
    messages.failure,
    messages.bounce_kind,
    messages.provider_message_id,
    messages.sent_at,
    messages.delivered_at,
    messages.finished_at,
    messages.email
FROM crm.messages
INNER JOIN
    unnest(CAST(:shop_ids AS integer []), CAST(:message_ids AS bigint []))
        AS wanted (shop_id, message_id)
    ON messages.shop_id = wanted.shop_id AND messages.message_id = wanted.message_id
ORDER BY messages.shop_id, messages.message_id
FOR UPDATE OF messages
"""
LOCK_MESSAGES = text(_LOCK_MESSAGES)
# A worker that sends holds the rows of a batch in an order of its own: to wait for it with a
# thousand rows held would be a deadlock now and then. What is held is found by the next pass.
LOCK_FREE_MESSAGES = text(f"{_LOCK_MESSAGES.rstrip()} SKIP LOCKED\n")

MOVE_MESSAGES = text("""
-- Changes crm.messages: where they stand now. Primary key.
UPDATE crm.messages
SET
    state = moved.state,
    skip_reason = moved.skip_reason,
    failure = moved.failure,
    bounce_kind = moved.bounce_kind,
    provider_message_id = moved.provider_message_id,
    sent_at = moved.sent_at,
    delivered_at = moved.delivered_at,
    finished_at = moved.finished_at
FROM
    unnest(
        CAST(:shop_id AS integer []),
        CAST(:message_id AS bigint []),
        CAST(:state AS text []),
        CAST(:skip_reason AS text []),
        CAST(:failure AS text []),
        CAST(:bounce_kind AS text []),
        CAST(:provider_message_id AS text []),
        CAST(:sent_at AS timestamptz []),
        CAST(:delivered_at AS timestamptz []),
        CAST(:finished_at AS timestamptz [])
    ) AS moved (
        shop_id,
        message_id,
        state,
        skip_reason,
        failure,
        bounce_kind,
        provider_message_id,
        sent_at,
        delivered_at,
        finished_at
    )
WHERE messages.shop_id = moved.shop_id AND messages.message_id = moved.message_id
""")

FINISH_EVENTS = text("""
-- Changes crm.delivery_events: what they were about. Of somebody erased only that it came stays.
-- Primary key.
UPDATE crm.delivery_events
SET
    state = finished.state,
    error = finished.error,
    shop_id = finished.shop_id,
    message_id = finished.message_id,
    body = CASE WHEN finished.is_erased THEN '{}' ELSE delivery_events.body END
FROM
    unnest(
        CAST(:providers AS text []),
        CAST(:event_ids AS text []),
        CAST(:states AS text []),
        CAST(:errors AS text []),
        CAST(:shop_ids AS integer []),
        CAST(:message_ids AS bigint []),
        CAST(:are_erased AS boolean [])
    ) AS finished (provider, event_id, state, error, shop_id, message_id, is_erased)
WHERE
    delivery_events.provider = finished.provider
    AND delivery_events.event_id = finished.event_id
""")
