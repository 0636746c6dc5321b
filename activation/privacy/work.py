"""Working privacy requests, one at a time, as far as each goes."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from activation.privacy import requests, shop
from activation.privacy.batches import settle_batches
from activation.privacy.bodies import Sought, erase_bodies, erase_events, erase_rejected
from activation.privacy.erase import erase_rows, screen_person
from activation.privacy.export import export_of
from activation.privacy.late import forget_late
from activation.privacy.person import NamesNobodyError, Person, find_person
from activation.privacy.requests import Claimed
from core.clock import Clock
from core.database import SessionFactory, session_scope
from core.errors import EcomCRMError
from core.ingestion.screen import ErasureHasher, Screen
from core.ingestion.staging import drop_leftovers
from core.models import Shop
from core.models.enums import PrivacyKind
from core.settings import Settings
from core.shops import business_clock

log = logging.getLogger(__name__)

# Longer than any transaction that stores or mails people may last; a sync's, which may, is waited
# for by its lock.
SETTLING: Final = timedelta(minutes=2)
ASK_AGAIN: Final = timedelta(minutes=1)
FIRST_RETRY: Final = timedelta(minutes=1)
LONGEST_RETRY: Final = timedelta(hours=6)
STILL_INSTALLED: Final = (
    "The app is installed in this shop again, so nothing is erased. To have it erased, remove the "
    "app from the shop."
)
MAIL_UNDER_WAY: Final = "A mail to them may be on its way; erased once its outcome is known."
SYNC_UNDER_WAY: Final = "A sync that began earlier is running; erased once it is over."

NO_SYNC_IS_ALIVE = text("""
-- Returns whether no sync of the shop is alive (core/ingestion/runs.py); holds off others until
-- commit. Changes nothing.
SELECT pg_try_advisory_xact_lock(hashtext('ecomcrm sync'), :shop_id)
""")


@dataclass(frozen=True)
class Privacy:
    """Collaborators. `checkpoint` is told each step, for tests of crashes."""

    factory: SessionFactory
    settings: Settings
    clock: Clock
    stop: Callable[[], bool] = lambda: False
    settling: timedelta = SETTLING
    patience: float = 5.0  # seconds of searching before others have their turn
    checkpoint: Callable[[str], None] = lambda _: None


@dataclass
class PrivacyReport:
    """Requests by what became of them. `failures`: shop, and words of what went wrong."""

    exported: int = 0
    erased: int = 0
    waiting: int = 0
    late_bodies: int = 0
    failures: list[tuple[int, str]] = field(default_factory=list)

    @property
    def progress(self) -> int:
        return self.exported + self.erased


class _NotYet(Exception):  # noqa: N818 - no error: it must only wait
    """The words say for what; None where nobody needs to be told."""

    def __init__(self, words: str | None, delay: timedelta = ASK_AGAIN) -> None:
        super().__init__(words)
        self.words = words
        self.delay = delay


def work_due(privacy: Privacy) -> PrivacyReport:
    """Work every request that is due. Several workers may run at once."""
    report = PrivacyReport()
    while not privacy.stop():
        with session_scope(privacy.factory) as session:
            request = requests.claim(session, settling=privacy.settling)
        if request is None:
            break
        _Work(privacy, request).run(report)
    report.late_bodies = forget_late(privacy.factory, secret_key=privacy.settings.secret_key)
    return report


def retry_delay(attempts: int) -> timedelta:
    """1, 2, 4 … minutes, at most six hours."""
    return min(FIRST_RETRY * (1 << min(attempts, 20)), LONGEST_RETRY)


class _Work:
    """One request under our lease."""

    def __init__(self, privacy: Privacy, request: Claimed) -> None:
        self._privacy = privacy
        self._factory = privacy.factory
        self._request = request
        self._shop_id = request.shop_id
        self._hasher = ErasureHasher(privacy.settings.secret_key, request.shop_id)

    def run(self, report: PrivacyReport) -> None:
        try:
            self._one(report)
        except _NotYet as reason:
            report.waiting += 1
            self._postpone(reason.words, delay=reason.delay)
        except NamesNobodyError as error:
            report.failures.append((self._shop_id, str(error)))
            self._postpone(str(error), delay=timedelta(), is_over=True)
        except Exception as error:
            words = _words(error)
            if not isinstance(error, (EcomCRMError, DBAPIError)):
                log.exception("An error of EcomCRM itself.")
            log.error("Privacy request %d: %s", self._request.request_id, words)  # noqa: TRY400
            report.failures.append((self._shop_id, words))
            self._postpone(words, delay=retry_delay(self._request.attempts), was_tried=True)

    def _one(self, report: PrivacyReport) -> None:
        match self._request.kind:
            case PrivacyKind.DATA_REQUEST:
                self._export()
                report.exported += 1
            case PrivacyKind.CUSTOMER_REDACT:
                self._erase_customer()
                report.erased += 1
            case PrivacyKind.SHOP_REDACT:
                self._erase_shop()
                report.erased += 1

    def _postpone(
        self, words: str | None, *, delay: timedelta, was_tried: bool = False, is_over: bool = False
    ) -> None:
        ended_at = self._now() if is_over else None
        with session_scope(self._factory) as session:
            requests.postpone(
                session,
                self._request,
                words=words,
                delay=delay,
                was_tried=was_tried,
                ended_at=ended_at,
            )

    def _now(self) -> datetime:
        with session_scope(self._factory) as session:
            shop_ = session.get_one(Shop, self._shop_id)
            return business_clock(shop_, self._privacy.clock).now()

    def _person(self) -> Person:
        with session_scope(self._factory) as session:
            return find_person(session, self._shop_id, self._request.subject)

    def _export(self) -> None:
        person = self._person()
        now = self._now()
        with session_scope(self._factory) as session:
            if self._is_erased(session, person):
                answer = {"made_at": now.isoformat(), "erased": True}
                requests.finish(session, self._request, now=now, receipt={}, export=answer)
                return
            export = export_of(
                session, self._shop_id, person, request_id=self._request.request_id, now=now
            )
            tables: dict[str, list[object]] = export["tables"]
            rows = {table: len(held) for table, held in tables.items() if held}
            requests.finish(
                session,
                self._request,
                now=now,
                receipt={"rows": rows | {"webhooks": len(export["webhooks"])}},
                subject=person.as_subject(),
                export=export,
            )

    def _is_erased(self, session: Session, person: Person) -> bool:
        screen = Screen.load_for(
            session,
            self._shop_id,
            self._privacy.settings.secret_key,
            customer_ids=person.customer_ids,
            emails=person.emails,
        )
        return screen is not None and (
            any(map(screen.is_erased_customer, person.customer_ids))
            or any(map(screen.is_erased_email, person.emails))
        )

    def _erase_customer(self) -> None:
        if not self._request.is_screened:
            self._screen_customer()
        self._wait_for_writers()
        person = Person.of_subject(self._request.subject)
        self._settle_batches(person)
        rows: Counter[str] = Counter(self._erase_bodies(Sought.of(person)))
        now = self._now()
        with session_scope(self._factory) as session:
            rows.update(
                erase_rows(
                    session, self._shop_id, person, request_id=self._request.request_id, now=now
                )
            )
            self._finish_erasure(session, rows, now=now)
        self._privacy.checkpoint("erased")

    def _screen_customer(self) -> None:
        """Hashes and whom to look for, in one transaction; then others must come to know."""
        person = self._person()
        now = self._now()
        with session_scope(self._factory) as session:
            screen_person(session, self._shop_id, person, self._hasher, now=now)
            requests.keep_screened(
                session,
                self._request,
                subject=person.as_subject(),
                settling=self._privacy.settling,
            )
        self._privacy.checkpoint("screened")
        raise _NotYet(None, self._privacy.settling)

    def _wait_for_writers(self) -> None:
        if not self._request.is_settled:
            raise _NotYet(None, self._privacy.settling)
        with session_scope(self._factory) as session:
            is_free: bool = session.execute(
                NO_SYNC_IS_ALIVE, {"shop_id": self._shop_id}
            ).scalar_one()
            if is_free:
                drop_leftovers(session, self._shop_id)
        if not is_free:
            raise _NotYet(SYNC_UNDER_WAY)

    def _settle_batches(self, person: Person | None) -> None:
        now = self._now()
        with session_scope(self._factory) as session:
            waiting = settle_batches(session, self._shop_id, person, now=now)
        self._privacy.checkpoint("batches_settled")
        if waiting:
            raise _NotYet(MAIL_UNDER_WAY)

    def _erase_bodies(self, sought: Sought) -> dict[str, int]:
        """The inbox may be large: after a while others have their turn, and it goes on later. What
        comes in meanwhile is found late (late.py).
        """
        after, ends_at = self._request.searched_to, time.monotonic() + self._privacy.patience
        while True:
            with session_scope(self._factory) as session:
                count, after = erase_bodies(session, self._shop_id, sought, after=after)
                if after:
                    requests.keep_searched(session, self._request, searched_to=after, erased=count)
            self._privacy.checkpoint("bodies_erased")
            if not after:
                break
            if time.monotonic() >= ends_at:
                raise _NotYet(None, timedelta(seconds=1))
        with session_scope(self._factory) as session:
            return {
                "raw_shopify.rejected_lines": erase_rejected(session, self._shop_id, sought),
                "crm.delivery_events": erase_events(session, self._shop_id, sought),
            }

    def _erase_shop(self) -> None:
        with session_scope(self._factory) as session:
            if session.get_one(Shop, self._shop_id).uninstalled_at is None:
                raise _NotYet(STILL_INSTALLED, LONGEST_RETRY)
        if not self._request.is_screened:
            self._screen_shop()
        self._wait_for_writers()
        self._settle_batches(None)
        rows: Counter[str] = Counter()
        for table in shop.tables_of_shops():
            with session_scope(self._factory) as session:
                rows[table] += shop.erase_table(session, self._shop_id, table)
            self._privacy.checkpoint("table_erased")
        now = self._now()
        with session_scope(self._factory) as session:
            rows.update(
                shop.erase_rest(
                    session,
                    self._shop_id,
                    secret_key=self._privacy.settings.secret_key,
                    request_id=self._request.request_id,
                    now=now,
                )
            )
            self._finish_erasure(session, rows, now=now)
        self._privacy.checkpoint("erased")

    def _screen_shop(self) -> None:
        now = self._now()
        after = 0
        while True:
            with session_scope(self._factory) as session:
                after = shop.screen_customers(
                    session, self._shop_id, self._hasher, after=after, now=now
                )
            if not after:
                break
        with session_scope(self._factory) as session:
            shop.screen_addresses(session, self._shop_id, self._hasher, now=now)
            requests.keep_screened(
                session, self._request, subject=None, settling=self._privacy.settling
            )
        self._privacy.checkpoint("screened")
        raise _NotYet(None, self._privacy.settling)

    def _finish_erasure(self, session: Session, rows: Counter[str], *, now: datetime) -> None:
        counts = {table: count for table, count in sorted(rows.items()) if count}
        requests.finish(session, self._request, now=now, receipt={"rows": counts})


def _words(error: Exception) -> str:
    """Only our own errors are quoted: others may quote data."""
    if isinstance(error, EcomCRMError):
        return str(error)
    if isinstance(error, DBAPIError):
        code = getattr(error.orig, "sqlstate", None)
        return f"database: {type(error.orig).__name__} {code}"
    return f"an error of EcomCRM itself: {type(error).__name__}"
