"""Caps and priorities from the queue to the provider: who leaves, who waits, and what counts."""

from datetime import timedelta
from typing import Any

import pytest

from activation.eligibility.rules import change_rules
from activation.outbox.members import claim_queued
from core.database import session_scope
from core.models.enums import DeferReason, MessageState, SkipReason
from tests.activation.eligibility.flows import add_flow, flow_of_mails, message, queue
from tests.activation.world import World

CAP, HOURS = DeferReason.FREQUENCY_CAP, timedelta(hours=1)


def waits(world: World, message_id: int) -> tuple[MessageState, DeferReason | None, timedelta]:
    found = message(world, message_id)
    return found.state, found.defer_reason, found.due_at - world.now


@pytest.mark.requirement("EMAIL-02", "AUTO-06")
@pytest.mark.parametrize("batch_size", [1, 100])
@pytest.mark.parametrize("is_late_first", [False, True])
def test_of_two_mails_to_one_address_the_more_urgent_leaves_and_the_other_a_day_later(
    world: World, batch_size: int, *, is_late_first: bool
) -> None:
    world.add_customer(1)
    flows = [add_flow(world, "win_back", priority=40), add_flow(world, "cart", priority=10)]
    due = [world.now - HOURS if is_late_first else world.now, world.now]
    later, _ = (queue(world, flow, 1, due_at=at) for flow, at in zip(flows, due, strict=True))
    world.run_cleanly(batch_size=batch_size)
    assert flow_of_mails(world) == ["cart"]
    assert waits(world, later) == (MessageState.QUEUED, CAP, 20 * HOURS)

    world.clock.advance(timedelta(hours=19, minutes=59))
    world.run_cleanly()
    assert flow_of_mails(world) == ["cart"]
    world.clock.advance(timedelta(minutes=1))
    world.run_cleanly()
    assert flow_of_mails(world) == ["cart", "win_back"]


@pytest.mark.requirement("EMAIL-02")
def test_an_address_is_one_however_many_customers_have_it(world: World) -> None:
    """And however it is written: as suppressions find it, so do caps."""
    flow = add_flow(world, "vip")
    world.add_customer(1, email="Anna@example.com")
    world.add_customer(2, email=" anna@EXAMPLE.com ")
    first, second = queue(world, flow, 1), queue(world, flow, 2)
    world.run_cleanly()
    assert message(world, first).state is MessageState.SENT
    assert waits(world, second) == (MessageState.QUEUED, CAP, 20 * HOURS)
    # They are one customer now; what the address got has not become less.
    world.execute("UPDATE crm.messages SET customer_id = 2")
    third = queue(world, add_flow(world, "cart", priority=10), 2)
    world.run_cleanly()
    assert waits(world, third)[:2] == (MessageState.QUEUED, CAP)


@pytest.mark.requirement("EMAIL-02")
def test_the_most_urgent_mails_of_a_shop_are_claimed_first(world: World) -> None:
    win_back, cart = add_flow(world, "win_back", priority=40), add_flow(world, "cart", priority=10)
    world.add_customers(range(1, 8))
    for number in range(1, 6):
        queue(world, win_back, number, due_at=world.now - HOURS)
    queue(world, cart, 6)
    queue(world, cart, 7, due_at=world.now + HOURS)
    world.run_cleanly(batch_size=2)
    assert flow_of_mails(world) == ["cart", *["win_back"] * 5]


@pytest.mark.requirement("EMAIL-02")
def test_a_mail_gives_way_to_one_that_another_worker_is_about_to_freeze(world: World) -> None:
    """The other worker holds the cart's mail and has not come to its address yet."""
    world.add_customer(1)
    later = queue(world, add_flow(world, "win_back", priority=40), 1, due_at=world.now - HOURS)
    queue(world, add_flow(world, "cart", priority=10), 1)
    with session_scope(world.factory) as other:
        [held] = claim_queued(other, world.shop_id, now=world.now, limit=1)
        assert held.priority == 10
        world.run_cleanly()
        assert flow_of_mails(world) == []
        assert waits(world, later) == (MessageState.QUEUED, CAP, timedelta(seconds=30))
    world.clock.advance(timedelta(seconds=30))
    world.run_cleanly()
    assert flow_of_mails(world) == ["cart"]


@pytest.mark.requirement("EMAIL-02")
@pytest.mark.parametrize(
    ("state", "counts"),
    [
        ("frozen", True),
        ("sent", True),
        ("delivered", True),
        ("unknown", True),
        ("bounced", True),
        ("complained", True),
        ("failed", False),
        ("skipped", False),
    ],
)
def test_what_may_have_left_counts_and_what_never_did_does_not(
    world: World, state: str, *, counts: bool
) -> None:
    world.add_customer(1)
    flow = add_flow(world, "vip")
    queue(world, flow, 1, due_at=world.now - HOURS, state=state, frozen_at=world.now - HOURS)
    second = queue(world, flow, 1)
    world.run_cleanly()
    assert message(world, second).state is (MessageState.QUEUED if counts else MessageState.SENT)


