"""What is worth telling about a sync, in words a merchant understands: `raw_shopify.sync_log`.

Counts, types and Shopify's own words; never a name, an address or a line of a file.
"""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.clock import Clock
from core.database import SessionFactory, session_scope
from core.models import SyncLogEntry, SyncRun
from core.models.enums import LogLevel, ObjectType

log = logging.getLogger(__name__)

# A type of Shopify's as the merchant calls it.
WORDS: Final = {
    ObjectType.CUSTOMER: "customers",
    ObjectType.ORDER: "orders",
    ObjectType.CHECKOUT: "abandoned checkouts",
    ObjectType.PRODUCT: "products",
}

_LEVELS: Final = {
    LogLevel.INFO: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.ERROR: logging.WARNING,
}


@dataclass(frozen=True)
class SyncLog:
    """The log of one run. Each entry is committed at once: whoever watches sees it."""

    factory: SessionFactory
    shop_id: int
    sync_run_id: int
    clock: Clock

    def info(self, message: str, object_type: ObjectType | None = None) -> None:
        self._add(LogLevel.INFO, message, object_type)

    def warning(self, message: str, object_type: ObjectType | None = None) -> None:
        self._add(LogLevel.WARNING, message, object_type)

    def error(self, message: str, object_type: ObjectType | None = None) -> None:
        self._add(LogLevel.ERROR, message, object_type)

    def _add(self, level: LogLevel, message: str, object_type: ObjectType | None) -> None:
        log.log(_LEVELS[level], "Sync %d of shop %d: %s", self.sync_run_id, self.shop_id, message)
        with session_scope(self.factory) as session:
            session.add(
                SyncLogEntry(
                    shop_id=self.shop_id,
                    sync_run_id=self.sync_run_id,
                    at=self.clock.now(),
                    level=level,
                    object_type=object_type,
                    message=message,
                )
            )


def note_between_syncs(
    session: Session, shop_id: int, message: str, object_type: ObjectType, *, at: datetime
) -> None:
    """A warning about what happened outside a sync: in the log of the shop's latest run, with the
    caller's transaction. A shop that was never synced has no such log.
    """
    log.warning("Shop %d: %s", shop_id, message)
    latest = session.scalar(select(func.max(SyncRun.sync_run_id)).where(SyncRun.shop_id == shop_id))
    if latest is not None:
        session.add(
            SyncLogEntry(
                shop_id=shop_id,
                sync_run_id=latest,
                at=at,
                level=LogLevel.WARNING,
                object_type=object_type,
                message=message,
            )
        )
