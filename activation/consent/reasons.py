"""Why somebody left, in their own words if they like: one more row beside the unsubscribe."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.consent.ledger import Act, Change, record
from activation.consent.standing import lock_address, read_standing
from activation.tokens import Recipient
from core.models.enums import ConsentStanding

HAS_REASON = text("""
-- Returns whether a reason was given for this since the last change. Changes nothing.
-- Index ix_consent_events__address.
SELECT last_event.reason IS NOT NULL
FROM crm.consent_events AS last_event
WHERE
    last_event.shop_id = :shop_id
    AND last_event.email_normalized = :email
    AND last_event.automation_id IS NULL
ORDER BY last_event.consent_event_id DESC
LIMIT 1
""")


def keep_reason(
    session: Session, recipient: Recipient, email: str, *, now: datetime, act: Act
) -> bool:
    """Keep the reason of `act` for the unsubscribe that holds; False where none does, or where one
    was given for it.
    """
    lock_address(session, recipient.shop_id, email)
    if not read_standing(session, recipient.shop_id, email).is_ours:
        return False
    values = {"shop_id": recipient.shop_id, "email": email}
    has_reason: bool | None = session.execute(HAS_REASON, values).scalar_one_or_none()
    if has_reason:
        return False
    change = Change(
        shop_id=recipient.shop_id,
        email_normalized=email,
        state_before=ConsentStanding.UNSUBSCRIBED,
        state_after=ConsentStanding.UNSUBSCRIBED,
        occurred_at=now,
        message_id=recipient.message_id,
    )
    record(session, act, [change])
    return True
