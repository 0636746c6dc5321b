"""What an explanation holds. Instants are business time, except where a field says `real`.

`code` and `result` are for programs and stay as they are; `words` are for people and may change.
"""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec


class CheckResult(StrEnum):
    """`unclear`: it or a neighbour of it refused, and which was not kept. `not_kept`: it was asked,
    and the answer made no difference.
    """

    PASSED = "passed"
    REFUSED = "refused"
    WAITS = "waits"
    UNCLEAR = "unclear"
    NOT_ASKED = "not_asked"
    NOT_KEPT = "not_kept"


class CheckPart(msgspec.Struct, frozen=True):
    """One check of eligibility and what it said. `until`: when it is asked again."""

    check: str
    result: CheckResult
    words: str
    reason: str | None = None
    until: datetime | None = None


class FlowPart(msgspec.Struct, frozen=True):
    """The automation, and the step of the version that the mail was made by."""

    automation_id: int
    key: str
    name: str
    version: int
    step_key: str
    trigger: dict[str, Any]
    step: dict[str, Any] | None
    is_current_version: bool


class OrderPart(msgspec.Struct, frozen=True):
    """One row of raw_shopify.orders. `started_it`: the order behind the moment."""

    order_id: int
    name: str
    processed_at: datetime
    total: Decimal
    currency: str
    is_counted: bool
    started_it: bool


class CheckoutPart(msgspec.Struct, frozen=True):
    """The checkout behind the moment, as it is now."""

    checkout_key: str
    updated_at: datetime
    completed_at: datetime | None
    total: Decimal
    currency: str
    items: int


class EntryPart(msgspec.Struct, frozen=True):
    """What started it: `event` is the trigger's type. The orders are those known up to the moment,
    the latest first, at most twenty.
    """

    event: str
    moment_at: datetime
    entry_key: str
    enrolled_at: datetime
    entered_version: int
    state: str
    exit_reason: str | None
    segment: str | None
    orders: tuple[OrderPart, ...]
    checkout: CheckoutPart | None


class BoundaryPart(msgspec.Struct, frozen=True):
    """The smallest value that had this score: an amount, a count, or an instant."""

    dimension: str
    score: int
    lowest: str


class StandingPart(msgspec.Struct, frozen=True):
    """The segment at one instant, with the scores and cut-points it was entered by."""

    at: datetime
    segment: str
    previous_segment: str | None
    entered_at: datetime
    exited_at: datetime | None
    cause: str
    run_id: str | None
    r_score: int
    f_score: int
    m_score: int
    rfm_score: str
    rfm_run_id: str | None
    boundaries: tuple[BoundaryPart, ...]


class WaitPart(msgspec.Struct, frozen=True):
    step_key: str
    seconds: int
    days: int


class TimingPart(msgspec.Struct, frozen=True):
    """Why now: when the step was due, what it waited for after that, and when it was too late."""

    waits: tuple[WaitPart, ...]
    first_due_at: datetime
    due_at: datetime
    expires_at: datetime
    waits_for: str | None
    waited_for: str | None
    queued_at: datetime
    frozen_at: datetime | None
    sent_at: datetime | None
    delivered_at: datetime | None
    finished_at: datetime | None
    words: str


class HoldoutPart(msgspec.Struct, frozen=True):
    is_held_out: bool
    percent: int
    words: str


class AttemptPart(msgspec.Struct, frozen=True):
    """One request to the provider; its times are real ones."""

    attempt: int
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    status_code: int | None
    error: str | None
    run_id: str | None


class BatchPart(msgspec.Struct, frozen=True):
    """The frozen request the mail is in. One that was taken apart before is not kept here."""

    batch_id: int
    position: int | None
    message_count: int
    state: str
    body_sha256: str
    frozen_at: datetime
    attempts: tuple[AttemptPart, ...]


class EventPart(msgspec.Struct, frozen=True):
    """What the provider told, as it told it."""

    event_type: str
    occurred_at: datetime
    received_at: datetime
    state: str


class EngagementPart(msgspec.Struct, frozen=True):
    """An open or a click, and whether a person is taken to be behind it."""

    kind: str
    source: str
    engaged_at: datetime
    url: str | None
    by: str
    bot_reason: str | None


class CreditPart(msgspec.Struct, frozen=True):
    """An order credited to this mail by the mart."""

    order_id: int
    ordered_at: datetime
    clicked_at: datetime | None
    revenue: Decimal
    currency: str | None


class RunsPart(msgspec.Struct, frozen=True):
    """Dagster runs. `None`: done outside a run, or not known."""

    enrolled: str | None
    queued: str | None
    attempted: tuple[str, ...]
    entered_segment: str | None


class CodePart(msgspec.Struct, frozen=True):
    """The discount code that is this customer's alone, and until when it works."""

    code: str
    ends_at: datetime


class MessageExplained(msgspec.Struct, frozen=True):
    """One mail. Of an erased person only what says nothing about anybody is there."""

    message_id: int
    state: str
    skip_reason: str | None
    failure: str | None
    bounce_kind: str | None
    is_test: bool
    is_erased: bool
    customer_id: int | None
    email: str | None
    subject: str | None
    words: str
    flow: FlowPart
    entry: EntryPart | None
    at_moment: StandingPart | None
    at_mail: StandingPart | None
    timing: TimingPart
    checks: tuple[CheckPart, ...]
    checks_are: str
    holdout: HoldoutPart | None
    batch: BatchPart | None
    events: tuple[EventPart, ...]
    engagements: tuple[EngagementPart, ...]
    credited: tuple[CreditPart, ...] | None
    runs: RunsPart
    own_code: CodePart | None = None


class Finding(msgspec.Struct, frozen=True):
    """One condition of entering a flow. `holds` None: it cannot be said.

    `at`: the instant it is about, such as since when it holds, or from when on it will.
    """

    code: str
    holds: bool | None
    words: str
    at: datetime | None = None


class MailPart(msgspec.Struct, frozen=True):
    """A mail of this flow to them, or one that counts for a cap."""

    message_id: int
    flow: str
    state: str
    reason: str | None
    at: datetime
    words: str


class EnrolmentPart(msgspec.Struct, frozen=True):
    """One time they entered, and how it went."""

    enrollment_id: int
    entry_key: str
    moment_at: datetime
    enrolled_at: datetime
    state: str
    exit_reason: str | None
    is_held_out: bool
    next_step: str | None
    due_at: datetime | None
    finished_at: datetime | None
    mails: tuple[MailPart, ...]
    words: str


class CustomerExplained(msgspec.Struct, frozen=True):
    """One person and one flow. `code` and `words` are the answer, the rest is what it rests on.

    `customer_id` is who the answer is about: of somebody merged away the one who was kept.
    """

    code: str
    words: str
    flow_key: str
    flow_name: str
    customer_id: int | None
    merged_from: int | None
    asked_at: datetime
    expected_at: datetime | None
    conditions: tuple[Finding, ...]
    enrolments: tuple[EnrolmentPart, ...]
    checks: tuple[CheckPart, ...]
    counted_mails: tuple[MailPart, ...]


def as_json(explained: msgspec.Struct) -> dict[str, Any]:
    """Plain values, as they stand in JSON: instants as text, sums as text."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(explained))
    return plain
