"""The rules of who may be mailed, one check each, in the order in which they decide.

`decide` takes the first that says no; `examine` tells what each of them says. They are the same
functions, so what is explained is what was done. Every check can be asked on its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, TypeAlias

from activation.eligibility.addresses import SPACE, is_address
from activation.eligibility.caps import free_at
from activation.eligibility.decisions import Decision, Defer, Send, Skip
from activation.eligibility.facts import Facts
from activation.eligibility.quiet import quiet_until
from core.models.enums import ConsentState, DeferReason, SkipReason

CONSENT_FIRST_WAIT: Final = timedelta(seconds=1)
CONSENT_LONGEST_WAIT: Final = timedelta(minutes=15)
SETTINGS_WAIT: Final = timedelta(minutes=10)
TURN_WAIT: Final = timedelta(seconds=1)  # a transaction of another worker
WAY_WAIT: Final = timedelta(seconds=30)  # a mail that goes first is about to
# Mails that waited for the morning leave over this span of it, not all at once.
SPREAD: Final = timedelta(minutes=30)

Refusal: TypeAlias = Skip | Defer | None


class Check(StrEnum):
    """A claim that is true when the check passes."""

    NOT_MERGING = "not_merging"
    AUTOMATION_IS_ON = "automation_is_on"
    ENTRY_HOLDS = "entry_holds"
    CUSTOMER_EXISTS = "customer_exists"
    IN_TIME = "in_time"
    NOT_SUPPRESSED = "not_suppressed"
    NOT_UNSUBSCRIBED_HERE = "not_unsubscribed_here"
    ADDRESS_IS_VALID = "address_is_valid"
    SHOP_IS_CONNECTED = "shop_is_connected"
    CONSENT_IS_KNOWN = "consent_is_known"
    HAS_ADDRESS = "has_address"
    IS_SUBSCRIBED = "is_subscribed"
    WANTS_THIS_FLOW = "wants_this_flow"
    IS_CONFIRMED = "is_confirmed"
    HAS_POSTAL_ADDRESS = "has_postal_address"
    HAS_SENDER = "has_sender"
    NOT_PAUSED = "not_paused"
    DATA_IS_FRESH = "data_is_fresh"
    DATA_IS_ACCEPTED = "data_is_accepted"
    NOT_QUIET = "not_quiet"
    WITHIN_CAPS = "within_caps"


@dataclass(frozen=True)
class Examined:
    """One check and what it says; None: it passes."""

    check: Check
    refusal: Refusal


def decide(facts: Facts, *, now: datetime) -> Decision:
    """The first check that refuses. What is final is decided before what may still change."""
    for _, judge in CHECKS:
        refusal = judge(facts, now)
        if refusal is not None:
            return refusal
    return Send((facts.email or "").strip(SPACE))


def examine(facts: Facts, *, now: datetime) -> tuple[Examined, ...]:
    """Every check with its result, in the order in which they decide."""
    return tuple(Examined(check, judge(facts, now)) for check, judge in CHECKS)


def _merging(facts: Facts, now: datetime) -> Refusal:
    if facts.customer_is_merging:
        return Defer(DeferReason.CONSENT_UNKNOWN, now + CONSENT_FIRST_WAIT)
    return None


def _automation_off(facts: Facts, _now: datetime) -> Refusal:
    return None if facts.automation_is_active else Skip(SkipReason.AUTOMATION_OFF)


def _exited(facts: Facts, _now: datetime) -> Refusal:
    return None if facts.entry_holds else Skip(SkipReason.EXITED, exit=facts.exit_reason)


def _deleted(facts: Facts, _now: datetime) -> Refusal:
    return Skip(SkipReason.CUSTOMER_DELETED) if facts.customer_is_deleted else None


def _too_late(facts: Facts, now: datetime) -> Refusal:
    return Skip(SkipReason.TOO_LATE, facts.waits_for) if now > facts.expires_at else None


def _suppressed(facts: Facts, _now: datetime) -> Refusal:
    return Skip(SkipReason.SUPPRESSED) if facts.is_suppressed else None


def _unsubscribed_here(facts: Facts, _now: datetime) -> Refusal:
    """Our unsubscribe stands until undone, or until the customer subscribes at the shop again."""
    if facts.unsubscribed_at is None:
        return None
    resubscribed = (
        facts.consent_state is ConsentState.SUBSCRIBED
        and facts.consent_updated_at is not None
        and facts.consent_updated_at > facts.unsubscribed_at
    )
    return None if resubscribed else Skip(SkipReason.UNSUBSCRIBED)


def _invalid(facts: Facts, _now: datetime) -> Refusal:
    """What Shopify says of it, then syntax; the domain is not looked up."""
    if not facts.email:
        return None
    is_refused = facts.has_valid_email is False or facts.consent_state is ConsentState.INVALID
    if is_refused or not is_address(facts.email):
        return Skip(SkipReason.INVALID_ADDRESS)
    return None


def _disconnected(facts: Facts, now: datetime) -> Refusal:
    """The app was removed: the shop's customers are none of our business until it is back."""
    if not facts.shop_is_disconnected:
        return None
    return Defer(DeferReason.SHOP_DISCONNECTED, now + SETTINGS_WAIT)


