"""The ledger of consent: what somebody allowed before and after, when, by whose act, and what they
were shown. Rows are added in the transaction of the change itself.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.models import ConsentEvent
from core.models.enums import ConsentSource, ConsentStanding, LeavingReason

MAX_REASON: Final = 300
MAX_AGENT: Final = 300
# A person changes their mind a few times, a script for ever; leaving is never refused.
ACTS_A_DAY: Final = 40

COUNT_ACTS = text("""
-- Returns how often somebody acted for this address on our pages since a time. Changes nothing.
-- Index ix_consent_events__address.
SELECT count(*)
FROM crm.consent_events
WHERE
    shop_id = :shop_id
    AND email_normalized = :email
    AND recorded_at > clock_timestamp() - interval '1 day'
    AND source IN ('one_click', 'page', 'undo', 'double_opt_in')
""")


@dataclass(frozen=True)
class Act:
    """A person at a page or a mail program: by which way they acted and what they were shown.

    `wording` is the text they agreed or objected to; `version` names it for a lawyer.
    """

    source: ConsentSource
    version: str | None = None
    wording: str | None = None
    reason: LeavingReason | None = None
    reason_text: str | None = None
    ip: str | None = None
    user_agent: str | None = None


@dataclass(frozen=True)
class Change:
    """`automation_id` None: of all marketing mail. `occurred_at` is business time."""

    shop_id: int
    email_normalized: str
    state_before: ConsentStanding | None
    state_after: ConsentStanding
    occurred_at: datetime
    automation_id: int | None = None
    customer_id: int | None = None
    message_id: int | None = None
    user_id: int | None = None
    level: str | None = None


def record(session: Session, act: Act, changes: Sequence[Change]) -> None:
    """Add one row per change, in the caller's transaction."""
    if not changes:
        return
    shown = {
        "source": act.source,
        "wording_version": act.version,
        "wording": act.wording,
        "reason": act.reason,
        "reason_text": _short(act.reason_text, MAX_REASON),
        "ip": act.ip,
        "user_agent": _short(act.user_agent, MAX_AGENT),
    }
    session.execute(insert(ConsentEvent), [asdict(change) | shown for change in changes])


def acts_today(session: Session, shop_id: int, email: str) -> int:
    """How often our pages were used for this (normalised) address in the last 24 hours."""
    count: int = session.execute(COUNT_ACTS, {"shop_id": shop_id, "email": email}).scalar_one()
    return count


def _short(words: str | None, limit: int) -> str | None:
    """None for nothing; without NUL, which PostgreSQL cannot hold."""
    kept = (words or "").replace("\x00", "").encode(errors="replace").decode().strip()[:limit]
    return kept or None
