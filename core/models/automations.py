"""Automations, their immutable versions, and who is in them."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import CRM, Base, created, shop_key, value_enum
from core.models.enums import EnrollmentState


class Automation(Base):
    """One row per automation of a shop. Presets are seeded switched off."""

    __tablename__ = "automations"
    __table_args__ = (
        UniqueConstraint("shop_id", "key"),
        {"schema": CRM},
    )

    shop_id: Mapped[shop_key] = mapped_column(ForeignKey(f"{CRM}.shops.shop_id"))
    automation_id: Mapped[int] = mapped_column(Integer, Identity(always=True), primary_key=True)
    key: Mapped[str] = mapped_column(doc="stable name of a preset: welcome, …")
    name: Mapped[str]
    is_active: Mapped[bool] = mapped_column(server_default=text("false"))
    switched_on_at: Mapped[datetime | None] = mapped_column(
        doc="business time, set at each switch-on; earlier moments never enrol"
    )
    current_version: Mapped[int] = mapped_column(server_default=text("1"))
    evaluated_at: Mapped[datetime | None] = mapped_column(
        doc="business time up to which its trigger was evaluated for everyone; NULL: not since it "
        "was switched on"
    )
    evaluated_version: Mapped[int | None] = mapped_column(
        Integer, doc="in which it was; another one is evaluated anew"
    )
    takes_silent: Mapped[bool] = mapped_column(
        server_default=text("false"),
        doc="those who had been silent when it was switched on are still to enter",
    )
    created_at: Mapped[created]
    archived_at: Mapped[datetime | None] = mapped_column(
        doc="business time since when it is no longer listed; it is off, its mails stay explained"
    )


class AutomationVersion(Base):
    """One row per saved definition; never changed, an edit adds a row."""

    __tablename__ = "automation_versions"
    __table_args__ = (
        ForeignKeyConstraint(
            ["shop_id", "automation_id"],
            [f"{CRM}.automations.shop_id", f"{CRM}.automations.automation_id"],
        ),
        {"schema": CRM},
    )

    shop_id: Mapped[shop_key]
    automation_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    definition: Mapped[dict[str, Any]] = mapped_column(
        JSONB, doc="trigger and steps (activation/automation/definition.py)"
    )
    created_at: Mapped[created]
    created_by: Mapped[int | None] = mapped_column(BigInteger, doc="user; NULL: shipped preset")
    restored_from: Mapped[int | None] = mapped_column(
        Integer, doc="the version this one repeats; NULL: an edit"
    )


class Enrollment(Base):
    """One row per customer, automation and entry key: they entered once."""

    __tablename__ = "enrollments"
    __table_args__ = (
        UniqueConstraint("shop_id", "automation_id", "customer_id", "entry_key"),
        ForeignKeyConstraint(
            ["shop_id", "automation_id", "version"],
            [
                f"{CRM}.automation_versions.shop_id",
                f"{CRM}.automation_versions.automation_id",
                f"{CRM}.automation_versions.version",
            ],
        ),
        Index(
            "ix_enrollments__due",
            "shop_id",
            "due_at",
            "enrollment_id",
            postgresql_where=text("state = 'active'"),
        ),
        Index("ix_enrollments__customer", "shop_id", "customer_id"),
        Index("ix_enrollments__automation", "shop_id", "automation_id", "enrolled_at"),
        {"schema": CRM},
    )

    shop_id: Mapped[shop_key]
    enrollment_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    automation_id: Mapped[int] = mapped_column(Integer)
    version: Mapped[int] = mapped_column(Integer, doc="version in force when they entered")
    customer_id: Mapped[int] = mapped_column(BigInteger)
    entry_key: Mapped[str]
    moment_at: Mapped[datetime] = mapped_column(doc="business time of what started it")
    order_id: Mapped[int | None] = mapped_column(BigInteger, doc="the order behind the moment")
    checkout_key: Mapped[str | None] = mapped_column(doc="the checkout behind the moment")
    segment: Mapped[str | None] = mapped_column(doc="the segment behind the moment")
    state: Mapped[EnrollmentState] = mapped_column(value_enum(EnrollmentState, "state"))
    exit_reason: Mapped[str | None] = mapped_column(doc="ExitReason")
    is_held_out: Mapped[bool] = mapped_column(server_default=text("false"))
    is_test: Mapped[bool] = mapped_column(
        server_default=text("false"), doc="started by hand; outside statistics"
    )
    step_position: Mapped[int] = mapped_column(server_default=text("0"))
    step_version: Mapped[int | None] = mapped_column(
        Integer,
        doc="version whose program step_position counts in; NULL: `version`",
    )
    due_at: Mapped[datetime | None] = mapped_column(doc="business time of the next step")
    run_id: Mapped[str | None] = mapped_column(doc="Dagster run that enrolled")
    enrolled_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
