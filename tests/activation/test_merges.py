"""Two customers become one: what they got, are in and are owed follows the one who is kept."""

import itertools
from datetime import timedelta
from itertools import zip_longest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from activation.merges import apply_merges
from activation.work import orders_due
from core.database import session_scope
from core.ingestion import statistics
from core.models import CustomerMerge, Order, SegmentMembership, WriteBack
from core.models.enums import (
    EnrollmentState,
    MembershipCause,
    MessageState,
    Segment,
    SkipReason,
    WriteBackKind,
    WriteBackState,
)
from tests.activation.world import World

GONE, KEPT, THIRD = 11, 12, 13


def merge(
    world: World, gone: int = GONE, kept: int = KEPT, *, orders_to: int | None = None
) -> None:
    """What the webhook writes: orders, statistics and the merge itself, in one transaction."""
    buyer = orders_to or kept
    with session_scope(world.factory) as session:
        statistics.lock(session, world.shop_id, [gone, buyer])
        for order in session.scalars(select(Order).where(Order.customer_id == gone)):
            order.customer_id = buyer
        session.add(
            CustomerMerge(
                shop_id=world.shop_id,
                deleted_customer_id=gone,
                kept_customer_id=kept,
                merged_at=world.now,
            )
        )
        session.flush()
        statistics.recompute(session, world.shop_id, [gone, buyer], touched_at=world._touched_at())
    world.set_customer(gone, deleted_at=world.now, merged_into=kept)


def open_segments(world: World) -> dict[int, Segment]:
    with session_scope(world.factory) as session:
        rows = session.scalars(
            select(SegmentMembership).where(SegmentMembership.exited_at.is_(None))
        )
        return {row.customer_id: row.segment for row in rows}


@pytest.mark.requirement("SHOP-08", "AUTO-05")
def test_what_the_customer_who_is_gone_got_the_survivor_does_not_get_again(world: World) -> None:
    world.buyers([GONE])
    world.run_cleanly()
    world.add_customer(KEPT)
    merge(world)

    report = world.run_cleanly()

    assert report.merges_applied == 1
    assert world.provider.addresses() == [f"c{GONE}@example.com"]
    [message] = world.messages()
    assert message.customer_id == KEPT
    assert f"/{KEPT}/first" in message.dedupe_key
    [enrollment] = world.enrollments()
    assert (enrollment.customer_id, enrollment.state) == (KEPT, EnrollmentState.COMPLETED)
    world.place_order(KEPT)
    world.run_cleanly()
    assert len(world.provider.accepted) == 1


@pytest.mark.requirement("SHOP-08", "AUTO-05")
def test_nobody_is_enrolled_between_the_merge_and_its_application(world: World) -> None:
    """The survivor has the other's first order from the webhook on; enrolled then, they would be
    welcomed a second time.
    """
    world.buyers([GONE])
    world.run_cleanly()
    world.add_customer(KEPT)

    def merge_now(step: str) -> None:
        if step == "enrolled" and not todo:
            todo.append(step)
            merge(world)

    todo: list[str] = []
    world.place_order(None)
    world.buyers([THIRD])
    world.run_cleanly(checkpoint=merge_now)
    world.run_cleanly()
    assert sorted(world.provider.addresses()) == [f"c{GONE}@example.com", f"c{THIRD}@example.com"]


@pytest.mark.requirement("SHOP-08")
def test_what_the_customer_who_is_gone_is_owed_the_survivor_gets(world: World) -> None:
    world.switch_welcome_on(delay=timedelta(hours=1))
    world.buyers([GONE])
    world.run_cleanly()
    world.add_customer(KEPT)
    merge(world)
    world.clock.advance(timedelta(hours=2))
    world.run_cleanly()
    assert world.provider.addresses() == [f"c{KEPT}@example.com"]


@pytest.mark.requirement("SHOP-08", "AUTO-05")
def test_of_two_enrolments_the_older_goes_on_and_one_mail_leaves(world: World) -> None:
    world.switch_welcome_on(delay=timedelta(hours=1))
    world.buyers([GONE])
    world.run_cleanly()
    world.clock.advance(timedelta(minutes=10))
    world.buyers([KEPT])
    world.run_cleanly()
    merge(world)
    world.clock.advance(timedelta(hours=2))
    world.run_cleanly()

    assert world.provider.addresses() == [f"c{KEPT}@example.com"]
    older, younger = world.enrollments()
    assert (older.customer_id, older.entry_key, older.state) == (
        *(KEPT, "first"),
        EnrollmentState.COMPLETED,
    )
    assert (younger.customer_id, younger.exit_reason) == (KEPT, "merged")


@pytest.mark.requirement("SHOP-08", "AUTO-05")
def test_a_mail_that_left_stands_for_one_that_waits_even_if_that_is_older(world: World) -> None:
    world.set_shop(postal_address=None)
    world.buyers([GONE])
    world.run_cleanly()  # waits for the shop's address
    world.set_shop(postal_address="Street 1")
    world.buyers([KEPT])
    world.run_cleanly()
    merge(world)
    world.clock.advance(timedelta(hours=1))
    world.run_cleanly()
    assert world.provider.addresses() == [f"c{KEPT}@example.com"]
    waiting, left = world.messages()
    assert (waiting.state, waiting.skip_reason) == (MessageState.SKIPPED, SkipReason.EXITED)
    assert (left.state, left.customer_id) == (MessageState.SENT, KEPT)


