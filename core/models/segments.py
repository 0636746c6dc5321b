"""Segment memberships as intervals, and which RFM boundaries were accepted."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import CRM, Base, shop_key, value_enum
from core.models.enums import GateCheck, GateState, MembershipCause, Segment


class RfmRun(Base):
    """One row per full run and shop: what the data gate said of its boundaries.

    `marts.rfm_boundaries` holds the cut-points; the views score by the latest accepted row here.
    """

    __tablename__ = "rfm_runs"
    __table_args__ = (
        Index("ix_rfm_runs__decided", "shop_id", "state", "decided_at"),
        {"schema": CRM},
    )

    shop_id: Mapped[shop_key] = mapped_column(ForeignKey(f"{CRM}.shops.shop_id"))
    rfm_run_id: Mapped[str] = mapped_column(primary_key=True, doc="key into marts.rfm_boundaries")
    run_id: Mapped[str | None] = mapped_column(doc="Dagster run")
    state: Mapped[GateState] = mapped_column(value_enum(GateState, "state"))
    held_reason: Mapped[str | None] = mapped_column(
        doc="in words, with the figures; stays when a person accepts it after all"
    )
    held_check: Mapped[GateCheck | None] = mapped_column(
        value_enum(GateCheck, "held_check"), doc="NULL beside a reason: held before it was kept"
    )
    customer_count: Mapped[int] = mapped_column(BigInteger)
    buyer_count: Mapped[int] = mapped_column(BigInteger)
    order_count: Mapped[int] = mapped_column(BigInteger)
    moved_count: Mapped[int | None] = mapped_column(
        BigInteger, doc="customers whose segment changes; NULL: held before that was asked"
    )
    computed_at: Mapped[datetime]
    decided_at: Mapped[datetime]
    decided_by: Mapped[int | None] = mapped_column(BigInteger, doc="user, when a person accepted")
    entered_count: Mapped[int | None] = mapped_column(
        BigInteger, doc="memberships it opened; NULL: held, or decided before it was kept"
    )
    exited_count: Mapped[int | None] = mapped_column(BigInteger, doc="memberships it closed")


class SegmentMembership(Base):
    """One row per stay of a customer in a segment; the open one has exited_at NULL.

    A stay holds from `entered_at` on and no longer at `exited_at`. A customer's open row is always
    the same one: who moves has it changed, and the stay that ended is written as a row of its own
    (decision 25). So an ended stay has another `membership_id` than it had while it lasted.
    """

    __tablename__ = "segment_memberships"
    __table_args__ = (
        Index(
            "uq_segment_memberships__one_open",
            "shop_id",
            "customer_id",
            unique=True,
            postgresql_where=text("exited_at IS NULL"),
        ),
        # None on what changes in an open row, so that it is changed on its page.
        Index("ix_segment_memberships__customer", "shop_id", "customer_id"),
        Index(
            "ix_segment_memberships__exited",
            "shop_id",
            "exited_at",
            postgresql_where=text("exited_at IS NOT NULL"),
        ),
        CheckConstraint("exited_at >= entered_at", name="ends_after_it_began"),
        CheckConstraint(
            "exited_at IS NOT NULL OR exit_cause IS NULL", name="only_ends_have_causes"
        ),
        {"schema": CRM, "postgresql_with": {"fillfactor": 90}},
    )

    shop_id: Mapped[shop_key]
    membership_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    customer_id: Mapped[int] = mapped_column(BigInteger)
    segment: Mapped[Segment] = mapped_column(value_enum(Segment, "segment"))
    previous_segment: Mapped[Segment | None] = mapped_column(
        value_enum(Segment, "previous_segment"), doc="NULL: first known; nobody entered anything"
    )
    entered_at: Mapped[datetime]
    exited_at: Mapped[datetime | None]
    cause: Mapped[MembershipCause] = mapped_column(value_enum(MembershipCause, "cause"))
    run_id: Mapped[str | None] = mapped_column(doc="Dagster run in which it began")
    exit_cause: Mapped[MembershipCause | None] = mapped_column(
        value_enum(MembershipCause, "exit_cause"), doc="NULL: still open, or not known any more"
    )
    exit_run_id: Mapped[str | None] = mapped_column(doc="Dagster run in which it ended")
    rfm_run_id: Mapped[str | None] = mapped_column(doc="boundaries in force when entered")
    r_score: Mapped[int] = mapped_column(SmallInteger)
    f_score: Mapped[int] = mapped_column(SmallInteger)
    m_score: Mapped[int] = mapped_column(SmallInteger)
