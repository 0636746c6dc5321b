"""Double opt-in: asking an address once whether its subscription is wanted, and the click.

Asking is one mail without marketing. It goes to whoever subscribed by a single click somewhere,
and to nobody who is suppressed or has left. At most one a day and `ASKED_AT_MOST` ever go to an
address, whoever types it into how many forms; a shop asks `ASKED_AN_HOUR` at most.

GET of the link changes nothing, because scanners follow links; the button on the page does.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.consent import policy
from activation.consent.clicks import MUST_CONFIRM, STANDS
from activation.consent.ledger import Act, Change, record
from activation.consent.standing import lock_address, read_standing
from activation.dedupe import message_key
from activation.tokens import Recipient, read_token_of, token_of
from activation.writeback import CONFIRMED, Occasion, after_confirmation
from core.models.enums import ConsentStanding
from core.settings import Settings

PURPOSE: Final = "confirm-token"
ASKED_AN_HOUR: Final = 1_000
ASKED_AT_MOST: Final = 5
ASKED_AGAIN_AFTER: Final = timedelta(days=1)
PRIORITY: Final = 5  # Priority.CONFIRMATION of activation/eligibility

ASK = text(f"""
-- Returns whom to ask, by the customer and the time of the consent. Changes
-- crm.consent_confirmations: asked once for each consent. Of several customers with one address the
-- last to subscribe. Indexes pk_customers, pk_consent_confirmations, pk_suppressions.
INSERT INTO crm.consent_confirmations AS known (
    shop_id, email_normalized, customer_id, given_at, asked_at
)
SELECT :shop_id, wanted.email_normalized, wanted.customer_id, wanted.given_at, :now
FROM (
    SELECT DISTINCT ON (customers.email_normalized)
        customers.email_normalized,
        customers.customer_id,
        coalesce(customers.consent_updated_at, customers.created_at) AS given_at
    FROM raw_shopify.customers
    LEFT JOIN crm.consent_confirmations AS asked
        ON
            customers.shop_id = asked.shop_id
            AND customers.email_normalized = asked.email_normalized
    WHERE
        customers.shop_id = :shop_id
        AND customers.customer_id > :after
        AND customers.customer_id <= :last
        AND customers.consent_state = 'SUBSCRIBED'
        AND customers.deleted_at IS NULL
        AND customers.has_valid_email IS NOT FALSE
        AND customers.email_normalized IS NOT NULL
        AND (
            asked.shop_id IS NULL
            OR (
                asked.given_at < coalesce(customers.consent_updated_at, customers.created_at)
                AND asked.asked_at <= CAST(:now AS timestamptz) - CAST(:again_after AS interval)
                AND asked.asked_count < :at_most
            )
        )
        AND {MUST_CONFIRM}
        AND NOT EXISTS (
            SELECT 1
            FROM crm.suppressions
            WHERE
                suppressions.shop_id = customers.shop_id
                AND suppressions.email_normalized = customers.email_normalized
                AND suppressions.lifted_at IS NULL
                AND (
                    suppressions.reason <> 'unsubscribed'
                    OR suppressions.suppressed_at
                    >= coalesce(customers.consent_updated_at, customers.created_at)
                )
        )
    ORDER BY customers.email_normalized, given_at DESC, customers.customer_id
) AS wanted
ORDER BY wanted.given_at, wanted.customer_id
LIMIT greatest(
    0,
    :an_hour - (
        SELECT count(*)
        FROM crm.consent_confirmations AS lately
        WHERE lately.shop_id = :shop_id AND lately.asked_at > :now - interval '1 hour'
    )
)
ON CONFLICT (shop_id, email_normalized) DO UPDATE
    SET
        customer_id = excluded.customer_id,
        given_at = excluded.given_at,
        asked_at = excluded.asked_at,
        asked_count = known.asked_count + 1
