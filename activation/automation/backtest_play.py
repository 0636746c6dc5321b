"""What would have become of each entry: the same checks, asked at past instants.

Entries are played in the order of time, so that the mails of this flow count for its own caps;
those of other flows count as they really left.
"""

import heapq
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from activation.automation.backtest_entries import Entry
from activation.automation.backtest_history import History
from activation.automation.definition import (
    AbandonedCheckout,
    AnyOrder,
    Branch,
    Definition,
    EnteredSegment,
    ExitOn,
    FirstOrder,
    SendEmail,
    Silence,
    Wait,
)
from activation.automation.holdout import is_held_out
from activation.eligibility import Defer, Facts, Send, Skip, decide
from activation.eligibility.facts import CHANCES
from activation.eligibility.rules import Rules
from core.models.enums import DeferReason, SkipReason

SENDER: Final = "shop@shop.example"  # the shop's settings are taken to be in order
SENT: Final = "sent"
OPEN: Final = "open"


@dataclass(frozen=True)
class Setting:
    """What is the same for all entries of a backtest."""

    domain: str
    key: str
    definition: Definition
    rules: Rules
    zone: ZoneInfo
    zone_name: str
    until: datetime


@dataclass(frozen=True)
class Outcome:
    """One mail of one entry. `result`: sent, a reason it would have been skipped for, or `open`:
    it would still have waited at the end. `at`: when that was so.
    """

    entry: Entry
    step_key: str
    due_at: datetime
    result: str
    at: datetime
    waited_for: tuple[str, ...] = ()


@dataclass
class _Mail:
    """A mail on its way."""

    entry: Entry
    step_key: str
    due_at: datetime
    expires_at: datetime
    waits_for: DeferReason | None = None
    waited: list[str] = field(default_factory=list)


def mails_of(
    definition: Definition, moment: datetime, zone: ZoneInfo
) -> Iterator[tuple[str, datetime]]:
    """The mails up to the first branch, and when each is due."""
    for step in definition.steps:
        if isinstance(step, Branch):
            return
        if isinstance(step, Wait):
            moment = step.ends(moment, zone)
        elif isinstance(step, SendEmail):
            yield step.step_key, moment


def play(setting: Setting, history: History, entries: Sequence[Entry]) -> list[Outcome]:
    """In the order in which they were decided."""
    return _Play(setting, history).run(entries)


