"""The look-ups behind the sensors say exactly when a run would find something."""

from datetime import timedelta

import pytest

from activation.work import orders_due, seconds_until_next, steps_due
from core.database import session_scope
from tests.activation import fake_provider as fake
from tests.activation.world import World

SOON = timedelta(seconds=5)


def due(world: World) -> tuple[bool, bool]:
    with session_scope(world.factory) as session:
        return orders_due(session), steps_due(session, now=world.now)


def until_next(world: World) -> float | None:
    with session_scope(world.factory) as session:
        return seconds_until_next(session, now=world.now, horizon=SOON)


@pytest.mark.requirement("PIPE-01")
def test_an_order_is_due_until_a_run_has_worked_on_it(world: World) -> None:
    assert due(world) == (False, False)
    world.buyers([1])
    assert due(world) == (True, False)
    world.run_cleanly()
    assert due(world) == (False, False)


@pytest.mark.requirement("PIPE-01")
def test_orders_of_a_shop_that_is_not_ready_start_no_run(world: World) -> None:
    world.set_shop(baseline_at=None)
    world.buyers([1])
    assert due(world) == (False, False)


@pytest.mark.requirement("PIPE-01")
@pytest.mark.parametrize("offset", [timedelta(), timedelta(days=40)])
def test_a_step_is_due_when_its_time_has_come_in_the_shops_own_clock(
    world: World, offset: timedelta
) -> None:
    world.set_shop(is_sandbox=True, clock_offset=offset)
    world.clock.advance(offset)  # the shop's time, in which its orders are placed
    world.switch_welcome_on(delay=timedelta(hours=1))
    world.buyers([1])
    world.clock.advance(-offset)
    world.run_cleanly()
    assert due(world) == (False, False)
    assert until_next(world) is None
    world.clock.advance(timedelta(minutes=59, seconds=57))
    assert until_next(world) == pytest.approx(3, abs=0.1)
    world.clock.advance(SOON)
    assert due(world) == (False, True)
    assert until_next(world) == 0
    world.run_cleanly()
    assert due(world) == (False, False)
    world.assert_each_sent_once([1])


@pytest.mark.requirement("PIPE-01")
def test_an_open_batch_is_due_when_its_lease_is_over(world: World) -> None:
    world.provider.faults = [fake.drop]
    world.buyers([1])
    world.run_cleanly()
    assert due(world) == (False, False)
    assert until_next(world) == pytest.approx(2, abs=0.5)
    world.end_leases()
    assert due(world) == (False, True)


@pytest.mark.requirement("PIPE-01")
def test_refreshes_and_failed_webhooks_are_due_in_real_time(world: World) -> None:
    world.run_cleanly()  # the flow that has just been switched on is due, too
    world.execute(
        "INSERT INTO raw_shopify.refresh_requests"
        " (shop_id, object_type, object_id, reason, requested_at, next_attempt_at)"
        " VALUES (:shop_id, 'Customer', 1, 'x', now(), clock_timestamp() + interval '2 s')",
        shop_id=world.shop_id,
    )
    assert due(world) == (False, False)
    assert until_next(world) == pytest.approx(2, abs=0.5)
    world.execute("UPDATE raw_shopify.refresh_requests SET next_attempt_at = clock_timestamp()")
    assert due(world) == (True, False)
    world.execute("UPDATE raw_shopify.refresh_requests SET next_attempt_at = NULL")
    assert due(world) == (False, False)
    assert until_next(world) is None
