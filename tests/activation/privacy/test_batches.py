"""Frozen mails to somebody who is being erased: exactly once still holds for everybody else."""

from datetime import timedelta
from typing import Any

import pytest

from activation.privacy.work import Privacy, work_due
from core.models.enums import BatchState, MessageState, PrivacyKind, PrivacyState
from tests.activation.fake_provider import accept_then_drop, drop, unreachable
from tests.activation.privacy.people import ask, found_in_database, request_of, settle
from tests.activation.world import World

HER = 7_311_900_550_001
HER_EMAIL = "ada.q@privat.example.com"
STRINGS = (HER_EMAIL, str(HER), "Adalberta")


def freeze_only(world: World) -> None:
    """A batch of her and two others, frozen by a worker that died before the call."""
    world.buyers([1, 2])
    world.buyers([HER], email=HER_EMAIL, first_name="Adalberta")

    def die(step: str) -> None:
        if step == "frozen":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.run(checkpoint=die)


def erase(world: World) -> int:
    subject = {"customer_id": HER, "email": HER_EMAIL, "phone": None, "order_ids": []}
    request_id = ask(world, PrivacyKind.CUSTOMER_REDACT, subject)
    work(world)
    settle(world)
    work(world)
    return request_id


def work(world: World) -> Any:
    return work_due(Privacy(world.factory, world.settings, world.clock))


@pytest.mark.requirement("SHOP-07", "AUTO-05")
def test_a_batch_nobody_has_taken_comes_apart_and_the_others_are_mailed_once(world: World) -> None:
    freeze_only(world)
    assert ("crm.message_batches", HER_EMAIL) in found_in_database(world, STRINGS)
    request_id = erase(world)
    assert request_of(world, request_id).state is PrivacyState.COMPLETED
    assert found_in_database(world, STRINGS) == set()
    world.end_leases()
    world.run_cleanly()
    assert sorted(world.provider.addresses()) == ["c1@example.com", "c2@example.com"]
    assert world.states() == ["sent", "sent", "skipped"]


@pytest.mark.requirement("SHOP-07", "AUTO-05")
def test_a_worker_that_still_holds_the_batch_does_not_send_it(world: World) -> None:
    world.buyers([1])
    world.buyers([HER], email=HER_EMAIL)

    todo = ["frozen"]

    def erase_now(step: str) -> None:
        if step in todo:
            todo.remove(step)
            erase(world)

    world.run_cleanly(checkpoint=erase_now)
    assert world.provider.addresses() == ["c1@example.com"]
    assert found_in_database(world, STRINGS) == set()


@pytest.mark.requirement("SHOP-07", "AUTO-05")
@pytest.mark.parametrize("fault", [accept_then_drop, drop])
def test_erasing_waits_while_a_mail_may_be_on_its_way(world: World, fault: Any) -> None:
    """Dissolving such a batch would send its other mails a second time under a new key."""
    world.buyers([1, 2])
    world.buyers([HER], email=HER_EMAIL)
    world.provider.faults = [fault]
    world.run()
    request_id = erase(world)
    request = request_of(world, request_id)
    assert request.state is PrivacyState.PENDING
    assert "on its way" in (request.error or "")
    assert [batch.state for batch in world.batches()] == [BatchState.OPEN]

    world.end_leases()
    world.run_cleanly()  # the same bytes under the same key: that is how it is settled
    settle(world)
    work(world)
    assert request_of(world, request_id).state is PrivacyState.COMPLETED
    assert found_in_database(world, STRINGS) == set()
    assert sorted(world.provider.addresses()) == sorted(
        ["c1@example.com", "c2@example.com", HER_EMAIL]
    )


@pytest.mark.requirement("SHOP-07", "AUTO-05")
def test_erasing_waits_while_the_call_is_being_made(world: World) -> None:
    world.buyers([1])
    world.buyers([HER], email=HER_EMAIL)
    states: list[PrivacyState] = []

    def erase_now() -> None:
        states.append(request_of(world, erase(world)).state)

    world.provider.before_call = erase_now
    world.run_cleanly()
    assert states == [PrivacyState.PENDING]
    assert sorted(world.provider.addresses()) == sorted(["c1@example.com", HER_EMAIL])


@pytest.mark.requirement("SHOP-07")
def test_a_provider_that_could_not_be_reached_has_taken_nothing(world: World) -> None:
    world.buyers([1])
    world.buyers([HER], email=HER_EMAIL)
    world.provider.faults = [unreachable]
    world.run()
    request_id = erase(world)
    assert request_of(world, request_id).state is PrivacyState.COMPLETED
    world.end_leases()
    world.run_cleanly()
    assert world.provider.addresses() == ["c1@example.com"]


@pytest.mark.requirement("SHOP-07")
def test_after_23_hours_a_doubtful_batch_is_given_up_and_she_is_erased(world: World) -> None:
    world.buyers([1])
    world.buyers([HER], email=HER_EMAIL)
    world.provider.faults = [drop]
    world.run()
    world.execute(
        "UPDATE crm.message_batches SET first_unknown_at = clock_timestamp() - :age",
        age=timedelta(hours=24),
    )
    request_id = erase(world)
    assert request_of(world, request_id).state is PrivacyState.COMPLETED
    assert {message.state for message in world.messages()} == {MessageState.UNKNOWN}
    assert found_in_database(world, STRINGS) == set()
