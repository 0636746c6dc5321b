"""A dry run says what the next evaluation then does, and writes nothing."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from activation.automation.definition import Definition, SendEmail, Silence, Wait
from activation.automation.dry_run import DryRun, dry_run, dry_run_json
from activation.automation.enrollment import enrol
from activation.automation.steps import run_due_steps
from activation.automation.switching import load_automations, switch_off
from core.database import session_scope
from core.models.enums import ConsentState
from tests.activation.world import World

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def ask(world: World, definition: Definition | None = None) -> DryRun:
    with session_scope(world.factory) as session:
        return dry_run(
            session,
            world.shop_id,
            "welcome",
            now=world.now,
            secret_key=world.settings.secret_key,
            definition=definition,
        )


def buyers_of_all_kinds(world: World) -> None:
    world.buyers(range(1, 5))
    world.buyers(range(5, 8), consent_state=ConsentState.NOT_SUBSCRIBED)
    world.buyers([8, 9], consent_state=None)
    world.buyers([10], email="nobody@")
    world.add_customers([11, 12])


@pytest.mark.requirement("AUTO-05", "EMAIL-02")
def test_it_says_what_the_next_evaluation_does(world: World) -> None:
    buyers_of_all_kinds(world)
    before = ask(world)
    assert (before.entering, before.mailed, before.later) == (10, 4, 0)
    assert before.skipped == {"invalid_address": 1, "not_subscribed": 3}
    assert before.deferred == {"consent_unknown": 2}
    assert [each.customer_id for each in before.samples["skipped:not_subscribed"]] == [5, 6, 7]
    assert before.samples["mailed"][0].email == "c1@example.com"
    assert dry_run_json(before)["mailed"] == 4

    with session_scope(world.factory) as session:
        entered = enrol(session, world.shop_id, customer_ids=None, now=world.now, run_id=None)
    assert entered.enrolled == before.entering
    inside = ask(world)  # now they are in it, and their mail is due
    assert (inside.entering, inside.enrolled_and_due) == (0, 10)
    assert (inside.mailed, inside.skipped) == (before.mailed, before.skipped)
    with session_scope(world.factory) as session:
        done = run_due_steps(
            session,
            world.shop_id,
            secret_key=world.settings.secret_key,
            now=world.now,
            run_id=None,
        )
    assert done.skipped == sum(before.skipped.values())
    assert done.queued == before.mailed + sum(before.deferred.values())
    assert ask(world).mailed == before.mailed  # queued, and not frozen yet
    world.set_customer(8, consent_state=ConsentState.NOT_SUBSCRIBED)
    world.set_customer(9, consent_state=ConsentState.NOT_SUBSCRIBED)
    world.execute("DELETE FROM raw_shopify.refresh_requests")  # as if Shopify had told
    world.run_cleanly()
    assert len(world.provider.addresses()) == before.mailed
    assert ask(world).mailed == 0


@pytest.mark.requirement("AUTO-05")
def test_postgres_itself_refuses_a_write_from_then_on(world: World) -> None:
    world.buyers([1])
    with world.factory() as session:
        dry_run(
            session,
            world.shop_id,
            "welcome",
            now=world.now,
            secret_key=world.settings.secret_key,
        )
        with pytest.raises(DBAPIError, match="read-only transaction"):
            session.execute(text("UPDATE crm.shops SET name = name"))
        session.rollback()
    assert world.enrollments() == []


@pytest.mark.requirement("AUTO-07")
def test_a_flow_that_is_off_is_tried_as_if_switched_on_now_with_an_unsaved_definition(
    world: World,
) -> None:
    world.add_customers(range(1, 121))
    world.place_orders(list(range(1, 121)), processed_at=world.now - 40 * DAY)
    with session_scope(world.factory) as session:
        switch_off(session, world.shop_id, "welcome", now=world.now)
        [flow] = [f for f in load_automations(session, world.shop_id) if f.key == "welcome"]
    off = ask(world)
    assert (off.is_on, off.entering, off.backlog) == (False, 0, None)
    silent = msgspec.structs.replace(
        flow.definition,
        trigger=Silence(days=30),
        steps=(SendEmail(step_key="mail", template="welcome"),),
    )
    tried = ask(world, silent)
    assert tried.backlog is not None
    assert (tried.backlog.customers, tried.backlog.per_day) == (120, 50)
    assert [many for _, many in tried.backlog.days] == [50, 50, 20]
    longer = ask(world, msgspec.structs.replace(silent, trigger=Silence(days=41)))
    assert longer.backlog is not None
    assert longer.backlog.customers == 0


@pytest.mark.requirement("AUTO-03")
@pytest.mark.parametrize(("hours", "found"), [(0, (1, 0)), (2, (0, 1))])
def test_an_unsaved_delay_moves_the_mail(world: World, hours: int, found: Any) -> None:
    world.buyers([1])
    with session_scope(world.factory) as session:
        [flow] = [f for f in load_automations(session, world.shop_id) if f.key == "welcome"]
    mail = SendEmail(step_key="welcome_email", template="welcome")
    steps = (Wait("delay", seconds=hours * 3600), mail)
    tried = ask(world, msgspec.structs.replace(flow.definition, steps=steps))
    assert (tried.mailed, tried.later) == found
