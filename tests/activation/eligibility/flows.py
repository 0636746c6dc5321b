"""Flows of any priority beside the welcome flow, and messages of theirs that are due."""

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select, text

from activation.automation.definition import Definition, FirstOrder, SendEmail, write_definition
from core.database import session_scope
from core.models import Automation, AutomationVersion, Message
from core.models.enums import MessageState
from tests.activation.world import World

WEEK: Final = timedelta(days=7)


def add_flow(world: World, key: str, *, template: str = "welcome", **rules: Any) -> int:
    """A flow that is on, in place of the preset of that key where the shop has one. `rules` say how
    it differs from a welcome flow. Returns its id.
    """
    definition = Definition(
        trigger=FirstOrder(),
        steps=(SendEmail(step_key="mail", template=template),),
        late_after_seconds=int(WEEK.total_seconds()),
        **rules,
    )
    with session_scope(world.factory) as session:
        flow = session.scalar(
            select(Automation).where(Automation.shop_id == world.shop_id, Automation.key == key)
        ) or Automation(shop_id=world.shop_id, key=key, name=key, created_at=world.now)
        flow.is_active, flow.switched_on_at = True, world.now
        session.add(flow)
        session.flush()
        session.merge(
            AutomationVersion(
                shop_id=world.shop_id,
                automation_id=flow.automation_id,
                version=1,
                definition=write_definition(definition),
                created_at=world.now,
            )
        )
        return flow.automation_id


def queue(
    world: World,
    flow: int,
    customer_id: int,
    *,
    due_at: datetime | None = None,
    late_after: timedelta = WEEK,
    **columns: Any,
) -> int:
    """One message of the flow, due now unless told otherwise; returns its id."""
    due = due_at or world.now
    statement = text("""
        SELECT customers.email, versions.definition
        FROM raw_shopify.customers
        INNER JOIN crm.automation_versions AS versions
            ON customers.shop_id = versions.shop_id AND versions.automation_id = :flow
        WHERE customers.shop_id = :shop_id AND customers.customer_id = :customer_id
    """)
    with session_scope(world.factory) as session:
        row = session.execute(
            statement, {"shop_id": world.shop_id, "flow": flow, "customer_id": customer_id}
        ).one()
        message = Message(
            **{
                "shop_id": world.shop_id,
                "dedupe_key": f"{flow}/mail/{customer_id}/{due.isoformat()}",
                "automation_id": flow,
                "version": 1,
                "step_key": "mail",
                "customer_id": customer_id,
                "email": row.email,
                "priority": row.definition.get("priority", 20),
                "state": MessageState.QUEUED,
                "due_at": due,
                "expires_at": due + late_after,
                "queued_at": world.now,
                **columns,
            }
        )
        session.add(message)
        session.flush()
        return message.message_id


def message(world: World, message_id: int) -> Message:
    with session_scope(world.factory) as session:
        return session.get_one(Message, (world.shop_id, message_id))


def flow_of_mails(world: World) -> list[str]:
    """The flow of each mail that the provider took, in the order in which it did."""
    return [
        next(tag["value"] for tag in mail["tags"] if tag["name"] == "automation")
        for mail in world.provider.accepted
    ]
