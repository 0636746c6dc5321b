"""When an address is free again, against the plain words: at most so many in any span."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activation.eligibility.caps import Cap, free_at
from activation.eligibility.rules import DEFAULTS

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def allows(caps: Sequence[Cap], sent: Sequence[datetime], at: datetime) -> bool:
    return all(sum(at - cap.window < each for each in sent) < cap.mails for cap in caps)


@pytest.mark.requirement("EMAIL-02")
@pytest.mark.parametrize(
    ("hours_ago", "free_in"),
    [
        ([], None),
        ([20], None),  # at that very instant
        ([19], 1),
        ([0], 20),
        ([26, 52, 78], None),
        ([26, 52, 78, 104], 7 * 24 - 104),
        ([19, 52, 78, 104], 7 * 24 - 104),
        ([19, 52, 78, 167], 1),
        ([-2], 22),  # a worker whose clock is ahead
    ],
)
def test_one_in_twenty_hours_and_four_in_seven_days(
    hours_ago: list[int], free_in: int | None
) -> None:
    free = free_at(DEFAULTS.caps, [NOW - HOUR * hours for hours in hours_ago], now=NOW)
    assert free == (None if free_in is None else NOW + HOUR * free_in)


@pytest.mark.requirement("EMAIL-02")
@given(
    st.lists(st.builds(Cap, st.integers(1, 4), st.integers(1, 80).map(lambda n: HOUR * n))),
    st.lists(st.integers(0, 100).map(lambda n: NOW - HOUR * n), max_size=8),
)
def test_an_address_is_free_at_the_first_instant_that_all_caps_allow(
    caps: list[Cap], sent: list[datetime]
) -> None:
    free = free_at(caps, sent, now=NOW) or NOW
    assert allows(caps, sent, free)
    assert free == NOW or not allows(caps, sent, free - timedelta(microseconds=1))