def _unclear(facts: Facts, now: datetime) -> Refusal:
    """Shopify may know better than we do: wait for its answer, or ask once.

    An open request means the customer changed and has not been read since, so even a permission on
    record may have been withdrawn.
    """
    wait = min(CONSENT_FIRST_WAIT * 2 ** min(facts.refresh_attempts, 20), CONSENT_LONGEST_WAIT)
    if facts.refresh_is_open:
        return Defer(DeferReason.CONSENT_UNKNOWN, now + wait)
    if facts.customer_is_known and facts.consent_state is not None:
        return _unanswered(facts, now) if facts.refresh_is_given_up else None
    if facts.refresh_is_given_up or _has_asked(facts):
        has_no_address = facts.customer_is_known and not facts.email
        return Skip(SkipReason.NO_ADDRESS if has_no_address else SkipReason.CONSENT_UNKNOWN)
    return Defer(DeferReason.CONSENT_UNKNOWN, now + wait, needs_refresh=True)


def _unanswered(facts: Facts, now: datetime) -> Refusal:
    """Nobody answered when we last asked: the permission on record may be gone. Ask once more."""
    if _has_asked(facts):
        return Skip(SkipReason.CONSENT_UNKNOWN)
    return Defer(DeferReason.CONSENT_UNKNOWN, now + CONSENT_FIRST_WAIT, needs_refresh=True)


def _has_asked(facts: Facts) -> bool:
    return facts.waits_for is DeferReason.CONSENT_UNKNOWN


def _no_address(facts: Facts, _now: datetime) -> Refusal:
    return None if facts.email else Skip(SkipReason.NO_ADDRESS)


def _not_permitted(facts: Facts, _now: datetime) -> Refusal:
    match facts.consent_state:
        case ConsentState.SUBSCRIBED:
            return None
        case ConsentState.UNSUBSCRIBED:
            return Skip(SkipReason.UNSUBSCRIBED)
        case None:
            return Skip(SkipReason.CONSENT_UNKNOWN)
        case _:
            return Skip(SkipReason.NOT_SUBSCRIBED)


def _opted_out(facts: Facts, _now: datetime) -> Refusal:
    return Skip(SkipReason.OPTED_OUT) if facts.has_opted_out else None


def _unconfirmed(facts: Facts, now: datetime) -> Refusal:
    """Where a subscription is to be confirmed, mail waits for the click, which makes it due at once
    (consent/confirming.py); the mail that asks for it is of no use after it.
    """
    if facts.asks_for_consent:
        return None if facts.must_confirm else Skip(SkipReason.EXITED)
    if not facts.must_confirm:
        return None
    return Defer(DeferReason.NOT_CONFIRMED, now + SETTINGS_WAIT)


def _no_postal_address(facts: Facts, now: datetime) -> Refusal:
    if facts.has_postal_address:
        return None
    return Defer(DeferReason.NO_POSTAL_ADDRESS, now + SETTINGS_WAIT)


