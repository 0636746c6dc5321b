"""Who enters each flow, at which moment, under which key, how often, and who never does."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from activation.automation.definition import Again, AnyOrder, EnteredSegment, TagAdded
from activation.automation.due import moments_due, seconds_until_moment
from activation.automation.enrollment import EnrolmentReport, enrol
from activation.automation.holdout import is_held_out
from activation.automation.presets import ABANDONED_CART, REPURCHASE, VIP, WIN_BACK
from activation.automation.spreading import Silent, count_silent
from activation.automation.switching import load_automations
from activation.scoring import EVALUATE_ANEW
from core.database import session_scope
from core.models import Automation
from core.models.enums import Segment
from tests.activation.automation.flow import Flow, definition
from tests.activation.world import World

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def shop(world: World) -> World:
    """One in which none of the presets is on."""
    world.switch_flow_off("welcome")
    return world


def sweep(world: World) -> EnrolmentReport:
    with session_scope(world.factory) as session:
        return enrol(session, world.shop_id, customer_ids=None, now=world.now, run_id="run-1")


def full_run(world: World) -> None:
    """What it leaves when it moved somebody."""
    with session_scope(world.factory) as session:
        session.execute(EVALUATE_ANEW, {"shop_id": world.shop_id})


def of_some(world: World, *customer_ids: int) -> EnrolmentReport:
    with session_scope(world.factory) as session:
        ids = list(customer_ids)
        return enrol(session, world.shop_id, customer_ids=ids, now=world.now, run_id=None)


def is_due(world: World) -> bool:
    with session_scope(world.factory) as session:
        return moments_due(session, now=world.now)


def entered(world: World) -> list[tuple[int, str]]:
    return [(each.customer_id, each.entry_key) for each in world.enrollments()]


def key_of(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


@pytest.mark.requirement("FLOW-02")
def test_a_cart_enters_once_its_delay_is_over_and_a_later_change_moves_it(shop: World) -> None:
    shop.switch_flow_on(ABANDONED_CART)
    shop.add_customers([1, 2])
    shop.leave_cart("a", 1)
    shop.leave_cart("b", None, email=" C2@example.com ")  # nobody's but by its address
    shop.leave_cart("c", None, email=None)
    assert sweep(shop) == EnrolmentReport()
    left = shop.now
    with session_scope(shop.factory) as session:
        wait = seconds_until_moment(session, now=shop.now, horizon=3 * HOUR)
    assert wait == pytest.approx(7200)
    shop.clock.advance(HOUR)
    shop.execute(
        "UPDATE raw_shopify.checkouts SET updated_at = :at WHERE checkout_key = 'b'", at=shop.now
    )
    shop.clock.advance(HOUR)
    assert is_due(shop)
    assert sweep(shop) == EnrolmentReport(enrolled=1)
    assert not is_due(shop)
    [entry] = shop.enrollments()
    assert (entry.customer_id, entry.checkout_key, entry.entry_key) == (1, "a", "a")
    assert entry.moment_at == entry.due_at == left
    shop.clock.advance(HOUR)
    assert is_due(shop)
    assert sweep(shop) == EnrolmentReport(enrolled=1)


@pytest.mark.requirement("FLOW-02")
def test_an_order_by_customer_token_or_address_ends_a_cart_before_it_enters(shop: World) -> None:
    shop.switch_flow_on(ABANDONED_CART)
    shop.add_customers([1, 2, 3, 4])
    for number in (1, 2, 3, 4):
        shop.leave_cart(f"k{number}", number)
    shop.clock.advance(HOUR)
    shop.place_order(1)
    shop.place_order(None, checkout_token="token-k2")
    shop.place_order(None, email="C3@example.com")
    shop.clock.advance(HOUR)
    assert sweep(shop) == EnrolmentReport(enrolled=1)
    assert entered(shop) == [(4, "k4")]


@pytest.mark.requirement("FLOW-02", "AUTO-05")
def test_one_cart_in_seven_days_and_late_ones_are_recorded(shop: World) -> None:
    shop.switch_flow_on(ABANDONED_CART)
    shop.add_customers([1])
    shop.leave_cart("a", 1)
    shop.clock.advance(2 * HOUR)
    sweep(shop)
    shop.leave_cart("b", 1)
    shop.clock.advance(7 * DAY - 3 * HOUR)
    shop.leave_cart("c", 1)
    shop.clock.advance(3 * HOUR)
    assert sweep(shop) == EnrolmentReport()
    shop.leave_cart("d", 1)
    shop.clock.advance(26 * HOUR + timedelta(seconds=1))
    assert sweep(shop) == EnrolmentReport(too_late=1)
    assert entered(shop) == [(1, "a"), (1, "d")]


@pytest.mark.requirement("FLOW-05")
def test_entering_champion_starts_vip_once_in_a_life(shop: World) -> None:
    shop.add_customers([1, 2, 3, 4])
    shop.stay(3, "champion")  # before the switch-on
    shop.clock.advance(HOUR)
    shop.switch_flow_on(VIP)
    shop.stay(1, "champion")
    shop.stay(2, "champion", before=None)  # a baseline: nobody entered
    shop.stay(4, "loyal")
    assert sweep(shop) == EnrolmentReport(enrolled=1)
    shop.clock.advance(DAY)
    shop.stay(1, "loyal")
    shop.clock.advance(DAY)
    shop.stay(1, "champion")
    assert of_some(shop, 1) == sweep(shop) == EnrolmentReport()
    [entry] = shop.enrollments()
    assert (entry.customer_id, entry.entry_key, entry.segment) == (1, "first", "champion")


@pytest.mark.requirement("AUTO-02")
def test_a_stay_that_is_over_when_it_is_looked_at_began_all_the_same(shop: World) -> None:
    made = definition(trigger=EnteredSegment(segments=(Segment.CHAMPION,)), reentry=Again())
    Flow.add(shop, made)
    shop.add_customers([1])
    shop.stay(1, "champion")
    began = shop.now
    shop.clock.advance(HOUR)
    shop.stay(1, "loyal")
    assert sweep(shop) == EnrolmentReport(enrolled=1)
    assert entered(shop) == [(1, key_of(began))]


@pytest.mark.requirement("FLOW-03")
def test_a_silence_ends_at_the_time_of_day_of_the_last_order_across_a_clock_change(
    shop: World,
) -> None:
    """Berlin goes back on 25 October 2026: thirty days later it is an hour more."""
    shop.clock.advance(datetime(2026, 10, 10, 12, 0, tzinfo=UTC) - shop.now)
    shop.set_shop(first_sync_started_at=shop.now - DAY)
    shop.switch_flow_on(REPURCHASE)
    shop.buyers([1])
    order = shop.next_order
    shop.stay(1, "new")
    shop.clock.advance(30 * DAY)
    assert not is_due(shop) or sweep(shop) == EnrolmentReport()
    assert sweep(shop) == EnrolmentReport()
    shop.clock.advance(HOUR)
    assert is_due(shop)
    assert sweep(shop) == EnrolmentReport(enrolled=1)
    [entry] = shop.enrollments()
    assert (entry.moment_at, entry.order_id) == (shop.now, order)
    assert (entry.entry_key, entry.segment) == (str(order), "new")
    shop.clock.advance(40 * DAY)
    assert sweep(shop) == EnrolmentReport()  # once per silence


@pytest.mark.requirement("FLOW-04")
def test_who_is_silent_and_comes_into_the_segment_enters_then(shop: World) -> None:
    shop.buyers([1, 2], created_at=shop.now)
    shop.stay(1, "loyal")
    shop.clock.advance(80 * DAY)
    shop.switch_flow_on(WIN_BACK)
    sweep(shop)
    shop.clock.advance(20 * DAY)
    assert sweep(shop) == EnrolmentReport()
    shop.stay(1, "at_risk", before="loyal")
    full_run(shop)
    assert sweep(shop) == EnrolmentReport(enrolled=1)
    assert shop.enrollments()[0].moment_at == shop.now


@pytest.mark.requirement("FLOW-04")
def test_those_silent_at_the_switch_on_come_over_days_the_most_recent_first(shop: World) -> None:
    people = list(range(1, 121))
    shop.add_customers(people)
    for number in people:
        at = shop.now - (100 + number) * DAY
        shop.place_order(number, processed_at=at)  # historical, but a last order
        shop.stay(number, "at_risk", entered_at=shop.now - 99 * DAY)
    with session_scope(shop.factory) as session:
        counted = count_silent(session, shop.shop_id, WIN_BACK, now=shop.now)
    assert counted == Silent(people=120, a_day=50, days=3)
    shop.switch_flow_on(WIN_BACK)
    assert is_due(shop)
    assert sweep(shop) == EnrolmentReport(enrolled=120)
    assert sweep(shop) == EnrolmentReport()
    due = {each.customer_id: each.due_at for each in shop.enrollments()}
    assert [(due[n] or shop.now) - shop.now for n in (1, 50, 51, 100, 101, 120)] == [
        0 * DAY,
        0 * DAY,
        DAY,
        DAY,
        2 * DAY,
        2 * DAY,
    ]


@pytest.mark.requirement("FLOW-04")
def test_those_silent_at_the_switch_on_can_be_left_out(shop: World) -> None:
    shop.add_customers([1])
    shop.place_order(1, processed_at=shop.now - 100 * DAY)
    shop.stay(1, "at_risk", entered_at=shop.now - 99 * DAY)
    shop.switch_flow_on(WIN_BACK, include_silent=False)
    assert sweep(shop) == EnrolmentReport()
    shop.switch_flow_off(WIN_BACK)
    shop.clock.advance(HOUR)
    shop.switch_flow_on(WIN_BACK)  # the control
    assert sweep(shop) == EnrolmentReport(enrolled=1)


@pytest.mark.requirement("AUTO-02")
def test_each_order_enters_once_and_one_written_late_is_not_lost(shop: World) -> None:
    Flow.add(shop, definition(trigger=AnyOrder()))
    shop.add_customers([1])
    first = shop.place_order(1)
    shop.clock.advance(HOUR)
    sweep(shop)
    late = shop.place_order(1, processed_at=shop.now - HOUR)
    assert sweep(shop) == EnrolmentReport(enrolled=1)
    assert entered(shop) == [(1, str(first)), (1, str(late))]


@pytest.mark.requirement("AUTO-02")
def test_a_tag_is_added_when_it_is_read_and_had_not_been(shop: World) -> None:
    shop.add_customers([1, 2], tags=["Gold"])
    shop.add_customers([3], consent_state=None)
    Flow.add(shop, definition(trigger=TagAdded(tag="gold")))
    shop.clock.advance(HOUR)
    shop.set_customer(1, tags=["gold", "x"], updated_at=shop.now)  # the same tag
    shop.set_customer(3, tags=["gold"], consent_state="SUBSCRIBED", updated_at=shop.now)
    assert sweep(shop) == EnrolmentReport()
    shop.set_customer(2, tags=[], updated_at=shop.now)
    shop.clock.advance(HOUR)
    shop.set_customer(2, tags=["GOLD"], updated_at=shop.now)
    assert is_due(shop)
    assert sweep(shop) == EnrolmentReport(enrolled=1)
    assert entered(shop) == [(2, key_of(shop.now))]
    added = shop.now
    shop.clock.advance(2 * DAY)
    sweep(shop)
    shop.set_customer(1, tags=[], updated_at=added)
    shop.set_customer(1, tags=["gold"], updated_at=added)  # a sync reads of it two days later
    assert is_due(shop)
    assert sweep(shop) == EnrolmentReport(enrolled=1)


@pytest.mark.requirement("AUTO-06")
def test_the_held_out_are_those_the_formula_says_and_never_people_who_try(shop: World) -> None:
    """The statement and its twin in Python agree on every number, the largest among them."""
    people = [*range(1, 300), 2**53 + 1, 9_007_199_254_740_993]
    people = sorted(set(people))
    Flow.add(shop, definition(trigger=AnyOrder(), holdout_percent=30), key="half")
    shop.buyers(people)
    shop.set_customer(5, tags=["ECOMCRM-Test"])
    sweep(shop)
    with session_scope(shop.factory) as session:
        domain = session.execute(text("SELECT domain FROM crm.shops")).scalar_one()
    held = {each.customer_id for each in shop.enrollments() if each.is_held_out}
    assert held == {n for n in people if is_held_out(domain, "half", n, 30)} - {5}
    assert held


@pytest.mark.requirement("FLOW-01")
def test_without_all_orders_nobody_is_welcomed(world: World) -> None:
    scopes = ["read_customers", "read_orders"]
    world.set_shop(access_scopes=scopes)
    world.buyers([1])
    assert sweep(world) == EnrolmentReport()
    assert not is_due(world)
    world.set_shop(access_scopes=[*scopes, "read_all_orders"])
    assert sweep(world) == EnrolmentReport(enrolled=1)


@pytest.mark.requirement("AUTO-02")
def test_a_shop_of_an_earlier_release_gets_the_new_presets_with_the_next_run(shop: World) -> None:
    with session_scope(shop.factory) as session:
        for key in (VIP, WIN_BACK):
            session.execute(
                text(
                    "DELETE FROM crm.automation_versions WHERE automation_id ="
                    " (SELECT automation_id FROM crm.automations WHERE key = :key)"
                ),
                {"key": key},
            )
            session.query(Automation).filter_by(key=key).delete()
    sweep(shop)
    sweep(shop)
    with session_scope(shop.factory) as session:
        flows = load_automations(session, shop.shop_id)
    keys = [flow.key for flow in flows if flow.key != "confirmation"]
    assert keys == [ABANDONED_CART, REPURCHASE, VIP, "welcome", WIN_BACK]
    assert not any(flow.is_active for flow in flows)


@pytest.mark.requirement("AUTO-01")
def test_what_is_due_in_one_shop_has_no_other_looked_at(shop: World) -> None:
    """One due shop had every shop's customers evaluated, each asking about all shops' flows."""
    other = shop.add_shop()
    shop.switch_flow_on(VIP)
    sweep(shop)
    full_run(shop)
    with session_scope(shop.factory) as session:
        assert moments_due(session, now=shop.now)
        assert moments_due(session, now=shop.now, shop_id=shop.shop_id)
        assert not moments_due(session, now=shop.now, shop_id=other)
