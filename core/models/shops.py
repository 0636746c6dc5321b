"""Shops (tenants), the people who may see them, and their sessions."""

from datetime import datetime, timedelta

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Integer,
    Interval,
    LargeBinary,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import CRM, Base, created, identity_key, shop_key, value_enum
from core.models.enums import GateCheck, MailFont, Role

IS_COLOR = "{} ~ '^#[0-9a-fA-F]{{6}}$'"
IS_HTTPS = "{} ~ '^https://[^[:space:]\"<>]+$'"
FITS_A_HEADER = "{} !~ '[[:cntrl:]]'"


class Shop(Base):
    """One row per shop."""

    __tablename__ = "shops"
    __table_args__ = (
        CheckConstraint(
            "is_sandbox OR clock_offset = interval '0'", name="only_sandbox_time_moves"
        ),
        *(
            CheckConstraint(rule.format(column), name=f"{column}_{claim}")
            for rule, claim, columns in (
                (IS_COLOR, "is_a_color", ("accent_color", "background_color")),
                (IS_HTTPS, "is_https", ("logo_url", "logo_dark_url")),
                # A line break in any of them would start another header in every mail.
                (FITS_A_HEADER, "fits_a_header", ("sender_name", "sender_address", "reply_to")),
            )
            for column in columns
        ),
        CheckConstraint("logo_width BETWEEN 24 AND 320", name="logo_width_fits"),
        CheckConstraint("attribution_days BETWEEN 1 AND 30", name="attribution_days_fit"),
        {"schema": CRM},
    )

    shop_id: Mapped[int] = mapped_column(Integer, Identity(always=True), primary_key=True)
    domain: Mapped[str] = mapped_column(unique=True, doc="x.myshopify.com")
    shopify_id: Mapped[int | None] = mapped_column(BigInteger, doc="number in gid://shopify/Shop/…")
    name: Mapped[str]
    currency: Mapped[str]
    time_zone: Mapped[str] = mapped_column(doc="IANA name")
    is_sandbox: Mapped[bool] = mapped_column(server_default=text("false"))
    clock_offset: Mapped[timedelta] = mapped_column(Interval, server_default=text("interval '0'"))

    client_id: Mapped[str]
    client_secret_encrypted: Mapped[str]
    previous_client_secret_encrypted: Mapped[str | None] = mapped_column(
        doc="accepted for webhooks during a rotation"
    )
    previous_client_secret_until: Mapped[datetime | None] = mapped_column(
        doc="real time after which the previous secret signs nothing any more"
    )
    access_scopes: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))

    sender_name: Mapped[str | None]
    sender_address: Mapped[str | None]
    reply_to: Mapped[str | None]
    postal_address: Mapped[str | None] = mapped_column(doc="required in every commercial mail")
    accent_color: Mapped[str] = mapped_column(
        server_default=text("'#2f5d50'"), doc="of buttons and marks in mails"
    )
    background_color: Mapped[str] = mapped_column(
        server_default=text("'#f4f2ee'"), doc="around a mail's card"
    )
    logo_url: Mapped[str | None] = mapped_column(doc="https; without one the shop's name is set")
    logo_dark_url: Mapped[str | None] = mapped_column(doc="https; the logo for dark backgrounds")
    logo_width: Mapped[int] = mapped_column(server_default=text("140"), doc="in CSS pixels")
    mail_font: Mapped[MailFont] = mapped_column(
        value_enum(MailFont, "mail_font"), server_default=text("'modern'")
    )

    tracks_clicks: Mapped[bool] = mapped_column(
        server_default=text("true"),
        doc="links of its mails lead through our own redirect (activation/clicks.py)",
    )
    attribution_days: Mapped[int] = mapped_column(
        SmallInteger,
        server_default=text("5"),
        doc="of 24 hours; an order is credited to a mail that was clicked so long before it",
    )

    uninstalled_at: Mapped[datetime | None] = mapped_column(
        doc="the app was removed from the shop; nothing is read or sent until it is connected again"
    )
    webhooks_checked_at: Mapped[datetime | None] = mapped_column(doc="real time")
    webhooks_problem: Mapped[str | None] = mapped_column(
        doc="why some topics are not subscribed, in words"
    )

    created_at: Mapped[created]
    first_sync_started_at: Mapped[datetime | None] = mapped_column(
        doc="orders processed before it are historical and never a moment"
    )
    first_sync_completed_at: Mapped[datetime | None]
    baseline_at: Mapped[datetime | None] = mapped_column(
        doc="first membership baseline; no trigger is evaluated before it"
    )
    segments_held_at: Mapped[datetime | None] = mapped_column(
        doc="the data gate found something; until a run passes or a person accepts it, nobody's "
        "segment changes"
    )
    segments_held_check: Mapped[GateCheck | None] = mapped_column(
        value_enum(GateCheck, "segments_held_check")
    )
    segments_held_reason: Mapped[str | None] = mapped_column(doc="in words, with the figures")
    segments_held_run_id: Mapped[str | None] = mapped_column(
        doc="rfm_run_id of the full run that is held; NULL: orders that came together are"
    )


class User(Base):
    """One row per person who can log in. No shop_id: a person may see several shops."""

    __tablename__ = "users"
    __table_args__ = ({"schema": CRM},)

    user_id: Mapped[identity_key]
    email: Mapped[str] = mapped_column(unique=True, doc="lower case")
    password_hash: Mapped[str] = mapped_column(doc="argon2id")
    created_at: Mapped[created]


class ShopMember(Base):
    """One row per person and shop they may see."""

    __tablename__ = "shop_members"
    __table_args__ = ({"schema": CRM},)

    shop_id: Mapped[shop_key] = mapped_column(ForeignKey(f"{CRM}.shops.shop_id"))
    user_id: Mapped[int] = mapped_column(ForeignKey(f"{CRM}.users.user_id"), primary_key=True)
    role: Mapped[Role] = mapped_column(value_enum(Role, "role"))


class UserSession(Base):
    """One row per login. Only the hash of the cookie is stored."""

    __tablename__ = "user_sessions"
    __table_args__ = ({"schema": CRM},)

    token_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey(f"{CRM}.users.user_id"), index=True)
    csrf_token: Mapped[str]
    created_at: Mapped[created]
    last_seen_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class LoginAttempt(Base):
    """One row per address and network that lately tried to log in and has not succeeded since.

    In the database, because several web processes must count together. No shop_id: nobody is
    known yet.
    """

    __tablename__ = "login_attempts"
    __table_args__ = ({"schema": CRM},)

    attempt_key: Mapped[bytes] = mapped_column(
        LargeBinary, primary_key=True, doc="hash of address and network, or of the network alone"
    )
    attempt_count: Mapped[int]
    attempted_at: Mapped[datetime] = mapped_column(doc="real time, as is the next")
    blocked_until: Mapped[datetime | None]