def _no_sender(facts: Facts, now: datetime) -> Refusal:
    if is_address(facts.sender_address or ""):
        return None
    return Defer(DeferReason.NO_SENDER, now + SETTINGS_WAIT)


def _paused(facts: Facts, _now: datetime) -> Refusal:
    if facts.paused_until is None:
        return None
    return Defer(DeferReason.PROVIDER_PAUSED, facts.paused_until)


def _stale(facts: Facts, now: datetime) -> Refusal:
    if not facts.data_is_stale or facts.is_test:
        return None
    return Defer(DeferReason.STALE_DATA, now + SETTINGS_WAIT)


def _held(facts: Facts, now: datetime) -> Refusal:
    if not facts.data_is_held or facts.is_test:
        return None
    return Defer(DeferReason.DATA_HELD, now + SETTINGS_WAIT)


def _quiet(facts: Facts, now: datetime) -> Refusal:
    if facts.is_test or not _is_quiet(facts, now):
        return None
    return _wait_within(facts, DeferReason.QUIET_HOURS, now)


def _over_cap(facts: Facts, now: datetime) -> Refusal:
    """One mail at a time is frozen to an address, the most urgent of those that are due first."""
    if facts.is_test:
        return None
    if not facts.has_turn:
        return Defer(DeferReason.FREQUENCY_CAP, now + TURN_WAIT)
    free = free_at(facts.caps, facts.counted, now=now)
    if free is not None:
        return _wait_within(facts, DeferReason.FREQUENCY_CAP, free)
    if not facts.mails_before:
        return None
    with_others = (*facts.counted, *[now] * facts.mails_before)
    if free_at(facts.caps, with_others, now=now) is None:
        return None
    return Defer(DeferReason.FREQUENCY_CAP, now + WAY_WAIT)


def _is_quiet(facts: Facts, at: datetime) -> bool:
    return facts.quiet_hours is not None and quiet_until(facts.quiet_hours, at) is not None


def _wait_within(facts: Facts, reason: DeferReason, until: datetime) -> Skip | Defer:
    """Wait until then, and through the quiet hours it may fall into; or not at all, if that is when
    the mail is of no use any more.
    """
    ends = quiet_until(facts.quiet_hours, until) if facts.quiet_hours is not None else None
    earliest = until if ends is None else ends
    if earliest > facts.expires_at:
        return Skip(SkipReason.TOO_LATE, reason)
    if ends is None:
        return Defer(reason, earliest)
    return Defer(reason, min(earliest + SPREAD * facts.spread, facts.expires_at))


CHECKS: Final[tuple[tuple[Check, Callable[[Facts, datetime], Refusal]], ...]] = (
    (Check.NOT_MERGING, _merging),
    (Check.AUTOMATION_IS_ON, _automation_off),
    (Check.ENTRY_HOLDS, _exited),
    (Check.CUSTOMER_EXISTS, _deleted),
    (Check.IN_TIME, _too_late),
    (Check.NOT_SUPPRESSED, _suppressed),
    (Check.NOT_UNSUBSCRIBED_HERE, _unsubscribed_here),
    (Check.ADDRESS_IS_VALID, _invalid),
    (Check.SHOP_IS_CONNECTED, _disconnected),
    (Check.CONSENT_IS_KNOWN, _unclear),
    (Check.HAS_ADDRESS, _no_address),
    (Check.IS_SUBSCRIBED, _not_permitted),
    (Check.WANTS_THIS_FLOW, _opted_out),
    (Check.IS_CONFIRMED, _unconfirmed),
    (Check.HAS_POSTAL_ADDRESS, _no_postal_address),
    (Check.HAS_SENDER, _no_sender),
    (Check.NOT_PAUSED, _paused),
    (Check.DATA_IS_FRESH, _stale),
    (Check.DATA_IS_ACCEPTED, _held),
    (Check.NOT_QUIET, _quiet),
    (Check.WITHIN_CAPS, _over_cap),
)