@pytest.mark.requirement("SHOP-08", "AUTO-05")
def test_a_frozen_mail_of_the_survivor_stays_when_the_other_was_welcomed(world: World) -> None:
    """It was in a batch already, where its new key alone stopped nothing."""
    world.buyers([GONE])
    world.run_cleanly()
    world.buyers([KEPT, THIRD])

    def merge_now(step: str) -> None:
        if step == "frozen" and len(world.batches()) == 2:
            merge(world)
            with session_scope(world.factory) as session:
                apply_merges(session, world.shop_id, now=world.now)

    world.run_cleanly(checkpoint=merge_now)
    world.clock.advance(timedelta(hours=1))
    world.run_cleanly()
    assert sorted(world.provider.addresses()) == [f"c{GONE}@example.com", f"c{THIRD}@example.com"]


@pytest.mark.requirement("SHOP-08")
def test_a_chain_of_merges_ends_at_who_is_left_whatever_is_applied_first(world: World) -> None:
    world.buyers([GONE])
    world.run_cleanly()
    world.add_customers([KEPT, THIRD])
    merge(world, KEPT, THIRD)
    world.run_cleanly()
    merge(world, GONE, KEPT, orders_to=THIRD)
    world.run_cleanly()
    assert {message.customer_id for message in world.messages()} == {THIRD}
    assert {enrollment.customer_id for enrollment in world.enrollments()} == {THIRD}


@pytest.mark.requirement("SHOP-08")
def test_an_open_merge_is_work_and_an_applied_one_is_not(world: World) -> None:
    world.add_customers([GONE, KEPT])
    merge(world)
    world.execute("TRUNCATE raw_shopify.customer_touches")
    with session_scope(world.factory) as session:
        assert orders_due(session)
    world.run_cleanly()
    with session_scope(world.factory) as session:
        assert not orders_due(session)


stays = st.lists(
    st.tuples(st.sampled_from([GONE, KEPT]), st.integers(0, 50), st.booleans()),
    max_size=6,
    unique_by=lambda stay: stay[:2],
)


@pytest.mark.requirement("SHOP-08")
@settings(max_examples=40, deadline=None)
@given(stays)
def test_nobody_is_ever_in_two_segments_at_a_time(
    stays_of_both: list[tuple[int, int, bool]],
) -> None:
    """Any two histories without overlaps of their own: the survivor's has none afterwards."""
    world = _WORLD[0]
    world.execute("TRUNCATE crm.segment_memberships, raw_shopify.customer_merges")
    with session_scope(world.factory) as session:
        for customer_id in (GONE, KEPT):
            mine = sorted(start for who, start, _ in stays_of_both if who == customer_id)
            is_open = any(o for who, _, o in stays_of_both if who == customer_id)
            for start, end in zip_longest(mine, mine[1:]):
                last = world.now + timedelta(days=100)
                session.add(_stay(world, customer_id, start, end, None if is_open else last))
        session.add(
            CustomerMerge(
                shop_id=world.shop_id,
                deleted_customer_id=GONE,
                kept_customer_id=KEPT,
                merged_at=world.now,
            )
        )
        session.flush()
        apply_merges(session, world.shop_id, now=world.now + timedelta(days=101))
        rows = session.scalars(
            select(SegmentMembership).order_by(SegmentMembership.entered_at)
        ).all()
    assert len(rows) == len(stays_of_both)
    for who in (GONE, KEPT):
        mine_now = [row for row in rows if row.customer_id == who]
        assert all(
            earlier.exited_at is not None and earlier.exited_at <= later.entered_at
            for earlier, later in itertools.pairwise(mine_now)
        )
    assert all(row.customer_id == KEPT for row in rows if row.exited_at is None)


def _stay(
    world: World, customer_id: int, start: int, end: int | None, last: object
) -> SegmentMembership:
    return SegmentMembership(
        shop_id=world.shop_id,
        customer_id=customer_id,
        segment=Segment.LOYAL,
        entered_at=world.now + timedelta(days=start),
        exited_at=last if end is None else world.now + timedelta(days=end),
        cause=MembershipCause.ORDER,
        r_score=1,
        f_score=1,
        m_score=1,
    )


_WORLD: list[World] = []


@pytest.fixture(autouse=True)
def _keep_world(world: World) -> None:
    """Hypothesis and a fixture per test do not go together."""
    _WORLD[:] = [world]


@pytest.mark.requirement("SHOP-08")
def test_the_survivor_has_one_open_membership(world: World) -> None:
    world.buyers([GONE, KEPT])
    world.run_cleanly()
    merge(world)
    world.run_cleanly()
    assert list(open_segments(world)) == [KEPT]


@pytest.mark.requirement("SHOP-08", "CRM-04")
def test_what_waits_to_be_written_is_written_to_the_survivor(world: World) -> None:
    """Except a consent: it belongs to an address, and the survivor's is another one."""
    world.add_customers([GONE, KEPT])
    for number, (kind, tag) in enumerate(
        [(WriteBackKind.ADD_TAG, "vip"), (WriteBackKind.CONSENT, None)]
    ):
        with session_scope(world.factory) as session:
            session.add(
                WriteBack(
                    shop_id=world.shop_id,
                    dedupe_key=f"key-{number}",
                    customer_id=GONE,
                    kind=kind,
                    tag=tag,
                    state=WriteBackState.QUEUED,
                    requested_at=world.now,
                )
            )
    merge(world)
    with session_scope(world.factory) as session:
        apply_merges(session, world.shop_id, now=world.now)
        rows = session.scalars(select(WriteBack).order_by(WriteBack.write_back_id)).all()
    assert [(row.customer_id, row.state) for row in rows] == [
        (KEPT, WriteBackState.QUEUED),
        (KEPT, WriteBackState.SUPERSEDED),
    ]
