"""How often and when a shop lets its automations write to one address."""

from datetime import time

from sqlalchemy import CheckConstraint, ForeignKey, Text, Time
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import CRM, Base, shop_key


class SendRules(Base):
    """One row per shop that has changed its rules; without one the defaults hold
    (activation/eligibility/rules.py).
    """

    __tablename__ = "send_rules"
    __table_args__ = (
        CheckConstraint(
            "short_cap_mails >= 1 AND long_cap_mails >= 1 AND short_cap_hours >= 1"
            " AND long_cap_days >= 1",
            name="caps_allow_something",
        ),
        CheckConstraint(
            "(quiet_from IS NULL) = (quiet_until IS NULL) AND quiet_from <> quiet_until",
            name="quiet_hours_end",
        ),
        {"schema": CRM},
    )

    shop_id: Mapped[shop_key] = mapped_column(ForeignKey(f"{CRM}.shops.shop_id"))
    short_cap_mails: Mapped[int | None] = mapped_column(doc="NULL: no such cap")
    short_cap_hours: Mapped[int]
    long_cap_mails: Mapped[int | None] = mapped_column(doc="NULL: no such cap")
    long_cap_days: Mapped[int] = mapped_column(doc="of 24 hours")
    quiet_from: Mapped[time | None] = mapped_column(Time, doc="local; NULL: no quiet hours")
    quiet_until: Mapped[time | None] = mapped_column(Time)
    time_zone: Mapped[str | None] = mapped_column(Text, doc="IANA name; NULL: the shop's own")
