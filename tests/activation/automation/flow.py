"""One flow of any definition in a shop, edited and entered by hand."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from sqlalchemy import text

from activation.automation.definition import Definition, FirstOrder, Step, write_definition
from activation.automation.steps import StepReport, run_due_steps
from core.database import session_scope
from core.models import Automation, AutomationVersion, Enrollment, WriteBack
from core.models.enums import EnrollmentState
from tests.activation.world import World

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def definition(*steps: Step, **rest: Any) -> Definition:
    given = {"trigger": FirstOrder(), "late_after_seconds": 14 * 86400, **rest}
    return Definition(steps=steps, **given)


@dataclass
class Flow:
    """A flow that is on; its enrolments are what `enter` makes."""

    world: World
    automation_id: int
    key: str

    @classmethod
    def add(cls, world: World, made: Definition, *, key: str = "flow") -> Self:
        with session_scope(world.factory) as session:
            automation = Automation(
                shop_id=world.shop_id,
                key=key,
                name=key,
                is_active=True,
                switched_on_at=world.now,
                current_version=0,
                created_at=world.now,
            )
            session.add(automation)
            session.flush()
            flow = cls(world, automation.automation_id, key)
        flow.edit(made)
        return flow

    def edit(self, made: Definition) -> int:
        """A further version, which is the current one from now on."""
        with session_scope(self.world.factory) as session:
            automation = session.get_one(Automation, (self.world.shop_id, self.automation_id))
            automation.current_version += 1
            session.add(
                AutomationVersion(
                    shop_id=self.world.shop_id,
                    automation_id=self.automation_id,
                    version=automation.current_version,
                    definition=write_definition(made),
                    created_at=self.world.now,
                )
            )
            return automation.current_version

    def switch(self, *, on: bool) -> None:
        with session_scope(self.world.factory) as session:
            automation = session.get_one(Automation, (self.world.shop_id, self.automation_id))
            automation.is_active = on

    def enter(self, customer_id: int, **columns: Any) -> int:
        """In the current version, at its beginning, by a moment that is now."""
        now = self.world.now
        with session_scope(self.world.factory) as session:
            automation = session.get_one(Automation, (self.world.shop_id, self.automation_id))
            enrollment = Enrollment(
                **{
                    "shop_id": self.world.shop_id,
                    "automation_id": self.automation_id,
                    "version": automation.current_version,
                    "customer_id": customer_id,
                    "entry_key": "first",
                    "moment_at": now,
                    "state": EnrollmentState.ACTIVE,
                    "due_at": now,
                    "enrolled_at": now,
                    **columns,
                }
            )
            session.add(enrollment)
            session.flush()
            return enrollment.enrollment_id

    def run(self, *, at: datetime | None = None, limit: int = 500) -> StepReport:
        """One round of due steps; nothing is sent."""
        with session_scope(self.world.factory) as session:
            return run_due_steps(
                session,
                self.world.shop_id,
                secret_key=self.world.settings.secret_key,
                now=at or self.world.now,
                run_id="run-1",
                limit=limit,
            )

    def later(self, by: timedelta) -> StepReport:
        self.world.clock.advance(by)
        return self.run()

    def enrollment(self, enrollment_id: int) -> Enrollment:
        with session_scope(self.world.factory) as session:
            return session.get_one(Enrollment, (self.world.shop_id, enrollment_id))

    def steps_made(self) -> list[str]:
        """The step of each message, in the order in which they were made."""
        return [message.step_key for message in self.world.messages()]

    def tags(self) -> list[tuple[int, str, str, str]]:
        """Customer, kind, tag and state of each wish, in order."""
        with session_scope(self.world.factory) as session:
            wishes = session.query(WriteBack).order_by(WriteBack.write_back_id)
            return [(w.customer_id, w.kind.value, w.tag or "", w.state.value) for w in wishes]

    def stay(self, customer_id: int, segment: str) -> None:
        """They are in this segment from now on."""
        with session_scope(self.world.factory) as session:
            now = {"now": self.world.now, "shop": self.world.shop_id, "customer": customer_id}
            session.execute(
                text("""
                    UPDATE crm.segment_memberships SET exited_at = :now, exit_cause = 'order'
                    WHERE shop_id = :shop AND customer_id = :customer AND exited_at IS NULL
                """),
                now,
            )
            session.execute(
                text("""
                    INSERT INTO crm.segment_memberships (
                        shop_id, customer_id, segment, previous_segment, entered_at, cause,
                        r_score, f_score, m_score
                    )
                    VALUES (:shop, :customer, :segment, 'new', :now, 'order', 5, 5, 5)
                """),
                now | {"segment": segment},
            )
