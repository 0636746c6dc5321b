from datetime import timedelta

import pytest
from sqlalchemy import text

from activation.automation.definition import AddTag, Branch, OrderCount, SendEmail, Wait
from activation.automation.statistics import COUNT_MESSAGES, FlowFigures, figures_of
from core.database import session_scope
from core.models.enums import EnrollmentState
from tests.activation.automation.flow import Flow, definition
from tests.activation.world import World

STEPS = definition(
    SendEmail(step_key="mail", template="welcome"),
    Wait(step_key="wait", seconds=3600),
    Branch(step_key="if", condition=OrderCount(1), then=(AddTag("tag", "x"),)),
    SendEmail(step_key="mail_2", template="welcome"),
)


def figures(world: World) -> FlowFigures:
    with session_scope(world.factory) as session:
        return figures_of(
            session,
            world.shop_id,
            "flow",
            since=world.now - timedelta(days=1),
            until=world.now + timedelta(hours=1),
        )


@pytest.mark.requirement("AUTO-06")
def test_figures_count_people_and_mails_by_step_and_no_tests(world: World) -> None:
    flow = Flow.add(world, STEPS)
    world.add_customers([1, 2, 3, 4, 5])
    world.set_customer(2, consent_state="UNSUBSCRIBED")
    flow.enter(1)
    flow.enter(2)
    flow.enter(3, is_held_out=True)
    flow.enter(4, state=EnrollmentState.TOO_LATE, due_at=None)
    flow.enter(5, is_test=True)
    world.run_cleanly()
    world.execute(
        "UPDATE crm.messages SET delivered_at = sent_at, first_opened_at = sent_at"
        " WHERE customer_id = 1"
    )
    seen = figures(world)
    assert (seen.enrolled, seen.held_out, seen.too_late, seen.waiting) == (4, 1, 1, 3)
    assert [step.step_key for step in seen.steps] == ["mail", "wait", "if", "tag", "mail_2"]
    mail, _, branch, *_ = seen.steps
    assert branch.waiting == 3
    assert (mail.mails, mail.sent, mail.delivered, mail.opened, mail.clicked) == (3, 1, 1, 1, 0)
    assert mail.skipped == {"unsubscribed": 1, "holdout": 1}
    assert seen.total.sent == 1
    assert seen.earned is None  # no marts yet
    assert seen.as_json()["steps"][0]["skipped"] == mail.skipped


def test_a_step_that_was_taken_out_keeps_its_figures(world: World) -> None:
    flow = Flow.add(world, STEPS)
    world.add_customer(1)
    flow.enter(1)
    world.run_cleanly()
    flow.edit(definition(SendEmail(step_key="other", template="welcome")))
    seen = {step.step_key: step for step in figures(world).steps}
    assert next(iter(seen)) == "other"
    assert seen["mail"].sent == 1


def test_a_periods_figures_of_one_flow_are_read_by_index(world: World) -> None:
    flow = Flow.add(world, STEPS)
    world.execute(
        """
        INSERT INTO crm.messages (
            shop_id, dedupe_key, automation_id, version, step_key, state, due_at, expires_at,
            queued_at
        )
        SELECT :shop, 'k/' || n, :flow + n % 5, 1, 'mail', 'sent', at, at, at
        FROM generate_series(1, 5000) AS n
        CROSS JOIN LATERAL (SELECT CAST(:now AS timestamptz) - n * interval '1 hour') AS t (at)
        """,
        shop=world.shop_id,
        flow=flow.automation_id,
        now=world.now,
    )
    world.execute("ANALYZE crm.messages")
    with session_scope(world.factory) as session:
        span = {"since": world.now - timedelta(days=30), "until": world.now}
        this = {"shop_id": world.shop_id, "automation_id": flow.automation_id}
        plan = session.scalars(text(f"EXPLAIN {COUNT_MESSAGES.text}"), this | span).all()
    assert "ix_messages__automation" in "\n".join(plan)
