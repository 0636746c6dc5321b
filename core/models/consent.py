"""Who agreed to marketing mail, who took it back, and of which flows only."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import CRM, Base, created, shop_key, value_enum
from core.models.enums import ConsentSource, ConsentStanding, LeavingReason


class ConsentEvent(Base):
    """One row per change of somebody's permission: what it was, what it became, when, by whose act,
    and what they were shown.

    Rows are added. A trigger refuses every other change: a row may only lose what is personal
    (erasure), and rows go only with a whole shop that is to be erased (docs/decisions/0029).
    """

    __tablename__ = "consent_events"
    __table_args__ = (
        ForeignKeyConstraint(
            ["shop_id", "automation_id"],
            [f"{CRM}.automations.shop_id", f"{CRM}.automations.automation_id"],
        ),
        Index("ix_consent_events__address", "shop_id", "email_normalized", "consent_event_id"),
        Index("ix_consent_events__customer", "shop_id", "customer_id", "consent_event_id"),
        # What Shopify tells again is no event again.
        Index(
            "uq_consent_events__told",
            "shop_id",
            "customer_id",
            "email_normalized",
            "state_after",
            "occurred_at",
            unique=True,
            postgresql_where=text("source = 'shopify'"),
        ),
        Index(
            "ix_consent_events__network",
            "shop_id",
            "occurred_at",
            postgresql_where=text("ip IS NOT NULL"),
        ),
        {"schema": CRM},
    )

    shop_id: Mapped[shop_key] = mapped_column(ForeignKey(f"{CRM}.shops.shop_id"))
    consent_event_id: Mapped[int] = mapped_column(
        BigInteger, Identity(always=True), primary_key=True
    )
    email_normalized: Mapped[str | None] = mapped_column(doc="NULL once erased")
    customer_id: Mapped[int | None] = mapped_column(BigInteger, doc="as Shopify told of it")
    automation_id: Mapped[int | None] = mapped_column(
        Integer, doc="of this flow only; NULL: all marketing mail"
    )
    state_before: Mapped[ConsentStanding | None] = mapped_column(
        value_enum(ConsentStanding, "state_before"), doc="NULL: nothing was known"
    )
    state_after: Mapped[ConsentStanding] = mapped_column(value_enum(ConsentStanding, "state_after"))
    level: Mapped[str | None] = mapped_column(doc="Shopify's: SINGLE_OPT_IN, CONFIRMED_OPT_IN")
    occurred_at: Mapped[datetime] = mapped_column(
        doc="business time; of what Shopify tells, Shopify's own time"
    )
    recorded_at: Mapped[created]
    source: Mapped[ConsentSource] = mapped_column(value_enum(ConsentSource, "source"))
    message_id: Mapped[int | None] = mapped_column(BigInteger, doc="the mail whose link was used")
    user_id: Mapped[int | None] = mapped_column(
        ForeignKey(f"{CRM}.users.user_id"), doc="who of those who log in"
    )
    wording_version: Mapped[str | None]
    wording: Mapped[str | None] = mapped_column(doc="what the person was shown")
    reason: Mapped[LeavingReason | None] = mapped_column(value_enum(LeavingReason, "reason"))
    reason_text: Mapped[str | None] = mapped_column(doc="in the person's own words")
    ip: Mapped[str | None] = mapped_column(doc="of the person; goes after a year, or with them")
    user_agent: Mapped[str | None] = mapped_column(doc="likewise")


class ConsentPolicy(Base):
    """One row per shop: whether a subscription must be confirmed, and when consents are compared
    with the ledger again.
    """

    __tablename__ = "consent_policies"
    __table_args__ = ({"schema": CRM},)

    shop_id: Mapped[shop_key] = mapped_column(ForeignKey(f"{CRM}.shops.shop_id"))
    double_opt_in: Mapped[bool] = mapped_column(server_default=text("false"))
    double_opt_in_since: Mapped[datetime | None] = mapped_column(
        doc="business time; consents given before it need no confirmation. NULL: all do"
    )
    compare_at: Mapped[datetime] = mapped_column(
        server_default=text("clock_timestamp()"), doc="real time; not earlier"
    )
    compared_to: Mapped[int] = mapped_column(
        BigInteger, server_default=text("0"), doc="customer it has got to; 0: none is under way"
    )


class ConsentConfirmation(Base):
    """One row per address that was asked to confirm its subscription (double opt-in)."""

    __tablename__ = "consent_confirmations"
    __table_args__ = (
        Index("ix_consent_confirmations__asked", "shop_id", "asked_at"),
        {"schema": CRM},
    )

    shop_id: Mapped[shop_key] = mapped_column(ForeignKey(f"{CRM}.shops.shop_id"))
    email_normalized: Mapped[str] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(BigInteger)
    given_at: Mapped[datetime] = mapped_column(doc="of the consent that is to be confirmed")
    asked_at: Mapped[datetime]
    asked_count: Mapped[int] = mapped_column(server_default=text("1"))
    confirmed_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None] = mapped_column(
        doc="unsubscribed at the shop since; what comes after it is confirmed anew"
    )


class OptOut(Base):
    """One row per address and flow that it wants no mail of. All marketing: `suppressions`."""

    __tablename__ = "opt_outs"
    __table_args__ = (
        ForeignKeyConstraint(
            ["shop_id", "automation_id"],
            [f"{CRM}.automations.shop_id", f"{CRM}.automations.automation_id"],
        ),
        {"schema": CRM},
    )

    shop_id: Mapped[shop_key]
    email_normalized: Mapped[str] = mapped_column(primary_key=True)
    automation_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    message_id: Mapped[int | None] = mapped_column(BigInteger, doc="the mail whose link was used")
    opted_out_at: Mapped[datetime]
    lifted_at: Mapped[datetime | None]
