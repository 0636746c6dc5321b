"""A shop whose mails bounce or annoy stops sending, before mailbox providers stop it for good.

    bounces      4 % of the mails sent in the last 7 days, once they are 100
    complaints   0.08 % of the mails delivered in the last 7 days, once they are 1,000, and two

Those are the limits at which the provider stops an account. Fewer mails say too little: one
mistyped address in twenty-five would stop a new shop, and one reader a small one, hence the two.
Mails of before the last resumption count no more, so that whoever has cleaned the list is not
stopped again by what it was. A mail that the provider did not try counts neither way, nor do test
mails.

The stop is a pause of the outbox without an end: a person resumes, with a reason
(`ecomcrm sending resume`).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from activation.outbox import pacing
from core.models import SendingHold
from core.models.enums import HoldCause, MessageState

WINDOW: Final = timedelta(days=7)
LEAST_SENT: Final = 100
LEAST_DELIVERED: Final = 1000
LEAST_COMPLAINTS: Final = 2
MOST_BOUNCES: Final = 0.04
MOST_COMPLAINTS: Final = 0.0008
UNTIL_RESUMED: Final = timedelta(days=3650)

BAD: Final = frozenset({MessageState.BOUNCED, MessageState.COMPLAINED})

READ_FIGURES = text("""
-- Returns how many mails were sent, delivered, bounced and complained about of those queued since.
-- Changes nothing. Index ix_messages__recent.
SELECT
    count(*) AS sent,
    count(*) FILTER (
        WHERE messages.delivered_at IS NOT NULL OR messages.state IN ('delivered', 'complained')
    ) AS delivered,
    count(*) FILTER (WHERE messages.bounce_kind IS NOT NULL) AS bounced,
    count(*) FILTER (WHERE messages.state = 'complained') AS complained
FROM crm.messages
WHERE
    messages.shop_id = :shop_id
    AND messages.queued_at >= :since
    AND messages.state IN ('sent', 'delivered', 'bounced', 'complained')
    AND messages.bounce_kind IS DISTINCT FROM 'suppressed'
    AND NOT messages.is_test
""")


@dataclass(frozen=True)
class Figures:
    """Of the mails queued since some moment, at most `WINDOW` ago."""

    sent: int
    delivered: int
    bounced: int
    complained: int

    def finding(self) -> tuple[HoldCause, str] | None:
        """What is too high, in words with the figures."""
        if self.sent >= LEAST_SENT and self.bounced >= MOST_BOUNCES * self.sent:
            share = 100 * self.bounced / self.sent
            return HoldCause.BOUNCES, (
                f"{self.bounced:,} of the {self.sent:,} mails of the last 7 days bounced "
                f"({share:.1f} %; 4 % is too much)."
            )
        if (
            self.delivered >= LEAST_DELIVERED
            and self.complained >= LEAST_COMPLAINTS
            and self.complained >= MOST_COMPLAINTS * self.delivered
        ):
            share = 100 * self.complained / self.delivered
            return HoldCause.COMPLAINTS, (
                f"{self.complained:,} of the {self.delivered:,} mails delivered in the last 7 days "
                f"were reported as spam ({share:.2f} %; 0.08 % is too much)."
            )
        return None


@dataclass(frozen=True)
class Health:
    """How a shop's mails fared, and since when it does not send because of it."""

    figures: Figures
    held_at: datetime | None
    reason: str | None


def read_health(session: Session, shop_id: int, *, now: datetime) -> Health:
    hold = _current(session, shop_id)
    figures = read_figures(session, shop_id, since=_since(hold, now))
    is_held = hold is not None and hold.resumed_at is None
    return Health(
        figures,
        held_at=hold.held_at if hold and is_held else None,
        reason=hold.reason if hold and is_held else None,
    )


def read_figures(session: Session, shop_id: int, *, since: datetime) -> Figures:
    row = session.execute(READ_FIGURES, {"shop_id": shop_id, "since": since}).one()
    return Figures(row.sent, row.delivered, row.bounced, row.complained)


def hold_if_unhealthy(session: Session, shop_id: int, *, now: datetime) -> bool:
    """Stop the shop's sending if its figures say so; whether that happened just now.

    `now` is business time, as are the times of messages.
    """
    hold = _current(session, shop_id)
    if hold is not None and hold.resumed_at is None:
        if pacing.paused_for(session, shop_id) is not None:
            return False
        # Somebody ended the pause by the outbox's own command: that is a resumption too.
        hold.resumed_at = now
        session.flush()
    figures = read_figures(session, shop_id, since=_since(hold, now))
    finding = figures.finding()
    if finding is None:
        return False
    cause, reason = finding
    values: dict[str, Any] = {
        "held_at": now,
        "cause": cause,
        "reason": reason,
        "figures": figures.__dict__,
        "resumed_at": None,
    }
    session.execute(
        insert(SendingHold)
        .values(shop_id=shop_id, **values)
        .on_conflict_do_update(index_elements=["shop_id"], set_=values)
    )
    session.expire_all()
    pacing.pause(session, shop_id, delay=UNTIL_RESUMED, reason=reason)
    return True


def _since(hold: SendingHold | None, now: datetime) -> datetime:
    since = now - WINDOW
    return max(since, hold.resumed_at) if hold and hold.resumed_at else since


def _current(session: Session, shop_id: int) -> SendingHold | None:
    """The last hold; two workers decide one after the other."""
    return session.scalar(
        select(SendingHold)
        .where(SendingHold.shop_id == shop_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
