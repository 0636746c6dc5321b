"""Caps hold however many workers freeze at once, and no two of them wait for each other."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.eligibility import Decision, Defer, Send, Stage
from activation.eligibility.caps import Cap
from activation.eligibility.rules import DEFAULTS
from activation.eligibility.turns import take_turns
from activation.outbox.members import claim_queued, judge
from activation.outbox.sending import send_due
from activation.outbox.worker import Outbox
from core.database import session_scope
from core.models.enums import DeferReason, MessageState
from tests.activation.eligibility.flows import add_flow, flow_of_mails, message, queue
from tests.activation.world import World

MINUTES = timedelta(minutes=1)
FLOWS = {"cart": 10, "vip": 30, "win_back": 40}
QUIET = {"win_back"}


@pytest.mark.requirement("EMAIL-02", "AUTO-05")
def test_of_two_workers_that_freeze_for_one_address_at_once_one_lets_it_leave(world: World) -> None:
    """Neither sees what the other has not committed, so each would have found the address free."""
    world.add_customers([1])
    flow = add_flow(world, "vip")
    first, second = queue(world, flow, 1), queue(world, flow, 1, dedupe_key="again")
    with session_scope(world.factory) as one, session_scope(world.factory) as other:
        decided = [freeze_one(world, session) for session in (one, other)]
    assert decided == [
        (first, Send("c1@example.com")),
        (second, Defer(DeferReason.FREQUENCY_CAP, world.now + timedelta(seconds=1))),
    ]
    world.run_cleanly()
    assert flow_of_mails(world) == ["vip"]
    assert message(world, second).defer_reason is DeferReason.FREQUENCY_CAP


def freeze_one(world: World, session: Session) -> tuple[int, Decision]:
    """What the next due message is let do, by a worker that has not committed yet."""
    members = claim_queued(session, world.shop_id, now=world.now, limit=1)
    decisions = judge(
        session,
        world.shop_id,
        members,
        secret_key=world.settings.secret_key,
        now=world.now,
        stage=Stage.FREEZE,
    )
    [decided] = decisions.items()
    return decided


@pytest.mark.requirement("EMAIL-02")
def test_nobody_waits_for_a_turn_in_whatever_order_addresses_come(world: World) -> None:
    """Waiting, these two would have waited for each other."""
    world.add_customers([1, 2, 3])
    with session_scope(world.factory) as one, session_scope(world.factory) as other:
        for session in (one, other):
            session.execute(text("SET LOCAL statement_timeout = '3s'"))
        assert set(take_turns(one, world.shop_id, [(11, 1)])) == {11}
        assert set(take_turns(other, world.shop_id, [(22, 2)])) == {22}
        assert set(take_turns(one, world.shop_id, [(12, 2), (13, 3)])) == {13}
        assert set(take_turns(other, world.shop_id, [(21, 1), (22, 2), (23, None)])) == {22}
    with session_scope(world.factory) as third:
        assert set(take_turns(third, world.shop_id, [(1, 1), (2, 2), (3, 3)])) == {1, 2, 3}


@pytest.mark.requirement("EMAIL-02")
def test_the_same_address_in_another_shop_is_another_turn(world: World) -> None:
    other = world.add_shop()
    world.add_customer(1)
    world.add_customers([1], shop_id=other)
    with session_scope(world.factory) as one, session_scope(world.factory) as two:
        assert take_turns(one, world.shop_id, [(1, 1)]) == {1: "c1@example.com"}
        assert take_turns(two, other, [(1, 1)]) == {1: "c1@example.com"}


mails = st.lists(
    st.tuples(
        st.integers(1, 3),  # address
        st.sampled_from(sorted(FLOWS)),
        st.integers(0, 20),  # due, in minutes
        st.sampled_from([30, 60 * 30, 60 * 24 * 12]),  # of use for, in minutes
    ),
    min_size=2,
    max_size=10,
)


@pytest.fixture
def flows(world: World) -> dict[str, int]:
    # Two customers of each of three addresses.
    for address in (1, 2, 3):
        world.add_customer(address, email=f"a{address}@example.com")
        world.add_customer(address + 10, email=f"A{address}@Example.com")
    return {
        key: add_flow(world, key, priority=priority, keeps_quiet_hours=key in QUIET)
        for key, priority in FLOWS.items()
    }


@pytest.mark.requirement("EMAIL-02", "AUTO-05")
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(mails, st.integers(1, 4), st.integers(2, 3))
def test_no_address_ever_gets_more_than_the_caps_and_no_mail_is_lost(
    world: World,
    flows: dict[str, int],
    mails: list[tuple[int, str, int, int]],
    batch_size: int,
    workers: int,
) -> None:
    """Several workers at each instant at which something is due, until nothing is any more."""
    for table in ("delivery_attempts", "message_batches", "messages"):
        world.execute(f"DELETE FROM crm.{table}")
    for number, (address, flow, due, useful) in enumerate(mails):
        queue(
            world,
            flows[flow],
            address + 10 * (number % 2),
            due_at=world.now + MINUTES * due,
            late_after=MINUTES * useful,
            dedupe_key=f"mail {number}",
        )
    for at in instants(world):
        world.clock.advance(at - world.now)
        run_together(world, workers, batch_size)
    left: dict[str, list[datetime]] = defaultdict(list)
    for mail in world.messages():
        assert mail.state in {MessageState.SENT, MessageState.SKIPPED}
        assert (mail.skip_reason is not None) == (mail.state is MessageState.SKIPPED)
        if mail.sent_at is not None:
            left[(mail.email or "").lower()].append(mail.sent_at)
    for sent in left.values():
        assert all(keeps(cap, sorted(sent)) for cap in DEFAULTS.caps)


def instants(world: World) -> Iterator[datetime]:
    """Each instant at which a message that still waits is due, as they turn up."""
    for _ in range(80):
        waiting = [each for each in world.messages() if each.state is MessageState.QUEUED]
        if not waiting:
            return
        assert all(each.defer_reason or each.due_at >= world.now for each in waiting)
        yield max(world.now, min(each.due_at for each in waiting))
    raise AssertionError("some mail is put off for ever")


def run_together(world: World, workers: int, batch_size: int) -> None:
    failures: list[BaseException] = []
    start = threading.Barrier(workers)
    outbox = Outbox(
        factory=world.factory,
        settings=world.settings.model_copy(update={"send_requests_per_second": 10_000}),
        provider=world.provider,
        clock=world.clock,
        run_id=None,
        stop=lambda: False,
        sleep=time.sleep,
        batch_size=batch_size,
    )

    def work() -> None:
        try:
            start.wait()
            send_due(outbox, world.shop_id)
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def keeps(cap: Cap, sent: list[datetime]) -> bool:
    return all(
        later - earlier >= cap.window
        for earlier, later in zip(sent, sent[cap.mails :], strict=False)
    )
