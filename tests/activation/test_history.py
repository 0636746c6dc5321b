"""Questions to the history, against one that is played day by day and asked in plain Python."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert

from activation.history import Flaps, flaps, memberships_as_of, sizes_as_of
from core.database import session_scope
from core.models import SegmentMembership
from core.models.enums import MembershipCause, Segment
from tests.activation.world import World

DAY = timedelta(days=1)
# Of each customer, the segment on every day of three weeks; None: in none (not yet, or gone).
days = st.lists(
    st.sampled_from([None, Segment.CHAMPION, Segment.LOYAL, Segment.LOST]), min_size=21, max_size=21
)


def played(world: World, customers: list[list[Segment | None]]) -> list[dict[str, Any]]:
    """The stays of each, as memberships would have written them at midnight of each day."""
    start = world.now
    stays: list[dict[str, Any]] = []
    for number, segments in enumerate(customers, start=1):
        open_stay: dict[str, Any] | None = None
        for day, segment in enumerate([*segments, *segments[-1:]]):
            now = start + day * DAY
            before = open_stay["segment"] if open_stay else None
            if segment is before:
                continue
            if open_stay:
                open_stay |= {"exited_at": now, "exit_cause": MembershipCause.FULL_RUN}
            open_stay = None
            if segment:
                open_stay = {
                    "shop_id": world.shop_id,
                    "customer_id": number,
                    "segment": segment,
                    "previous_segment": before,
                    "entered_at": now,
                    "exited_at": None,
                    "exit_cause": None,
                    "cause": MembershipCause.FULL_RUN,
                    "rfm_run_id": f"day-{day}",
                    **dict.fromkeys(("r_score", "f_score", "m_score"), 1 + day % 5),
                }
                stays.append(open_stay)
    return stays


def write(world: World, stays: list[dict[str, Any]]) -> None:
    world.execute("TRUNCATE crm.segment_memberships")
    with session_scope(world.factory) as session:
        if stays:
            session.execute(insert(SegmentMembership), stays)


@pytest.mark.requirement("RFM-06")
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(customers=st.lists(days, min_size=1, max_size=5), hour=st.integers(0, 21 * 24 - 1))
def test_who_was_in_which_segment_at_any_instant(
    world: World, customers: list[list[Segment | None]], hour: int
) -> None:
    write(world, played(world, customers))
    at = world.now + timedelta(hours=hour)
    expected = {
        number: segments[hour // 24]
        for number, segments in enumerate(customers, start=1)
        if segments[hour // 24]
    }
    with session_scope(world.factory) as session:
        found = memberships_as_of(session, world.shop_id, at)
        sizes = sizes_as_of(session, world.shop_id, at)
        loyal = memberships_as_of(session, world.shop_id, at, segments=[Segment.LOYAL])
        first = memberships_as_of(session, world.shop_id, at, customer_ids=[1])
        paged = memberships_as_of(session, world.shop_id, at, after=1, limit=1)
    assert {stay.customer_id: stay.segment for stay in found} == expected
    assert sizes == {each: list(expected.values()).count(each) for each in Segment}
    assert loyal == [stay for stay in found if stay.segment is Segment.LOYAL]
    assert first == [stay for stay in found if stay.customer_id == 1]
    assert paged == [stay for stay in found if stay.customer_id > 1][:1]
    for stay in found:
        assert stay.rfm_run_id
        day = int(stay.rfm_run_id.removeprefix("day-"))
        assert stay.entered_at == world.now + day * DAY <= at
        assert stay.rfm_score == str(1 + day % 5) * 3


def flaps_of(customers: list[list[Segment | None]]) -> Flaps:
    """Move for move: was the customer in the segment they move into within the last 7 days?"""
    moves = returns = 0
    for segments in customers:
        for day in range(1, 21):
            before, now = segments[day - 1], segments[day]
            if before is None or now is None or before is now:
                continue
            moves += 1
            returns += now in segments[max(0, day - 8) : day]
    return Flaps(moves=moves, returns=returns)


@pytest.mark.requirement("RFM-06")
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(customers=st.lists(days, min_size=1, max_size=5))
def test_flaps_are_moves_back_within_a_week(
    world: World, customers: list[list[Segment | None]]
) -> None:
    write(world, played(world, customers))
    with session_scope(world.factory) as session:
        found = flaps(session, world.shop_id, since=world.now, until=world.now + 30 * DAY)
    assert found == flaps_of(customers)


@pytest.mark.requirement("RFM-06")
@pytest.mark.parametrize(
    ("away", "found"),
    [(timedelta(days=7), Flaps(2, 1)), (timedelta(days=7, seconds=1), Flaps(2, 0))],
)
def test_a_week_is_seven_days_to_the_second(world: World, away: timedelta, found: Flaps) -> None:
    def stay(segment: Segment, previous: Segment | None, *times: datetime) -> dict[str, Any]:
        return {
            "shop_id": world.shop_id,
            "customer_id": 1,
            "segment": segment,
            "previous_segment": previous,
            "entered_at": times[0],
            "exited_at": times[1] if len(times) > 1 else None,
            "cause": MembershipCause.ORDER,
            **dict.fromkeys(("r_score", "f_score", "m_score"), 1),
        }

    left = world.now + DAY
    write(
        world,
        [
            stay(Segment.NEW, None, world.now, left),
            stay(Segment.LOYAL, Segment.NEW, left, left + away),
            stay(Segment.NEW, Segment.LOYAL, left + away),
        ],
    )
    with session_scope(world.factory) as session:
        until = world.now + 30 * DAY
        assert flaps(session, world.shop_id, since=world.now, until=until) == found
        assert flaps(session, world.shop_id, since=until, until=until + DAY) == Flaps(0, 0)
    assert (Flaps(0, 0).rate, Flaps(4, 1).rate) == (0.0, 0.25)
