"""Codes are made ahead of mail, confirmed, and given to one mail each."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import select, text

from activation.automation.definition import UniqueCode
from activation.discounts.assigning import SAMPLE_CODE, StepCodes, code_of, give_codes
from activation.discounts.problems import CodeProblem, problems
from activation.discounts.stage import NO_SCOPE
from activation.discounts.terms import terms_of
from activation.discounts.wanted import FLOOR
from activation.eligibility import Defer
from activation.explain import explain_message
from activation.privacy.holdings import HOLDINGS, erase_statement, select_statement
from activation.work import steps_due
from core.database import session_scope
from core.errors import TransientError
from core.models import DiscountCode, DiscountPool, Shop
from core.models.enums import CodeState, DeferReason, MessageState, SkipReason
from ops.doctor.findings import State
from ops.doctor.shops import discount_codes
from ops.explain_cli import message_lines
from tests.activation import fake_provider as fake
from tests.activation.discounts.admin import (
    TEN,
    FakeDiscounts,
    codes_mailed,
    definition_giving,
    end_waits,
    enter_all,
    giving,
)
from tests.activation.world import World


@dataclass(frozen=True)
class Mail:
    """One that is about to be frozen."""

    message_id: int
    expires_at: datetime = datetime(2099, 1, 1, tzinfo=UTC)
    is_test: bool = False


class CrashError(Exception):
    """The process dies here."""


@pytest.fixture
def admin(world: World) -> FakeDiscounts:
    admin = FakeDiscounts()
    world.client_of = lambda _: admin
    return admin


def codes(world: World) -> list[DiscountCode]:
    with session_scope(world.factory) as session:
        return list(session.scalars(select(DiscountCode).order_by(DiscountCode.code_id)))


def pools(world: World) -> list[DiscountPool]:
    with session_scope(world.factory) as session:
        return list(session.scalars(select(DiscountPool).order_by(DiscountPool.pool_id)))


def stock(world: World) -> dict[str, int]:
    states = [code.state.value for code in codes(world)]
    return {state: states.count(state) for state in set(states)}


@pytest.mark.requirement("CFG-03", "FLOW-04")
def test_a_mail_waits_for_its_code_and_each_customer_gets_one_of_their_own(
    world: World, admin: FakeDiscounts
) -> None:
    enter_all(world, giving(world), range(1, 6))
    report = world.run_cleanly()
    assert (report.mails_accepted, report.messages_deferred) == (0, 5)
    assert {each.defer_reason for each in world.messages()} == {DeferReason.NO_DISCOUNT_CODE}
    end_waits(world)
    report = world.run_cleanly()
    assert (report.codes_made, report.mails_accepted) == (FLOOR, 5)
    mailed = codes_mailed(world)
    assert len(set(mailed.values())) == 5
    assert all(admin.codes[code] for code in mailed.values()), "Shopify has each of them"
    [discount] = admin.discounts.values()
    assert (discount["customerGets"]["value"], discount["usageLimit"]) == ({"percentage": 0.1}, 1)
    with session_scope(world.factory) as session:
        for message in world.messages():
            given = code_of(session, world.shop_id, message.message_id)
            assert given is not None
            assert given.code == mailed[message.email or ""]
            assert given.ends_at >= world.now + timedelta(days=30)
            assert message.waited_for == "no_discount_code"
        told = explain_message(
            session,
            world.shop_id,
            message.message_id,
            secret_key=world.settings.secret_key,
            now=world.now,
        )
        lines = list(message_lines(told))
        assert any(mailed[message.email or ""] in line for line in lines)


@pytest.mark.requirement("CFG-03")
def test_codes_are_in_stock_before_the_mail_is_due(world: World, admin: FakeDiscounts) -> None:
    flow = giving(world, delay=timedelta(hours=5))
    with session_scope(world.factory) as session:
        assert steps_due(session, now=world.now), "the stock of a flow that is on is looked at"
    enter_all(world, flow, range(1, 61))
    world.run_cleanly()
    end_waits(world)
    world.run_cleanly()
    assert stock(world) == {"free": 60}
    assert codes_mailed(world) == {}
    with session_scope(world.factory) as session:
        assert not steps_due(session, now=world.now)
    world.clock.advance(timedelta(hours=5))
    assert world.run_cleanly().mails_accepted == 60
    assert len(set(codes_mailed(world).values())) == 60


@pytest.mark.requirement("CFG-03", "AUTO-05")
@pytest.mark.parametrize("step", ["discount_created", "codes_requested", "codes_asked"])
def test_after_a_crash_there_is_one_discount_and_no_code_that_is_not_confirmed_is_mailed(
    world: World, admin: FakeDiscounts, step: str
) -> None:
    def crash(at: str) -> None:
        if at == step:
            raise CrashError

    enter_all(world, giving(world), range(1, 4))
    world.run(checkpoint=crash)
    end_waits(world)
    world.run_cleanly()
    end_waits(world)
    world.run_cleanly()
    assert len(admin.discounts) == 1
    mailed = set(codes_mailed(world).values())
    assert len(mailed) == 3
    confirmed = {each.code for each in codes(world) if each.state is CodeState.ASSIGNED}
    assert mailed == confirmed
    lost = [each for each in codes(world) if each.state is CodeState.UNCONFIRMED]
    assert len(lost) == (0 if step == "discount_created" else FLOOR)


@pytest.mark.requirement("CFG-03")
def test_a_code_that_shopify_refuses_is_replaced_and_never_mailed(
    world: World, admin: FakeDiscounts
) -> None:
    admin.taken, admin.running = 24, 1
    enter_all(world, giving(world), range(1, 4))
    while world.states() != ["sent"] * 3 and len(admin.calls) < 30:
        world.run_cleanly()
        end_waits(world)
    refused = [each for each in codes(world) if each.state is CodeState.REFUSED]
    assert len(refused) == 24
    assert "must be unique" in (refused[0].error or "")
    mailed = set(codes_mailed(world).values())
    assert len(mailed) == 3
    assert not mailed & {each.code for each in refused}
    assert all(code in admin.codes for code in mailed)


@pytest.mark.requirement("CFG-03", "AUTO-05")
def test_a_mail_that_is_frozen_again_has_the_same_code(world: World, admin: FakeDiscounts) -> None:
    world.provider.faults = [fake.accept_then_drop, fake.over_quota]
    enter_all(world, giving(world), range(1, 3))
    world.run_cleanly()
    end_waits(world)
    world.run()
    given = {each.message_id: each.code for each in codes(world) if each.message_id}
    assert len(given) == 2
    for _ in range(2):
        world.end_pauses()
        world.end_leases()
        world.run_cleanly()
    assert {each.message_id: each.code for each in codes(world) if each.message_id} == given
    assert set(codes_mailed(world).values()) == set(given.values())
    assert len({body for _, body in world.provider.calls}) == 1
    world.assert_each_sent_once([1, 2])


@pytest.mark.requirement("CFG-03")
def test_a_batch_that_was_taken_apart_keeps_its_codes(world: World, admin: FakeDiscounts) -> None:
    enter_all(world, giving(world), range(1, 4))
    world.run_cleanly()
    end_waits(world)
    seen: dict[int | None, str] = {}

    def leaves(step: str) -> None:
        if step == "frozen" and not seen:
            seen.update({each.message_id: each.code for each in codes(world) if each.message_id})
        if seen:
            world.set_customer(2, consent_state="UNSUBSCRIBED")

    assert world.run_cleanly(checkpoint=leaves).batches_dissolved == 1
    assert {each.message_id: each.code for each in codes(world) if each.message_id} == seen
    mailed = codes_mailed(world)
    assert sorted(mailed) == ["c1@example.com", "c3@example.com"]
    assert set(mailed.values()) < set(seen.values()), "that of who left is given to nobody else"


@pytest.mark.requirement("CFG-03")
def test_without_the_scope_a_mail_waits_and_the_flow_says_why(
    world: World, admin: FakeDiscounts
) -> None:
    admin.denied = True
    enter_all(world, giving(world), range(1, 2))
    for _ in range(2):
        world.run_cleanly()
        end_waits(world)
    assert world.message().defer_reason is DeferReason.NO_DISCOUNT_CODE
    assert [pool.error for pool in pools(world)] == [NO_SCOPE]
    with session_scope(world.factory) as session:
        told = problems(session, world.shop_id, now=world.now)
        assert told == [CodeProblem("flow", "mail", NO_SCOPE, waiting=1)]
        shop = session.get_one(Shop, world.shop_id)
        [finding] = discount_codes(session, shop, world.now)
    assert finding.state is State.WARN
    assert "write_discounts" in finding.words
    admin.denied = False
    for _ in range(3):
        end_waits(world)
        world.clock.advance(timedelta(minutes=11))
        world.run_cleanly()
    assert len(codes_mailed(world)) == 1
    assert [pool.error for pool in pools(world)] == [None]


@pytest.mark.requirement("CFG-03")
def test_without_the_scope_the_code_for_all_is_mailed_where_the_merchant_chose_one(
    world: World, admin: FakeDiscounts
) -> None:
    admin.denied = True
    enter_all(world, giving(world, fixed="TEA10"), range(1, 3))
    world.run_cleanly()
    assert world.run_cleanly().mails_accepted + len(world.provider.calls) >= 1
    assert world.states() == ["sent", "sent"]
    assert b"TEA10" in world.provider.calls[0][1]
    assert codes(world) == []


@pytest.mark.requirement("CFG-03")
def test_while_codes_are_being_made_nobody_gets_the_code_for_all_instead(
    world: World, admin: FakeDiscounts
) -> None:
    enter_all(world, giving(world, fixed="TEA10"), range(1, 3))
    world.run_cleanly()
    assert world.states() == ["queued", "queued"]
    end_waits(world)
    world.run_cleanly()
    assert len(codes_mailed(world)) == 2


@pytest.mark.requirement("CFG-03", "AUTO-04")
def test_a_mail_waits_for_its_code_no_longer_than_it_is_of_use(
    world: World, admin: FakeDiscounts
) -> None:
    admin.denied = True
    enter_all(world, giving(world, late_after=timedelta(minutes=12)), range(1, 2))
    world.run_cleanly()
    world.clock.advance(timedelta(minutes=10))
    world.run_cleanly()
    assert world.message().due_at == world.message().expires_at
    world.clock.advance(timedelta(minutes=2))
    world.run_cleanly()
    message = world.message()
    assert (message.state, message.skip_reason) == (MessageState.SKIPPED, SkipReason.TOO_LATE)
    assert message.defer_reason is DeferReason.NO_DISCOUNT_CODE


@pytest.mark.requirement("CFG-03")
def test_codes_of_a_discount_that_was_deleted_are_given_to_nobody(
    world: World, admin: FakeDiscounts
) -> None:
    flow = giving(world)
    world.run_cleanly()
    end_waits(world)
    world.run_cleanly()
    dead = set(admin.codes)
    admin.discounts.clear()
    world.execute(
        "UPDATE crm.discount_pools SET checked_at = clock_timestamp() - interval '16 minutes'"
    )
    world.run_cleanly()
    assert stock(world) == {"expired": FLOOR} | (
        {"requested": FLOOR} if len(pools(world)) > 1 else {}
    )
    enter_all(world, flow, range(1, 3))
    for _ in range(2):
        world.run_cleanly()
        end_waits(world)
    world.run_cleanly()
    assert len(admin.discounts) == 1
    mailed = set(codes_mailed(world).values())
    assert len(mailed) == 2
    assert not mailed & dead


@pytest.mark.requirement("CFG-03")
def test_a_shopify_that_cannot_be_reached_is_asked_again(
    world: World, admin: FakeDiscounts
) -> None:
    enter_all(world, giving(world), range(1, 3))
    admin.faults = [TransientError("Shopify has a problem of its own (503).")] * 2
    report = world.run()
    assert [(each.stage, each.shop_id) for each in report.failures] == [
        ("discounts", world.shop_id)
    ]
    for _ in range(3):
        end_waits(world)
        world.run()
    assert len(set(codes_mailed(world).values())) == 2
    assert len(admin.discounts) == 1


@pytest.mark.requirement("CFG-03", "FLOW-03")
def test_a_mail_made_before_an_edit_gets_a_code_of_the_terms_it_was_made_with(
    world: World, admin: FakeDiscounts
) -> None:
    flow = giving(world)
    enter_all(world, flow, range(1, 2))
    world.run_cleanly()
    flow.edit(definition_giving(UniqueCode(amount=Decimal(5), prefix="TEA")))
    enter_all(world, flow, range(2, 3))
    for _ in range(3):
        end_waits(world)
        world.clock.advance(timedelta(minutes=11))
        world.run_cleanly()
    mailed = codes_mailed(world)
    values = {
        address: admin.discounts[admin.codes[code]]["customerGets"]["value"]
        for address, code in mailed.items()
    }
    five = {"discountAmount": {"amount": "5", "appliesOnEachItem": False}}
    assert values == {"c1@example.com": {"percentage": 0.1}, "c2@example.com": five}


@pytest.mark.requirement("CFG-03", "TSEND-01")
def test_a_test_mail_shows_a_code_that_is_none(world: World, admin: FakeDiscounts) -> None:
    flow = giving(world)
    world.add_customer(1)
    flow.enter(1, is_test=True)
    world.run_cleanly()
    assert SAMPLE_CODE.encode() in world.provider.calls[0][1]
    assert not any(code.message_id for code in codes(world))


@pytest.mark.requirement("CFG-03", "AUTO-05")
def test_two_workers_at_once_never_give_one_code_twice(world: World, admin: FakeDiscounts) -> None:
    flow = giving(world)
    world.run_cleanly()
    end_waits(world)
    world.run_cleanly()
    step = StepCodes(flow.automation_id, "mail", terms_of(TEN), None)
    mails = [[Mail(number) for number in range(1, 11)], [Mail(number) for number in range(11, 31)]]
    with session_scope(world.factory) as one, session_scope(world.factory) as other:
        first = give_codes(one, world.shop_id, step, mails[0], now=world.now)
        second = give_codes(other, world.shop_id, step, mails[1], now=world.now)
    given = [each for each in (*first.values(), *second.values()) if isinstance(each, str)]
    assert len(given) == len(set(given)) == FLOOR
    assert all(isinstance(each, str) for each in first.values())
    assert [each for each in second.values() if not isinstance(each, str)] == [
        Defer(DeferReason.NO_DISCOUNT_CODE, world.now + timedelta(minutes=10))
    ] * 5
    with session_scope(world.factory) as session:
        assert give_codes(session, world.shop_id, step, mails[0], now=world.now) == first


@pytest.mark.requirement("SHOP-07", "CFG-03")
def test_a_code_is_exported_and_erased_with_the_person(world: World, admin: FakeDiscounts) -> None:
    enter_all(world, giving(world), range(1, 3))
    world.run_cleanly()
    end_waits(world)
    world.run_cleanly()
    mailed = codes_mailed(world)
    [holding] = [each for each in HOLDINGS if each.table == "crm.discount_codes"]
    person = {"shop_id": world.shop_id, "customer_ids": [1], "emails": ["c1@example.com"]}
    with session_scope(world.factory) as session:
        statement = text(select_statement(holding))
        held: dict[str, object] = session.execute(statement, person).scalar_one()
        assert held["code"] == mailed["c1@example.com"]
        session.execute(text(erase_statement(holding)), person)
    left = {each.code for each in codes(world)}
    assert mailed["c1@example.com"] not in left
    assert mailed["c2@example.com"] in left