class _Play:
    """The mails that wait, and those that have left to each address."""

    def __init__(self, setting: Setting, history: History) -> None:
        self._setting = setting
        self._history = history
        self._flow = setting.definition.rules
        self._sent: dict[str, list[datetime]] = defaultdict(list)
        self._over: set[tuple[int, str]] = set()
        quiet = setting.rules.quiet_hours(setting.zone_name)
        self._quiet = quiet if self._flow.keeps_quiet_hours else None
        self._caps = setting.rules.caps if self._flow.is_capped else ()

    def run(self, entries: Sequence[Entry]) -> list[Outcome]:
        waiting: list[tuple[datetime, int, _Mail]] = []
        for entry in entries:
            for step_key, due_at in mails_of(
                self._setting.definition, entry.moment_at, self._setting.zone
            ):
                expires_at = due_at + self._setting.definition.late_after
                mail = _Mail(entry, step_key, due_at, expires_at)
                heapq.heappush(waiting, (due_at, len(waiting), mail))
        outcomes = []
        order = len(waiting)
        while waiting:
            at, _, mail = heapq.heappop(waiting)
            decided = self._decide(mail, at)
            if isinstance(decided, Outcome):
                outcomes.append(decided)
                continue
            mail.waits_for = decided.reason
            mail.waited.append(decided.reason.value)
            order += 1
            heapq.heappush(waiting, (decided.until, order, mail))
        return outcomes

    def _decide(self, mail: _Mail, at: datetime) -> Outcome | Defer:
        entry, setting = mail.entry, self._setting
        who = entry.customer_id, entry.entry_key
        if at >= setting.until:
            return self._outcome(mail, OPEN, at)
        if who in self._over or not self.entry_holds(entry, at):
            self._over.add(who)
            return self._outcome(mail, SkipReason.EXITED, at)
        if self._is_held_out(entry):
            return self._outcome(mail, SkipReason.HOLDOUT, at)
        decision = decide(self._facts(mail, at), now=at)
        match decision:
            case Send():
                person = self._history.people[entry.customer_id]
                self._sent[person.email_normalized or ""].append(at)
                return self._outcome(mail, SENT, at)
            case Skip(reason=reason, waited_for=waited_for):
                if waited_for is not None:
                    mail.waited.append(waited_for.value)
                return self._outcome(mail, reason, at)
            case Defer():
                return decision

    def _is_held_out(self, entry: Entry) -> bool:
        setting, person = self._setting, self._history.people[entry.customer_id]
        share = setting.definition.holdout_percent
        return not person.is_for_tests and is_held_out(
            setting.domain, setting.key, entry.customer_id, share
        )

    def _outcome(self, mail: _Mail, result: str, at: datetime) -> Outcome:
        waited = tuple(dict.fromkeys(mail.waited))
        return Outcome(mail.entry, mail.step_key, mail.due_at, str(result), at, waited)

    def entry_holds(self, entry: Entry, at: datetime) -> bool:
        """As activation/eligibility/exits.py says of an enrolment now."""
        definition, history, who = self._setting.definition, self._history, entry.customer_id
        trigger = definition.trigger
        ordered = False
        is_of_order = isinstance(trigger, FirstOrder | AnyOrder) and entry.order_id is not None
        if is_of_order and not history.order_counts(who, entry.order_id or 0, at):
            return False
        if isinstance(trigger, Silence):
            last = next(o for o in history.orders[who] if o.order_id == entry.order_id)
            ordered = history.has_ordered(
                who, last.processed_at, at, guests=False, other=entry.order_id
            )
        elif isinstance(trigger, AbandonedCheckout) or ExitOn.ORDERED in definition.exit_on:
            ordered = history.has_ordered(
                who,
                entry.moment_at,
                at,
                guests=isinstance(trigger, AbandonedCheckout),
                other=entry.order_id,
            )
        if ordered:
            return False
        if ExitOn.LEFT_SEGMENTS in definition.exit_on and isinstance(
            trigger, Silence | EnteredSegment
        ):
            return not trigger.segments or history.segment(who, at) in trigger.segments
        return True

    def _facts(self, mail: _Mail, at: datetime) -> Facts:
        history, who = self._history, mail.entry.customer_id
        person = history.people.get(who)
        email = person.email_normalized if person else None
        state, since = history.consent(who, at) if person else (None, None)
        return Facts(
            automation_is_active=True,
            entry_holds=True,
            customer_is_known=person is not None,
            customer_is_deleted=bool(person and person.deleted_at and person.deleted_at <= at),
            customer_is_merging=False,
            email=person.email if person else None,
            email_normalized=email,
            has_valid_email=person.has_valid_email if person else None,
            consent_state=state,
            consent_updated_at=since,
            must_confirm=False,
            has_opted_out=history.has_opted_out(email, at),
            asks_for_consent=False,
            unsubscribed_at=history.unsubscribed_at(email, at),
            is_suppressed=history.is_suppressed(email, at) or history.is_erased(who, email),
            refresh_is_open=False,
            refresh_is_given_up=False,
            refresh_attempts=0,
            has_postal_address=True,
            sender_address=SENDER,
            shop_is_disconnected=False,
            paused_until=None,
            expires_at=mail.expires_at,
            waits_for=mail.waits_for,
            is_test=False,
            data_is_stale=False,
            data_is_held=False,
            quiet_hours=self._quiet,
            caps=self._caps,
            counted=self._counted(email, at),
            mails_before=0,
            has_turn=True,
            spread=zlib.crc32((email or "").encode()) / CHANCES,
        )

    def _counted(self, email: str | None, at: datetime) -> tuple[datetime, ...]:
        """Mails that had left; of those at the same instant the more urgent ones."""
        others = (
            each.at
            for each in self._history.mails.get(email or "", ())
            if each.at < at or (each.at == at and each.priority < self._flow.priority)
        )
        return (*others, *self._sent.get(email or "", ()))
