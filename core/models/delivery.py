"""What became of mails beyond their state: opens and clicks, mirrored lists, shops that stopped."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import CRM, Base, created, shop_key, value_enum
from core.models.enums import BotReason, EngagementKind, EngagementSource, HoldCause


class Engagement(Base):
    """One row per open or click that was told, by people and machines alike; none is dropped.

    `is_bot` is a judgement over all rows of a message and may change when a later event arrives
    (activation/events/engagements.py). Reports count clicks with `is_bot = false`.
    """

    __tablename__ = "engagements"
    __table_args__ = (
        ForeignKeyConstraint(
            ["shop_id", "message_id"],
            [f"{CRM}.messages.shop_id", f"{CRM}.messages.message_id"],
        ),
        Index(
            "ix_engagements__visitors",
            "shop_id",
            "recorded_at",
            postgresql_where=text("ip_address IS NOT NULL OR user_agent IS NOT NULL"),
        ),
        {"schema": CRM},
    )

    shop_id: Mapped[shop_key] = mapped_column(ForeignKey(f"{CRM}.shops.shop_id"))
    message_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    engagement_key: Mapped[str] = mapped_column(
        primary_key=True, doc="id of the provider's event; of our own links a random one"
    )
    kind: Mapped[EngagementKind] = mapped_column(value_enum(EngagementKind, "kind"))
    source: Mapped[EngagementSource] = mapped_column(value_enum(EngagementSource, "source"))
    url: Mapped[str | None] = mapped_column(doc="where a click led to")
    is_trap: Mapped[bool] = mapped_column(
        server_default=text("false"), doc="the link that no person sees"
    )
    engaged_at: Mapped[datetime]
    recorded_at: Mapped[created]
    ip_address: Mapped[str | None] = mapped_column(doc="cleared after 30 days, as the next")
    user_agent: Mapped[str | None]
    is_bot: Mapped[bool] = mapped_column(server_default=text("false"))
    bot_reason: Mapped[BotReason | None] = mapped_column(value_enum(BotReason, "bot_reason"))


class SendingHold(Base):
    """One row per shop whose sending stopped by its own figures; it stays after the resumption,
    because mails of before it do not count again.
    """

    __tablename__ = "sending_holds"
    __table_args__ = ({"schema": CRM},)

    shop_id: Mapped[shop_key] = mapped_column(ForeignKey(f"{CRM}.shops.shop_id"))
    held_at: Mapped[datetime]
    cause: Mapped[HoldCause] = mapped_column(value_enum(HoldCause, "cause"))
    reason: Mapped[str] = mapped_column(doc="in words, with the figures")
    figures: Mapped[dict[str, Any]] = mapped_column(JSONB)
    resumed_at: Mapped[datetime | None] = mapped_column(doc="NULL: it still holds")


class SuppressionMirror(Base):
    """One row per provider account, under the shop that asks for it: how far its list was read.

    The list belongs to the account and not to a shop; times are real.
    """

    __tablename__ = "suppression_mirrors"
    __table_args__ = ({"schema": CRM},)

    shop_id: Mapped[shop_key] = mapped_column(ForeignKey(f"{CRM}.shops.shop_id"))
    after: Mapped[str | None] = mapped_column(doc="id of the provider's; NULL: from the beginning")
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    entry_count: Mapped[int] = mapped_column(server_default=text("0"))
    error: Mapped[str | None]
