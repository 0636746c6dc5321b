"""A merchant accepts what the data gate holds: who, when and why is kept for good.

what is held                     what accepting it does
a full run                       its boundaries are in force, all memberships follow them
orders that changed together     the boundaries in force stay, all memberships follow the orders
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from activation.holds import Hold, lock_shop, read_hold, read_swing, release
from activation.memberships import MembershipReport, apply_membership_changes
from activation.scoring import apply_accepted
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.models import AuditEntry, RfmRun
from core.models.enums import AuditAction, GateState, MembershipCause


@dataclass(frozen=True)
class Acceptance:
    """What was held, and the memberships that followed."""

    held: Hold
    entered: int
    exited: int


def accept_held(
    factory: SessionFactory,
    *,
    shop_id: int,
    reason: str,
    now: datetime,
    user_id: int | None = None,
    seen: datetime | None = None,
) -> Acceptance:
    """Let what is held take effect, in one transaction with the audit entry.

    `user_id` None: whoever may use the command line. `seen` is when the hold the person read of
    began; PermanentError when it is another one by now, when nothing is held, or without a reason.
    """
    why = reason.strip()
    if not why:
        raise PermanentError("Say why this data is right; the reason is kept with your decision.")
    with session_scope(factory) as session:
        lock_shop(session, shop_id)
        held = read_hold(session, shop_id)
        if held is None:
            raise PermanentError("Nothing is held in this shop.")
        if seen is not None and seen != held.held_at:
            raise PermanentError(
                "Something else is held by now than what was shown. Read its reason and decide."
            )
        release(session, shop_id)
        figures, changes = _apply(session, shop_id, held, now=now, user_id=user_id)
        session.add(
            AuditEntry(
                shop_id=shop_id,
                acted_at=now,
                user_id=user_id,
                action=AuditAction.ACCEPT_HELD_DATA,
                about=held.rfm_run_id,
                reason=why,
                figures=figures,
            )
        )
    return Acceptance(held, changes.entered, changes.exited)


def _apply(
    session: Session, shop_id: int, held: Hold, *, now: datetime, user_id: int | None
) -> tuple[dict[str, Any], MembershipReport]:
    run = None
    if held.rfm_run_id is not None:
        run = session.get_one(RfmRun, (shop_id, held.rfm_run_id))
        run.state, run.decided_at, run.decided_by = GateState.ACCEPTED, now, user_id
        session.flush()
    swing = read_swing(session, shop_id)
    if run is not None:
        run.moved_count = swing.moved
        changes = apply_accepted(session, run, now=now, run_id=None)
    else:
        changes = apply_membership_changes(
            session, shop_id, customer_ids=None, now=now, cause=MembershipCause.ORDER, run_id=None
        )
    found = {
        "check": held.check.value if held.check else None,
        "reason": held.reason,
        "held_at": held.held_at.isoformat(),
    }
    return found | asdict(swing) | asdict(changes), changes
