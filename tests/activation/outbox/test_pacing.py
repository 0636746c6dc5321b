"""One line of slots per account of the provider, for all processes; pauses with their reason."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from activation.outbox.answers import quota_begins_anew, retry_delay
from activation.outbox.pacing import (
    NEAR,
    SINGLE_SHARE,
    Pace,
    Slot,
    pause,
    pause_team,
    paused_for,
    reserve,
    reserve_single,
    resume,
    share_pause,
    slow_down,
    wait_for_single,
)
from activation.provider import RefusalKind
from core.database import SessionFactory, session_scope
from core.models.enums import DeferReason, MessageState
from tests.activation import fake_provider as fake
from tests.activation.world import World

# A slot every hundred seconds, of which the test itself takes LITTLE, even on a busy machine.
SLOW = Pace("resend/slow", 0.01)
INTERVAL = 100.0
LITTLE = 30.0
NINE = Pace("resend/nine", 9)


@pytest.mark.requirement("AUTO-06")
def test_slots_are_one_interval_apart_without_a_burst(session_factory: SessionFactory) -> None:
    with session_scope(session_factory) as session:
        waits = []
        for _ in range(4):
            slot = reserve_single(session, SLOW)
            assert slot is not None
            waits.append(slot.wait)
            session.execute(text("UPDATE crm.send_teams SET single_next_at = clock_timestamp()"))
    assert waits == [0, *(pytest.approx(n * INTERVAL, abs=LITTLE) for n in (1, 2, 3))]


@pytest.mark.requirement("AUTO-06")
def test_a_few_batches_take_as_many_slots(session_factory: SessionFactory) -> None:
    with session_scope(session_factory) as session:
        assert reserve(session, SLOW, count=3) == Slot(0)
        following = reserve(session, SLOW)
    assert not following.reserved
    assert following.wait == pytest.approx(3 * INTERVAL, abs=LITTLE)


def test_only_a_fast_pace_takes_batches_together() -> None:
    assert [Pace("", pace).batches_at_once for pace in (0.1, 9, 50, 10_000)] == [1, 1, 5, 8]


@pytest.mark.requirement("AUTO-06")
def test_batches_take_only_slots_that_are_near(session_factory: SessionFactory) -> None:
    with session_scope(session_factory) as session:
        first, second = reserve(session, SLOW), reserve(session, SLOW)
    assert (first.wait, first.reserved) == (0, True)
    # Half a second before the next it is worth asking again.
    assert not second.reserved
    assert second.wait == pytest.approx(INTERVAL - NEAR.total_seconds(), abs=LITTLE)


@pytest.mark.requirement("AUTO-06")
def test_a_single_mail_overtakes_batches_that_have_no_slot(session_factory: SessionFactory) -> None:
    with session_scope(session_factory) as session:
        reserve(session, SLOW)
        single = reserve_single(session, SLOW)
        batch = reserve(session, SLOW)
    assert single is not None
    assert single.wait == pytest.approx(INTERVAL, abs=LITTLE)
    assert not batch.reserved
    assert batch.wait == pytest.approx(2 * INTERVAL, abs=LITTLE)


@pytest.mark.requirement("AUTO-06")
def test_single_mails_do_not_keep_batches_from_leaving(session_factory: SessionFactory) -> None:
    """A hundred test mails at once would otherwise fill the whole line."""
    with session_scope(session_factory) as session:
        singles = [reserve_single(session, SLOW) for _ in range(100)]
        batch = reserve(session, SLOW)
    assert [slot.reserved for slot in singles if slot] == [True] + [False] * 99
    assert singles[1] is not None
    assert singles[1].wait == pytest.approx(INTERVAL / SINGLE_SHARE, abs=LITTLE)
    assert batch.wait == pytest.approx(INTERVAL, abs=LITTLE)


@pytest.mark.requirement("AUTO-06")
def test_a_single_mail_waits_for_its_share_and_not_for_ever(
    session_factory: SessionFactory,
) -> None:
    naps: list[float] = []
    assert wait_for_single(session_factory, SLOW, sleep=naps.append)
    assert not wait_for_single(session_factory, SLOW, sleep=naps.append, patience=INTERVAL)
    assert naps[1] == pytest.approx(INTERVAL / SINGLE_SHARE, abs=LITTLE)


@pytest.mark.requirement("AUTO-06")
def test_shops_under_one_key_share_its_line(world: World) -> None:
    """The limit is the account's: with a line for each shop, two shops were twice too fast."""
    other = world.add_shop()
    world.switch_welcome_on(shop_id=other)
    world.buyers([1])
    world.add_customers([2], shop_id=other)
    world.place_order(2, shop_id=other)
    slow = world.settings.model_copy(update={"send_requests_per_second": SLOW.per_second})
    world.run_cleanly(settings=slow)
    assert len(world.provider.calls) == 1
    world.run_cleanly(settings=slow)
    assert len(world.provider.calls) == 1  # the next slot is far off, for either


