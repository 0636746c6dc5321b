"""One activation run: everything that is due, for all shops, until nothing is.

    privacy requests → stored events → refreshes and inbox retries → merged customers
    → consents into the ledger → memberships and enrolment of touched customers → due steps
    → freeze and send → discount codes → write back

Privacy requests and events come first: one of them may forbid a mail that is about to leave.

What fails for one shop in one stage is logged, reported and left for the next run; everything else
goes on. Several runs at once are safe: each stage claims its rows.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.exc import DBAPIError

from activation.automation.due import moments_due
from activation.automation.enrollment import EnrolmentReport, enrol
from activation.automation.steps import run_due_steps
from activation.consent.comparing import compare_due
from activation.consent.forgetting import forget_networks
from activation.cycle_report import CycleReport, StageFailure
from activation.discounts.stage import top_up
from activation.events import match_stored
from activation.gate import GATE, Gate
from activation.looking import EVERYTHING, Due, ShopDue, automations_stamp, look
from activation.merges import apply_merges
from activation.outbox.batches import BATCH_SIZE, LEASE
from activation.outbox.crew import send_by_many
from activation.outbox.reconcile import reconcile_due
from activation.outbox.worker import Outbox
from activation.privacy.work import Privacy, work_due
from activation.provider import Provider
from activation.touched import TouchedReport, apply_touched, doubts_orders, judge_touched
from activation.work import seconds_until_next
from activation.writer import write_due
from core.clock import Clock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError, TransientError
from core.ingestion import inbox, refresh
from core.models import Shop
from core.settings import Settings
from core.shopify.client import ShopifyClient
from core.shops import all_shops, business_clock

__all__ = ["Cycle", "CycleReport", "Run", "StageFailure", "run_due"]

log = logging.getLogger(__name__)

CHUNK: Final = 1000  # customers whose memberships change in one transaction
STEPS: Final = 500  # enrolments that move on in one transaction
SHORTEST_WAIT: Final = 0.05


@dataclass(frozen=True)
class Cycle:
    """Collaborators of one run. `client_of` gives the Shopify client of a shop id.

    `longest` bounds the whole run, `patience` the time it waits inside for what is due shortly (a
    consent that Shopify is about to tell). `senders` threads send for a shop that owes much, each
    `at_once` batches together. `checkpoint` is told each step, for tests of crashes.
    """

    factory: SessionFactory
    settings: Settings
    clock: Clock
    provider: Provider
    client_of: Callable[[int], ShopifyClient]
    run_id: str | None
    stop: Callable[[], bool]
    longest: timedelta = timedelta(seconds=50)
    patience: timedelta = timedelta(seconds=5)
    lease: timedelta = LEASE
    batch_size: int = BATCH_SIZE
    at_once: int = 1
    senders: int = 1
    gate: Gate = GATE
    sleep: Callable[[float], None] = time.sleep
    checkpoint: Callable[[str], None] = lambda _: None


def run_due(cycle: Cycle) -> CycleReport:
    """Do everything that is due, until nothing is, `longest` is over or `stop()`."""
    return Run(cycle).until_nothing_is_due()


class Run:
    """The state of one run: its report, what has failed in it, how long it may go on."""

    def __init__(self, cycle: Cycle) -> None:
        self._cycle = cycle
        self.report = CycleReport()
        self._failed: set[tuple[str, int | None]] = set()
        self._swept: dict[int, str] = {}
        self._stuck: set[int] = set()
        self._ends_at = time.monotonic() + cycle.longest.total_seconds()
        self._was_idle = False
        self._patience = cycle.patience.total_seconds()

    def until_nothing_is_due(self) -> CycleReport:
        while not self.is_over():
            if self.one_pass(EVERYTHING):
                self._was_idle = False
            elif not self._wait_for_next():
                break
        return self.report

    def is_over(self) -> bool:
        return self._cycle.stop() or time.monotonic() >= self._ends_at

    def _wait_for_next(self) -> bool:
        """Sleep until the next thing is due, if that is soon; False: the run is done."""
        if self._patience <= 0:
            return False
        horizon = timedelta(seconds=self._patience)
        with session_scope(self._cycle.factory) as session:
            seconds = seconds_until_next(session, now=self._cycle.clock.now(), horizon=horizon)
        if seconds is None:
            return False
        if seconds == 0 and self._was_idle:
            return False  # due, but not ours to move: another run holds it, or its stage failed
        self._was_idle = True
        pause = max(seconds, SHORTEST_WAIT)
        self._patience -= pause
        self._cycle.sleep(pause)
        return True

    def look_and_pass(self) -> int:
        """One pass over what waits, and what comes of it; returns how much moved."""
        with session_scope(self._cycle.factory) as session:
            due = look(session, now=self._cycle.clock.now())
        return self.one_pass(due) if due.is_any else 0

    def forgive(self) -> None:
        """Try again what has failed or was stuck."""
        self._failed.clear()
        self._stuck.clear()

    def one_pass(self, due: Due) -> int:
        """Every stage that is due once; returns how much moved."""
        self.report.passes += 1
        moved = self._stage("privacy", None, self._privacy, if_=due.privacy)
        moved += self._stage("events", None, self._match_events, if_=due.events)
        fresh = self._stage("refresh", None, self._refresh, if_=due.refreshes)
        fresh += self._stage("inbox", None, self._retry_inbox, if_=due.inbox)
        moved += fresh
        for shop in self._shops():
            if self.is_over():
                break
            clock = business_clock(shop, self._cycle.clock)
            moved += self._shop(shop, clock, due.of(shop.shop_id), is_fresh=fresh > 0)
        return moved

    def _shop(self, shop: Shop, clock: Clock, due: ShopDue, *, is_fresh: bool) -> int:
        """What a stage moved may be due in those after it. `is_fresh`: there is new data."""
        if not due.is_any and not is_fresh:
            return 0
        shop_id = shop.shop_id

        def stage(name: str, work: Callable[[], int], *, if_: bool) -> int:
            return self._stage(name, shop_id, work, if_=if_)

        moved = stage("merges", lambda: self._merges(shop_id, clock), if_=due.merges or is_fresh)
        moved += stage("consent", lambda: self._consent(shop_id, clock), if_=due.all or is_fresh)
        if shop.baseline_at is not None and shop.first_sync_completed_at is not None:
            is_touched = due.touched or is_fresh or moved > 0
            moved += stage("touched", lambda: self._touched(shop_id, clock), if_=is_touched)
            moved += stage("enrol", lambda: self._sweep(shop_id, clock), if_=due.all)
        is_ours = is_fresh or moved > 0
        moved += stage("steps", lambda: self._steps(shop_id, clock), if_=due.steps or is_ours)
        is_ours = is_fresh or moved > 0
        moved += stage("send", lambda: self._send(shop_id, clock), if_=due.mails or is_ours)
        moved += stage("reconcile", lambda: self._reconcile(shop_id, clock), if_=due.all)
        moved += stage("discounts", lambda: self._discounts(shop_id, clock), if_=due.all)
        return moved + stage("write_back", lambda: self._write_back(shop_id), if_=due.write_backs)

    def _stage(self, stage: str, shop_id: int | None, work: Callable[[], int], *, if_: bool) -> int:
        """Run one stage; a failure is noted and the stage left alone until it is forgiven."""
        if not if_ or (stage, shop_id) in self._failed:
            return 0
        try:
            return work()
        except (TransientError, PermanentError) as error:
            self._note(stage, shop_id, str(error))
        except DBAPIError as error:
            # The statement and its parameters hold customers' data; the class and code do not.
            code = getattr(error.orig, "sqlstate", None)
            self._note(stage, shop_id, f"database: {type(error.orig).__name__} {code}")
        except Exception as error:
            # A bug of ours that one shop's data brings out must not stop the mail of all others.
            log.exception("An error of EcomCRM itself.")
            self._note(stage, shop_id, f"an error of EcomCRM itself: {type(error).__name__}")
        return 0

    def _note(self, stage: str, shop_id: int | None, message: str) -> None:
        log.error("Activation stage %s failed for shop %s: %s", stage, shop_id, message)
        self._failed.add((stage, shop_id))
        self.report.failures.append(StageFailure(stage, shop_id, message))

    def _shops(self) -> list[Shop]:
        """Those we may work for: of a shop that removed the app nothing is moved on."""
        with session_scope(self._cycle.factory) as session:
            return [shop for shop in all_shops(session) if shop.uninstalled_at is None]

    def _privacy(self) -> int:
        done = work_due(
            Privacy(
                factory=self._cycle.factory,
                settings=self._cycle.settings,
                clock=self._cycle.clock,
                stop=self.is_over,
                checkpoint=self._cycle.checkpoint,
            )
        )
        self.report.people_exported += done.exported
        self.report.people_erased += done.erased
        self.report.failures += [
            StageFailure("privacy", shop_id, words) for shop_id, words in done.failures
        ]
        return done.progress

    def _refresh(self) -> int:
        done = refresh.refresh_due(
            self._cycle.factory,
            self._cycle.client_of,
            settings=self._cycle.settings,
            clock=self._cycle.clock,
        )
        self.report.objects_refreshed += done.read
        return done.read + done.given_up + done.gone

    def _retry_inbox(self) -> int:
        done = inbox.retry_due(
            self._cycle.factory, settings=self._cycle.settings, clock=self._cycle.clock
        )
        self.report.webhooks_applied += done.applied
        return done.applied

    def _merges(self, shop_id: int, clock: Clock) -> int:
        with session_scope(self._cycle.factory) as session:
            applied = apply_merges(session, shop_id, now=clock.now())
        self.report.merges_applied += applied
        return applied

    def _consent(self, shop_id: int, clock: Clock) -> int:
        done = compare_due(self._cycle.factory, shop_id, now=clock.now(), stop=self.is_over)
        with session_scope(self._cycle.factory) as session:
            forget_networks(session, shop_id, now=clock.now())
        self.report.consents_recorded += done.recorded
        self.report.confirmations_asked += done.asked
        return done.progress

    def _touched(self, shop_id: int, clock: Clock) -> int:
        """Memberships and enrolment of customers whose orders changed, a chunk per transaction."""
        with session_scope(self._cycle.factory) as session:
            judged = judge_touched(session, shop_id, now=clock.now(), gate=self._cycle.gate)
        if judged.finding is not None:
            log.warning("shop %d: held: %s", shop_id, judged.finding.reason)
            self.report.shops_held += 1
        moved = 0
        while moved < judged.may_apply and not self.is_over():
            done = self._touched_chunk(shop_id, clock.now())
            self._cycle.checkpoint("enrolled")
            moved += done.claimed
            if done.claimed < CHUNK:
                break
        return moved

    def _touched_chunk(self, shop_id: int, now: datetime) -> TouchedReport:
        with session_scope(self._cycle.factory) as session:
            done = apply_touched(session, shop_id, now=now, run_id=self._cycle.run_id, limit=CHUNK)
        self.report.memberships_opened += done.changes.entered
        self.report.memberships_closed += done.changes.exited
        self._count_enrolled(done.enrolled)
        return done

    def _sweep(self, shop_id: int, clock: Clock) -> int:
        """Everyone: once per run, when an automation was switched on or changed (an order may have
        been worked on just before, whose time meets its `switched_on_at`), and when moments are due
        that no order announces.
        """
        if ("touched", shop_id) in self._failed:
            return 0
        with session_scope(self._cycle.factory) as session:
            stamp = automations_stamp(session, shop_id)
            is_known = self._swept.get(shop_id) == stamp
            now = self._cycle.clock.now()
            if is_known and not moments_due(session, now=now, shop_id=shop_id):
                return 0
            self._swept[shop_id] = stamp
            if doubts_orders(session, shop_id):
                return 0
            enrolled = enrol(
                session, shop_id, customer_ids=None, now=clock.now(), run_id=self._cycle.run_id
            )
        self._count_enrolled(enrolled)
        return enrolled.enrolled + enrolled.too_late

    def _count_enrolled(self, enrolled: EnrolmentReport) -> None:
        self.report.enrolled += enrolled.enrolled
        self.report.too_late += enrolled.too_late

    def _steps(self, shop_id: int, clock: Clock) -> int:
        moved = 0
        while not self.is_over():
            with session_scope(self._cycle.factory) as session:
                done = run_due_steps(
                    session,
                    shop_id,
                    secret_key=self._cycle.settings.secret_key,
                    now=clock.now(),
                    run_id=self._cycle.run_id,
                    limit=STEPS,
                )
            self._cycle.checkpoint("message_queued")
            if not done.claimed:
                break
            moved += done.claimed
            self.report.messages_queued += done.queued
            self.report.messages_skipped += done.skipped
            self.report.exited += done.exited
            if done.claimed < STEPS:
                break
        return moved

    def _discounts(self, shop_id: int, clock: Clock) -> int:
        done = top_up(
            self._cycle.factory,
            self._cycle.client_of,
            shop_id,
            clock=clock,
            stop=self.is_over,
            checkpoint=self._cycle.checkpoint,
        )
        self.report.codes_made += done.made
        if done.problem is not None:
            self._note("discounts", shop_id, done.problem)
        return done.progress

    def _write_back(self, shop_id: int) -> int:
        moved = 0
        while not self.is_over():
            done = write_due(
                self._cycle.factory, self._cycle.client_of, shop_id, clock=self._cycle.clock
            )
            moved += done.written + done.superseded + done.failed
            self.report.write_backs_done += done.written
            if done.problem is not None:
                self._note("write_back", shop_id, done.problem)
                break
            if not done.written + done.superseded + done.failed:
                break
        return moved

    def _reconcile(self, shop_id: int, clock: Clock) -> int:
        done = reconcile_due(self._outbox(clock), shop_id)
        self.report.mails_reconciled += done.found
        return done.found

    def _outbox(self, clock: Clock) -> Outbox:
        return Outbox(
            factory=self._cycle.factory,
            settings=self._cycle.settings,
            provider=self._cycle.provider,
            clock=clock,
            run_id=self._cycle.run_id,
            stop=self.is_over,
            sleep=self._cycle.sleep,
            checkpoint=self._cycle.checkpoint,
            lease=self._cycle.lease,
            batch_size=self._cycle.batch_size,
            at_once=self._cycle.at_once,
        )

    def _send(self, shop_id: int, clock: Clock) -> int:
        done = send_by_many(
            self._outbox(clock),
            shop_id,
            workers=self._cycle.senders,
            freezes=shop_id not in self._stuck,
        )
        if done.stuck:
            self._stuck.add(shop_id)
        self.report.requests += done.requests
        self.report.mails_accepted += done.accepted
        self.report.messages_skipped += done.skipped
        self.report.messages_deferred += done.deferred
        self.report.mails_failed += done.failed
        self.report.mails_unknown += done.unknown
        self.report.batches_dissolved += done.dissolved
        return done.progress

    def _match_events(self) -> int:
        done = match_stored(self._cycle.factory, clock=self._cycle.clock)
        self.report.events_matched += done.matched
        return done.matched
