"""Unsubscribing: a link that needs no login, never expires, and works again and again.

The link names the message; the suppression belongs to the address it went to, per shop.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.writeback import Occasion, after_undo, after_unsubscribe
from core.secrets import derived_key
from core.settings import Settings

VERSION: Final = "1"
PURPOSE: Final = "unsubscribe-token"
SIGNATURE_BYTES: Final = 16

SUPPRESS = text("""
-- Returns the address, if anything changed. Changes crm.suppressions: where that message went to.
-- After an undo it holds anew. The latest unsubscribe counts, because who subscribed at the shop
-- after an earlier one may leave again; of the other reasons the first stands. Primary keys.
INSERT INTO crm.suppressions AS suppression (
    shop_id, email_normalized, reason, message_id, suppressed_at
)
SELECT messages.shop_id, lower(btrim(messages.email)), :reason, messages.message_id, :now
FROM crm.messages
WHERE
    messages.shop_id = :shop_id
    AND messages.message_id = :message_id
    AND messages.email IS NOT NULL
ON CONFLICT (shop_id, email_normalized, reason) DO UPDATE
    SET
        lifted_at = NULL,
        message_id = excluded.message_id,
        suppressed_at = excluded.suppressed_at
    WHERE
        suppression.lifted_at IS NOT NULL
        OR (
            suppression.reason = 'unsubscribed'
            AND suppression.suppressed_at < excluded.suppressed_at
        )
RETURNING suppression.email_normalized
""")

LIFT = text("""
-- Returns the address. Changes crm.suppressions: it may be written to again. Primary keys.
UPDATE crm.suppressions
SET lifted_at = :now
FROM crm.messages
WHERE
    messages.shop_id = :shop_id
    AND messages.message_id = :message_id
    AND suppressions.shop_id = messages.shop_id
    AND suppressions.email_normalized = lower(btrim(messages.email))
    AND suppressions.reason = 'unsubscribed'
    AND suppressions.lifted_at IS NULL
RETURNING suppressions.email_normalized
""")

READ_SUBSCRIBER = text("""
-- Returns whom a link belongs to and where they stand: an unsubscribe is over once they subscribed
-- at the shop after it. Changes nothing. Primary keys and ix_customers__email.
SELECT
    shops.name AS shop_name,
    messages.email,
    suppressions.suppressed_at IS NOT NULL
    AND NOT EXISTS (
        SELECT 1
        FROM raw_shopify.customers
        WHERE
            customers.shop_id = suppressions.shop_id
            AND customers.email_normalized = suppressions.email_normalized
            AND customers.consent_state = 'SUBSCRIBED'
            AND customers.consent_updated_at > suppressions.suppressed_at
    ) AS is_unsubscribed
FROM crm.messages
INNER JOIN crm.shops ON messages.shop_id = shops.shop_id
LEFT JOIN crm.suppressions
    ON
        messages.shop_id = suppressions.shop_id
        AND suppressions.email_normalized = lower(btrim(messages.email))
        AND suppressions.reason = 'unsubscribed'
        AND suppressions.lifted_at IS NULL
WHERE
    messages.shop_id = :shop_id
    AND messages.message_id = :message_id
    AND messages.email IS NOT NULL
""")


@dataclass(frozen=True)
class Recipient:
    """What a link says once its signature holds."""

    shop_id: int
    message_id: int


@dataclass(frozen=True)
class Subscriber:
    """What the unsubscribe page shows."""

    shop_name: str
    email: str
    is_unsubscribed: bool


def token_for(settings: Settings, *, shop_id: int, message_id: int) -> str:
    """`version.payload.signature`, fit for a URL."""
    payload = f"{shop_id}.{message_id}"
    signed = f"{VERSION}.{_encode(payload.encode())}"
    return f"{signed}.{_encode(_sign(settings, signed))}"


def read_token(settings: Settings, token: str) -> Recipient | None:
    """None for anything we did not sign."""
    signed, _, signature = token.rpartition(".")
    expected = _encode(_sign(settings, signed))
    if not hmac.compare_digest(expected.encode(), signature.encode(errors="replace")):
        return None
    version, _, payload = signed.partition(".")
    if version != VERSION:
        return None
    shop_id, _, message_id = _decode(payload).partition(".")
    return Recipient(int(shop_id), int(message_id))


def unsubscribe_url(settings: Settings, *, shop_id: int, message_id: int) -> str:
    token = token_for(settings, shop_id=shop_id, message_id=message_id)
    return f"{settings.public_url}/unsubscribe/{token}"


def one_click_headers(url: str) -> dict[str, str]:
    """The two headers of RFC 8058."""
    return {"List-Unsubscribe": f"<{url}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


def find_subscriber(session: Session, recipient: Recipient) -> Subscriber | None:
    """None when the message is gone or was never addressed."""
    row = session.execute(
        READ_SUBSCRIBER, {"shop_id": recipient.shop_id, "message_id": recipient.message_id}
    ).one_or_none()
    return None if row is None else Subscriber(row.shop_name, row.email, row.is_unsubscribed)


def unsubscribe(session: Session, recipient: Recipient, *, now: datetime) -> None:
    """No marketing mail to this address from this shop any more, and Shopify is told so.

    `now` is business time.
    """
    email = suppress(session, recipient, reason="unsubscribed", now=now)
    if email is not None:
        name = f"unsubscribe/{recipient.message_id}/{now.isoformat()}"
        after_unsubscribe(session, Occasion(recipient.shop_id, name, now), email)


def undo(session: Session, recipient: Recipient, *, now: datetime) -> None:
    """The recipient changed their mind; lifts nothing but their own unsubscribe."""
    email: str | None = session.execute(
        LIFT,
        {"shop_id": recipient.shop_id, "message_id": recipient.message_id, "now": now},
    ).scalar_one_or_none()
    if email is not None:
        name = f"undo/{recipient.message_id}/{now.isoformat()}"
        after_undo(session, Occasion(recipient.shop_id, name, now), email)


def suppress(session: Session, recipient: Recipient, *, reason: str, now: datetime) -> str | None:
    """`reason` is a value of SuppressionReason. Returns the address if this changed anything."""
    email: str | None = session.execute(
        SUPPRESS,
        {
            "shop_id": recipient.shop_id,
            "message_id": recipient.message_id,
            "reason": reason,
            "now": now,
        },
    ).scalar_one_or_none()
    return email


def _sign(settings: Settings, signed: str) -> bytes:
    key = derived_key(settings.secret_key, PURPOSE)
    return hmac.new(key, signed.encode(errors="replace"), hashlib.sha256).digest()[:SIGNATURE_BYTES]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text_: str) -> str:
    padding = "=" * (-len(text_) % 4)
    try:
        return base64.urlsafe_b64decode(text_ + padding).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
