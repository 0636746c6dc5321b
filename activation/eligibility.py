"""May this mail leave, now? Asked when a message is created, when it is frozen, and once more right
before the first attempt.

`load_facts` reads everything a batch needs in one query; `decide` is pure and knows all the rules.
Marketing mail needs permission, so every doubt waits or skips and none sends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, TypeAlias

from email_validator import EmailNotValidError, validate_email
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.freshness import read_freshness
from core.ingestion.screen import Screen
from core.models.enums import ConsentState, DeferReason, SkipReason

CONSENT_FIRST_WAIT: Final = timedelta(seconds=1)
CONSENT_LONGEST_WAIT: Final = timedelta(minutes=15)
SETTINGS_WAIT: Final = timedelta(minutes=10)
# As btrim() in customers.email_normalized: a suppression must find the address that was mailed.
SPACE: Final = " "

READ_FACTS = text("""
-- Returns one row per subject: all that decides whether its mail may leave. Changes nothing.
-- Primary keys throughout.
SELECT
    subject.key,
    subject.customer_id,
    subject.expires_at,
    subject.has_waited_for_consent,
    automations.is_active AS automation_is_active,
    subject.order_id IS NULL
    OR coalesce(orders.is_counted AND orders.customer_id = subject.customer_id, false)
        AS entry_holds,
    customers.customer_id IS NOT NULL AS customer_is_known,
    subject.customer_id IS NULL OR customers.deleted_at IS NOT NULL AS customer_is_deleted,
    EXISTS (
        SELECT 1
        FROM raw_shopify.customer_merges AS merges
        WHERE
            merges.shop_id = :shop_id
            AND merges.applied_at IS NULL
            AND subject.customer_id IN (merges.deleted_customer_id, merges.kept_customer_id)
    ) AS customer_is_merging,
    customers.email,
    customers.has_valid_email,
    customers.consent_state,
    customers.consent_updated_at,
    (
        SELECT suppressions.suppressed_at
        FROM crm.suppressions
        WHERE
            suppressions.shop_id = :shop_id
            AND suppressions.email_normalized = customers.email_normalized
            AND suppressions.reason = 'unsubscribed'
            AND suppressions.lifted_at IS NULL
    ) AS unsubscribed_at,
    EXISTS (
        SELECT 1
        FROM crm.suppressions
        WHERE
            suppressions.shop_id = :shop_id
            AND suppressions.email_normalized = customers.email_normalized
            AND suppressions.reason <> 'unsubscribed'
            AND suppressions.lifted_at IS NULL
    ) AS is_suppressed,
    requests.object_id IS NOT NULL AND requests.next_attempt_at IS NOT NULL AS refresh_is_open,
    requests.object_id IS NOT NULL AND requests.next_attempt_at IS NULL AS refresh_is_given_up,
    coalesce(requests.attempts, 0) AS refresh_attempts,
    coalesce(btrim(shops.postal_address), '') <> '' AS has_postal_address,
    shops.sender_address,
    shops.uninstalled_at IS NOT NULL AS shop_is_disconnected,
    (
        SELECT versions.definition #>> '{trigger,type}'
        FROM crm.automation_versions AS versions
        WHERE
            versions.shop_id = :shop_id
            AND versions.automation_id = subject.automation_id
        ORDER BY versions.version DESC
        LIMIT 1
    ) AS trigger_type,
    CASE
        WHEN send_paces.paused_until > clock_timestamp()
            THEN :now + (send_paces.paused_until - clock_timestamp())
    END AS paused_until
FROM
    unnest(
        CAST(:keys AS bigint []),
        CAST(:customer_ids AS bigint []),
        CAST(:automation_ids AS integer []),
        CAST(:order_ids AS bigint []),
        CAST(:expires_at AS timestamptz []),
        CAST(:has_waited AS boolean [])
    ) AS subject (
        key, customer_id, automation_id, order_id, expires_at, has_waited_for_consent
    )
INNER JOIN crm.shops ON shops.shop_id = :shop_id
INNER JOIN crm.automations
    ON automations.shop_id = :shop_id AND automations.automation_id = subject.automation_id
LEFT JOIN raw_shopify.customers
    ON customers.shop_id = :shop_id AND customers.customer_id = subject.customer_id
LEFT JOIN raw_shopify.orders
    ON orders.shop_id = :shop_id AND orders.order_id = subject.order_id
LEFT JOIN raw_shopify.refresh_requests AS requests
    ON
        requests.shop_id = :shop_id
        AND requests.object_type = 'Customer'
        AND requests.object_id = subject.customer_id
LEFT JOIN crm.send_paces ON send_paces.shop_id = :shop_id
""")


@dataclass(frozen=True)
class Subject:
    """One mail to decide on. `key` is the caller's: an enrolment or a message."""

    key: int
    customer_id: int | None
    automation_id: int
    order_id: int | None
    expires_at: datetime
    has_waited_for_consent: bool = False


