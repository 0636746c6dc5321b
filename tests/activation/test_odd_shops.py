"""Shops that scores can say little about: memberships and gate go on, and nothing flaps.

What the scores themselves are there is defined and tested with the models (tests/dbt).
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from activation.gate import GATE
from activation.history import flaps
from activation.memberships import MembershipReport
from activation.standing import count_broken_keys, count_currencies
from core.database import session_scope
from core.models.enums import GateState
from tests.activation.scores import DAY, rows, score
from tests.activation.test_touched import apply, assert_chains
from tests.activation.world import World
from tests.fixtures.marts import Marts

PEOPLE = 12


def buy(world: World, buyers: int, **columns: Any) -> None:
    for number in range(1, buyers + 1):
        world.place_order(
            number,
            **{
                "processed_at": world.now - number * DAY,
                "current_total": Decimal(10 * number),
                **columns,
            },
        )


def in_two_currencies(world: World) -> None:
    buy(world, PEOPLE)
    world.place_orders([1, 2, 3], currency="USD", processed_at=world.now - DAY)


SHOPS: dict[str, tuple[Callable[[World], None], int]] = {
    "no orders": (lambda world: buy(world, 0), 0),
    "one order": (lambda world: buy(world, 1), 1),
    "fewer than five buyers": (lambda world: buy(world, 4), 4),
    "all on one day": (lambda world: buy(world, PEOPLE, processed_at=world.now - DAY), PEOPLE),
    "equal totals": (lambda world: buy(world, PEOPLE, current_total=Decimal(50)), PEOPLE),
    "nothing differs": (
        lambda world: buy(world, PEOPLE, current_total=Decimal(50), processed_at=world.now - DAY),
        PEOPLE,
    ),
    "negative totals": (lambda world: buy(world, PEOPLE, current_total=Decimal(-7)), PEOPLE),
    "two currencies": (in_two_currencies, PEOPLE),
}


@pytest.mark.requirement("RFM-03", "RFM-06")
@pytest.mark.parametrize("name", SHOPS)
def test_an_odd_shop_has_a_baseline_and_no_changes_without_a_reason(
    fresh: World, marts: Marts, name: str
) -> None:
    world = fresh
    place, buyers = SHOPS[name]
    world.add_customers(range(1, PEOPLE + 1))
    place(world)
    first = score(world, marts, "r1")
    assert (first.state, first.buyers, first.entered) == (GateState.ACCEPTED, buyers, PEOPLE)
    assert first.baseline
    before = len(rows(world))
    # The same data the next night, by a run of its own: nobody moves.
    world.run_cleanly()
    world.clock.advance(DAY)
    second = score(world, marts, "r2")
    assert (second.state, second.moved, second.entered, second.exited) == (
        *(GateState.ACCEPTED, 0),
        *(0, 0),
    )
    # An order moves at most its customer, and nothing is left for a full run to do.
    world.place_order(2, current_total=Decimal(900))
    report = world.run_cleanly()
    assert report.memberships_opened == report.memberships_closed <= 1
    if buyers < 5:
        assert report.memberships_opened == 0
        assert {row.segment.value for row in rows(world)} == {"potential"}
    with session_scope(world.factory) as session:
        assert apply(session, world) == MembershipReport()
        assert not any(count_broken_keys(session, world.shop_id).values())
        until = world.now + DAY
        assert flaps(session, world.shop_id, since=world.now - 9 * DAY, until=until).returns == 0
    assert len(rows(world)) == before + report.memberships_opened
    assert_chains(world)


@pytest.mark.requirement("RFM-06")
def test_orders_in_another_currency_are_counted_and_hold_nothing(
    fresh: World, marts: Marts
) -> None:
    """They are in no sum, which a check says; the segments of the rest are right."""
    fresh.add_customers(range(1, PEOPLE + 1))
    in_two_currencies(fresh)
    assert score(fresh, marts, "r1", gate=GATE).state is GateState.ACCEPTED
    with session_scope(fresh.factory) as session:
        found = count_currencies(session, fresh.shop_id)
    assert (found.orders, found.in_another, found.is_mixed) == (PEOPLE + 3, 3, True)
