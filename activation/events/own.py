"""Clicks that our own links saw (activation/clicks.py), stored and judged like those the provider
tells of.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from activation.clicks import Link
from activation.events.engagements import (
    LONGEST_ADDRESS,
    LONGEST_AGENT,
    Seen,
    classify,
    store,
)
from core.database import SessionFactory, session_scope
from core.models.enums import EngagementKind, EngagementSource


@dataclass(frozen=True)
class Visit:
    """Somebody or something followed a link. `at` is real time, as the provider's events are."""

    link: Link
    at: datetime
    ip_address: str | None
    user_agent: str | None


def seen(visit: Visit) -> Seen:
    """Under a key of its own: to be made once per visit, so that storing may be repeated."""
    return Seen(
        visit.link.shop_id,
        visit.link.message_id,
        f"own-{secrets.token_hex(8)}",
        EngagementKind.CLICK,
        EngagementSource.OWN,
        visit.at,
        url=visit.link.url,
        is_trap=visit.link.url is None,
        ip_address=_clean(visit.ip_address, LONGEST_ADDRESS),
        user_agent=_clean(visit.user_agent, LONGEST_AGENT),
    )


def record(factory: SessionFactory, clicks: Sequence[Seen]) -> None:
    """Store clicks and judge them. Those on a mail that is not there, or nobody's, are dropped."""
    with session_scope(factory) as session:
        store(session, clicks)
        classify(session, {(each.shop_id, each.message_id) for each in clicks})


def _clean(text: str | None, limit: int) -> str | None:
    """What a stranger sends, in the length and with the characters that can be stored."""
    if not text:
        return None
    return text.replace("\x00", "").encode(errors="replace").decode()[:limit] or None
