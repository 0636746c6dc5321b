"""Quiet hours on the wall clock of a zone, on days of 23 and 25 hours too."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activation.eligibility.quiet import QuietHours, quiet_until

BERLIN = QuietHours(time(21), time(8), "Europe/Berlin")
START = datetime(2025, 1, 1, tzinfo=UTC)
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "Australia/Lord_Howe")


def local(text: str, zone: str = "Europe/Berlin") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


@pytest.mark.requirement("EMAIL-02")
@pytest.mark.parametrize(
    ("at", "until"),
    [
        ("2026-11-20T20:59:59", None),
        ("2026-11-20T21:00", "2026-11-21T08:00"),
        ("2026-11-20T23:59", "2026-11-21T08:00"),
        ("2026-11-21T00:00", "2026-11-21T08:00"),
        ("2026-11-21T07:59:59", "2026-11-21T08:00"),
        ("2026-11-21T08:00", None),
        # The nights in which the clock is changed: eight in the morning is eight in the morning.
        ("2026-03-28T22:00", "2026-03-29T08:00"),
        ("2026-03-29T03:30", "2026-03-29T08:00"),
        ("2026-10-24T22:00", "2026-10-25T08:00"),
        ("2026-10-25T02:30", "2026-10-25T08:00"),
    ],
)
def test_quiet_hours_over_midnight(at: str, until: str | None) -> None:
    assert quiet_until(BERLIN, local(at)) == (until and local(until))


@pytest.mark.requirement("EMAIL-02")
def test_an_hour_that_comes_twice_is_quiet_twice_and_a_time_left_out_ends_late() -> None:
    night = QuietHours(time(1), time(2, 30), "Europe/Berlin")
    first = datetime(2026, 10, 25, 0, 15, tzinfo=UTC)  # 02:15, for the first time
    again = datetime(2026, 10, 25, 1, 15, tzinfo=UTC)  # 02:15 once more
    between = datetime(2026, 10, 25, 0, 45, tzinfo=UTC)  # 02:45, for the first time
    end = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert [quiet_until(night, at) for at in (first, between, again)] == [end] * 3
    assert quiet_until(night, end) is None
    # 02:30 does not come in this night: 01:59 is followed by 03:00.
    assert quiet_until(night, local("2026-03-29T01:30")) == local("2026-03-29T03:30")


@pytest.mark.requirement("EMAIL-02")
def test_quiet_hours_within_one_day() -> None:
    noon = QuietHours(time(12), time(14), "America/New_York")
    assert quiet_until(noon, local("2026-07-01T12:30", noon.zone)) == local(
        "2026-07-01T14:00", noon.zone
    )
    assert quiet_until(noon, local("2026-07-01T11:59", noon.zone)) is None


def test_a_zone_that_this_machine_does_not_know_is_taken_for_utc() -> None:
    hours = QuietHours(time(21), time(8), "Europe/Nowhere")
    assert quiet_until(hours, datetime(2026, 7, 1, 22, tzinfo=UTC)) == datetime(
        2026, 7, 2, 8, tzinfo=UTC
    )


@pytest.mark.requirement("EMAIL-02")
@given(
    st.integers(0, 3 * 366 * 86_400).map(lambda seconds: START + timedelta(seconds=seconds)),
    st.times(),
    st.times(),
    st.sampled_from(ZONES),
)
def test_whenever_they_are_over_they_are_over(
    at: datetime, starts: time, ends: time, zone: str
) -> None:
    """And in them, the clock on the wall says so: an instant outside shows a time outside."""
    starts, ends = starts.replace(microsecond=0), ends.replace(microsecond=0)
    if starts == ends:
        return
    hours = QuietHours(starts, ends, zone)
    until = quiet_until(hours, at)
    if until is not None:
        assert at < until <= at + timedelta(days=1, hours=3)
        assert quiet_until(hours, until) is None
        return
    shown = at.astimezone(ZoneInfo(zone)).time()
    is_inside = starts <= shown < ends if starts < ends else shown >= starts or shown < ends
    assert not is_inside
