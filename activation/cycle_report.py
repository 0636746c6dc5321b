"""What one activation run did, in counts, without customers' data."""

from dataclasses import dataclass, field, fields


@dataclass(frozen=True)
class StageFailure:
    """What went wrong where, without customers' data. `shop_id` None: in no single shop."""

    stage: str
    shop_id: int | None
    message: str


@dataclass
class CycleReport:
    """Counts of one run."""

    passes: int = 0
    webhooks_applied: int = 0
    objects_refreshed: int = 0
    merges_applied: int = 0
    consents_recorded: int = 0
    confirmations_asked: int = 0
    memberships_opened: int = 0
    memberships_closed: int = 0
    shops_held: int = 0
    enrolled: int = 0
    too_late: int = 0
    exited: int = 0
    messages_queued: int = 0
    messages_skipped: int = 0
    messages_deferred: int = 0
    codes_made: int = 0
    write_backs_done: int = 0
    requests: int = 0
    mails_accepted: int = 0
    mails_failed: int = 0
    mails_unknown: int = 0
    mails_reconciled: int = 0
    batches_dissolved: int = 0
    people_exported: int = 0
    people_erased: int = 0
    events_matched: int = 0
    failures: list[StageFailure] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """All counts by name, and the number of failures."""
        numbers = {each.name: getattr(self, each.name) for each in fields(self)}
        return numbers | {"failures": len(self.failures)}
