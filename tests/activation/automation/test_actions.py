from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activation.automation.definition import (
    AddTag,
    Branch,
    Definition,
    FirstOrder,
    Fork,
    HasTag,
    Jump,
    OrderCount,
    RemoveTag,
    Step,
    UniqueCode,
    Wait,
    read_definition,
    write_definition,
)

BERLIN = ZoneInfo("Europe/Berlin")
A, B, C, D = (AddTag(step_key=key, tag=key) for key in "abcd")


def definition(*steps: Step) -> Definition:
    return Definition(trigger=FirstOrder(), steps=steps, late_after_seconds=60)


def taken(steps: tuple[Step, ...], answers: dict[str, bool]) -> list[str]:
    """The keys of the steps that somebody with these answers goes through, read off the tree."""
    found: list[str] = []
    for step in steps:
        found.append(step.step_key)
        if isinstance(step, Branch):
            way = step.then if answers[step.step_key] else step.otherwise
            found += taken(way, answers)
    return found


def followed(flow: Definition, answers: dict[str, bool]) -> list[str]:
    """The same, by the program."""
    found: list[str] = []
    position = 0
    while position < len(flow.program):
        match flow.program[position]:
            case Jump(to=to):
                assert to > position
                position = to
            case Fork(branch=branch, otherwise=otherwise):
                found.append(branch.step_key)
                position = position + 1 if answers[branch.step_key] else otherwise
            case step:
                found.append(step.step_key)
                position += 1
    return found


@st.composite
def trees(draw: st.DrawFn, depth: int = 3) -> tuple[Step, ...]:
    shape = st.lists(st.booleans() if depth else st.just(value=False), max_size=3)
    return tuple(
        Branch(
            step_key="?",
            condition=HasTag(tag="x"),
            then=draw(trees(depth - 1)),
            otherwise=draw(trees(depth - 1)),
        )
        if is_branch
        else RemoveTag(step_key="?", tag="x")
        for is_branch in draw(shape)
    )


def named(steps: tuple[Step, ...], prefix: str = "") -> tuple[Step, ...]:
    """With keys of their own."""
    result: list[Step] = []
    for number, step in enumerate(steps):
        key = f"{prefix}{number}"
        if isinstance(step, Branch):
            then, otherwise = named(step.then, key + "y"), named(step.otherwise, key + "n")
            result.append(Branch(key, step.condition, then, otherwise))
        else:
            result.append(RemoveTag(step_key=key, tag="x"))
    return tuple(result)


@pytest.mark.requirement("AUTO-04")
@given(trees().map(named), st.data())
def test_the_program_takes_the_steps_that_the_tree_says(
    steps: tuple[Step, ...], data: st.DataObject
) -> None:
    flow = definition(*steps)
    answers = {key: data.draw(st.booleans()) for key in flow.step_keys}
    assert followed(flow, answers) == taken(steps, answers)


def test_without_branches_the_program_is_the_steps() -> None:
    assert definition(A, B).program == (A, B)


def test_a_branch_leads_past_what_is_not_for_it() -> None:
    branch = Branch("which", OrderCount(at_least=2), then=(A,), otherwise=(B, C))
    flow = definition(branch, D)
    assert flow.program == (Fork(branch, 3), A, Jump(5), B, C, D)
    assert [flow.position_of(key) for key in ("which", "a", "b", "d", "none")] == [0, 1, 3, 5, None]


def test_nested_steps_need_keys_of_their_own_too() -> None:
    with pytest.raises(ValueError, match="step_key of its own"):
        definition(A, Branch("which", HasTag(tag="x"), then=(A,)))


def test_a_definition_with_everything_survives_being_stored() -> None:
    flow = definition(Wait("w", days=2), Branch("which", HasTag(tag="x"), then=(A,)))
    assert read_definition(write_definition(flow)) == flow


@pytest.mark.requirement("AUTO-03")
def test_a_day_is_the_shops_also_when_the_clock_is_moved() -> None:
    before = datetime(2026, 3, 28, 9, 30, tzinfo=BERLIN)
    after = Wait("w", days=1).ends(before.astimezone(UTC), BERLIN)
    assert after == datetime(2026, 3, 29, 9, 30, tzinfo=BERLIN)
    assert after - before.astimezone(UTC) == timedelta(hours=23)
    assert Wait("w", seconds=86_400).ends(before, BERLIN) - before == timedelta(days=1)


@pytest.mark.parametrize("terms", [{}, {"percent": 10, "amount": "5"}, {"amount": "0"}])
def test_a_code_takes_off_one_thing(terms: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError)):
        UniqueCode(**terms)  # type: ignore[arg-type]  # what a file may hold
