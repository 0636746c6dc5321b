from datetime import UTC, datetime, timedelta

from core.clock import MovableClock, OffsetClock, SystemClock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_a_clock_can_be_moved_and_another_one_runs_ahead_of_it() -> None:
    clock = MovableClock(NOON)
    ahead = OffsetClock(clock, timedelta(days=30))
    clock.advance(timedelta(hours=1))
    assert clock.now() == NOON + timedelta(hours=1)
    assert ahead.now() - clock.now() == timedelta(days=30)


def test_the_machines_clock_tells_utc() -> None:
    assert SystemClock().now().utcoffset() == timedelta(0)