RETURNING customer_id, given_at
""")

QUEUE_MAILS = text("""
-- Changes crm.messages: the mail that asks, once for each consent. Primary keys.
INSERT INTO crm.messages (
    shop_id, dedupe_key, automation_id, version, step_key, customer_id, email, state, priority,
    due_at, expires_at, queued_at
)
SELECT
    automations.shop_id,
    owed.dedupe_key,
    automations.automation_id,
    automations.current_version,
    :step_key,
    customers.customer_id,
    customers.email,
    'queued',
    :priority,
    :now,
    :now + CAST(:late_after AS interval),
    :now
FROM
    unnest(CAST(:customer_ids AS bigint []), CAST(:keys AS text [])) AS owed (
        customer_id, dedupe_key
    )
INNER JOIN raw_shopify.customers
    ON customers.shop_id = :shop_id AND customers.customer_id = owed.customer_id
INNER JOIN crm.automations ON automations.shop_id = :shop_id AND automations.key = :automation
ORDER BY customers.customer_id
ON CONFLICT (shop_id, dedupe_key) DO NOTHING
""")

READ_ASKED = text(f"""
-- Returns what a link asks about; nothing for another mail than one that asks. An address of NULL:
-- somebody erased. Changes nothing. Primary keys.
SELECT
    shops.name AS shop_name,
    messages.email,
    lower(btrim(messages.email)) AS email_normalized,
    messages.is_test,
    {STANDS} AS is_confirmed
FROM crm.messages
INNER JOIN crm.shops ON messages.shop_id = shops.shop_id
INNER JOIN crm.automations
    ON
        messages.shop_id = automations.shop_id
        AND messages.automation_id = automations.automation_id
        AND automations.key = :automation
LEFT JOIN crm.consent_confirmations AS confirmations
    ON
        messages.shop_id = confirmations.shop_id
        AND confirmations.email_normalized = lower(btrim(messages.email))
WHERE messages.shop_id = :shop_id AND messages.message_id = :message_id
""")

CONFIRM = text(f"""
-- Returns a row if this click is the one that counts. Changes crm.consent_confirmations.
-- Primary key.
UPDATE crm.consent_confirmations AS confirmations
SET confirmed_at = :now, revoked_at = NULL
WHERE
    confirmations.shop_id = :shop_id
    AND confirmations.email_normalized = :email
    AND NOT {STANDS}
RETURNING 1
""")

PROVE = text("""
-- Changes crm.consent_confirmations, of a shop that wants them: the address confirmed. Nothing for
-- an address of no customer. Indexes pk_consent_policies, ix_customers__email.
INSERT INTO crm.consent_confirmations AS known (
    shop_id, email_normalized, customer_id, given_at, asked_at, asked_count, confirmed_at
)
SELECT customers.shop_id, customers.email_normalized, customers.customer_id, :now, :now, 0, :now
FROM raw_shopify.customers
INNER JOIN crm.consent_policies AS policies ON customers.shop_id = policies.shop_id
WHERE
    customers.shop_id = :shop_id
    AND customers.email_normalized = :email
    AND customers.deleted_at IS NULL
    AND policies.double_opt_in
ORDER BY customers.customer_id
LIMIT 1
ON CONFLICT (shop_id, email_normalized) DO UPDATE
    SET confirmed_at = excluded.confirmed_at, revoked_at = NULL
""")

RELEASE = text("""
-- Changes crm.messages: what waited for the click is due now. Indexes ix_customers__email,
-- ix_messages__customer.
UPDATE crm.messages
SET due_at = :now
FROM raw_shopify.customers
WHERE
    customers.shop_id = :shop_id
    AND customers.email_normalized = :email
    AND messages.shop_id = customers.shop_id
    AND messages.customer_id = customers.customer_id
    AND messages.state = 'queued'
    AND messages.defer_reason = 'not_confirmed'
    AND messages.due_at > :now
