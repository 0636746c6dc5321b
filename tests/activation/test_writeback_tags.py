"""Tags that flows ask for at Shopify, and how writing them fits into a run."""

import pytest

from activation.work import orders_due
from activation.writeback import request_tag
from activation.writer import WriteReport
from core.database import session_scope
from core.errors import PermanentError, TransientError
from tests.activation.admin import FakeAdmin
from tests.activation.wishes import (
    ANNA,
    DONE,
    FAILED,
    SUPERSEDED,
    anna_at_shopify,
    states,
    wishes,
    write,
)
from tests.activation.world import World


@pytest.fixture
def admin(world: World) -> FakeAdmin:
    return anna_at_shopify(world)


def tag(
    world: World, name: str, *, add: bool = True, occasion: str, customer_id: int = ANNA
) -> bool:
    with session_scope(world.factory) as session:
        return request_tag(
            *(session, world.shop_id, customer_id, name),
            add=add,
            occasion=occasion,
            at=world.now,
        )


@pytest.mark.requirement("CRM-04")
def test_shopifys_refusal_is_kept_in_its_words(world: World, admin: FakeAdmin) -> None:
    admin.faults = [PermanentError("Shopify answers 402: the shop is frozen.")]
    tag(world, "vip", occasion="1")
    write(world, admin)
    [wish] = wishes(world)
    assert (wish.state, wish.error) == (FAILED, "Shopify answers 402: the shop is frozen.")


@pytest.mark.requirement("CRM-04")
def test_a_tag_of_one_occasion_is_asked_for_once(world: World, admin: FakeAdmin) -> None:
    assert tag(world, "vip", occasion="enrollment/7/add_vip")
    assert not tag(world, "vip", occasion="enrollment/7/add_vip")
    write(world, admin)
    assert admin.customers[ANNA].tags == ["vip"]
    assert admin.written() == ["TagsAdd"]


@pytest.mark.requirement("CRM-04")
def test_of_one_tag_only_the_latest_wish_is_written(world: World, admin: FakeAdmin) -> None:
    tag(world, "VIP", occasion="1")
    tag(world, "other", occasion="2")
    tag(world, "vip", add=False, occasion="3")
    write(world, admin)
    assert admin.written() == ["TagsAdd", "TagsRemove"]
    assert admin.customers[ANNA].tags == ["other"]
    assert states(world) == [SUPERSEDED, DONE, DONE]


@pytest.mark.requirement("CRM-04")
def test_a_repeated_occasion_supersedes_nothing_that_came_after_it(
    world: World, admin: FakeAdmin
) -> None:
    tag(world, "vip", occasion="1")
    tag(world, "vip", add=False, occasion="2")
    tag(world, "vip", occasion="1")
    write(world, admin)
    assert admin.customers[ANNA].tags == []


@pytest.mark.requirement("CRM-04")
def test_a_later_wish_waits_for_an_earlier_one_that_is_on_its_way(
    world: World, admin: FakeAdmin
) -> None:
    """Written at once, it could have been overtaken by the earlier one, which then stayed."""
    tag(world, "vip", occasion="1")
    reports: list[WriteReport] = []

    def meanwhile(_: str) -> None:
        if not reports:
            tag(world, "vip", add=False, occasion="2")
            reports.append(WriteReport())
            reports.append(write(world, admin))

    admin.before_call = meanwhile
    write(world, admin)
    assert reports[1] == WriteReport()
    assert admin.customers[ANNA].tags == ["vip"]
    write(world, admin)
    assert admin.customers[ANNA].tags == []
    assert states(world) == [SUPERSEDED, DONE]


@pytest.mark.requirement("CRM-04")
@pytest.mark.parametrize("where", ["here", "at Shopify"])
def test_a_customer_who_is_gone_needs_no_tag(world: World, admin: FakeAdmin, where: str) -> None:
    tag(world, "vip", occasion="1")
    if where == "here":
        world.set_customer(ANNA, deleted_at=world.now)
    else:
        del admin.customers[ANNA]
    write(world, admin)
    assert states(world) == [SUPERSEDED]


@pytest.mark.requirement("CRM-04")
def test_the_activation_run_writes_what_waits(world: World, admin: FakeAdmin) -> None:
    tag(world, "vip", occasion="1")
    with session_scope(world.factory) as session:
        assert orders_due(session)
    report = world.run_cleanly(client_of=lambda _: admin)
    assert report.write_backs_done == 1
    assert admin.customers[ANNA].tags == ["vip"]


@pytest.mark.requirement("CRM-04")
def test_trouble_with_writing_back_holds_up_no_mail(world: World, admin: FakeAdmin) -> None:
    tag(world, "vip", occasion="1")
    world.buyers([2])
    admin.faults = [TransientError("No answer.")]
    report = world.run(client_of=lambda _: admin)
    assert [(failure.stage, failure.message) for failure in report.failures] == [
        ("write_back", "No answer.")
    ]
    assert world.provider.addresses()[-1] == "c2@example.com"


@pytest.mark.requirement("CRM-04")
def test_nothing_is_written_to_a_shop_that_removed_the_app(world: World, admin: FakeAdmin) -> None:
    tag(world, "vip", occasion="1")
    world.set_shop(uninstalled_at=world.now)
    with session_scope(world.factory) as session:
        assert not orders_due(session)
    world.run_cleanly(client_of=lambda _: admin)
    assert admin.written() == []
