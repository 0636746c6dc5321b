from datetime import timedelta

import pytest

from activation.outbox.answers import retry_delay
from activation.outbox.pacing import pause, reserve, slow_down
from core.database import session_scope
from tests.activation.world import World


def test_slots_are_a_ninth_of_a_second_apart_without_a_burst(world: World) -> None:
    waits = []
    for _ in range(6):
        with session_scope(world.factory) as session:
            waits.append(reserve(session, world.shop_id).wait)
    assert waits[0] == 0
    # Each transaction takes a little real time, which shortens the wait for its own slot.
    assert waits[5] == pytest.approx(5 / 9, abs=0.3)
    assert waits == sorted(waits)


def test_slowing_down_moves_the_next_slot(world: World) -> None:
    with session_scope(world.factory) as session:
        slow_down(session, world.shop_id, delay=timedelta(seconds=3))
        assert reserve(session, world.shop_id).wait == pytest.approx(3, abs=0.3)


def test_a_pause_is_told_with_its_length_and_never_shortened(world: World) -> None:
    with session_scope(world.factory) as session:
        pause(session, world.shop_id, delay=timedelta(minutes=5), reason="quota")
        pause(session, world.shop_id, delay=timedelta(seconds=1), reason="rate")
        assert reserve(session, world.shop_id).paused == pytest.approx(300, abs=1)


def test_a_pause_that_is_over_is_none(world: World) -> None:
    with session_scope(world.factory) as session:
        pause(session, world.shop_id, delay=timedelta(seconds=-1), reason="over")
        assert reserve(session, world.shop_id).paused is None


def test_retries_come_at_growing_intervals() -> None:
    assert [retry_delay(attempt).total_seconds() for attempt in (1, 2, 3, 9, 10, 500)] == [
        2, 4, 8, 512, 600, 600,
    ]  # fmt: skip
