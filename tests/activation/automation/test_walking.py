"""From where somebody stands to the next wait that is not over."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activation.automation.actions import (
    AddTag,
    Branch,
    Condition,
    HasTag,
    SendEmail,
    Step,
    Wait,
    compile_steps,
)
from activation.automation.walking import Due, Walked, walk

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
BERLIN = ZoneInfo("Europe/Berlin")
FIRST = SendEmail(step_key="one", template="welcome")
SECOND = SendEmail(step_key="two", template="welcome")
STEPS = (
    Wait(step_key="a", seconds=3600),
    Wait(step_key="b", seconds=3600),
    FIRST,
    Wait(step_key="c", seconds=60),
    SECOND,
)


def never(_: Condition, __: Sequence[Due]) -> bool:
    raise AssertionError("nobody asks")


@pytest.mark.parametrize(
    ("position", "due_at", "walked"),
    [
        (0, NOW, Walked((), 1, NOW + HOUR)),
        (0, NOW - HOUR, Walked((), 2, NOW + HOUR)),
        (0, NOW - 2 * HOUR, Walked((Due(FIRST, NOW),), 4, NOW + timedelta(minutes=1))),
        (2, NOW, Walked((Due(FIRST, NOW),), 4, NOW + timedelta(minutes=1))),
        (
            0,
            NOW - 5 * HOUR,
            Walked(
                (
                    Due(FIRST, NOW - 3 * HOUR),
                    Due(SECOND, NOW - 3 * HOUR + timedelta(minutes=1)),
                ),
                5,
                None,
            ),
        ),
        (5, NOW, Walked((), 5, None)),
    ],
)
def test_waits_that_are_over_are_passed(position: int, due_at: datetime, walked: Walked) -> None:
    program = compile_steps(STEPS)
    assert walk(program, position, due_at, now=NOW, zone=BERLIN, holds=never) == walked


@pytest.mark.requirement("AUTO-03")
@pytest.mark.parametrize(
    ("began", "hours"),
    [
        (datetime(2026, 3, 28, 9, tzinfo=BERLIN), 23),  # the clock goes forward in between
        (datetime(2026, 10, 24, 9, tzinfo=BERLIN), 25),
        (datetime(2026, 6, 1, 9, tzinfo=BERLIN), 24),
    ],
)
def test_a_day_is_one_on_the_shops_calendar_and_an_hour_is_sixty_minutes(
    began: datetime, hours: int
) -> None:
    by_days = compile_steps((Wait(step_key="d", days=1), FIRST))
    by_hours = compile_steps((Wait(step_key="h", seconds=24 * 3600), FIRST))
    days = walk(by_days, 0, began, now=began, zone=BERLIN, holds=never)
    assert days.due_at == began.astimezone(UTC) + timedelta(hours=hours)
    assert days.due_at is not None
    assert days.due_at.astimezone(BERLIN).hour == 9
    exact = walk(by_hours, 0, began, now=began, zone=BERLIN, holds=never)
    assert exact.due_at == began.astimezone(UTC) + timedelta(hours=24)


def steps_of(depth: int) -> st.SearchStrategy[tuple[Step, ...]]:
    plain: st.SearchStrategy[Step] = st.one_of(
        st.builds(Wait, step_key=st.just(""), seconds=st.sampled_from([0, 60, 3600, 90_000])),
        st.builds(SendEmail, step_key=st.just(""), template=st.just("welcome")),
        st.builds(AddTag, step_key=st.just(""), tag=st.sampled_from(["x", "y"])),
    )
    if depth:
        inner = steps_of(depth - 1)
        plain |= st.builds(
            Branch,
            step_key=st.just(""),
            condition=st.builds(HasTag, st.sampled_from(["yes", "no"])),
            then=inner,
            otherwise=inner,
        )
    return st.lists(plain, max_size=4).map(tuple)


def says_yes(condition: Condition, _: Sequence[Due]) -> bool:
    return condition == HasTag("yes")


def taken(steps: Sequence[Step], due_at: datetime) -> Iterator[Due | datetime]:
    """In plain recursion: what is done and when, then when the end is reached."""
    for step in steps:
        if isinstance(step, Wait):
            due_at += timedelta(seconds=step.seconds)
        elif isinstance(step, Branch):
            for each in taken(
                step.then if says_yes(step.condition, ()) else step.otherwise, due_at
            ):
                if isinstance(each, Due):
                    yield each
                else:
                    due_at = each
        else:
            yield Due(step, due_at)
    yield due_at


@given(steps_of(2), st.lists(st.integers(0, 500_000), max_size=6))
def test_when_and_how_often_somebody_comes_by_changes_nothing(
    steps: tuple[Step, ...], looks: list[int]
) -> None:
    *wanted, _ = taken(steps, NOW)
    program = compile_steps(steps)
    position, due_at, done = 0, NOW, list[Due]()
    for seconds in [*sorted(looks), 10_000_000]:
        at = NOW + timedelta(seconds=seconds)
        if due_at > at:
            continue
        walked = walk(program, position, due_at, now=at, zone=BERLIN, holds=says_yes)
        assert all(each.due_at <= at for each in walked.actions)
        done += walked.actions
        if walked.due_at is None:
            break
        position, due_at = walked.position, walked.due_at
    assert done == wanted
