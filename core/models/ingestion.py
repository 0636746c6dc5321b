"""How Shopify's data reached us: sync runs, bulk operations, webhook inbox, refresh requests."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKeyConstraint, Identity, Index, Integer, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import RAW, Base, created, shop_key, value_enum
from core.models.enums import (
    BulkPurpose,
    BulkState,
    InboxState,
    LogLevel,
    ObjectType,
    SyncKind,
    SyncRequestState,
    SyncState,
)


class SyncRun(Base):
    """One row per sync of one shop, with live counts while it runs."""

    __tablename__ = "sync_runs"
    __table_args__ = (
        Index("ix_sync_runs__started", "shop_id", "started_at"),
        {"schema": RAW},
    )

    shop_id: Mapped[shop_key]
    sync_run_id: Mapped[int] = mapped_column(Integer, Identity(always=True), primary_key=True)
    kind: Mapped[SyncKind] = mapped_column(value_enum(SyncKind, "kind"))
    state: Mapped[SyncState] = mapped_column(value_enum(SyncState, "state"))
    run_id: Mapped[str | None] = mapped_column(doc="Dagster run")
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    customers_loaded: Mapped[int] = mapped_column(server_default=text("0"))
    orders_loaded: Mapped[int] = mapped_column(server_default=text("0"))
    order_lines_loaded: Mapped[int] = mapped_column(server_default=text("0"))
    checkouts_loaded: Mapped[int] = mapped_column(server_default=text("0"))
    products_loaded: Mapped[int] = mapped_column(server_default=text("0"))
    objects_expected: Mapped[dict[str, Any] | None] = mapped_column(
        doc="object type → how many Shopify says it has exported so far; grows while it exports"
    )
    lines_rejected: Mapped[int] = mapped_column(server_default=text("0"))
    error: Mapped[str | None] = mapped_column(doc="in words, with what to do")
    warning: Mapped[str | None] = mapped_column(doc="what a completed sync cannot see, in words")
    report: Mapped[dict[str, Any] | None] = mapped_column(
        doc="of a reconciliation: what Shopify counts, what we hold, what was asked for anew"
    )


class SyncLogEntry(Base):
    """One row per thing worth telling about a sync, in words a merchant understands."""

    __tablename__ = "sync_log"
    __table_args__ = (
        Index("ix_sync_log__run", "shop_id", "sync_run_id", "sync_log_id"),
        {"schema": RAW},
    )

    shop_id: Mapped[shop_key]
    sync_log_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    sync_run_id: Mapped[int]
    at: Mapped[datetime]
    level: Mapped[LogLevel] = mapped_column(value_enum(LogLevel, "level"))
    object_type: Mapped[ObjectType | None] = mapped_column(value_enum(ObjectType, "object_type"))
    message: Mapped[str]


class SyncRequest(Base):
    """One row per sync a person asked for; the page or command writes it, a sensor sees it."""

    __tablename__ = "sync_requests"
    __table_args__ = (
        Index(
            "ix_sync_requests__open",
            "shop_id",
            postgresql_where=text("state IN ('requested', 'launched')"),
        ),
        {"schema": RAW},
    )

    shop_id: Mapped[shop_key]
    sync_request_id: Mapped[int] = mapped_column(Integer, Identity(always=True), primary_key=True)
    kind: Mapped[SyncKind] = mapped_column(value_enum(SyncKind, "kind"))
    state: Mapped[SyncRequestState] = mapped_column(value_enum(SyncRequestState, "state"))
    requested_by: Mapped[str | None] = mapped_column(doc="who: `cli`, or `user:<user_id>`")
    requested_at: Mapped[datetime] = mapped_column(doc="real time, as are the next two")
    launched_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    run_id: Mapped[str | None] = mapped_column(doc="Dagster run that does it")
    error: Mapped[str | None]


class BulkOperation(Base):
    """One row per bulk operation, written before its first poll so that a crash can resume it."""

    __tablename__ = "bulk_operations"
    __table_args__ = (
        ForeignKeyConstraint(
            ["shop_id", "sync_run_id"], [f"{RAW}.sync_runs.shop_id", f"{RAW}.sync_runs.sync_run_id"]
        ),
        {"schema": RAW},
    )

    shop_id: Mapped[shop_key]
    operation_id: Mapped[str] = mapped_column(primary_key=True, doc="gid://shopify/BulkOperation/…")
    sync_run_id: Mapped[int] = mapped_column(Integer)
    object_type: Mapped[ObjectType] = mapped_column(value_enum(ObjectType, "object_type"))
    state: Mapped[BulkState] = mapped_column(value_enum(BulkState, "state"))
    purpose: Mapped[BulkPurpose] = mapped_column(
        value_enum(BulkPurpose, "purpose"), server_default=text("'load'")
    )
    filter: Mapped[str] = mapped_column(doc="search text of the window; empty for everything")
    window_start: Mapped[datetime | None]
    announced_at: Mapped[datetime | None] = mapped_column(
        doc="real time at which the webhook bulk_operations/finish told of its end"
    )
    api_version: Mapped[str]
    submitted_at: Mapped[datetime]
    shopify_status: Mapped[str | None]
    error_code: Mapped[str | None]
    object_count: Mapped[int | None] = mapped_column(BigInteger)
    file_size: Mapped[int | None] = mapped_column(BigInteger)
    lines_read: Mapped[int | None] = mapped_column(BigInteger)
    finished_at: Mapped[datetime | None]


class SyncCursor(Base):
    """One row per object type: everything Shopify changed before (`updated_at`, id) is here.

    `object_id` is not 0 only while a large export is read in parts: of the objects that changed at
    `updated_at` those up to that id are here.
    """

    __tablename__ = "sync_cursors"
    __table_args__ = ({"schema": RAW},)

    shop_id: Mapped[shop_key]
    object_type: Mapped[ObjectType] = mapped_column(
        value_enum(ObjectType, "object_type"), primary_key=True
    )
    updated_at: Mapped[datetime]
    object_id: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    sync_run_id: Mapped[int]


class RejectedLine(Base):
    """One row per line of a bulk file that could not be read; kept to be looked at."""

    __tablename__ = "rejected_lines"
    __table_args__ = (
        Index("ix_rejected_lines__run", "shop_id", "sync_run_id"),
        {"schema": RAW},
    )

    shop_id: Mapped[shop_key]
    rejected_line_id: Mapped[int] = mapped_column(
        BigInteger, Identity(always=True), primary_key=True
    )
    sync_run_id: Mapped[int]
    object_type: Mapped[ObjectType] = mapped_column(value_enum(ObjectType, "object_type"))
    line_number: Mapped[int] = mapped_column(BigInteger)
    content: Mapped[bytes] = mapped_column(LargeBinary, doc="first 64 KiB of the line")
    error: Mapped[str]
    rejected_at: Mapped[created]


class InboxMessage(Base):
    """One row per webhook delivered by Shopify, stored before it is applied."""

    __tablename__ = "webhook_inbox"
    __table_args__ = (
        Index(
            "ix_webhook_inbox__due",
            "next_attempt_at",
            postgresql_where=text(
                "state IN ('received', 'failed') AND next_attempt_at IS NOT NULL"
            ),
        ),
        Index("ix_webhook_inbox__received", "shop_id", "received_at"),
        {"schema": RAW},
    )

    shop_id: Mapped[shop_key]
    webhook_id: Mapped[str] = mapped_column(primary_key=True, doc="X-Shopify-Webhook-Id")
    topic: Mapped[str]
    event_id: Mapped[str | None]
    triggered_at: Mapped[datetime | None]
    api_version: Mapped[str | None]
    body: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[InboxState] = mapped_column(value_enum(InboxState, "state"))
    error: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    received_at: Mapped[created]
    next_attempt_at: Mapped[datetime | None] = mapped_column(
        doc="NULL: applied, or given up until a person retries"
    )
    applied_at: Mapped[datetime | None]


class RefreshRequest(Base):
    """One row per object that must be read from Shopify because a webhook did not carry it whole.

    Deleted once read, unless it was asked for again meanwhile (`requested_at` moved).
    """

    __tablename__ = "refresh_requests"
    __table_args__ = (
        Index("ix_refresh_requests__due", "next_attempt_at"),
        {"schema": RAW},
    )

    shop_id: Mapped[shop_key]
    object_type: Mapped[ObjectType] = mapped_column(
        value_enum(ObjectType, "object_type"), primary_key=True
    )
    object_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    reason: Mapped[str]
    requested_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    next_attempt_at: Mapped[datetime | None] = mapped_column(doc="real time; NULL: given up")
    error: Mapped[str | None]
