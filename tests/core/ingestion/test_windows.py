"""Windows over what Shopify changed: their searches, their halves, what follows a position."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.ingestion.windows import Window
from core.shopify.gid import LARGEST
from tests.fixtures.shopify_search import matches

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
pytestmark = pytest.mark.requirement("SHOP-02")

# Few of each, so that equal times, neighbours and bounds come often.
times = st.integers(0, 200).map(lambda hours: NOW - timedelta(hours=hours / 4))
numbers = st.integers(1, 40)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    start, end = draw(st.none() | times), draw(st.none() | times)
    assume(start is None or end is None or start < end)
    past = draw(st.integers(0, 30)) if start is not None else 0
    above = draw(st.just(0) | st.integers(1, 20))
    upto = draw(st.just(LARGEST) | st.integers(above + 1, 60))
    is_by_time = start is not None or end is not None
    field = draw(st.sampled_from(("updated_at", "created_at"))) if is_by_time else "updated_at"
    # Past an id that is out of range anyway reads, and means, the same as past none.
    return Window(start, end, past if past > above else 0, above, upto, field)


def holds(window: Window, time: datetime, number: int) -> bool:
    """As the fake Shopify searches."""
    moment = f"{time:%Y-%m-%dT%H:%M:%SZ}"
    node = {"id": f"gid://shopify/Order/{number}", "updatedAt": moment, "createdAt": moment}
    return matches(node, window.search)


@given(windows())
def test_a_search_is_read_back_as_the_window_it_was_made_of(window: Window) -> None:
    assert Window.parse(window.search) == window


@pytest.mark.parametrize("text", ["name:x", "updated_at:>='x'", "id:>5 OR id:<3", "id:<9"])
def test_a_search_that_is_no_window_is_not_taken_for_one(text: str) -> None:
    assert Window.parse(text) is None


@given(windows(), times, numbers)
def test_halves_hold_the_whole_and_nothing_twice(
    window: Window, time: datetime, number: int
) -> None:
    halves = window.halves(now=NOW)
    if halves is None:
        assert window.upto - window.above == 1
        return
    earlier, later = halves
    assert holds(window, time, number) == (
        holds(earlier, time, number) + holds(later, time, number) == 1
    )
    assert not (holds(earlier, time, number) and holds(later, time, number))
    assert window.covers(earlier)
    assert window.covers(later)


@given(windows())
def test_halving_ends(window: Window) -> None:
    left, steps = [window], 0
    while left:
        halves = left.pop().halves(now=NOW)
        steps += 1
        if halves:
            left = [halves[steps % 2]]
        assert steps < 120


@given(windows(), times, numbers, times, numbers)
def test_what_follows_a_position_is_the_rest_of_the_window(
    window: Window, time: datetime, number: int, at: datetime, at_number: int
) -> None:
    assume(holds(window, at, at_number))
    rest = window.after((at, at_number))
    assert rest is not None
    follows = holds(window, time, number) and (time, number) > (at, at_number)
    assert holds(rest, time, number) == follows
    assert rest.after((at, at_number)) is None, "no progress is told from progress"


@given(windows(), windows(), times, numbers)
def test_a_window_that_covers_another_holds_what_it_holds(
    window: Window, other: Window, time: datetime, number: int
) -> None:
    if window.covers(other) and holds(other, time, number):
        assert holds(window, time, number)


def holds_by_day(window: Window, time: datetime, number: int) -> bool:
    """As a Shopify would search that takes every time for the whole day it lies in."""
    day = f"{time:%Y-%m-%d}T00:00:00Z"
    node = {"id": f"gid://shopify/Order/{number}", "updatedAt": day, "createdAt": day}
    return matches(node, re.sub(r"T[0-9:]+Z", "T00:00:00Z", window.search))


@given(windows(), times, numbers)
def test_searched_by_whole_days_the_halves_still_hold_the_whole(
    window: Window, time: datetime, number: int
) -> None:
    """`updated_at` of customers "matches a whole day": a `>` would have skipped the rest of it."""
    halves = window.halves(now=NOW)
    if halves and holds_by_day(window, time, number):
        assert any(holds_by_day(half, time, number) for half in halves)


@given(windows(), times, numbers, times, numbers)
def test_searched_by_whole_days_what_follows_a_position_misses_nothing(
    window: Window, time: datetime, number: int, at: datetime, at_number: int
) -> None:
    assume(holds(window, at, at_number))
    rest = window.after((at, at_number))
    assert rest is not None
    if (time, number) > (at, at_number) and holds_by_day(window, time, number):
        assert holds_by_day(rest, time, number)
