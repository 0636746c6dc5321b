"""All rules of who may be mailed, on the pure function."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activation.eligibility import (
    Check,
    Defer,
    Facts,
    Send,
    Skip,
    decide,
    examine,
)
from activation.eligibility.caps import Cap
from activation.eligibility.quiet import QuietHours
from core.models.enums import ConsentState, DeferReason, SkipReason

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
EARLIER, LATER = NOW - timedelta(days=1), NOW + timedelta(days=1)

FINE = Facts(
    automation_is_active=True,
    entry_holds=True,
    customer_is_known=True,
    customer_is_deleted=False,
    customer_is_merging=False,
    email="anna@example.com",
    email_normalized="anna@example.com",
    has_valid_email=True,
    consent_state=ConsentState.SUBSCRIBED,
    consent_updated_at=EARLIER,
    must_confirm=False,
    has_opted_out=False,
    asks_for_consent=False,
    unsubscribed_at=None,
    is_suppressed=False,
    refresh_is_open=False,
    refresh_is_given_up=False,
    refresh_attempts=0,
    has_postal_address=True,
    sender_address="hello@mail.example.com",
    shop_is_disconnected=False,
    paused_until=None,
    expires_at=LATER,
    waits_for=None,
    is_test=False,
    data_is_stale=False,
    data_is_held=False,
    quiet_hours=None,
    caps=(),
    counted=(),
    mails_before=0,
    has_turn=True,
    spread=0.0,
)
AT_NOON = QuietHours(time(11), time(13), "UTC")
AT_NIGHT = QuietHours(time(21), time(8), "UTC")
UNTOLD = {"consent_state": None}
CAPPED = {"caps": (Cap(1, timedelta(hours=20)), Cap(4, timedelta(days=7)))}
ASKED = {"waits_for": DeferReason.CONSENT_UNKNOWN}


@pytest.mark.requirement("EMAIL-02")
def test_a_subscriber_with_an_address_is_mailed() -> None:
    assert decide(FINE, now=NOW) == Send("anna@example.com")
    assert decide(replace(FINE, email=" Anna@example.com "), now=NOW) == Send("Anna@example.com")


@pytest.mark.requirement("EMAIL-01", "EMAIL-02", "EMAIL-03")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"automation_is_active": False}, SkipReason.AUTOMATION_OFF),
        ({"entry_holds": False}, SkipReason.EXITED),
        ({"customer_is_deleted": True}, SkipReason.CUSTOMER_DELETED),
        ({"expires_at": NOW - timedelta(seconds=1)}, SkipReason.TOO_LATE),
        ({"is_suppressed": True}, SkipReason.SUPPRESSED),
        ({"unsubscribed_at": NOW}, SkipReason.UNSUBSCRIBED),
        ({"unsubscribed_at": EARLIER}, SkipReason.UNSUBSCRIBED),
        ({"unsubscribed_at": EARLIER, "consent_updated_at": None}, SkipReason.UNSUBSCRIBED),
        ({"email": None}, SkipReason.NO_ADDRESS),
        ({"email": ""}, SkipReason.NO_ADDRESS),
        ({"email": "anna@"}, SkipReason.INVALID_ADDRESS),
        ({"email": "anna@example.com\nbcc: x@example.com"}, SkipReason.INVALID_ADDRESS),
        # Mailed without its line end, it was not the address that its unsubscribe was kept for.
        ({"email": "anna@example.com\n"}, SkipReason.INVALID_ADDRESS),
        ({"has_valid_email": False}, SkipReason.INVALID_ADDRESS),
        ({"consent_state": ConsentState.INVALID}, SkipReason.INVALID_ADDRESS),
        ({"consent_state": ConsentState.NOT_SUBSCRIBED}, SkipReason.NOT_SUBSCRIBED),
        ({"consent_state": ConsentState.PENDING}, SkipReason.NOT_SUBSCRIBED),
        ({"consent_state": ConsentState.REDACTED}, SkipReason.NOT_SUBSCRIBED),
        ({"consent_state": ConsentState.UNSUBSCRIBED}, SkipReason.UNSUBSCRIBED),
        ({"has_opted_out": True}, SkipReason.OPTED_OUT),
        ({"asks_for_consent": True}, SkipReason.EXITED),
        ({**UNTOLD, "refresh_is_given_up": True}, SkipReason.CONSENT_UNKNOWN),
        ({**UNTOLD, **ASKED}, SkipReason.CONSENT_UNKNOWN),
        (
            {"refresh_is_given_up": True, **ASKED},
            SkipReason.CONSENT_UNKNOWN,
        ),
        ({**UNTOLD, "email": None, **ASKED}, SkipReason.NO_ADDRESS),
        ({**UNTOLD, "customer_is_known": False, "refresh_is_given_up": True, "email": None},
         SkipReason.CONSENT_UNKNOWN),
    ],
)  # fmt: skip
def test_who_is_never_mailed(change: dict[str, Any], reason: SkipReason) -> None:
    assert decide(replace(FINE, **change), now=NOW) == Skip(reason)


@pytest.mark.requirement("EMAIL-02")
@pytest.mark.parametrize(
    ("change", "decision"),
    [
        (UNTOLD, Defer(DeferReason.CONSENT_UNKNOWN, NOW + timedelta(seconds=1), True)),
        (
            {**UNTOLD, "customer_is_known": False, "email": None},
            Defer(DeferReason.CONSENT_UNKNOWN, NOW + timedelta(seconds=1), True),
        ),
        (
            {**UNTOLD, "refresh_is_open": True, "refresh_attempts": 3},
            Defer(DeferReason.CONSENT_UNKNOWN, NOW + timedelta(seconds=8)),
        ),
        (
            {**UNTOLD, "refresh_is_open": True, "refresh_attempts": 60},
            Defer(DeferReason.CONSENT_UNKNOWN, NOW + timedelta(minutes=15)),
        ),
        # Shopify says the customer changed: the permission on record may be gone.
        (
            {"refresh_is_open": True},
            Defer(DeferReason.CONSENT_UNKNOWN, NOW + timedelta(seconds=1)),
        ),
        # They changed and Shopify never told how, for an hour: the mail used to leave on the old
        # permission. Shopify is asked anew, because a sync may have read them since.
        (
            {"refresh_is_given_up": True, "refresh_attempts": 10},
            Defer(DeferReason.CONSENT_UNKNOWN, NOW + timedelta(seconds=1), True),
        ),
        (
            {"must_confirm": True},
            Defer(DeferReason.NOT_CONFIRMED, NOW + timedelta(minutes=10)),
        ),
        (
            {"has_postal_address": False},
            Defer(DeferReason.NO_POSTAL_ADDRESS, NOW + timedelta(minutes=10)),
        ),
        ({"sender_address": None}, Defer(DeferReason.NO_SENDER, NOW + timedelta(minutes=10))),
        ({"sender_address": "shop"}, Defer(DeferReason.NO_SENDER, NOW + timedelta(minutes=10))),
        ({"paused_until": LATER}, Defer(DeferReason.PROVIDER_PAUSED, LATER)),
        ({"data_is_stale": True}, Defer(DeferReason.STALE_DATA, NOW + timedelta(minutes=10))),
        ({"data_is_held": True}, Defer(DeferReason.DATA_HELD, NOW + timedelta(minutes=10))),
        ({"has_turn": False}, Defer(DeferReason.FREQUENCY_CAP, NOW + timedelta(seconds=1))),
        (
            {"quiet_hours": AT_NOON, "spread": 0.5},
            Defer(DeferReason.QUIET_HOURS, NOW + timedelta(hours=1, minutes=15)),
        ),
        # Spread, but not beyond the instant at which it is too late.
        (
            {
                "quiet_hours": AT_NOON,
                "spread": 0.5,
                "expires_at": NOW + timedelta(hours=1, minutes=5),
            },
            Defer(DeferReason.QUIET_HOURS, NOW + timedelta(hours=1, minutes=5)),
        ),
        (
            {**CAPPED, "counted": (NOW - timedelta(hours=19),)},
            Defer(DeferReason.FREQUENCY_CAP, NOW + timedelta(hours=1)),
        ),
        # Free in the middle of the night: it waits for the morning at once.
        (
            {**CAPPED, "counted": (NOW - timedelta(hours=5),), "quiet_hours": AT_NIGHT},
            Defer(DeferReason.FREQUENCY_CAP, NOW + timedelta(hours=20)),
        ),
        # Another one is due that goes first; whether it leaves is not known yet.
        (
            {**CAPPED, "mails_before": 1},
            Defer(DeferReason.FREQUENCY_CAP, NOW + timedelta(seconds=30)),
        ),
        # Shopify cannot be asked any more, so nothing is: not even for a consent.
        (
            {**UNTOLD, "shop_is_disconnected": True},
            Defer(DeferReason.SHOP_DISCONNECTED, NOW + timedelta(minutes=10)),
        ),
        # Deleted, because they were merged away: what they were owed is the survivor's in a moment.
        (
            {"customer_is_merging": True, "customer_is_deleted": True},
            Defer(DeferReason.CONSENT_UNKNOWN, NOW + timedelta(seconds=1)),
        ),
    ],
)
def test_who_waits(change: dict[str, Any], decision: Defer) -> None:
    assert decide(replace(FINE, **change), now=NOW) == decision


@pytest.mark.requirement("EMAIL-02")
@pytest.mark.parametrize(
    ("change", "waited_for"),
    [
        ({"expires_at": EARLIER, "waits_for": DeferReason.STALE_DATA}, DeferReason.STALE_DATA),
        ({"expires_at": EARLIER}, None),
        (
            {"quiet_hours": AT_NOON, "expires_at": NOW + timedelta(minutes=59)},
            DeferReason.QUIET_HOURS,
        ),
        (
            {**CAPPED, "counted": (NOW,), "expires_at": NOW + timedelta(hours=19)},
            DeferReason.FREQUENCY_CAP,
        ),
    ],
)
def test_what_would_wait_for_too_long_is_skipped_and_says_what_for(
    change: dict[str, Any], waited_for: DeferReason | None
) -> None:
    decision = decide(replace(FINE, **change), now=NOW)
    assert decision == Skip(SkipReason.TOO_LATE, waited_for)


@pytest.mark.requirement("TSEND-01")
@pytest.mark.parametrize(
    "change",
    [
        {"quiet_hours": AT_NOON},
        {**CAPPED, "counted": (NOW,)},
        {**CAPPED, "mails_before": 1},
        {"has_turn": False},
        {"data_is_stale": True},
        {"data_is_held": True},
    ],
)
def test_a_test_mail_is_held_up_by_no_cap_and_no_gate(change: dict[str, Any]) -> None:
    assert isinstance(decide(replace(FINE, **change), now=NOW), Defer)
    assert isinstance(decide(replace(FINE, **change, is_test=True), now=NOW), Send)


@pytest.mark.requirement("EMAIL-01")
def test_subscribing_at_the_shop_after_our_unsubscribe_lifts_it() -> None:
    resubscribed = replace(FINE, unsubscribed_at=EARLIER, consent_updated_at=NOW)
    assert isinstance(decide(resubscribed, now=NOW), Send)


facts = st.builds(
    Facts,
    automation_is_active=st.booleans(),
    entry_holds=st.booleans(),
    customer_is_known=st.booleans(),
    customer_is_deleted=st.booleans(),
    customer_is_merging=st.booleans(),
    email=st.sampled_from([None, "", "anna@example.com", "anna"]),
    email_normalized=st.just("anna@example.com"),
    has_valid_email=st.sampled_from([None, True, False]),
    consent_state=st.sampled_from([None, *ConsentState]),
    consent_updated_at=st.sampled_from([None, EARLIER, NOW, LATER]),
    unsubscribed_at=st.sampled_from([None, EARLIER, NOW]),
    is_suppressed=st.booleans(),
    refresh_is_open=st.booleans(),
    refresh_is_given_up=st.booleans(),
    refresh_attempts=st.integers(0, 100),
    has_postal_address=st.booleans(),
    sender_address=st.sampled_from([None, "hello@mail.example.com"]),
    shop_is_disconnected=st.booleans(),
    paused_until=st.sampled_from([None, LATER]),
    expires_at=st.sampled_from([EARLIER, NOW, LATER]),
    waits_for=st.sampled_from([None, *DeferReason]),
    is_test=st.booleans(),
    data_is_stale=st.booleans(),
    data_is_held=st.booleans(),
    quiet_hours=st.sampled_from([None, AT_NOON, AT_NIGHT]),
    caps=st.sampled_from([(), (Cap(1, timedelta(hours=20)),)]),
    counted=st.sampled_from([(), (NOW,), (NOW - timedelta(hours=20),)]),
    mails_before=st.integers(0, 2),
    has_turn=st.booleans(),
    spread=st.floats(0, 1, exclude_max=True),
)


@pytest.mark.requirement("EMAIL-01", "EMAIL-02", "EMAIL-03")
@given(facts)
def test_whatever_else_holds_nobody_is_mailed_without_permission(case: Facts) -> None:
    decision = decide(case, now=NOW)
    if isinstance(decision, Send):
        assert case.consent_state is ConsentState.SUBSCRIBED
        assert not case.is_suppressed
        assert not case.refresh_is_open
        assert not case.refresh_is_given_up
        assert not case.customer_is_deleted
        assert not case.customer_is_merging
        assert not case.shop_is_disconnected
        assert case.automation_is_active
        assert case.entry_holds
        assert case.has_postal_address
        assert case.is_test or not (case.data_is_stale or case.data_is_held)
        assert case.is_test or case.quiet_hours is not AT_NOON
        assert case.is_test or case.has_turn
        assert case.is_test or not case.caps or NOW not in case.counted
        assert case.unsubscribed_at is None or (
            case.consent_updated_at is not None and case.consent_updated_at > case.unsubscribed_at
        )
    if isinstance(decision, Defer):
        assert decision.until > NOW


@pytest.mark.requirement("EMAIL-02")
@given(facts)
def test_what_is_explained_is_what_was_decided(case: Facts) -> None:
    """Every check can be asked, whatever the others say, and the first that refuses decided."""
    examined = examine(case, now=NOW)
    assert [each.check for each in examined] == list(Check)
    refusals = [each.refusal for each in examined if each.refusal is not None]
    decision = decide(case, now=NOW)
    assert decision == (refusals[0] if refusals else Send("anna@example.com"))


@pytest.mark.requirement("EMAIL-02")
@given(facts)
def test_what_waits_for_the_clock_alone_never_waits_until_it_is_too_late(case: Facts) -> None:
    decision = decide(case, now=NOW)
    if isinstance(decision, Defer) and decision.reason is DeferReason.QUIET_HOURS:
        assert decision.until <= case.expires_at
