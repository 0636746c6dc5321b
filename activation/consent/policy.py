"""Whether a shop wants subscriptions confirmed by a click in a mail (double opt-in).

With it on, marketing mail goes to whoever Shopify calls confirmed or who confirmed here. The mail
that asks for it belongs to an automation of its own, so that it takes the way of every other mail:
once, with its bytes frozen, in the history. It is on exactly while the setting is.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from activation.automation.definition import (
    ConsentGiven,
    Definition,
    SendEmail,
    write_definition,
)
from activation.consent.preferences import NO_CHOICE
from core.models import AuditEntry, Automation, AutomationVersion, ConsentPolicy
from core.models.enums import AuditAction

KEY: Final = NO_CHOICE
NAME: Final = "Confirm subscription"
STEP: Final = "confirm_email"
TEMPLATE: Final = "confirm_subscription"
LATE_AFTER: Final = timedelta(days=3)
DEFINITION: Final = Definition(
    trigger=ConsentGiven(),
    steps=(SendEmail(step_key=STEP, template=TEMPLATE),),
    late_after_seconds=int(LATE_AFTER.total_seconds()),
)


def read_policy(session: Session, shop_id: int) -> ConsentPolicy | None:
    """None: the shop has decided nothing, and nothing was compared yet."""
    return session.get(ConsentPolicy, shop_id)


def require_confirmation(
    session: Session,
    shop_id: int,
    *,
    reason: str,
    now: datetime,
    everybody: bool = False,
    user_id: int | None = None,
) -> None:
    """From now on who subscribes is asked to confirm, and gets no marketing mail until then.

    `everybody`: also who subscribed before; they are asked a few at a time. `now` is business time.
    """
    since = None if everybody else now
    _keep(session, shop_id, double_opt_in=True, since=since)
    automation_id = _ensure_automation(session, shop_id, now=now)
    session.execute(
        update(Automation)
        .where(Automation.shop_id == shop_id, Automation.automation_id == automation_id)
        .values(is_active=True, switched_on_at=now)
    )
    figures = {"double_opt_in": True, "everybody": everybody}
    _audit(session, shop_id, figures, reason=reason, now=now, user_id=user_id)


def require_no_confirmation(
    session: Session, shop_id: int, *, reason: str, now: datetime, user_id: int | None = None
) -> None:
    """Shopify's SUBSCRIBED is enough again. What waits for a confirmation goes on."""
    _keep(session, shop_id, double_opt_in=False, since=None)
    session.execute(
        update(Automation)
        .where(Automation.shop_id == shop_id, Automation.key == KEY)
        .values(is_active=False)
    )
    _audit(session, shop_id, {"double_opt_in": False}, reason=reason, now=now, user_id=user_id)


def _keep(session: Session, shop_id: int, *, double_opt_in: bool, since: datetime | None) -> None:
    values = {"double_opt_in": double_opt_in, "double_opt_in_since": since}
    session.execute(
        insert(ConsentPolicy)
        .values(shop_id=shop_id, **values)
        .on_conflict_do_update(index_elements=["shop_id"], set_=values)
    )
    session.expire_all()


def _ensure_automation(session: Session, shop_id: int, *, now: datetime) -> int:
    new: int | None = session.scalar(
        insert(Automation)
        .values(shop_id=shop_id, key=KEY, name=NAME, created_at=now)
        .on_conflict_do_nothing(index_elements=["shop_id", "key"])
        .returning(Automation.automation_id)
    )
    if new is not None:
        session.add(
            AutomationVersion(
                shop_id=shop_id,
                automation_id=new,
                version=1,
                definition=write_definition(DEFINITION),
                created_at=now,
            )
        )
        session.flush()
        return new
    known: int = session.scalars(
        select(Automation.automation_id).where(Automation.shop_id == shop_id, Automation.key == KEY)
    ).one()
    return known


def _audit(
    session: Session,
    shop_id: int,
    figures: dict[str, bool],
    *,
    reason: str,
    now: datetime,
    user_id: int | None,
) -> None:
    session.add(
        AuditEntry(
            shop_id=shop_id,
            acted_at=now,
            user_id=user_id,
            action=AuditAction.SET_DOUBLE_OPT_IN,
            about=None,
            reason=reason.strip(),
            figures=figures,
        )
    )
    session.flush()
