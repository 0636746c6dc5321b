"""A bad batch of data, with the gate and, as its control, without: what it does to memberships and
to mail.

    210 customers with two orders each, one of them long ago, the other after the welcome flow was
    switched on. Then the old orders of some are read as test orders: they count no more, and who
    lost theirs looks like a first buyer.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from activation.acceptance import Acceptance, accept_held
from activation.eligibility.rules import change_rules
from activation.gate import GATE, Gate
from activation.holds import Hold, read_hold
from activation.work import orders_due
from core.database import session_scope
from core.errors import PermanentError
from core.ingestion import statistics
from core.models import AuditEntry
from core.models.enums import AuditAction, GateCheck, GateState, MembershipCause
from tests.activation.scores import DAY, rows, runs, score
from tests.activation.world import World
from tests.fixtures.marts import Marts

OFF = Gate(is_on=False)
PEOPLE = 210
MANY, FEW = 60, 12  # more and less than a fifth of them


def spelled_as_tests(world: World, people: int, *, is_test: bool = True) -> None:
    """The bad batch, written as a sync writes: with the statistics, and its customers marked."""
    with session_scope(world.factory) as session:
        touched = list(range(1, people + 1))
        statistics.lock(session, world.shop_id, touched)
    world.execute(
        "UPDATE raw_shopify.orders SET is_test = :is_test"
        " WHERE customer_id <= :people AND order_id <= :old",
        is_test=is_test,
        people=people,
        old=5000 + PEOPLE + 1,
    )
    with session_scope(world.factory) as session:
        statistics.recompute_all(session, world.shop_id, touched_at=world.now)


def memberships(world: World) -> list[tuple[object, ...]]:
    return [(row.customer_id, row.segment, row.entered_at, row.exited_at) for row in rows(world)]


def held(world: World) -> Hold | None:
    with session_scope(world.factory) as session:
        return read_hold(session, world.shop_id)


def is_due(world: World) -> bool:
    with session_scope(world.factory) as session:
        return orders_due(session)


@dataclass(frozen=True)
class Shop:
    world: World
    marts: Marts

    def score(self, name: str, gate: Gate = GATE) -> GateState:
        return score(self.world, self.marts, name, gate=gate).state


@pytest.fixture
def shop(fresh: World, marts: Marts) -> Shop:
    """Scored once, nothing waiting."""
    world = fresh
    world.add_customers(range(1, PEOPLE + 1))
    numbers = range(1, PEOPLE + 1)
    long_ago = world.now - 300 * DAY
    world.place_orders(numbers, processed_at=long_ago, current_total=Decimal(500))
    world.execute(
        "UPDATE raw_shopify.orders SET processed_at = processed_at + customer_id * interval '1 h'"
    )
    world.clock.advance(timedelta(minutes=5))
    world.place_orders(numbers, current_total=Decimal(20))
    world.execute("UPDATE raw_shopify.orders SET current_total = current_total + customer_id % 7")
    with session_scope(world.factory) as session:
        statistics.recompute_all(session, world.shop_id, touched_at=world.now)
    made = Shop(world, marts)
    assert made.score("r1") is GateState.ACCEPTED
    world.clock.advance(timedelta(minutes=5))
    world.run_cleanly()
    assert world.messages() == []
    assert not is_due(world)
    return made


@pytest.mark.requirement("RFM-06", "EMAIL-02")
@pytest.mark.parametrize("gate", [GATE, OFF], ids=["gate", "control"])
def test_a_bad_batch_stops_memberships_and_mails(shop: Shop, gate: Gate) -> None:
    """The run that the orders wake comes first, hours before the full run that could judge them."""
    world, before = shop.world, memberships(shop.world)
    spelled_as_tests(world, MANY)
    report = world.run_cleanly(gate=gate)
    if not gate.is_on:
        assert report.memberships_opened > MANY / 2
        assert len(world.provider.addresses()) == MANY  # old customers, welcomed as new ones
        assert held(world) is None
        return
    assert (report.shops_held, memberships(world), world.messages()) == (1, before, [])
    hold = held(world)
    assert hold
    assert hold.check is GateCheck.ORDERS_SWING
    assert "Orders since the last full run would move" in hold.reason
    assert not is_due(world)  # or the sensor would start a run every few seconds, for nothing
    assert world.run_cleanly().shops_held == 0

    # The full run finds what is missing. It is held too, and says so.
    assert shop.score("r2", gate) is GateState.HELD
    hold = held(world)
    assert hold
    assert (hold.check, hold.rfm_run_id) == (GateCheck.ORDERS_FELL, "r2")
    world.run_cleanly(gate=gate)
    assert (memberships(world), world.messages()) == (before, [])


@pytest.mark.requirement("RFM-06", "EMAIL-02")
@pytest.mark.parametrize("gate", [GATE, OFF], ids=["gate", "control"])
def test_a_batch_too_small_to_swing_is_held_by_the_full_run(shop: Shop, gate: Gate) -> None:
    """Read in the minutes before the full run, so that this one meets it first."""
    world, before = shop.world, memberships(shop.world)
    spelled_as_tests(world, FEW)
    state = shop.score("r2", gate)
    world.run_cleanly(gate=gate)
    if not gate.is_on:
        assert state is GateState.ACCEPTED
        assert memberships(world) != before
        assert len(world.provider.addresses()) == FEW
        return
    assert state is GateState.HELD
    assert (memberships(world), world.messages()) == (before, [])


@pytest.mark.requirement("RFM-06", "EMAIL-02")
@pytest.mark.parametrize("gate", [GATE, OFF], ids=["gate", "control"])
def test_a_batch_that_is_applied_while_it_is_written_is_held_at_a_fifth(
    shop: Shop, gate: Gate
) -> None:
    """Each part is small when a run comes by; together they went through."""
    world = shop.world
    before = len(rows(world))
    for people in range(10, PEOPLE + 1, 10):
        spelled_as_tests(world, people)
        world.clock.advance(timedelta(minutes=1))
        # What a person decides about something else accepts none of it; it began the count anew.
        with session_scope(world.factory) as session:
            change_rules(session, world.shop_id, {"short_cap_hours": people // 10}, now=world.now)
        world.run_cleanly(gate=gate)
    moved = len(rows(world)) - before
    if not gate.is_on:
        assert moved > PEOPLE / 5
        assert len(world.provider.addresses()) == PEOPLE
        return
    assert 0 < moved <= PEOPLE / 5
    assert len(world.provider.addresses()) <= PEOPLE / 2
    accept(world)
    world.clock.advance(timedelta(minutes=1))
    world.place_order(1)
    assert world.run_cleanly().shops_held == 0  # what was accepted is not counted again


@pytest.mark.requirement("RFM-06")
def test_data_that_is_read_again_as_it_was_ends_the_hold(shop: Shop) -> None:
    world, before = shop.world, memberships(shop.world)
    spelled_as_tests(world, MANY)
    world.run_cleanly()
    assert shop.score("r2") is GateState.HELD
    spelled_as_tests(world, MANY, is_test=False)
    assert shop.score("r3") is GateState.ACCEPTED
    assert held(world) is None
    assert is_due(world)  # whoever was marked meanwhile
    world.run_cleanly()
    assert (memberships(world), world.messages()) == (before, [])
    assert not is_due(world)


@pytest.mark.requirement("RFM-06")
def test_one_order_does_not_wait_for_a_swing_of_a_full_run_to_start_a_flow(shop: Shop) -> None:
    """None of the orders is missing; only what the boundaries make of them is in doubt."""
    world = shop.world
    world.set_shop(
        segments_held_at=world.now,
        segments_held_check=GateCheck.SEGMENTS_SWING,
        segments_held_reason="…",
    )
    world.buyers([900])
    assert is_due(world)
    report = world.run_cleanly()
    assert report.memberships_opened == 0
    world.assert_each_sent_once([900])
    assert not is_due(world)


def accept(
    world: World, reason: str = "We removed the staff's orders.", *, seen: datetime | None = None
) -> Acceptance:
    return accept_held(
        world.factory, shop_id=world.shop_id, reason=reason, now=world.now, seen=seen
    )


def audit(world: World) -> list[AuditEntry]:
    with session_scope(world.factory) as session:
        return list(session.query(AuditEntry).order_by(AuditEntry.audit_entry_id))


@pytest.mark.requirement("RFM-06")
def test_a_person_accepts_a_held_run_and_it_takes_effect_once(shop: Shop) -> None:
    world = shop.world
    spelled_as_tests(world, FEW)
    assert shop.score("r2") is GateState.HELD
    world.clock.advance(timedelta(hours=6))
    done = accept(world)
    run = runs(world)["r2"]
    moved = [row for row in rows(world) if row.entered_at == world.now]
    assert run.state is GateState.ACCEPTED
    assert run.held_check is GateCheck.ORDERS_FELL
    assert done.entered == run.entered_count == run.moved_count == len(moved) > 0
    assert {(row.cause, row.rfm_run_id) for row in moved} == {(MembershipCause.FULL_RUN, "r2")}
    [entry] = audit(world)
    assert (entry.acted_at, entry.user_id, entry.about) == (world.now, None, "r2")
    assert (entry.action, entry.reason) == (
        AuditAction.ACCEPT_HELD_DATA,
        "We removed the staff's orders.",
    )
    assert entry.figures["check"] == "orders_fell"
    assert (entry.figures["entered"], entry.figures["moved"]) == (done.entered, done.entered)
    with pytest.raises(PermanentError, match="Nothing is held"):
        accept(world)
    # What was accepted is what the next run is compared with: it is not held for the same again.
    assert shop.score("r3") is GateState.ACCEPTED


@pytest.mark.requirement("RFM-06")
def test_a_person_accepts_orders_that_came_together(shop: Shop) -> None:
    world = shop.world
    spelled_as_tests(world, MANY)
    world.run_cleanly()
    done = accept(world)
    assert done.entered == done.exited > MANY / 2
    opened = [row for row in rows(world) if row.entered_at == world.now]
    assert {(row.cause, row.rfm_run_id) for row in opened} == {(MembershipCause.ORDER, "r1")}
    assert list(runs(world)) == ["r1"]
    [entry] = audit(world)
    assert (entry.about, entry.figures["check"]) == (None, "orders_swing")
    assert is_due(world)
    assert world.run_cleanly().memberships_opened == 0


@pytest.mark.requirement("RFM-06")
def test_nobody_accepts_without_a_reason_or_what_they_have_not_seen(shop: Shop) -> None:
    world = shop.world
    spelled_as_tests(world, FEW)
    shop.score("r2")
    seen = held(world)
    assert seen
    before = memberships(world)
    with pytest.raises(PermanentError, match="Say why"):
        accept(world, "  ")
    world.clock.advance(DAY)
    shop.score("r3")
    with pytest.raises(PermanentError, match="Something else is held"):
        accept(world, seen=seen.held_at)
    assert (memberships(world), audit(world)) == (before, [])
    assert accept(world, seen=world.now).held.rfm_run_id == "r3"