@pytest.mark.requirement("AUTO-06")
def test_slowing_down_moves_the_next_slot(session_factory: SessionFactory) -> None:
    with session_scope(session_factory) as session:
        slow_down(session, NINE, delay=timedelta(seconds=INTERVAL))
        assert reserve(session, NINE).wait == pytest.approx(INTERVAL, abs=LITTLE)


def test_a_pause_is_never_shortened_and_the_longer_one_says_why(world: World) -> None:
    with session_scope(world.factory) as session:
        pause(session, world.shop_id, delay=timedelta(minutes=5), reason="quota")
        pause(session, world.shop_id, delay=timedelta(seconds=1), reason="rate")
        left = paused_for(session, world.shop_id)
        assert left is not None
        assert left.total_seconds() == pytest.approx(300, abs=LITTLE)
        assert resume(session, world.shop_id, now=world.now) == "quota"
        assert paused_for(session, world.shop_id) is None


def test_a_pause_that_is_over_is_none(world: World) -> None:
    with session_scope(world.factory) as session:
        pause(session, world.shop_id, delay=timedelta(seconds=-1), reason="over")
        assert paused_for(session, world.shop_id) is None


@pytest.mark.requirement("AUTO-06")
def test_a_pause_of_the_account_is_told_to_each_of_its_shops(world: World) -> None:
    other = world.add_shop()
    until = datetime.now(UTC) + timedelta(hours=1)
    with session_scope(world.factory) as session:
        pause_team(session, NINE, until=until, reason="429 daily_quota_exceeded")
        assert reserve_single(session, NINE) is None
        for shop_id in (world.shop_id, other):
            share_pause(session, shop_id, NINE)
            left = paused_for(session, shop_id)
            assert left is not None
            assert left.total_seconds() == pytest.approx(3600, abs=LITTLE)
    assert not wait_for_single(world.factory, NINE, sleep=world.naps.append)


@pytest.mark.requirement("AUTO-06")
def test_resuming_wakes_what_waited_for_the_end_of_the_pause(world: World) -> None:
    """Bytes that may have been accepted wait in their batch, all else in the queue."""
    world.provider.faults = [fake.drop, fake.over_quota]
    world.buyers([1, 2, 3])
    world.run_cleanly(batch_size=1)
    world.execute("UPDATE crm.message_batches SET next_attempt_at = clock_timestamp()")
    world.end_leases()
    world.run_cleanly(batch_size=1)
    assert len(world.provider.calls) == 2
    assert {m.defer_reason for m in world.messages() if m.state is MessageState.QUEUED} <= {
        None,
        DeferReason.PROVIDER_PAUSED,
    }
    with session_scope(world.factory) as session:
        resume(session, world.shop_id, now=world.now, team=world.provider.team)
    world.run_cleanly(batch_size=1)
    world.run_cleanly(batch_size=1)
    world.assert_each_sent_once([1, 2, 3])


@pytest.mark.requirement("AUTO-06")
def test_a_daily_quota_begins_anew_at_midnight_utc_and_a_monthly_one_is_asked_for() -> None:
    evening = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)
    daily = quota_begins_anew(RefusalKind.DAILY_QUOTA, evening)
    assert daily.replace(second=0) == datetime(2027, 1, 1, tzinfo=UTC)
    monthly = quota_begins_anew(RefusalKind.MONTHLY_QUOTA, evening)
    assert monthly == evening + timedelta(hours=6)


def test_retries_come_at_growing_intervals() -> None:
    assert [retry_delay(attempt).total_seconds() for attempt in (1, 2, 3, 9, 10, 500)] == [
        2, 4, 8, 512, 600, 600,
    ]  # fmt: skip
