"""A person lets a shop send again that stopped by its figures, or that the provider refused."""

from datetime import datetime

from sqlalchemy import update
from sqlalchemy.orm import Session

from activation.events.health import read_health
from activation.outbox import pacing
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.models import AuditEntry, SendingHold
from core.models.enums import AuditAction


def resume_sending(
    factory: SessionFactory,
    *,
    shop_id: int,
    reason: str,
    now: datetime,
    user_id: int | None = None,
    team: str | None = None,
) -> str:
    """End the shop's pause, in one transaction with the audit entry; returns why it was paused.

    Mails of before count no more (health.py). `now` is business time, `user_id` None whoever may
    use the command line; with `team` a quota's pause of the whole account ends too. Raises
    PermanentError without a reason, or when nothing is paused.
    """
    why = reason.strip()
    if not why:
        raise PermanentError("Say why mail may leave again; the reason is kept.")
    with session_scope(factory) as session:
        health = read_health(session, shop_id, now=now)
        paused = pacing.resume(session, shop_id, now=now, team=team)
        said = paused or health.reason
        if said is None:
            raise PermanentError("This shop's sending is not paused.")
        _end_hold(session, shop_id, now)
        session.add(
            AuditEntry(
                shop_id=shop_id,
                acted_at=now,
                user_id=user_id,
                action=AuditAction.RESUME_SENDING,
                about=None,
                reason=why,
                figures={"paused": said, **health.figures.__dict__},
            )
        )
    return said


def _end_hold(session: Session, shop_id: int, now: datetime) -> None:
    session.execute(
        update(SendingHold)
        .where(SendingHold.shop_id == shop_id, SendingHold.resumed_at.is_(None))
        .values(resumed_at=now)
    )
