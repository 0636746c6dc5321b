"""The loop of one run: from an order to a mail, for all shops, whatever fails in one."""

from datetime import timedelta

import pytest

from core.models.enums import EnrollmentState, MessageState
from tests.activation.world import World


@pytest.mark.requirement("FLOW-01", "PIPE-01", "EMAIL-05")
def test_a_first_order_becomes_one_mail(world: World) -> None:
    world.buyers([1])

    report = world.run_cleanly()

    [mail] = world.provider.accepted
    message = world.message()
    assert mail["to"] == ["c1@example.com"]
    assert mail["from"] == "Nordlicht Keramik <hello@mail.example.com>"
    assert mail["reply_to"] == "shop@example.com"
    assert mail["subject"] == "Anna, welcome to Nordlicht Keramik" == message.subject
    assert mail["headers"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["headers"]["List-Unsubscribe"].startswith("<http://127.0.0.1:8400/unsubscribe/1.")
    assert mail["tags"] == [
        {"name": "shop_id", "value": str(world.shop_id)},
        {"name": "send_id", "value": str(message.message_id)},
        {"name": "automation", "value": "welcome"},
    ]
    assert (message.state, message.provider_message_id) == (MessageState.SENT, mail["id"])
    assert report.counts() | {"passes": 0} == {
        **dict.fromkeys(report.counts(), 0),
        "memberships_opened": 1,
        "enrolled": 1,
        "messages_queued": 1,
        "requests": 1,
        "mails_accepted": 1,
    }


@pytest.mark.requirement("AUTO-05")
def test_running_again_sends_nothing_more(world: World) -> None:
    world.buyers([1, 2, 3])
    world.run_cleanly()
    world.place_order(1)

    again = world.run_cleanly()

    assert again.mails_accepted == again.enrolled == 0
    world.assert_each_sent_once([1, 2, 3])


@pytest.mark.requirement("FLOW-01")
def test_the_mail_waits_for_the_delay(world: World) -> None:
    other = world.add_shop()
    world.switch_welcome_on(delay=timedelta(hours=1), shop_id=other)
    world.add_customer(1, shop_id=other)
    world.place_order(1, shop_id=other)

    world.clock.advance(timedelta(minutes=59))
    world.run_cleanly()
    assert world.provider.accepted == []
    [enrollment] = world.enrollments()
    assert enrollment.state is EnrollmentState.ACTIVE

    world.clock.advance(timedelta(minutes=1))
    world.run_cleanly()
    assert world.provider.addresses() == ["c1@example.com"]