@pytest.mark.requirement("EMAIL-02")
def test_a_mail_that_may_still_leave_counts_as_leaving_now(world: World) -> None:
    """Frozen 19 hours ago and accepted only now, it was followed by the next at once."""
    world.add_customer(1)
    flow = add_flow(world, "vip")
    frozen = queue(
        world, flow, 1, due_at=world.now - HOURS, state="frozen", frozen_at=world.now - 19 * HOURS
    )
    second = queue(world, flow, 1)
    world.run_cleanly()
    assert waits(world, second) == (MessageState.QUEUED, CAP, 20 * HOURS)
    world.execute(
        "UPDATE crm.messages SET state = 'unknown', frozen_at = :at, due_at = :now"
        " WHERE message_id = :id",
        at=world.now - 30 * HOURS,
        now=world.now,
        id=frozen,
    )
    world.execute("UPDATE crm.messages SET due_at = :now WHERE message_id = :id",
                  now=world.now, id=second)  # fmt: skip
    world.run_cleanly()
    # It may have been taken until a day after it was frozen, six hours ago.
    assert waits(world, second) == (MessageState.QUEUED, CAP, 14 * HOURS)


@pytest.mark.requirement("EMAIL-02", "TSEND-01")
def test_test_mails_count_for_nothing_and_wait_for_nothing(world: World) -> None:
    world.add_customer(1)
    flow = add_flow(world, "vip")
    tests = [queue(world, flow, 1, is_test=True, dedupe_key=f"test {n}") for n in range(2)]
    real = queue(world, flow, 1)
    world.run_cleanly()
    sent = [message(world, each).state for each in (*tests, real)]
    assert sent == [MessageState.SENT] * 3


@pytest.mark.requirement("EMAIL-02")
def test_a_flow_without_caps_does_not_wait_but_others_wait_for_it(world: World) -> None:
    world.add_customer(1)
    capped, free = add_flow(world, "vip"), add_flow(world, "news", is_capped=False, priority=1)
    first, second = queue(world, free, 1), queue(world, free, 1, dedupe_key="again")
    third = queue(world, capped, 1)
    world.run_cleanly()
    assert [message(world, each).state for each in (first, second)] == [MessageState.SENT] * 2
    assert waits(world, third) == (MessageState.QUEUED, CAP, 20 * HOURS)


@pytest.mark.requirement("EMAIL-02")
def test_what_asks_for_a_permission_counts_for_no_cap(world: World) -> None:
    """A welcome mail would have waited a day for the mail that asks to confirm."""
    world.add_customer(1)
    asking = add_flow(world, "confirm")
    queue(world, asking, 1, state="sent", sent_at=world.now, frozen_at=world.now)
    world.execute(
        "UPDATE crm.automation_versions SET definition ="
        """ jsonb_set(definition, '{trigger,type}', '"consent_given"')"""
        " WHERE automation_id = :flow",
        flow=asking,
    )
    queue(world, add_flow(world, "vip"), 1)
    world.run_cleanly()
    assert flow_of_mails(world) == ["vip"]


@pytest.mark.requirement("EMAIL-02")
def test_who_waited_for_a_mail_that_fails_is_looked_at_again(world: World) -> None:
    """They would have waited for 20 hours, and nobody had been written to."""
    world.add_customer(1)
    later = queue(world, add_flow(world, "win_back", priority=40), 1)
    broken = queue(world, add_flow(world, "cart", priority=10, template="absent"), 1)
    world.run_cleanly()
    assert message(world, broken).state is MessageState.FAILED
    assert message(world, later).state is MessageState.SENT


@pytest.mark.requirement("EMAIL-02")
def test_a_batch_that_dissolves_gives_its_turn_back(world: World) -> None:
    world.add_customers([1, 2])
    later = queue(world, add_flow(world, "win_back", priority=40), 1)
    cart = add_flow(world, "cart", priority=10)
    gone, other = queue(world, cart, 1), queue(world, cart, 2)
    steps: list[str] = []

    def switch_off(step: str) -> None:
        steps.append(step)
        if steps.count("frozen") == 1 and step == "frozen":
            assert waits(world, later) == (MessageState.QUEUED, CAP, 20 * HOURS)
            world.execute("UPDATE crm.automations SET is_active = false WHERE key = 'cart'")

    world.run_cleanly(checkpoint=switch_off)
    assert {message(world, each).skip_reason for each in (gone, other)} == {
        SkipReason.AUTOMATION_OFF
    }
    assert message(world, later).state is MessageState.SENT


