"""A shop whose customers change their minds; nothing of it needs scores."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from activation.consent.comparing import ComparingReport, compare_due
from activation.consent.ledger import Act
from activation.eligibility import Decision, Subject, decide_all
from activation.tokens import Recipient
from core.database import session_scope
from core.models import Automation, ConsentEvent, Message
from core.models.enums import ConsentSource, ConsentStanding, MessageState
from tests.activation.world import World

S = ConsentStanding
A_CLICK = Act(
    ConsentSource.PAGE,
    "page/2026-11",
    "Unsubscribe from all marketing mail",
    ip="203.0.113.7",
    user_agent="Mozilla/5.0",
)


def flow_of(world: World, key: str = "welcome") -> int:
    with session_scope(world.factory) as session:
        return session.scalars(
            select(Automation.automation_id).where(
                Automation.shop_id == world.shop_id, Automation.key == key
            )
        ).one()


def mail_to(
    world: World,
    customer_id: int,
    *,
    email: str | None = None,
    state: MessageState = MessageState.DELIVERED,
    is_test: bool = False,
) -> Recipient:
    """A mail of the welcome flow to somebody."""
    world.next_order += 1
    with session_scope(world.factory) as session:
        message = Message(
            shop_id=world.shop_id,
            dedupe_key=f"welcome/mail/{customer_id}/{world.next_order}",
            automation_id=flow_of(world),
            version=1,
            step_key="mail",
            customer_id=customer_id,
            email=email or f"c{customer_id}@example.com",
            state=state,
            is_test=is_test,
            due_at=world.now,
            expires_at=world.now + timedelta(days=3),
            queued_at=world.now,
        )
        session.add(message)
        session.flush()
        return Recipient(world.shop_id, message.message_id)


def ledger(world: World) -> list[ConsentEvent]:
    with session_scope(world.factory) as session:
        return list(session.scalars(select(ConsentEvent).order_by(ConsentEvent.consent_event_id)))


def told(world: World) -> list[tuple[S | None, S, str]]:
    """(before, after, source) of every event."""
    return [(each.state_before, each.state_after, each.source.value) for each in ledger(world)]


def compare(world: World, **options: Any) -> ComparingReport:
    """A walk through the customers, now."""
    world.execute(
        "UPDATE crm.consent_policies SET compare_at = clock_timestamp() WHERE compared_to = 0"
    )
    return compare_due(world.factory, world.shop_id, now=world.now, **options)


def decision_on(
    world: World, customer_id: int, *, flow: str = "welcome", now: datetime | None = None
) -> Decision:
    """What eligibility says of a mail of a flow to them."""
    subject = Subject(
        key=1,
        customer_id=customer_id,
        automation_id=flow_of(world, flow),
        order_id=None,
        expires_at=world.now + timedelta(days=300),
    )
    with session_scope(world.factory) as session:
        return decide_all(
            session,
            world.shop_id,
            [subject],
            secret_key=world.settings.secret_key,
            now=now or world.now,
        )[1]
