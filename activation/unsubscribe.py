"""Unsubscribing: a link that needs no login, never expires, and works again and again.

The link names the message; the suppression belongs to the address it went to, per shop. Whoever
holds a link can change what that one address gets, and nothing else.

A test mail's link changes nothing: it went to the merchant. Neither does that of somebody who was
erased: they get nothing more anyway, and the answer is as if it were done.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.consent.confirming import prove_address
from activation.consent.ledger import Act, Change, record
from activation.consent.standing import lock_address, read_standing
from activation.consent.waiting import skip_queued
from activation.tokens import Recipient, read_token_of, token_of
from activation.writeback import Occasion, after_undo, after_unsubscribe
from core.models.enums import ConsentSource, ConsentStanding, SkipReason
from core.settings import Settings

__all__ = [
    "ONE_CLICK",
    "Recipient",
    "Subscriber",
    "find_subscriber",
    "list_id",
    "one_click_headers",
    "read_token",
    "token_for",
    "undo",
    "unsubscribe",
    "unsubscribe_url",
]

PURPOSE: Final = "unsubscribe-token"
CLOCKS_DIFFER: Final = timedelta(days=1)  # at most; what is later still is no clock

ONE_CLICK: Final = Act(
    ConsentSource.ONE_CLICK, "one-click/1", "List-Unsubscribe=One-Click (the mail program's button)"
)
UNDO: Final = Act(ConsentSource.UNDO)

SUPPRESS = text("""
-- Returns since when, if anything changed. Changes crm.suppressions: where that message went to.
-- After an undo it holds anew. The latest unsubscribe counts, because who subscribed at the shop
-- after an earlier one may leave again. Who leaves, leaves whatever was told until now: not earlier
-- than their last subscription, though Shopify's clock be ahead of ours, up to :ahead.
-- Primary keys and ix_customers__email.
INSERT INTO crm.suppressions AS suppression (
    shop_id, email_normalized, reason, message_id, suppressed_at
)
SELECT
    messages.shop_id,
    lower(btrim(messages.email)),
    'unsubscribed',
    messages.message_id,
    greatest(
        CAST(:now AS timestamptz),
        (
            SELECT max(customers.consent_updated_at)
            FROM raw_shopify.customers
            WHERE
                customers.shop_id = messages.shop_id
                AND customers.email_normalized = lower(btrim(messages.email))
                AND customers.consent_state = 'SUBSCRIBED'
                AND customers.consent_updated_at
                <= CAST(:now AS timestamptz) + CAST(:ahead AS interval)
        )
    )
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
        OR suppression.suppressed_at < excluded.suppressed_at
RETURNING suppression.suppressed_at
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

READ_MAIL = text("""
-- Returns the mail a link came with. An address of NULL: somebody erased. Changes nothing.
-- Primary keys.
SELECT
    shops.name AS shop_name,
    messages.email,
    lower(btrim(messages.email)) AS email_normalized,
    messages.automation_id,
    messages.is_test
FROM crm.messages
INNER JOIN crm.shops ON messages.shop_id = shops.shop_id
WHERE messages.shop_id = :shop_id AND messages.message_id = :message_id
""")


@dataclass(frozen=True)
class Subscriber:
    """Whom a link belongs to and where they stand.

    `email` None: they were erased. `address` is normalised; None where the link may change nothing.
    `is_ours`: an undo would change something. `automation_id` is the flow of the mail.
    """

    shop_name: str
    email: str | None
    is_unsubscribed: bool
    is_ours: bool = False
    is_test: bool = False
    address: str | None = None
    automation_id: int = 0


def token_for(settings: Settings, *, shop_id: int, message_id: int) -> str:
    """`version.payload.signature`, fit for a URL."""
    return token_of(settings, shop_id=shop_id, message_id=message_id, purpose=PURPOSE)


def read_token(settings: Settings, token: str) -> Recipient | None:
    """None for anything we did not sign."""
    return read_token_of(settings, token, purpose=PURPOSE)


def unsubscribe_url(settings: Settings, *, shop_id: int, message_id: int) -> str:
    token = token_for(settings, shop_id=shop_id, message_id=message_id)
    return f"{settings.public_url}/unsubscribe/{token}"


