"""How long what we keep only for a while is kept (DESIGN §8), and its removal in batches.

Nothing here is needed for scores or mail: customers, orders, ledger and suppressions stay until a
person or a shop is erased.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Delete, Update, delete, null, select, tuple_, update
from sqlalchemy.orm import InstrumentedAttribute

from core.clock import Clock
from core.database import SessionFactory, session_scope
from core.models import (
    InboxMessage,
    PrivacyRequest,
    RefreshRequest,
    RejectedLine,
    Shop,
    SyncLogEntry,
    SyncRequest,
    TagAddition,
)
from core.models.enums import InboxState, PrivacyState, SyncRequestState
from core.shops import all_shops, business_clock

BATCH: Final = 5_000  # rows a transaction: about 0.1 s, so that no webhook waits for longer

# Shopify repeats a delivery for four hours; after that a body is only of use to find out why a
# customer or order is as it is, while somebody still asks.
INBOX_APPLIED: Final = timedelta(days=30)
# What could not be applied is the only copy of what it told, until somebody has looked.
INBOX_FAILED: Final = timedelta(days=90)
# The object itself is read again by each full sync, at least weekly.
REJECTED_LINES: Final = timedelta(days=30)
# A quarter: enough to see since when a shop's syncs have been slow or failing.
SYNC_LOG: Final = timedelta(days=90)
# The merchant has 30 days to hand it over (privacy_requests.due_at) and as long to take it.
PRIVACY_EXPORT: Final = timedelta(days=30)
FINISHED_REQUESTS: Final = timedelta(days=90)
# Longer than the latest that a mail of a flow may be: 60 days.
TAG_ADDITIONS: Final = timedelta(days=90)

_OVER: Final = (SyncRequestState.COMPLETED, SyncRequestState.FAILED)
_APPLIED: Final = (InboxState.APPLIED, InboxState.IGNORED)


@dataclass(frozen=True)
class Rule:
    """Rows of one table that go once `time` is `keep` ago; `clear`: only this column of them."""

    name: str
    time: InstrumentedAttribute[Any]
    keep: timedelta
    condition: ColumnElement[bool] | None = None
    clear: InstrumentedAttribute[Any] | None = None
    is_business_time: bool = False


RULES: Final = (
    Rule(
        "applied webhooks",
        InboxMessage.received_at,
        INBOX_APPLIED,
        InboxMessage.state.in_(_APPLIED),
    ),
    Rule("webhooks not applied", InboxMessage.received_at, INBOX_FAILED),
    Rule("rejected lines", RejectedLine.rejected_at, REJECTED_LINES),
    Rule("sync log", SyncLogEntry.at, SYNC_LOG, is_business_time=True),
    Rule(
        "privacy exports",
        PrivacyRequest.finished_at,
        PRIVACY_EXPORT,
        (PrivacyRequest.state == PrivacyState.COMPLETED) & PrivacyRequest.export.is_not(None),
        clear=PrivacyRequest.export,
        is_business_time=True,
    ),
    Rule(
        "refresh requests given up",
        RefreshRequest.requested_at,
        FINISHED_REQUESTS,
        RefreshRequest.next_attempt_at.is_(None),
    ),
    Rule("added tags", TagAddition.added_at, TAG_ADDITIONS, is_business_time=True),
    Rule(
        "finished sync requests",
        SyncRequest.finished_at,
        FINISHED_REQUESTS,
        SyncRequest.state.in_(_OVER),
    ),
)


def remove_expired(
    factory: SessionFactory,
    *,
    clock: Clock,
    batch: int = BATCH,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, int]:
    """Remove what has been kept long enough, of all shops; returns how many rows by rule.

    Each batch is a transaction of its own. `stop` is asked between them.
    """
    removed = {rule.name: 0 for rule in RULES}
    with session_scope(factory) as session:
        shops = all_shops(session)
    for shop in shops:
        for rule in RULES:
            before = _now(shop, rule, clock) - rule.keep
            while not stop():
                count = _remove(factory, _statement(rule, shop.shop_id, before, batch))
                removed[rule.name] += count
                if count < batch:
                    break
    return removed


def _now(shop: Shop, rule: Rule, clock: Clock) -> datetime:
    return (business_clock(shop, clock) if rule.is_business_time else clock).now()


def _remove(factory: SessionFactory, statement: Delete | Update) -> int:
    with session_scope(factory) as session:
        return len(session.execute(statement).all())


def _statement(rule: Rule, shop_id: int, before: datetime, batch: int) -> Delete | Update:
    """Changes at most `batch` rows, oldest first, and returns a row for each.

    Rows that somebody holds are left to the next night. Indexes: the inbox's by shop and time;
    the other tables are small.
    """
    model = rule.time.class_
    key = list(model.__mapper__.primary_key)
    expired = (
        select(*key)
        .where(model.shop_id == shop_id, rule.time < before)
        .order_by(rule.time)
        .limit(batch)
        .with_for_update(skip_locked=True)
    )
    if rule.condition is not None:
        expired = expired.where(rule.condition)
    chosen = tuple_(*key).in_(expired)
    options = {"synchronize_session": False}
    if rule.clear is None:
        return delete(model).where(chosen).returning(*key).execution_options(**options)
    cleared = update(model).where(chosen).values({rule.clear: null()})
    return cleared.returning(*key).execution_options(**options)