@dataclass(frozen=True)
class Facts:
    """What is known about one subject at one instant. Instants are business time."""

    automation_is_active: bool
    entry_holds: bool
    customer_is_known: bool
    customer_is_deleted: bool
    customer_is_merging: bool
    email: str | None
    has_valid_email: bool | None
    consent_state: ConsentState | None
    consent_updated_at: datetime | None
    unsubscribed_at: datetime | None
    is_suppressed: bool
    refresh_is_open: bool
    refresh_is_given_up: bool
    refresh_attempts: int
    has_waited_for_consent: bool
    has_postal_address: bool
    sender_address: str | None
    shop_is_disconnected: bool
    paused_until: datetime | None
    expires_at: datetime
    data_is_stale: bool


@dataclass(frozen=True)
class Send:
    """It may leave to this address."""

    email: str


@dataclass(frozen=True)
class Skip:
    """It will never leave."""

    reason: SkipReason


@dataclass(frozen=True)
class Defer:
    """It waits until `until` (business time); `needs_refresh` asks Shopify for the customer."""

    reason: DeferReason
    until: datetime
    needs_refresh: bool = False


Decision: TypeAlias = Send | Skip | Defer


def decide(facts: Facts, *, now: datetime) -> Decision:
    """The first rule that applies. What is final is decided before what may still change."""
    if facts.customer_is_merging:
        return Defer(DeferReason.CONSENT_UNKNOWN, now + CONSENT_FIRST_WAIT)
    skip = _void(facts, now=now) or _blocked(facts)
    if skip is not None:
        return skip
    unclear = _disconnected(facts, now=now) or _unclear(facts, now=now)
    if unclear is not None:
        return unclear
    if not facts.email:
        return Skip(SkipReason.NO_ADDRESS)
    refused = _not_permitted(facts)
    if refused is not None:
        return refused
    return _not_ready(facts, now=now) or Send(facts.email.strip(SPACE))


def _void(facts: Facts, *, now: datetime) -> Skip | None:
    """The reason to write is gone."""
    if not facts.automation_is_active:
        return Skip(SkipReason.AUTOMATION_OFF)
    if not facts.entry_holds:
        return Skip(SkipReason.EXITED)
    if facts.customer_is_deleted:
        return Skip(SkipReason.CUSTOMER_DELETED)
    if now > facts.expires_at:
        return Skip(SkipReason.TOO_LATE)
    return None


def _blocked(facts: Facts) -> Skip | None:
    """The address must not be written to, or cannot be."""
    if facts.is_suppressed:
        return Skip(SkipReason.SUPPRESSED)
    if _is_unsubscribed_here(facts):
        return Skip(SkipReason.UNSUBSCRIBED)
    if facts.email and not _is_address(facts):
        return Skip(SkipReason.INVALID_ADDRESS)
    return None


def _is_unsubscribed_here(facts: Facts) -> bool:
    """Our unsubscribe stands until undone, or until the customer subscribes at the shop again."""
    if facts.unsubscribed_at is None:
        return False
    resubscribed = (
        facts.consent_state is ConsentState.SUBSCRIBED
        and facts.consent_updated_at is not None
        and facts.consent_updated_at > facts.unsubscribed_at
    )
    return not resubscribed


def _is_address(facts: Facts) -> bool:
    """What Shopify says of it, then syntax; the domain is not looked up."""
    if facts.has_valid_email is False or facts.consent_state is ConsentState.INVALID:
        return False
    return is_address(facts.email or "")


@lru_cache(maxsize=1024)
def is_address(address: str) -> bool:
    """Whether this reads as an address that mail can reach. Does no look-up."""
    try:
        validate_email(address.strip(SPACE), check_deliverability=False)
    except EmailNotValidError:
        return False
    return True


def _disconnected(facts: Facts, *, now: datetime) -> Defer | None:
    """The app was removed: the shop's customers are none of our business until it is back."""
    if not facts.shop_is_disconnected:
        return None
    return Defer(DeferReason.SHOP_DISCONNECTED, now + SETTINGS_WAIT)


def _unclear(facts: Facts, *, now: datetime) -> Defer | Skip | None:
    """Shopify may know better than we do: wait for its answer, or ask once.

    An open request means the customer changed and has not been read since, so even a permission on
    record may have been withdrawn.
    """
    wait = min(CONSENT_FIRST_WAIT * 2 ** min(facts.refresh_attempts, 20), CONSENT_LONGEST_WAIT)
    if facts.refresh_is_open:
        return Defer(DeferReason.CONSENT_UNKNOWN, now + wait)
    if facts.customer_is_known and facts.consent_state is not None:
        return _unanswered(facts, now=now) if facts.refresh_is_given_up else None
    if facts.refresh_is_given_up or facts.has_waited_for_consent:
        has_no_address = facts.customer_is_known and not facts.email
        return Skip(SkipReason.NO_ADDRESS if has_no_address else SkipReason.CONSENT_UNKNOWN)
    return Defer(DeferReason.CONSENT_UNKNOWN, now + wait, needs_refresh=True)


