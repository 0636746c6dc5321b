"""What people decided against the machine's advice, and what they had it do."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Identity, Index
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import CRM, Base, shop_key, value_enum
from core.models.enums import AuditAction


class AuditEntry(Base):
    """One row per act of a person: who, when, about what, and why in their own words.

    Rows are added and never change. `user_id` NULL: whoever may use the command line.
    """

    __tablename__ = "audit_entries"
    __table_args__ = (
        Index("ix_audit_entries__acted", "shop_id", "acted_at"),
        {"schema": CRM},
    )

    shop_id: Mapped[shop_key] = mapped_column(ForeignKey(f"{CRM}.shops.shop_id"))
    audit_entry_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    acted_at: Mapped[datetime]
    user_id: Mapped[int | None] = mapped_column(ForeignKey(f"{CRM}.users.user_id"))
    action: Mapped[AuditAction] = mapped_column(value_enum(AuditAction, "action"))
    about: Mapped[str | None] = mapped_column(doc="key of what was decided on: an rfm_run_id")
    reason: Mapped[str]
    figures: Mapped[dict[str, Any]] = mapped_column(doc="what the machine had found")
