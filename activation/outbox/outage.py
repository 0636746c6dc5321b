"""While the provider does not answer, one batch knocks and nothing new is frozen.

A frozen batch with an unknown outcome must be sent as it is, whoever unsubscribes meanwhile, and
is given up after 23 hours. A queued message has neither fault, so during an outage it waits.
"""

from datetime import timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

# One batch that alone gets no answer keeps the others waiting this long after each of its attempts.
LONGEST_SILENCE: Final = timedelta(minutes=1)

# For a query that has crm.shops. Index ix_message_batches__open, primary key of the attempts.
IS_SILENT: Final = f"""EXISTS (
    SELECT 1
    FROM crm.message_batches AS knocking
    INNER JOIN crm.delivery_attempts AS failed
        ON
            knocking.shop_id = failed.shop_id
            AND knocking.batch_id = failed.batch_id
            AND knocking.attempt = failed.attempt
    WHERE
        knocking.shop_id = shops.shop_id
        AND knocking.state = 'open'
        AND knocking.next_attempt_at > clock_timestamp()
        AND failed.outcome IS DISTINCT FROM 'refused'
        AND failed.finished_at
        > clock_timestamp() - interval '{LONGEST_SILENCE.total_seconds():.0f} seconds'
)"""

READ_SILENT = text(f"""
-- Returns whether a request of this shop got no answer just now. Changes nothing.
SELECT {IS_SILENT} FROM crm.shops WHERE shops.shop_id = :shop_id
""")


def is_silent(session: Session, shop_id: int) -> bool:
    """Whether the provider left a request of this shop without an answer just now."""
    return bool(session.scalar(READ_SILENT, {"shop_id": shop_id}))