def one_click_headers(url: str, *, shop_domain: str | None = None) -> dict[str, str]:
    """The two headers of RFC 8058 and, of a shop, the name of its list (RFC 2919)."""
    headers = {
        "List-Unsubscribe": f"<{url}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    return headers if shop_domain is None else headers | {"List-Id": list_id(shop_domain)}


def list_id(shop_domain: str) -> str:
    """One list per shop, all its marketing mail: what the one click leaves."""
    return f"<marketing.{shop_domain}>"


def find_subscriber(session: Session, recipient: Recipient) -> Subscriber | None:
    """None when the message is gone."""
    row = session.execute(
        READ_MAIL, {"shop_id": recipient.shop_id, "message_id": recipient.message_id}
    ).one_or_none()
    if row is None:
        return None
    if row.email is None:
        return Subscriber(row.shop_name, None, is_unsubscribed=True)
    standing = read_standing(session, recipient.shop_id, row.email_normalized)
    return Subscriber(
        shop_name=row.shop_name,
        email=row.email,
        is_unsubscribed=standing.is_ours or standing.state is ConsentStanding.UNSUBSCRIBED,
        is_ours=standing.is_ours,
        is_test=row.is_test,
        address=None if row.is_test else row.email_normalized,
        automation_id=row.automation_id,
    )


def unsubscribe(
    session: Session, recipient: Recipient, *, now: datetime, act: Act = ONE_CLICK
) -> None:
    """No marketing mail to this address from this shop any more: what waits for it is skipped, the
    ledger knows, and Shopify is told so.

    Always of all marketing mail, also by a mail program's button: its words promise no less, and
    who wants to leave one flow only has the page for it. `now` is business time.
    """
    email = _address(session, recipient)
    if email is None:
        return
    lock_address(session, recipient.shop_id, email)
    before = read_standing(session, recipient.shop_id, email)
    values = {"shop_id": recipient.shop_id, "message_id": recipient.message_id, "now": now}
    left_at: datetime | None = session.execute(
        SUPPRESS, {**values, "ahead": CLOCKS_DIFFER}
    ).scalar_one_or_none()
    skip_queued(session, recipient.shop_id, email, SkipReason.UNSUBSCRIBED, now=now)
    if left_at is None:
        return
    if not before.is_ours:
        change = _change(recipient, email, before.state, ConsentStanding.UNSUBSCRIBED, now)
        record(session, act, [change])
    name = f"unsubscribe/{recipient.message_id}/{now.isoformat()}"
    after_unsubscribe(session, Occasion(recipient.shop_id, name, left_at), email)


def undo(session: Session, recipient: Recipient, *, now: datetime, act: Act = UNDO) -> None:
    """The recipient changed their mind, whenever that is; lifts nothing but their own unsubscribe.

    What was skipped meanwhile does not leave any more. Where subscriptions are to be confirmed this
    click is as good as the other: only who reads mail at this address has the link.
    """
    email = _address(session, recipient)
    if email is None:
        return
    lock_address(session, recipient.shop_id, email)
    before = read_standing(session, recipient.shop_id, email)
    lifted: str | None = session.execute(
        LIFT,
        {"shop_id": recipient.shop_id, "message_id": recipient.message_id, "now": now},
    ).scalar_one_or_none()
    if lifted is None:
        return
    name = f"undo/{recipient.message_id}/{now.isoformat()}"
    after_undo(session, Occasion(recipient.shop_id, name, now), email)
    prove_address(session, recipient.shop_id, email, now=now)
    if before.is_ours:
        after = read_standing(session, recipient.shop_id, email).state
        known = after or ConsentStanding.NOT_SUBSCRIBED
        record(session, act, [_change(recipient, email, before.state, known, now)])


def _address(session: Session, recipient: Recipient) -> str | None:
    """Where the mail went to, as the database normalises it; None where nothing may change."""
    row = session.execute(
        READ_MAIL, {"shop_id": recipient.shop_id, "message_id": recipient.message_id}
    ).one_or_none()
    if row is None or row.is_test:
        return None
    email: str | None = row.email_normalized
    return email


def _change(
    recipient: Recipient,
    email: str,
    before: ConsentStanding | None,
    after: ConsentStanding,
    now: datetime,
) -> Change:
    return Change(
        shop_id=recipient.shop_id,
        email_normalized=email,
        state_before=before,
        state_after=after,
        occurred_at=now,
        message_id=recipient.message_id,
    )
