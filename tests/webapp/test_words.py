from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from core.models.enums import DeferReason, MessageState, Segment, SkipReason
from webapp import words

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("gap", "said"),
    [
        (timedelta(seconds=2), "just now"),
        (timedelta(seconds=42), "42 s ago"),
        (timedelta(minutes=3, seconds=59), "3 min ago"),
        (timedelta(hours=5), "5 h ago"),
        (timedelta(hours=47), "47 h ago"),
        (timedelta(days=12), "12 d ago"),
        (-timedelta(minutes=40), "in 40 min"),
    ],
)
def test_times_are_told_relative_to_now(gap: timedelta, said: str) -> None:
    assert words.relative(NOW - gap, now=NOW) == said


def test_the_exact_time_is_the_shops() -> None:
    moment = words.moment(NOW, now=NOW, time_zone="America/New_York")
    assert moment.absolute == "20 Nov 2026, 07:00:00 EST"
    assert moment.iso == "2026-11-20T12:00:00+00:00"


def test_an_unknown_time_zone_does_not_break_a_page() -> None:
    assert words.moment(NOW, now=NOW, time_zone="Mars/Olympus").absolute.endswith("UTC")


@pytest.mark.requirement("SHOP-07")
@pytest.mark.parametrize(
    ("value", "currency", "text", "exact"),
    [
        ("49.9", "GBP", "£49.90", "£49.90"),
        ("9999.99", "EUR", "€9,999.99", "€9,999.99"),
        ("824393.505", "USD", "$824,394", "$824,393.51"),
        ("-12", "EUR", "-€12.00", "-€12.00"),
        ("1200", "SEK", "1,200.00 SEK", "1,200.00 SEK"),
        ("1200", "JPY", "¥1,200", "¥1,200"),
    ],
)
def test_money_is_decimal_and_names_its_currency(
    value: str, currency: str, text: str, exact: str
) -> None:
    amount = words.money(Decimal(value), currency)
    assert (amount.text, amount.exact) == (text, exact)


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [(0, 10, "0%"), (0, 0, "0%"), (1, 3000, "<0.1%"), (1, 30, "3.3%"), (1, 3, "33%")],
)
def test_shares_never_vanish(part: int, whole: int, said: str) -> None:
    assert words.share(part, whole) == said


def test_changes_compare_only_with_something() -> None:
    assert words.change(12, 10) == "+20%"
    assert words.change(9, 10) == "-10%"
    assert words.change(10, 10) == "±0%"
    assert words.change(10, 0) is None


def test_addresses_are_masked() -> None:
    assert words.masked("grace@example.com") == "g•••@example.com"
    assert words.masked("") == "•••@"


def test_every_state_and_reason_has_words() -> None:
    assert set(words.SEGMENT_NAMES) == set(Segment)
    assert set(words.STATE_NAMES) == set(MessageState)
    assert set(words.SKIP_REASONS) == set(SkipReason)
    assert set(words.DEFER_REASONS) == set(DeferReason)


def test_segments_are_named_in_their_fixed_order() -> None:
    assert list(words.SEGMENT_NAMES) == list(Segment)
