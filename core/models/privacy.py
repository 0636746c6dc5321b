"""What people may ask of their data, and what we write back to Shopify about them."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, Integer, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import CRM, Base, shop_key, value_enum
from core.models.enums import (
    ConsentState,
    PrivacyKind,
    PrivacyState,
    WriteBackKind,
    WriteBackState,
)


class PrivacyRequest(Base):
    """One row per request of a compliance webhook; the only record of an erasure that stays.

    Written by the inbox in the transaction that stores the webhook. Once completed, `subject` is
    NULL and `receipt` says what was done in counts, without anybody's data.
    """

    __tablename__ = "privacy_requests"
    __table_args__ = (
        UniqueConstraint("shop_id", "webhook_id"),
        Index(
            "ix_privacy_requests__due",
            "next_attempt_at",
            postgresql_where=text("state = 'pending'"),
        ),
        {"schema": CRM},
    )

    shop_id: Mapped[shop_key] = mapped_column(ForeignKey(f"{CRM}.shops.shop_id"))
    privacy_request_id: Mapped[int] = mapped_column(
        Integer, Identity(always=True), primary_key=True
    )
    webhook_id: Mapped[str]
    kind: Mapped[PrivacyKind] = mapped_column(value_enum(PrivacyKind, "kind"))
    state: Mapped[PrivacyState] = mapped_column(value_enum(PrivacyState, "state"))
    shopify_request_id: Mapped[int | None] = mapped_column(BigInteger, doc="data_request.id")
    subject: Mapped[dict[str, Any] | None] = mapped_column(
        doc="whom: customer_id, email, phone, order_ids; NULL once erased"
    )
    requested_at: Mapped[datetime]
    due_at: Mapped[datetime] = mapped_column(doc="30 days after the request")
    next_attempt_at: Mapped[datetime | None] = mapped_column(doc="real time; NULL: given up")
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    finished_at: Mapped[datetime | None]
    export: Mapped[dict[str, Any] | None] = mapped_column(
        doc="of a data request: everything we hold; removed when its retention is over"
    )
    receipt: Mapped[dict[str, Any] | None] = mapped_column(doc="counts by table, no personal data")
    error: Mapped[str | None]


class WriteBack(Base):
    """One row per change that Shopify is to be told of: tags, consent. An outbox, retried.

    Of the same customer, kind and tag only the latest wish counts.
    """

    __tablename__ = "write_backs"
    __table_args__ = (
        Index("ix_write_backs__due", "next_attempt_at", postgresql_where=text("state = 'queued'")),
        Index("ix_write_backs__customer", "shop_id", "customer_id"),
        UniqueConstraint("shop_id", "dedupe_key"),
        {"schema": CRM},
    )

    shop_id: Mapped[shop_key] = mapped_column(ForeignKey(f"{CRM}.shops.shop_id"))
    write_back_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    dedupe_key: Mapped[str] = mapped_column(doc="activation/dedupe.py; the same wish is once")
    customer_id: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[WriteBackKind] = mapped_column(value_enum(WriteBackKind, "kind"))
    tag: Mapped[str | None]
    consent_state: Mapped[ConsentState | None] = mapped_column(
        value_enum(ConsentState, "consent_state")
    )
    consent_level: Mapped[str | None] = mapped_column(doc="NULL: as Shopify has it")
    consent_at: Mapped[datetime | None] = mapped_column(doc="when the person decided")
    state: Mapped[WriteBackState] = mapped_column(value_enum(WriteBackState, "state"))
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    requested_at: Mapped[datetime] = mapped_column(doc="business time")
    next_attempt_at: Mapped[datetime | None] = mapped_column(doc="real time; NULL: not any more")
    finished_at: Mapped[datetime | None]
    error: Mapped[str | None]
