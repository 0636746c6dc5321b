"""Which version somebody in a flow follows, and where they are in it (docs/decisions/0032).

An edit holds for whoever has not reached what it changes. Somebody who waits has begun the wait and
nothing behind it.
"""

from collections.abc import Iterator, Mapping, Sequence

from activation.automation.actions import Fork, Instruction, Jump, Wait


def key_of(instruction: Instruction) -> str | None:
    """The key of its step; a jump is part of a branch and has none."""
    match instruction:
        case Jump():
            return None
        case Fork(branch=branch):
            return branch.step_key
        case step:
            return step.step_key


def place_in(
    current: Sequence[Instruction], followed: Sequence[Instruction], position: int
) -> int | None:
    """Where in `current` they go on who stand at `position` of `followed`; None: they stay in it.

    Whoever waits goes on behind their wait; or at the step they waited for, where that now comes
    before it. If the wait is gone, they go on at the first step still to come that is still there;
    if none is, they are done. What was taken out is not taken by anybody who had not reached it.
    Where the two have no step in common it is another flow, and they stay in the one they are in.
    """
    if position == 0:
        return 0
    where = _positions(current)
    if where.keys().isdisjoint(_positions(followed)):
        return None
    places = [where[key] for key in _ahead(followed, position) if key in where][:1]
    waiting = followed[position - 1]
    if isinstance(waiting, Wait):
        behind = where.get(waiting.step_key)
        if behind is not None and isinstance(current[behind], Wait):
            places.append(behind + 1)
    return min(places, default=len(current))


def _positions(program: Sequence[Instruction]) -> Mapping[str, int]:
    keyed = ((key_of(instruction), position) for position, instruction in enumerate(program))
    return {key: position for key, position in keyed if key is not None}


def _ahead(program: Sequence[Instruction], position: int) -> Iterator[str]:
    """The keys still to come, in order; of a branch both ways."""
    while position < len(program):
        instruction = program[position]
        if isinstance(instruction, Jump):
            position = instruction.to
            continue
        key = key_of(instruction)
        if key is not None:
            yield key
        position += 1
