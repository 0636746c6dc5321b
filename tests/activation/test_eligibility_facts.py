"""What is known of whom a mail is for, read from real rows: whole batches, erased people, shops."""

from datetime import timedelta

import pytest

from activation.cycle import CycleReport
from activation.eligibility import Defer, Send, Skip, Subject, decide_all
from activation.work import orders_due, seconds_until_next, steps_due
from core.database import session_scope
from core.ingestion.screen import ErasureHasher
from core.models.enums import ConsentState, DeferReason, SkipReason
from tests.activation.world import World


@pytest.mark.requirement("EMAIL-02")
def test_facts_are_read_for_a_whole_batch_at_once(world: World) -> None:
    world.buyers([1, 2, 3, 4, 5])
    world.set_customer(2, consent_state=ConsentState.UNSUBSCRIBED)
    world.set_customer(3, email="C3@Example.com ")
    world.set_customer(5, deleted_at=world.now)
    for address, reason in (("c3@example.com", "complaint"), ("c4@example.com", "unsubscribed")):
        world.execute(
            "INSERT INTO crm.suppressions (shop_id, email_normalized, reason, suppressed_at)"
            " VALUES (:shop_id, :address, :reason, :now)",
            shop_id=world.shop_id,
            address=address,
            reason=reason,
            now=world.now,
        )
    with session_scope(world.factory) as session:
        subjects = [
            Subject(
                key=number,
                customer_id=number,
                automation_id=1,
                order_id=None,
                expires_at=world.now + timedelta(days=1),
            )
            for number in range(1, 7)
        ]
        decisions = decide_all(
            session,
            world.shop_id,
            subjects,
            secret_key=world.settings.secret_key,
            now=world.now,
        )
    assert decisions == {
        1: Send("c1@example.com"),
        2: Skip(SkipReason.UNSUBSCRIBED),
        3: Skip(SkipReason.SUPPRESSED),
        4: Skip(SkipReason.UNSUBSCRIBED),
        5: Skip(SkipReason.CUSTOMER_DELETED),
        6: Defer(DeferReason.CONSENT_UNKNOWN, world.now + timedelta(seconds=1), True),
    }


@pytest.mark.requirement("EMAIL-03")
def test_a_suppression_of_another_shop_is_not_ours(world: World) -> None:
    other = world.add_shop()
    world.execute(
        "INSERT INTO crm.suppressions (shop_id, email_normalized, reason, suppressed_at)"
        " VALUES (:shop_id, 'c1@example.com', 'hard_bounce', :now)",
        shop_id=other,
        now=world.now,
    )
    world.buyers([1])
    world.run_cleanly()
    world.assert_each_sent_once([1])


def erase(world: World, *hashes: str) -> None:
    for hash_ in (*hashes, ErasureHasher(world.settings.secret_key, world.shop_id).key_check):
        world.execute(
            "INSERT INTO crm.suppressions (shop_id, email_normalized, reason, suppressed_at)"
            " VALUES (:shop_id, :hash, 'erased', :now)",
            shop_id=world.shop_id,
            hash=hash_,
            now=world.now,
        )


@pytest.mark.requirement("SHOP-07", "EMAIL-03")
def test_an_erased_address_is_never_mailed_whoever_has_it_now(world: World) -> None:
    """Nor does a new customer, a later subscription or an undo lift it."""
    hasher = ErasureHasher(world.settings.secret_key, world.shop_id)
    erase(world, hasher.email("c1@example.com"), hasher.customer(2))
    world.buyers([1, 2, 3])
    world.add_customer(4, email="C1@Example.com ", consent_updated_at=world.now)
    world.place_order(4)
    world.run_cleanly()
    assert world.provider.addresses() == ["c3@example.com"]
    assert [message.skip_reason for message in world.messages() if message.skip_reason] == [
        SkipReason.SUPPRESSED
    ] * 3


@pytest.mark.requirement("SHOP-07")
def test_an_erasure_in_another_shop_is_not_ours(world: World) -> None:
    other = world.add_shop()
    hasher = ErasureHasher(world.settings.secret_key, other)
    erase(world, hasher.email("c1@example.com"))
    world.execute("UPDATE crm.suppressions SET shop_id = :other", other=other)
    world.buyers([1])
    world.run_cleanly()
    world.assert_each_sent_once([1])


@pytest.mark.requirement("SHOP-07")
def test_when_erased_people_cannot_be_recognised_nobody_is_mailed(world: World) -> None:
    world.execute(
        "INSERT INTO crm.suppressions (shop_id, email_normalized, reason, suppressed_at)"
        " VALUES (:shop_id, 'hmac:of another key', 'erased', :now)",
        shop_id=world.shop_id,
        now=world.now,
    )
    world.buyers([1])
    report = world.run()
    assert world.provider.accepted == []
    assert "ECOMCRM_SECRET_KEY" in report.failures[0].message


@pytest.mark.requirement("SHOP-03")
def test_a_shop_that_removed_the_app_is_not_worked_for_until_it_is_back(world: World) -> None:
    world.buyers([1])
    world.set_shop(uninstalled_at=world.now)
    with session_scope(world.factory) as session:
        assert not orders_due(session)
    assert world.run_cleanly().counts() == {**dict.fromkeys(CycleReport().counts(), 0), "passes": 1}
    assert world.provider.accepted == []

    world.set_shop(uninstalled_at=None)
    world.run_cleanly()
    world.assert_each_sent_once([1])


@pytest.mark.requirement("SHOP-03")
def test_a_frozen_mail_stays_when_the_app_is_removed_before_it_leaves(world: World) -> None:
    def uninstall(step: str) -> None:
        if step == "frozen":
            world.set_shop(uninstalled_at=world.now)

    world.buyers([1])
    world.run_cleanly(checkpoint=uninstall)
    assert world.provider.accepted == []
    assert world.message().defer_reason is DeferReason.SHOP_DISCONNECTED
    with session_scope(world.factory) as session:
        later = world.now + timedelta(hours=1)
        assert not steps_due(session, now=later)
        assert seconds_until_next(session, now=later, horizon=timedelta(hours=1)) is None
