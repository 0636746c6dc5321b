"""Where somebody goes on whose flow was edited while they were in it."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activation.automation.actions import (
    Branch,
    HasTag,
    SendEmail,
    Step,
    Wait,
    compile_steps,
)
from activation.automation.following import key_of, place_in


def steps(words: str) -> tuple[Step, ...]:
    """`w…` is a wait, all else a mail."""
    return tuple(
        Wait(step_key=word, seconds=60)
        if word.startswith("w")
        else SendEmail(step_key=word, template="welcome")
        for word in words.split()
    )


def coming(new: str, old: str, waiting_in: str) -> list[str] | None:
    """The steps of `new` still to come for whoever waits in a step of `old`; None: they stay."""
    program, followed = compile_steps(steps(new)), compile_steps(steps(old))
    position = [key_of(each) for each in followed].index(waiting_in) + 1
    place = place_in(program, followed, position)
    return None if place is None else [str(key_of(each)) for each in program[place:]]


@pytest.mark.parametrize(
    ("old", "waiting_in", "new", "then"),
    [
        ("w1 a w2 b", "w1", "w1 a w2 b", "a w2 b"),
        ("w1 a w2 b", "w2", "w1 a w2 b c", "b c"),  # added at the end
        ("w1 a w2 b", "w1", "w1 x a w2 b", "x a w2 b"),  # put between the wait and its mail
        ("w1 a w2 b", "w2", "x w1 a w2 b", "b"),  # put where they have been: not for them
        ("w1 a w2 b", "w1", "w1 w2 b", "w2 b"),  # their next mail was taken out
        ("w1 a w2 b", "w2", "w1 a", ""),  # the rest was taken out, with the wait they are in
        ("w1 a w2 b", "w1", "a w2 b", "a w2 b"),  # only the wait was
        ("w1 a w2 b", "w1", "b", "b"),
        ("w1 a w2 b", "w2", "w1 b w2 a", "b w2 a"),  # what they wait for now comes earlier
        ("w1 a w2 b w3 c", "w2", "w1 a w2 c w3 b", "c w3 b"),
        ("w1 a", "w1", "w9 z", None),  # another flow
        ("w1 a", "w1", "", None),
    ],
)
def test_an_edit_holds_for_what_is_not_reached(
    old: str, waiting_in: str, new: str, then: str | None
) -> None:
    assert coming(new, old, waiting_in) == (None if then is None else then.split())


def test_whoever_has_not_begun_follows_the_edit_from_its_beginning() -> None:
    program = compile_steps(steps("w0 x w1 a"))
    assert place_in(program, compile_steps(steps("w1 a")), 0) == 0


def test_behind_a_branch_that_was_taken_out_what_it_held_is_still_to_come() -> None:
    branch = Branch(
        step_key="asked", condition=HasTag("x"), then=steps("wx b"), otherwise=steps("c")
    )
    followed = compile_steps((*steps("w1"), branch, *steps("d")))
    flat = compile_steps(steps("w1 b d"))
    assert place_in(flat, followed, 1) == 1
    inside = [key_of(each) for each in followed].index("wx") + 1
    assert place_in(flat, followed, inside) == 1
    # A jump out of a branch leads over its other way.
    without = compile_steps(steps("c d"))
    assert place_in(without, followed, inside + 1) == 1


KEYS = ["w1", "a", "w2", "b", "w3", "c"]


@st.composite
def edits(draw: st.DrawFn) -> list[list[str]]:
    """Versions, each made of the one before it by taking out and putting in; none is reordered.
    What was taken out does not come back.
    """
    versions = [list(KEYS)]
    for number in range(draw(st.integers(1, 4))):
        left = [key for key in versions[-1] if draw(st.integers(0, 4)) or key == "c"]
        for at in range(draw(st.integers(0, 2))):
            kind = draw(st.sampled_from(["w", "m"]))
            left.insert(draw(st.integers(0, len(left))), f"{kind}{number}{at}")
        versions.append(left)
    return versions


@given(edits(), st.data())
def test_whatever_is_edited_nothing_is_taken_twice_and_nothing_that_was_taken_out(
    versions: list[list[str]], data: st.DataObject
) -> None:
    """Every version keeps the last mail, and whoever is in the flow gets it."""
    done: list[str] = []
    position, followed = 0, compile_steps(steps(" ".join(versions[0])))
    for number, version in enumerate(versions):
        current = compile_steps(steps(" ".join(version)))
        place = place_in(current, followed, position)
        assert place is not None
        last = number == len(versions) - 1
        waits = len(version) if last else data.draw(st.integers(1, 2), label="waits passed")
        taken, position = pass_waits(version, place, waits)
        assert set(taken) <= set(version)
        done += taken
        followed = current
        if position == len(version) and not version[-1].startswith("w"):
            break
    assert len(done) == len(set(done))
    assert "c" in done
    always = [key for key in KEYS if all(key in version for version in versions)]
    assert [key for key in done if key in always] == always


def pass_waits(version: Sequence[str], place: int, waits: int) -> tuple[list[str], int]:
    """The steps that are begun from `place` on, up to so many waits; and where they stand then."""
    taken: list[str] = []
    while place < len(version):
        taken.append(version[place])
        place += 1
        if taken[-1].startswith("w"):
            waits -= 1
            if not waits:
                break
    return taken, place