""")


@dataclass(frozen=True)
class Asked:
    """What the page of a link shows. `email` None: they were erased.

    `state`: `ask`, `done`, or `closed` where a click changes nothing any more.
    """

    shop_name: str
    email: str | None
    state: str


def confirm_url(settings: Settings, *, shop_id: int, message_id: int) -> str:
    token = token_of(settings, shop_id=shop_id, message_id=message_id, purpose=PURPOSE)
    return f"{settings.public_url}/confirm/{token}"


def read_token(settings: Settings, token: str) -> Recipient | None:
    """None for anything we did not sign for this purpose."""
    return read_token_of(settings, token, purpose=PURPOSE)


def ask_for_confirmation(
    session: Session,
    shop_id: int,
    *,
    after: int,
    last: int,
    now: datetime,
) -> int:
    """Queue the mail that asks, for customers in `(after, last]` who have to confirm and were not
    asked for that. Returns how many.
    """
    rows = session.execute(
        ASK,
        {
            "shop_id": shop_id,
            "after": after,
            "last": last,
            "now": now,
            "again_after": ASKED_AGAIN_AFTER,
            "at_most": ASKED_AT_MOST,
            "an_hour": ASKED_AN_HOUR,
        },
    ).all()
    keys = [
        message_key(
            automation=policy.KEY,
            step_key=policy.STEP,
            customer_id=row.customer_id,
            entry_key=row.given_at.isoformat(),
        )
        for row in rows
    ]
    if rows:
        session.execute(
            QUEUE_MAILS,
            {
                "shop_id": shop_id,
                "automation": policy.KEY,
                "step_key": policy.STEP,
                "priority": PRIORITY,
                "late_after": policy.LATE_AFTER,
                "customer_ids": [row.customer_id for row in rows],
                "keys": keys,
                "now": now,
            },
        )
    return len(rows)


def find_asked(session: Session, recipient: Recipient) -> Asked | None:
    """None when the mail is gone, or is none that asks."""
    row = session.execute(READ_ASKED, _of_mail(recipient)).one_or_none()
    if row is None:
        return None
    if row.email is None or row.is_test:
        return Asked(row.shop_name, row.email, "closed")
    standing = read_standing(session, recipient.shop_id, row.email_normalized)
    if standing.state is not ConsentStanding.SUBSCRIBED:
        return Asked(row.shop_name, row.email, "closed")
    return Asked(row.shop_name, row.email, "done" if row.is_confirmed else "ask")


def confirm(session: Session, recipient: Recipient, *, now: datetime, act: Act) -> None:
    """The subscription of this address is wanted: the ledger has the click, mails that waited for
    it are due, and Shopify is told. Repeating it changes nothing; whoever has left stays away.
    """
    row = session.execute(READ_ASKED, _of_mail(recipient)).one_or_none()
    if row is None or row.is_test or row.email is None:
        return
    shop_id, email = recipient.shop_id, row.email_normalized
    lock_address(session, shop_id, email)
    standing = read_standing(session, shop_id, email)
    if standing.state is not ConsentStanding.SUBSCRIBED:
        return
    values = {"shop_id": shop_id, "email": email, "now": now}
    if session.execute(CONFIRM, values).one_or_none() is None:
        return
    session.execute(RELEASE, values)
    change = Change(
        shop_id=shop_id,
        email_normalized=email,
        state_before=standing.state,
        state_after=ConsentStanding.SUBSCRIBED,
        occurred_at=now,
        message_id=recipient.message_id,
        level=CONFIRMED,
    )
    record(session, act, [change])
    name = f"confirm/{recipient.message_id}/{now.isoformat()}"
    after_confirmation(session, Occasion(shop_id, name, now), email)


def prove_address(session: Session, shop_id: int, email: str, *, now: datetime) -> None:
    """A person clicked a link in a mail to this (normalised) address to stay subscribed: where the
    shop wants subscriptions confirmed, that is a confirmation.
    """
    session.execute(PROVE, {"shop_id": shop_id, "email": email, "now": now})


def _of_mail(recipient: Recipient) -> dict[str, object]:
    return {
        "shop_id": recipient.shop_id,
        "message_id": recipient.message_id,
        "automation": policy.KEY,
    }
