"""Tags, branches, several steps at once, days, tests, people held out: what a round does."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import event

from activation.automation.actions import (
    AddTag,
    Branch,
    Condition,
    HasTag,
    InSegment,
    OrderCount,
    RemoveTag,
    SendEmail,
    TotalSpent,
    Wait,
)
from activation.automation.claiming import claim
from core.database import session_scope
from core.models.enums import EnrollmentState, MessageState, Segment, SkipReason
from tests.activation.automation.flow import DAY, HOUR, Flow, definition
from tests.activation.world import World

ONE = SendEmail(step_key="one", template="welcome")
TWO = SendEmail(step_key="two", template="welcome")
VIP = AddTag(step_key="tag", tag="VIP")
WAIT = Wait(step_key="wait", seconds=3600)


@pytest.mark.requirement("AUTO-04", "FLOW-05")
def test_tags_are_asked_for_once_of_everybody_whatever_their_consent(world: World) -> None:
    flow = Flow.add(world, definition(VIP, WAIT, RemoveTag(step_key="off", tag="vip")))
    world.add_customers([1, 2])
    world.set_customer(2, consent_state="UNSUBSCRIBED", email=None)
    first = flow.enter(1)
    flow.enter(2, is_held_out=True)

    assert flow.run().tags == 2
    assert flow.tags() == [(1, "add_tag", "VIP", "queued"), (2, "add_tag", "VIP", "queued")]
    assert flow.enrollment(first).state is EnrollmentState.ACTIVE

    flow.later(HOUR)
    assert flow.tags() == [
        (1, "add_tag", "VIP", "superseded"),
        (2, "add_tag", "VIP", "superseded"),
        (1, "remove_tag", "vip", "queued"),
        (2, "remove_tag", "vip", "queued"),
    ]
    # Whoever is put back, as after a crash, asks for nothing again.
    world.execute("UPDATE crm.enrollments SET state = 'active', step_position = 0, due_at = :now",
                  now=world.now)  # fmt: skip
    assert flow.run().tags == 0
    assert world.messages() == []


@pytest.mark.requirement("AUTO-04")
def test_tags_of_many_are_asked_for_in_two_statements(world: World) -> None:
    flow = Flow.add(world, definition(VIP))
    world.add_customers(range(1, 31))
    for number in range(1, 31):
        flow.enter(number)
    said: list[str] = []

    def listen(_: Any, __: Any, statement: str, *___: Any) -> None:
        if "write_backs" in statement:
            said.append(statement)

    engine = world.factory.kw["bind"]
    event.listen(engine, "before_cursor_execute", listen)
    try:
        assert flow.run().tags == 30
    finally:
        event.remove(engine, "before_cursor_execute", listen)
    assert len(said) == 2


def test_whoever_is_held_out_gets_the_tag_and_no_mail(world: World) -> None:
    flow = Flow.add(world, definition(ONE, VIP))
    world.add_customers([1])
    flow.enter(1, is_held_out=True)
    flow.run()
    assert world.message().skip_reason is SkipReason.HOLDOUT
    assert [kind for _, kind, _, _ in flow.tags()] == ["add_tag"]


@pytest.mark.requirement("AUTO-07")
def test_while_a_flow_is_off_mails_are_skipped_and_no_tag_is_written_and_who_waits_stays(
    world: World,
) -> None:
    flow = Flow.add(world, definition(ONE, VIP, Wait(step_key="long", days=2), TWO))
    world.add_customers([1])
    enrollment_id = flow.enter(1)
    flow.switch(on=False)
    flow.run()
    assert world.message().skip_reason is SkipReason.AUTOMATION_OFF
    assert flow.tags() == []
    flow.later(DAY)
    flow.switch(on=True)
    flow.later(DAY)
    assert [message.state for message in world.messages()] == [
        MessageState.SKIPPED,
        MessageState.QUEUED,
    ]
    assert flow.enrollment(enrollment_id).state is EnrollmentState.COMPLETED


@pytest.mark.requirement("AUTO-03")
def test_steps_that_came_due_together_are_taken_together_each_with_its_own_instant(
    world: World,
) -> None:
    flow = Flow.add(world, definition(WAIT, ONE, Wait(step_key="day", days=1), VIP, TWO))
    world.add_customers([1])
    began = world.now
    enrollment_id = flow.enter(1)
    flow.run()
    assert flow.enrollment(enrollment_id).due_at == began + HOUR

    report = flow.later(3 * DAY)  # nobody came by for days

    assert (report.queued, report.tags) == (2, 1)
    assert [message.due_at for message in world.messages()] == [
        began + HOUR,
        began + HOUR + DAY,
    ]
    assert flow.enrollment(enrollment_id).state is EnrollmentState.COMPLETED
    assert flow.run().claimed == 0


@pytest.mark.requirement("AUTO-03")
def test_days_keep_the_time_of_day_in_the_shops_zone_when_the_clocks_change(world: World) -> None:
    world.set_shop(time_zone="America/New_York")
    flow = Flow.add(world, definition(Wait(step_key="days", days=7), ONE))
    world.add_customers([1])
    began = datetime(2026, 10, 28, 10, 30, tzinfo=ZoneInfo("America/New_York")).astimezone(UTC)
    enrollment_id = flow.enter(1, moment_at=began, due_at=began)
    flow.run(at=began)
    due = flow.enrollment(enrollment_id).due_at
    assert due == began + 7 * DAY + HOUR
    assert due is not None
    assert due.astimezone(ZoneInfo("America/New_York")).strftime("%d %H:%M") == "04 10:30"


@pytest.mark.requirement("AUTO-04")
@pytest.mark.parametrize(
    ("condition", "rich", "poor"),
    [
        (InSegment((Segment.CHAMPION, Segment.LOYAL)), True, False),
        (HasTag("Wholesale"), True, False),
        (OrderCount(2), True, False),
        (OrderCount(1), True, True),
        (TotalSpent(Decimal("99.80")), True, False),
        (TotalSpent(Decimal("49.90")), True, True),
    ],
)
def test_a_branch_asks_when_it_is_reached(
    world: World, condition: Condition, rich: bool, poor: bool
) -> None:
    fork = Branch(step_key="fork", condition=condition, then=(ONE,), otherwise=(TWO,))
    flow = Flow.add(world, definition(WAIT, fork, VIP))
    world.add_customers([1, 2, 3])
    for number in (1, 2, 3):
        flow.enter(number)
    flow.run()
    # All of it becomes so while they wait.
    world.place_orders([1, 1, 2])
    world.set_customer(1, tags=["wholesale"])
    flow.stay(1, "loyal")
    flow.stay(2, "new")

    flow.later(HOUR)

    ways = {message.customer_id: message.step_key for message in world.messages()}
    assert ways == {1: ("two", "one")[rich], 2: ("two", "one")[poor], 3: "two"}
    assert len(flow.tags()) == 3  # all go on behind it


def test_a_branch_sees_the_tags_of_the_steps_before_it(world: World) -> None:
    """Shopify is told of them a moment later, and tells us a moment after that."""
    known = Branch(step_key="same", condition=HasTag("vip"), then=(ONE,))
    gone = Branch(step_key="later", condition=HasTag("VIP"), otherwise=(TWO,))
    flow = Flow.add(
        world,
        definition(VIP, known, WAIT, RemoveTag(step_key="off", tag="vip"), gone, WAIT_MORE, AFTER),
    )
    world.add_customers([1], tags=["Vip"])
    flow.enter(1)
    flow.run()
    assert flow.steps_made() == ["one"]
    flow.later(HOUR)
    assert flow.steps_made() == ["one", "two"]
    # Told, but not read back yet.
    world.execute("UPDATE crm.write_backs SET state = 'done' WHERE state = 'queued'")
    world.execute(
        """
        INSERT INTO raw_shopify.refresh_requests (
            shop_id, object_type, object_id, reason, requested_at
        )
        VALUES (:shop_id, 'Customer', 1, 'written back', :now)
        """,
        shop_id=world.shop_id,
        now=world.now,
    )
    flow.later(HOUR)
    assert flow.steps_made() == ["one", "two", "three"]


WAIT_MORE = Wait(step_key="more", seconds=3600)
AFTER = Branch(
    step_key="after",
    condition=HasTag("vip"),
    otherwise=(SendEmail(step_key="three", template="welcome"),),
)


def test_mail_of_a_test_says_so(world: World) -> None:
    flow = Flow.add(world, definition(ONE))
    world.add_customers([1])
    flow.enter(1, is_test=True, order_id=99)  # an example, and no order of theirs
    flow.run()
    assert world.message().is_test
    assert world.message().state is MessageState.QUEUED


@pytest.mark.requirement("AUTO-02")
def test_an_edit_holds_for_what_somebody_has_not_reached_and_versions_in_between_for_nobody(
    world: World,
) -> None:
    later = Wait(step_key="later", seconds=3600)
    first = definition(WAIT, ONE, later, TWO)
    flow = Flow.add(world, first)
    world.add_customers([1, 2, 3])
    waiting = flow.enter(1)
    flow.run()
    flow.edit(definition(WAIT, VIP, ONE))  # nobody comes to a step of this one
    late = flow.enter(2)
    third = flow.edit(
        definition(
            Wait(step_key="wait", seconds=7200),
            SendEmail(step_key="new", template="welcome"),
            SendEmail(step_key="one", template="cart"),
            later,
        )
    )

    flow.later(HOUR)

    # Who was in the wait has waited it out; who had not begun waits as long as it is now.
    made = [(each.step_key, each.version) for each in world.messages()]
    assert made == [("new", third), ("one", third)]
    assert flow.enrollment(waiting).step_version == third
    assert flow.enrollment(late).due_at == world.now + HOUR
    assert flow.tags() == []
    flow.later(HOUR)
    assert flow.enrollment(waiting).state is EnrollmentState.COMPLETED
    assert "two" not in flow.steps_made()


def test_a_flow_that_is_replaced_by_another_goes_on_for_those_in_it(world: World) -> None:
    flow = Flow.add(world, definition(WAIT, ONE))
    world.add_customers([1])
    enrollment_id = flow.enter(1)
    flow.run()
    flow.edit(definition(Wait(step_key="else", seconds=1), TWO))
    flow.later(HOUR)
    assert flow.steps_made() == ["one"]
    assert flow.enrollment(enrollment_id).step_version == 1
    assert world.message().version == 1


def test_due_enrolments_are_taken_oldest_first_a_part_at_a_time(world: World) -> None:
    flow = Flow.add(world, definition(ONE))
    world.add_customers([1, 2, 3])
    for number, ago in ((1, 1), (2, 3), (3, 2)):
        flow.enter(number, due_at=world.now - timedelta(minutes=ago))
    assert flow.run(limit=2).claimed == 2
    assert [each.customer_id for each in world.messages()] == [2, 3]
    assert flow.run(limit=2).claimed == 1


@pytest.mark.requirement("AUTO-05")
def test_two_workers_take_steps_of_different_people(world: World) -> None:
    flow = Flow.add(world, definition(ONE, VIP))
    world.add_customers([1, 2, 3])
    for number in (1, 2, 3):
        flow.enter(number)
    with session_scope(world.factory) as other:
        taken = claim(other, world.shop_id, now=world.now, limit=2)
        assert flow.run().claimed == 1
        assert flow.run().claimed == 0
        assert {each.customer_id for each in taken} == {1, 2}
    assert [each.customer_id for each in world.messages()] == [3]
    assert flow.run().claimed == 2  # the other one died
    assert sorted(each.customer_id or 0 for each in world.messages()) == [1, 2, 3]
    assert len(flow.tags()) == 3
