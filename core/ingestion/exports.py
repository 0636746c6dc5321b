"""The exports of one sync: which are waiting, which run at Shopify, which has ended.

Up to five run at once; what has ended first is handed over first, and while it is loaded the
others go on at Shopify. Slots are shared with strangers: they are waited for, never taken.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from core.errors import PermanentError, TransientError
from core.ingestion.live import LiveRun
from core.ingestion.operations import (
    Failed,
    Finished,
    NoSlotError,
    OperationLostError,
    Operations,
)
from core.ingestion.sync_log import WORDS, SyncLog
from core.ingestion.windows import Window
from core.models import BulkOperation
from core.models.enums import ObjectType

log = logging.getLogger(__name__)

AT_ONCE: Final = 5  # per app and shop since 2026-01 (shopify.md §1.1)
FIRST_POLL: Final = 0.2
LONGEST_POLL: Final = 5.0
GLANCE: Final = 0.5  # between two looks whether the finish webhook has come
SLOT_WAITS: Final = 120  # x 30 s in which strangers hold all slots
SLOT_PAUSE: Final = 30.0
OPERATIONS_LOST: Final = 3
# Shopify shows what a failed export had got done some time after it failed.
PARTIAL_POLLS: Final = 6
# Types whose objects stand in one line each, so that half a file is good for something.
FLAT: Final = frozenset({ObjectType.CUSTOMER, ObjectType.PRODUCT})

Outcome = Finished | Failed | PermanentError


@dataclass(eq=False)
class Export:
    """One window of one type on its way from Shopify.

    `lost` operations never gave a file; `failures` counts how often Shopify gave up on this
    window or the one it is a part of.
    """

    object_type: ObjectType
    window: Window
    operation: BulkOperation | None = None
    is_resumed: bool = False
    is_followed: bool = False  # what has changed since it began is asked for as well
    lost: int = 0
    failures: int = 0
    partial_polls: int = 0
    due_at: float = 0.0
    pause: float = FIRST_POLL

    @property
    def running(self) -> BulkOperation:
        assert self.operation is not None  # noqa: S101 - asked for once it has been submitted
        return self.operation


class Exports:
    """Time is told by what was slept: loading a file makes every poll due."""

    def __init__(self, operations: Operations, sync_log: SyncLog, live: LiveRun) -> None:
        self._operations = operations
        self._log = sync_log
        self._live = live
        self._waiting: list[Export] = []
        self._running: list[Export] = []
        self._missed: list[Export] = []
        self._heard: set[str] = set()
        self._slept = 0.0
        self._slot_at = 0.0
        self._slot_waits = 0
        self._is_told = False

    def add(self, export: Export) -> None:
        """Have the window exported; one with an operation is only waited for."""
        (self._running if export.operation else self._waiting).append(export)

    def drop(self, export: Export) -> None:
        """It failed for good: ask for nothing more of its type. What runs is left to the next sync.

        Their windows stay among those still to come, so that no cursor passes them.
        """
        kind = export.object_type
        self._missed += [export, *(each for each in self._open() if each.object_type is kind)]
        self._waiting = [each for each in self._waiting if each.object_type is not kind]
        self._running = [each for each in self._running if each.object_type is not kind]

    def has(self, object_type: ObjectType) -> bool:
        return any(each.object_type is object_type for each in self._open())

    def windows(self, object_type: ObjectType) -> list[Window]:
        """What is still to come of this type, in this sync or a later one."""
        both = (*self._open(), *self._missed)
        return [each.window for each in both if each.object_type is object_type]

    def _open(self) -> list[Export]:
        return [*self._waiting, *self._running]

    def ended(self) -> Iterator[tuple[Export, Outcome]]:
        """Each export with what became of it, until none is left; more may be added meanwhile.

        A PermanentError is Shopify's refusal of that export. Raises TransientError when Shopify
        lost one again and again, or when strangers hold all slots for an hour.
        """
        while self._waiting or self._running:
            found = self._submit() or self._poll()
            if found:
                yield found
                self._all_due()
            else:
                self._pause()

    def ask_again(self, export: Export, error: OperationLostError) -> None:
        """Shopify lost the operation: a new one for the same window, a few times."""
        export.lost += 1
        words = WORDS[export.object_type]
        if export.lost >= OPERATIONS_LOST:
            self._log.error(f"Export of {words}: {error} That was try {export.lost}.")
            raise error
        self._log.warning(f"Export of {words}: {error} Asking again.", export.object_type)
        self.retry(export)

    def retry(self, export: Export) -> None:
        export.operation = None
        export.is_resumed = False
        export.pause, export.partial_polls = FIRST_POLL, 0
        self._waiting.insert(0, export)

    def _submit(self) -> tuple[Export, Outcome] | None:
        """Start what fits. Returns an export that Shopify refuses."""
        while self._waiting and len(self._running) < AT_ONCE and self._slot_at <= self._slept:
            export = self._waiting[0]
            try:
                operation = self._operations.submit(export.object_type, export.window)
            except NoSlotError:
                self._wait_for_slot()
                return None
            except PermanentError as error:
                self._waiting.remove(export)
                return export, error
            self._waiting.remove(export)
            export.operation, export.due_at = operation, self._slept
            self._running.append(export)
            self._slot_waits, self._is_told = 0, False
        return None

    def _wait_for_slot(self) -> None:
        """Ours will free one when they end; strangers are waited for, with a limit."""
        self._slot_at = self._slept + SLOT_PAUSE
        if not self._is_told:
            self._is_told = True
            foreign = self._operations.foreign_count()
            self._log.info(
                f"Shopify runs as many exports for this shop as it allows; {foreign} of them "
                "belong to other programs that use the same app. Waiting for one to end."
            )
        if self._running:
            return
        self._slot_waits += 1
        if self._slot_waits >= SLOT_WAITS:
            raise TransientError(
                "Exports of other programs have held all of this shop's slots for an hour. "
                "Start the sync again later."
            )

    def _poll(self) -> tuple[Export, Outcome] | None:
        """The first export that has ended, of those it is time to ask for."""
        for export in list(self._running):
            if export.due_at > self._slept:
                continue
            outcome = self._ask(export)
            if outcome is not None:
                return export, outcome
        return None

    def _ask(self, export: Export) -> Outcome | None:
        state = self._operations.read(export.running)
        if state:
            objects = int(state["rootObjectCount"])
            self._live.expect(export.object_type, export.running.operation_id, objects)
        try:
            outcome: Outcome | None = self._operations.judge(export.running, state)
        except OperationLostError as error:
            self._end(export)
            self.ask_again(export, error)
            return None
        except PermanentError as error:
            outcome = error
        if outcome is None or self._may_show_more(export, outcome):
            export.due_at = self._slept + export.pause
            export.pause = min(export.pause * 1.5, LONGEST_POLL)
            return None
        self._end(export)
        return outcome

    def _may_show_more(self, export: Export, outcome: Outcome) -> bool:
        """Whether what a failed export had got done may still turn up."""
        if not isinstance(outcome, Failed) or outcome.partial_url or not outcome.object_count:
            return False
        if export.object_type not in FLAT or export.partial_polls >= PARTIAL_POLLS:
            return False
        export.partial_polls += 1
        export.pause = LONGEST_POLL
        return True

    def _end(self, export: Export) -> None:
        """A slot of ours is free again."""
        self._running.remove(export)
        self._slot_at = 0.0

    def _all_due(self) -> None:
        for export in self._running:
            export.due_at = self._slept

    def _pause(self) -> None:
        """Sleep until the next poll or slot, or until a webhook says that an export has ended."""
        moments = [export.due_at for export in self._running]
        if self._waiting and len(self._running) < AT_ONCE:
            moments.append(self._slot_at)
        until = min(moments, default=self._slept)
        while self._slept < until:
            seconds = min(GLANCE, until - self._slept)
            self._operations.sleep(seconds)
            self._slept += seconds
            if self._has_heard():
                return

    def _has_heard(self) -> bool:
        """Whether the webhook bulk_operations/finish has come for one of ours; each wakes once."""
        deaf = [e for e in self._running if e.running.operation_id not in self._heard]
        if not deaf:
            return False
        announced = self._operations.announced([export.running for export in deaf])
        self._heard |= announced
        for export in deaf:
            if export.running.operation_id in announced:
                export.due_at, export.pause = self._slept, FIRST_POLL
        return bool(announced)