def _unanswered(facts: Facts, *, now: datetime) -> Defer | Skip:
    """Nobody answered when we last asked: the permission on record may be gone. Ask once more."""
    if facts.has_waited_for_consent:
        return Skip(SkipReason.CONSENT_UNKNOWN)
    return Defer(DeferReason.CONSENT_UNKNOWN, now + CONSENT_FIRST_WAIT, needs_refresh=True)


def _not_permitted(facts: Facts) -> Skip | None:
    if facts.consent_state is ConsentState.SUBSCRIBED:
        return None
    if facts.consent_state is ConsentState.UNSUBSCRIBED:
        return Skip(SkipReason.UNSUBSCRIBED)
    return Skip(SkipReason.NOT_SUBSCRIBED)


def _not_ready(facts: Facts, *, now: datetime) -> Defer | None:
    """Something on our side is missing; the message waits for it."""
    if not facts.has_postal_address:
        return Defer(DeferReason.NO_POSTAL_ADDRESS, now + SETTINGS_WAIT)
    if not is_address(facts.sender_address or ""):
        return Defer(DeferReason.NO_SENDER, now + SETTINGS_WAIT)
    if facts.paused_until is not None:
        return Defer(DeferReason.PROVIDER_PAUSED, facts.paused_until)
    if facts.data_is_stale:
        return Defer(DeferReason.STALE_DATA, now + SETTINGS_WAIT)
    return None


def load_facts(
    session: Session,
    shop_id: int,
    subjects: Sequence[Subject],
    *,
    secret_key: SecretStr,
    now: datetime,
) -> dict[int, Facts]:
    """Facts by the subjects' keys, in one query and two look-ups: of the erased, of freshness.

    Whoever was erased counts as suppressed, by number or by address, whatever else is known.
    """
    if not subjects:
        return {}
    rows = session.execute(
        READ_FACTS,
        {
            "shop_id": shop_id,
            "now": now,
            "keys": [subject.key for subject in subjects],
            "customer_ids": [subject.customer_id for subject in subjects],
            "automation_ids": [subject.automation_id for subject in subjects],
            "order_ids": [subject.order_id for subject in subjects],
            "expires_at": [subject.expires_at for subject in subjects],
            "has_waited": [subject.has_waited_for_consent for subject in subjects],
        },
    ).all()
    freshness = read_freshness(session, shop_id, now=now)
    screen = Screen.load_for(
        session,
        shop_id,
        secret_key,
        customer_ids=[row.customer_id for row in rows if row.customer_id is not None],
        emails=[row.email for row in rows],
    )
    return {
        row.key: Facts(
            automation_is_active=row.automation_is_active,
            entry_holds=row.entry_holds,
            customer_is_known=row.customer_is_known,
            customer_is_deleted=row.customer_is_deleted,
            customer_is_merging=row.customer_is_merging,
            email=row.email,
            has_valid_email=row.has_valid_email,
            consent_state=row.consent_state and ConsentState(row.consent_state),
            consent_updated_at=row.consent_updated_at,
            unsubscribed_at=row.unsubscribed_at,
            is_suppressed=row.is_suppressed or _is_erased(screen, row.customer_id, row.email),
            refresh_is_open=row.refresh_is_open,
            refresh_is_given_up=row.refresh_is_given_up,
            refresh_attempts=row.refresh_attempts,
            has_waited_for_consent=row.has_waited_for_consent,
            has_postal_address=row.has_postal_address,
            sender_address=row.sender_address,
            shop_is_disconnected=row.shop_is_disconnected,
            paused_until=row.paused_until,
            expires_at=row.expires_at,
            data_is_stale=freshness.holds(row.trigger_type or ""),
        )
        for row in rows
    }


def _is_erased(screen: Screen | None, customer_id: int | None, email: str | None) -> bool:
    if screen is None:
        return False
    return screen.is_erased_email(email) or (
        customer_id is not None and screen.is_erased_customer(customer_id)
    )


def decide_all(
    session: Session,
    shop_id: int,
    subjects: Sequence[Subject],
    *,
    secret_key: SecretStr,
    now: datetime,
) -> dict[int, Decision]:
    """One decision per subject."""
    facts = load_facts(session, shop_id, subjects, secret_key=secret_key, now=now)
    return {key: decide(each, now=now) for key, each in facts.items()}
