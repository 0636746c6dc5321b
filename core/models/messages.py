"""The ledger of messages (which is also the outbox), frozen batches, what the provider said."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import CRM, Base, created, shop_key, value_enum
from core.models.enums import (
    AttemptOutcome,
    BatchState,
    BounceKind,
    DeferReason,
    EventState,
    MessageState,
    SkipReason,
    SuppressionReason,
    SuppressionSource,
)


class Message(Base):
    """One row per message owed, sent or skipped; the dedupe key makes it once."""

    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("shop_id", "dedupe_key"),
        Index(
            "ix_messages__queue",
            "shop_id",
            "due_at",
            "message_id",
            postgresql_where=text("state = 'queued'"),
        ),
        Index(
            "ix_messages__batch",
            "shop_id",
            "batch_id",
            postgresql_where=text("batch_id IS NOT NULL"),
        ),
        Index(
            "ix_messages__claim",
            "shop_id",
            "priority",
            "due_at",
            "message_id",
            postgresql_where=text("state = 'queued'"),
        ),
        Index(
            "ix_messages__address",
            "shop_id",
            text("lower(btrim(email))"),
            text("coalesce(sent_at, frozen_at)"),
            postgresql_where=text("state NOT IN ('skipped', 'failed')"),
        ),
        Index(
            "ix_messages__no_code",
            "shop_id",
            "automation_id",
            "version",
            "step_key",
            postgresql_where=text("state = 'queued' AND defer_reason = 'no_discount_code'"),
        ),
        Index("ix_messages__unknown", "shop_id", postgresql_where=text("state = 'unknown'")),
        Index("ix_messages__customer", "shop_id", "customer_id", "queued_at"),
        Index("ix_messages__recent", "shop_id", "queued_at"),
        Index("ix_messages__automation", "shop_id", "automation_id", "queued_at"),
        Index(
            "ix_messages__tests",
            "shop_id",
            "queued_at",
            postgresql_where=text("is_test"),
        ),
        Index(
            "ix_messages__provider",
            "provider_message_id",
            postgresql_where=text("provider_message_id IS NOT NULL"),
        ),
        {"schema": CRM},
    )

    shop_id: Mapped[shop_key] = mapped_column(ForeignKey(f"{CRM}.shops.shop_id"))
    message_id: Mapped[int] = mapped_column(
        BigInteger, Identity(always=True), primary_key=True, doc="the tag send_id at the provider"
    )
    dedupe_key: Mapped[str] = mapped_column(doc="activation/dedupe.py")
    automation_id: Mapped[int] = mapped_column(Integer)
    version: Mapped[int] = mapped_column(Integer)
    step_key: Mapped[str]
    enrollment_id: Mapped[int | None] = mapped_column(BigInteger)
    customer_id: Mapped[int | None] = mapped_column(BigInteger)
    email: Mapped[str | None] = mapped_column(doc="address as mailed")
    subject: Mapped[str | None]
    state: Mapped[MessageState] = mapped_column(value_enum(MessageState, "state"))
    skip_reason: Mapped[SkipReason | None] = mapped_column(value_enum(SkipReason, "skip_reason"))
    defer_reason: Mapped[DeferReason | None] = mapped_column(
        value_enum(DeferReason, "defer_reason")
    )
    waited_for: Mapped[str | None] = mapped_column(
        doc="the last `defer_reason` it had, kept when it was frozen"
    )
    failure: Mapped[str | None] = mapped_column(doc="the provider's refusal, in words")
    bounce_kind: Mapped[BounceKind | None] = mapped_column(value_enum(BounceKind, "bounce_kind"))
    is_test: Mapped[bool] = mapped_column(server_default=text("false"))
    priority: Mapped[int] = mapped_column(
        SmallInteger,
        server_default=text("60"),
        doc="lower goes first (activation/eligibility/flows.py)",
    )
    due_at: Mapped[datetime] = mapped_column(doc="business time; moved on by a deferral")
    expires_at: Mapped[datetime] = mapped_column(doc="business time after which it is too late")
    batch_id: Mapped[int | None] = mapped_column(BigInteger)
    batch_position: Mapped[int | None]
    provider_message_id: Mapped[str | None]
    run_id: Mapped[str | None] = mapped_column(doc="Dagster run that queued it")
    queued_at: Mapped[datetime]
    frozen_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    first_opened_at: Mapped[datetime | None] = mapped_column(doc="by a person or a machine")
    first_clicked_at: Mapped[datetime | None] = mapped_column(doc="by a person, as far as we know")
    finished_at: Mapped[datetime | None] = mapped_column(doc="bounced, complained, skipped, failed")


class MessageBatch(Base):
    """One row per frozen request to the provider: exact bytes and key, the same on every retry."""

    __tablename__ = "message_batches"
    __table_args__ = (
        UniqueConstraint("idempotency_key"),
        Index("ix_message_batches__open", "lease_until", postgresql_where=text("state = 'open'")),
        Index(
            "ix_message_batches__unknown",
            "next_attempt_at",
            postgresql_where=text("state = 'unknown' AND next_attempt_at IS NOT NULL"),
        ),
        {"schema": CRM},
    )

    shop_id: Mapped[shop_key] = mapped_column(ForeignKey(f"{CRM}.shops.shop_id"))
    batch_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    idempotency_key: Mapped[str]
    body: Mapped[bytes | None] = mapped_column(
        LargeBinary, doc="the exact request bytes, packed; dropped on completion"
    )
    body_sha256: Mapped[str]
    message_count: Mapped[int]
    state: Mapped[BatchState] = mapped_column(value_enum(BatchState, "state"))
    attempt: Mapped[int] = mapped_column(server_default=text("0"), doc="fence of the completion")
    lease_until: Mapped[datetime | None] = mapped_column(doc="real time; another worker after it")
    next_attempt_at: Mapped[datetime | None] = mapped_column(
        doc="real time; of an unknown batch when the provider's list is asked about it"
    )
    first_attempt_at: Mapped[datetime | None] = mapped_column(doc="real time")
    first_unknown_at: Mapped[datetime | None] = mapped_column(
        doc="real time of the first attempt whose outcome we never learned"
    )
    frozen_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    reconciled_at: Mapped[datetime | None] = mapped_column(
        doc="real time at which the whole of the provider's list around the attempts was compared"
    )
    last_error: Mapped[str | None]


class DeliveryAttempt(Base):
    """One row per call to the provider."""

    __tablename__ = "delivery_attempts"
    __table_args__ = (
        ForeignKeyConstraint(
            ["shop_id", "batch_id"],
            [f"{CRM}.message_batches.shop_id", f"{CRM}.message_batches.batch_id"],
        ),
        {"schema": CRM},
    )

    shop_id: Mapped[shop_key]
    batch_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True)
    run_id: Mapped[str | None]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    outcome: Mapped[AttemptOutcome | None] = mapped_column(value_enum(AttemptOutcome, "outcome"))
    status_code: Mapped[int | None]
    error: Mapped[str | None]


class DeliveryEvent(Base):
    """One row per event of the provider, stored before it is matched (shop_id NULL until then)."""

    __tablename__ = "delivery_events"
    __table_args__ = (
        Index(
            "ix_delivery_events__unmatched",
            "received_at",
            postgresql_where=text("state = 'stored'"),
        ),
        Index("ix_delivery_events__message", "shop_id", "message_id"),
        {"schema": CRM},
    )

    provider: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[str] = mapped_column(primary_key=True, doc="svix-id")
    shop_id: Mapped[int | None] = mapped_column(Integer)
    message_id: Mapped[int | None] = mapped_column(BigInteger)
    event_type: Mapped[str]
    occurred_at: Mapped[datetime]
    received_at: Mapped[created]
    state: Mapped[EventState] = mapped_column(value_enum(EventState, "state"))
    error: Mapped[str | None]
    body: Mapped[dict[str, Any]] = mapped_column(JSONB)


class Suppression(Base):
    """One row per address and reason; it belongs to the address and survives the customer.

    Of an erased person only keyed hashes stay, with the reason `erased` (core/ingestion/screen.py).
    """

    __tablename__ = "suppressions"
    __table_args__ = (
        Index(
            "ix_suppressions__erased",
            "shop_id",
            "email_normalized",
            postgresql_where=text("reason = 'erased'"),
        ),
        Index(
            "ix_suppressions__pushed",
            "shop_id",
            "email_normalized",
            postgresql_where=text("pushed_at IS NOT NULL"),
        ),
        {"schema": CRM},
    )

    shop_id: Mapped[shop_key] = mapped_column(ForeignKey(f"{CRM}.shops.shop_id"))
    email_normalized: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[SuppressionReason] = mapped_column(
        value_enum(SuppressionReason, "reason"), primary_key=True
    )
    message_id: Mapped[int | None] = mapped_column(BigInteger, doc="the mail that led to it")
    suppressed_at: Mapped[datetime]
    lifted_at: Mapped[datetime | None]
    source: Mapped[SuppressionSource | None] = mapped_column(
        value_enum(SuppressionSource, "source"), doc="NULL: not recorded; the recipient, or of old"
    )
    pushed_at: Mapped[datetime | None] = mapped_column(
        doc="real time since when the provider has it on its list from us"
    )


class SendPace(Base):
    """One row per shop whose sending was ever paused: until when (real time) and why."""

    __tablename__ = "send_paces"
    __table_args__ = ({"schema": CRM},)

    shop_id: Mapped[shop_key] = mapped_column(ForeignKey(f"{CRM}.shops.shop_id"))
    paused_until: Mapped[datetime | None]
    paused_reason: Mapped[str | None]


class SendTeam(Base):
    """One row per account at a provider: the limit counts for it, whichever shops share it.

    No shop_id: several shops may send under one key. All instants are real time.
    """

    __tablename__ = "send_teams"
    __table_args__ = ({"schema": CRM},)

    team: Mapped[str] = mapped_column(primary_key=True, doc="provider and hash of the key")
    next_at: Mapped[datetime] = mapped_column(doc="earliest next request of any kind")
    single_next_at: Mapped[datetime] = mapped_column(
        doc="earliest next request for a single or test mail within their share"
    )
    paused_until: Mapped[datetime | None] = mapped_column(doc="a quota is used up")
    paused_reason: Mapped[str | None]
