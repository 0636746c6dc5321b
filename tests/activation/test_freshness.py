"""The freshness gate, each case beside the same mail on fresh data."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from activation.eligibility import Defer, Send, Subject, decide_all
from activation.freshness import Freshness, read_freshness
from core.database import session_scope
from core.models import Automation, SyncRun
from core.models.enums import DeferReason, MessageState, SyncKind, SyncState
from tests.activation.world import World

OLD = timedelta(hours=26, minutes=1)
STALLED = """
INSERT INTO raw_shopify.webhook_inbox
    (shop_id, webhook_id, topic, body, state, attempts, received_at, next_attempt_at)
VALUES
    (:shop_id, 'w1', 'orders/create', '', :state, 1,
     clock_timestamp() - CAST(:waited AS interval),
     CASE WHEN CAST(:is_retried AS boolean) THEN clock_timestamp() + interval '1 hour' END)
"""


def stall(
    world: World, *, state: str = "failed", waited: str = "61 min", retried: bool = True
) -> None:
    world.execute(STALLED, shop_id=world.shop_id, state=state, waited=waited, is_retried=retried)


def add_sync(world: World, *, ago: timedelta, kind: SyncKind, state: SyncState) -> None:
    with session_scope(world.factory) as session:
        session.add(
            SyncRun(
                shop_id=world.shop_id,
                kind=kind,
                state=state,
                started_at=world.now - ago,
                finished_at=world.now - ago,
            )
        )


def freshness(world: World) -> Freshness:
    with session_scope(world.factory) as session:
        return read_freshness(session, world.shop_id, now=world.now)


@pytest.mark.requirement("RFM-06", "EMAIL-02")
@pytest.mark.parametrize(
    ("freshness", "held"),
    [
        (Freshness(sync_is_old=False, inbox_stalls=False), set()),
        (Freshness(sync_is_old=False, inbox_stalls=True), set()),
        (Freshness(sync_is_old=True, inbox_stalls=False), {"silence", "entered_segment", ""}),
        (
            Freshness(sync_is_old=True, inbox_stalls=True),
            {"silence", "entered_segment", "", "first_order", "abandoned_checkout"},
        ),
    ],
)
def test_which_flows_wait_for_fresh_data(freshness: Freshness, held: set[str]) -> None:
    """A trigger that nobody has declared to be told by webhook waits as the strictest does."""
    every = {"silence", "entered_segment", "first_order", "abandoned_checkout", ""}
    assert {trigger for trigger in every if freshness.holds(trigger)} == held


@pytest.mark.requirement("RFM-06")
@pytest.mark.parametrize(
    ("kind", "state", "is_old"),
    [
        (SyncKind.INCREMENTAL, SyncState.COMPLETED, False),
        (SyncKind.FULL, SyncState.COMPLETED, False),
        (SyncKind.INCREMENTAL, SyncState.FAILED, True),
        (SyncKind.RECONCILE, SyncState.COMPLETED, True),  # loads nothing
    ],
)
def test_only_a_completed_sync_makes_data_fresh(
    world: World, kind: SyncKind, state: SyncState, *, is_old: bool
) -> None:
    world.set_shop(first_sync_completed_at=world.now - OLD)
    assert freshness(world).sync_is_old
    add_sync(world, ago=timedelta(hours=25), kind=kind, state=state)
    assert freshness(world).sync_is_old == is_old


@pytest.mark.requirement("RFM-06")
def test_a_shop_never_synced_is_not_fresh(world: World) -> None:
    world.set_shop(first_sync_completed_at=None)
    assert freshness(world).sync_is_old


@pytest.mark.requirement("RFM-06")
@pytest.mark.parametrize(
    ("waiting", "stalls"),
    [
        ({}, True),
        ({"state": "received"}, True),
        ({"waited": "59 min"}, False),
        ({"state": "applied", "retried": False}, False),
        ({"retried": False}, False),  # given up: it waits for a person, the inbox goes on
    ],
)
def test_an_inbox_stalls_when_a_webhook_has_waited_for_an_hour(
    world: World, waiting: dict[str, Any], *, stalls: bool
) -> None:
    stall(world, **waiting)
    assert freshness(world).inbox_stalls == stalls


@pytest.mark.requirement("RFM-06", "EMAIL-02")
@pytest.mark.parametrize(
    ("sync_is_old", "inbox_stalls", "waits"),
    [(True, True, True), (True, False, False), (False, True, False)],
)
def test_welcome_mail_waits_only_if_the_inbox_stalls_too(
    world: World, *, sync_is_old: bool, inbox_stalls: bool, waits: bool
) -> None:
    if sync_is_old:
        world.set_shop(first_sync_completed_at=world.now - OLD)
    if inbox_stalls:
        stall(world)
    world.buyers([1])
    world.run_cleanly()
    message = world.message()
    assert len(world.provider.addresses()) == (0 if waits else 1)
    if not waits:
        assert message.state is MessageState.SENT
        return
    assert (message.state, message.defer_reason) == (MessageState.QUEUED, DeferReason.STALE_DATA)
    # A sync came through: the mail that waited leaves, once.
    add_sync(world, ago=timedelta(), kind=SyncKind.FULL, state=SyncState.COMPLETED)
    world.clock.advance(timedelta(minutes=11))
    world.run_cleanly()
    world.assert_each_sent_once([1])


@pytest.mark.requirement("RFM-06", "EMAIL-02")
@pytest.mark.parametrize("sync_is_old", [True, False])
def test_mail_of_a_flow_by_segment_waits_for_a_sync_alone(
    world: World, *, sync_is_old: bool
) -> None:
    """Its kind of trigger comes with a later version; of a message, only the stored type counts."""
    if sync_is_old:
        world.set_shop(first_sync_completed_at=world.now - OLD)
    world.buyers([1])
    world.execute(
        "UPDATE crm.automation_versions"
        """ SET definition = jsonb_set(definition, '{trigger,type}', '"entered_segment"')"""
    )
    with session_scope(world.factory) as session:
        subject = Subject(
            key=1,
            customer_id=1,
            automation_id=session.scalars(
                select(Automation.automation_id).where(Automation.key == "welcome")
            ).one(),
            order_id=None,
            expires_at=world.now + timedelta(days=1),
        )
        decision = decide_all(
            session,
            world.shop_id,
            [subject],
            secret_key=world.settings.secret_key,
            now=world.now,
        )[1]
    assert isinstance(decision, Defer if sync_is_old else Send)
