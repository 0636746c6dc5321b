"""What one sending worker works with, and what it reports."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import timedelta

from activation.outbox.batches import BATCH_SIZE, LEASE, Held
from activation.outbox.freeze import Frozen
from activation.outbox.pacing import Pace, pace_of
from activation.provider import Provider
from core.clock import Clock
from core.database import SessionFactory
from core.settings import Settings


@dataclass(frozen=True)
class Outbox:
    """Collaborators of one sending worker. `checkpoint` is told each step, for tests of crashes."""

    factory: SessionFactory
    settings: Settings
    provider: Provider
    clock: Clock  # business time of the shop
    run_id: str | None
    stop: Callable[[], bool]
    sleep: Callable[[float], None]
    checkpoint: Callable[[str], None] = lambda _: None
    lease: timedelta = LEASE
    batch_size: int = BATCH_SIZE
    at_once: int = 1  # batches that are frozen, begun and completed together

    @property
    def pace(self) -> Pace:
        return pace_of(self.settings, self.provider)


@dataclass
class SendReport:
    """Mails by what became of them, requests made, and calls that got stuck."""

    requests: int = 0
    accepted: int = 0
    skipped: int = 0
    deferred: int = 0
    failed: int = 0
    unknown: int = 0
    dissolved: int = 0
    stuck: int = 0

    def add(self, other: "SendReport") -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def add_frozen(self, frozen: Frozen) -> None:
        """What a freeze left out of its batch."""
        self.skipped += frozen.skipped
        self.deferred += frozen.deferred
        self.failed += frozen.failed

    @property
    def progress(self) -> int:
        """Mails that now stand elsewhere than before."""
        return self.accepted + self.skipped + self.deferred + self.failed + self.unknown


@dataclass
class Delivered:
    """What one batch led to. `follow_ups` are held by this worker."""

    report: SendReport = field(default_factory=SendReport)
    follow_ups: list[Held] = field(default_factory=list)

    def add(self, other: "Delivered") -> None:
        self.report.add(other.report)
        self.follow_ups += other.follow_ups
