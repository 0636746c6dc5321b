"""Discounts at Shopify whose codes are for one customer each, made ahead of their mails."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import CRM, Base, shop_key, value_enum
from core.models.enums import CodeState, CreationState


class DiscountPool(Base):
    """One row per discount at Shopify: of one step, its terms, and the days of its mails.

    Written before Shopify is asked. Its first code is in no mail: the discount is found by it.
    """

    __tablename__ = "discount_pools"
    __table_args__ = (
        ForeignKeyConstraint(
            ["shop_id", "automation_id"],
            [f"{CRM}.automations.shop_id", f"{CRM}.automations.automation_id"],
        ),
        Index(
            "uq_discount_pools__open",
            "shop_id",
            "automation_id",
            "step_key",
            "terms",
            "assign_until",
            unique=True,
            postgresql_where=text("closed_at IS NULL"),
        ),
        {"schema": CRM},
    )

    shop_id: Mapped[shop_key]
    pool_id: Mapped[int] = mapped_column(Integer, Identity(always=True), primary_key=True)
    automation_id: Mapped[int] = mapped_column(Integer)
    step_key: Mapped[str]
    terms: Mapped[str] = mapped_column(doc="of the step's unique code, as JSON; never changed")
    first_code: Mapped[str]
    discount_id: Mapped[str | None] = mapped_column(doc="Shopify's; NULL until it has answered")
    opened_at: Mapped[datetime] = mapped_column(doc="business time")
    assign_until: Mapped[datetime] = mapped_column(
        doc="business time; a later mail gets a code of the next pool"
    )
    ends_at: Mapped[datetime] = mapped_column(doc="business time; none of its codes works after it")
    checked_at: Mapped[datetime | None] = mapped_column(
        doc="real time at which its stock was last looked at"
    )
    lease_until: Mapped[datetime | None] = mapped_column(doc="real time; another worker after it")
    error: Mapped[str | None] = mapped_column(doc="why Shopify gives no codes, in words")
    closed_at: Mapped[datetime | None] = mapped_column(
        doc="business time at which it was found gone at Shopify"
    )


class DiscountCreation(Base):
    """One row per request for codes, with the codes in it; written before Shopify is asked."""

    __tablename__ = "discount_creations"
    __table_args__ = (
        ForeignKeyConstraint(
            ["shop_id", "pool_id"],
            [f"{CRM}.discount_pools.shop_id", f"{CRM}.discount_pools.pool_id"],
        ),
        Index(
            "ix_discount_creations__open",
            "shop_id",
            "next_attempt_at",
            postgresql_where=text("state = 'open'"),
        ),
        {"schema": CRM},
    )

    shop_id: Mapped[shop_key]
    creation_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    pool_id: Mapped[int] = mapped_column(Integer)
    shopify_id: Mapped[str | None] = mapped_column(doc="of its job; NULL until it has answered")
    state: Mapped[CreationState] = mapped_column(value_enum(CreationState, "state"))
    requested_at: Mapped[datetime] = mapped_column(doc="business time")
    next_attempt_at: Mapped[datetime] = mapped_column(doc="real time of the next look at the job")
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    finished_at: Mapped[datetime | None]


class DiscountCode(Base):
    """One row per code we asked Shopify for. Once given to a mail it is never given to another."""

    __tablename__ = "discount_codes"
    __table_args__ = (
        ForeignKeyConstraint(
            ["shop_id", "creation_id"],
            [f"{CRM}.discount_creations.shop_id", f"{CRM}.discount_creations.creation_id"],
        ),
        UniqueConstraint("shop_id", "code"),
        Index(
            "uq_discount_codes__message",
            "shop_id",
            "message_id",
            unique=True,
            postgresql_where=text("state = 'assigned'"),
        ),
        Index(
            "ix_discount_codes__free",
            "shop_id",
            "pool_id",
            "code_id",
            postgresql_where=text("state = 'free'"),
        ),
        Index("ix_discount_codes__creation", "shop_id", "creation_id"),
        {"schema": CRM},
    )

    shop_id: Mapped[shop_key]
    code_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    pool_id: Mapped[int] = mapped_column(Integer)
    creation_id: Mapped[int] = mapped_column(BigInteger)
    code: Mapped[str]
    state: Mapped[CodeState] = mapped_column(value_enum(CodeState, "state"))
    message_id: Mapped[int | None] = mapped_column(BigInteger, doc="the mail it is in")
    assigned_at: Mapped[datetime | None] = mapped_column(doc="business time")
    error: Mapped[str | None] = mapped_column(doc="Shopify's words")