@pytest.mark.requirement("EMAIL-02")
def test_rules_that_became_stricter_hold_for_what_is_frozen_already(world: World) -> None:
    world.add_customer(1)
    flow = add_flow(world, "vip")
    queue(world, flow, 1, state="sent", due_at=world.now - 21 * HOURS,
          sent_at=world.now - 21 * HOURS, frozen_at=world.now - 21 * HOURS)  # fmt: skip
    second = queue(world, flow, 1)

    def tighten(step: str) -> None:
        if step == "frozen":
            with session_scope(world.factory) as session:
                change_rules(session, world.shop_id, {"short_cap_hours": 30}, now=world.now)

    world.run_cleanly(checkpoint=tighten)
    assert waits(world, second) == (MessageState.QUEUED, CAP, 9 * HOURS)


@pytest.mark.requirement("EMAIL-02")
def test_rules_that_became_laxer_let_go_what_waits_by_the_old_ones(world: World) -> None:
    """It waited until the cap it had been deferred by would have been free."""
    world.add_customer(1)
    flow = add_flow(world, "vip")
    sent_at = world.now - 3 * HOURS
    queue(world, flow, 1, state="sent", due_at=sent_at, sent_at=sent_at, frozen_at=sent_at)
    second = queue(world, flow, 1)
    world.run_cleanly()
    assert waits(world, second) == (MessageState.QUEUED, CAP, 17 * HOURS)
    with session_scope(world.factory) as session:
        change_rules(session, world.shop_id, {"short_cap_hours": 2}, now=world.now)
    world.run_cleanly()
    assert message(world, second).state is MessageState.SENT


@pytest.mark.requirement("EMAIL-02")
def test_a_fifth_mail_in_a_week_waits_or_is_too_late(world: World) -> None:
    """Skipped at once, since nothing but the clock decides; it says what it waited for."""
    world.add_customer(1)
    flow = add_flow(world, "vip")
    for days in (1, 2, 3, 4):
        at = world.now - timedelta(days=days)
        queue(world, flow, 1, state="sent", due_at=at, sent_at=at, frozen_at=at)
    patient = queue(world, flow, 1)
    cart = queue(world, add_flow(world, "cart"), 1, late_after=24 * HOURS)
    world.run_cleanly()
    assert waits(world, patient) == (MessageState.QUEUED, CAP, timedelta(days=3))
    late = message(world, cart)
    assert (late.state, late.skip_reason, late.defer_reason) == (
        MessageState.SKIPPED,
        SkipReason.TOO_LATE,
        CAP,
    )


HELD: dict[str, Any] = {"segments_held_reason": "12 % of the orders are gone."}


@pytest.mark.requirement("RFM-06", "EMAIL-02")
@pytest.mark.parametrize(
    ("check", "trigger", "waits_for"),
    [
        ("orders_fell", "first_order", DeferReason.DATA_HELD),
        ("orders_swing", "first_order", DeferReason.DATA_HELD),
        (None, "first_order", DeferReason.DATA_HELD),
        ("segments_swing", "first_order", None),
        ("not held", "first_order", None),
    ],
)
def test_mail_by_orders_that_are_in_doubt_waits_for_a_person(
    world: World, check: str | None, trigger: str, waits_for: DeferReason | None
) -> None:
    """The same mail leaves where nothing is held, or only moves between segments are."""
    world.add_customer(1)
    mail = queue(world, add_flow(world, "welcomed"), 1)
    if check != "not held":
        world.set_shop(segments_held_at=world.now, segments_held_check=check, **HELD)
    world.run_cleanly()
    found = message(world, mail)
    assert found.defer_reason is waits_for
    assert found.state is (MessageState.QUEUED if waits_for else MessageState.SENT)
    if waits_for:
        world.set_shop(segments_held_at=None, segments_held_check=None, segments_held_reason=None)
        world.clock.advance(timedelta(minutes=10))
        world.run_cleanly()
        assert flow_of_mails(world) == ["welcomed"]


@pytest.mark.requirement("EMAIL-02")
def test_mails_kept_over_night_leave_spread_over_the_morning(world: World) -> None:
    """All in one second, they would have gone before every mail that a person just caused."""
    world.clock.advance(timedelta(hours=10))  # 23:00 in Berlin
    eight = world.now + timedelta(hours=9)
    quiet = add_flow(world, "win_back", keeps_quiet_hours=True)
    world.add_customers(range(1, 41))
    mails = [queue(world, quiet, number) for number in range(1, 41)]
    at_once = queue(world, add_flow(world, "cart", priority=10), 1)
    world.run_cleanly()
    assert message(world, at_once).state is MessageState.SENT
    found = [message(world, each) for each in mails]
    assert {each.defer_reason for each in found} == {DeferReason.QUIET_HOURS}
    due = sorted(each.due_at for each in found)
    assert eight <= due[0] < due[-1] < eight + timedelta(minutes=30)
    halves = [sum(low <= (at - eight).seconds // 60 < low + 15 for at in due) for low in (0, 15)]
    assert min(halves) >= 8

    world.clock.advance(timedelta(hours=9, minutes=30))
    world.run_cleanly()
    # The one who got a cart's mail at night has to wait for another day.
    assert flow_of_mails(world).count("win_back") == 39
