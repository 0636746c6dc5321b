"""Logins of owners. A password is random, shown once and stored as a hash only."""

import secrets
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from core.accounts import create_owner, set_password
from core.clock import SystemClock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.models import Shop, ShopMember, User
from core.models.enums import Role

_PASSWORD_BYTES: Final = 12


def ensure_owner(factory: SessionFactory, *, shop_id: int, email: str) -> str | None:
    """Make the person owner of the shop; their password if the login was made just now."""
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    with session_scope(factory) as session:
        known = session.scalar(select(User.user_id).where(User.email == email.lower()))
        create_owner(session, shop_id=shop_id, email=email, password=password, clock=SystemClock())
    return None if known else password


def let_owners_see(factory: SessionFactory, shop_id: int) -> list[str]:
    """Make those who own every other shop here owners of this one too; returns their addresses.

    Whoever owns only some of them is perhaps somebody's client, and sees nothing new.
    """
    others = select(Shop.shop_id).where(Shop.shop_id != shop_id)
    owns = ShopMember.role == Role.OWNER
    with session_scope(factory) as session:
        wanted = len(session.scalars(others).all())
        people = session.execute(
            select(User.user_id, User.email)
            .join(ShopMember, ShopMember.user_id == User.user_id)
            .where(owns, ShopMember.shop_id != shop_id)
            .group_by(User.user_id, User.email)
            .having(func.count() == wanted)
            .order_by(User.email)
        ).all()
        for user_id, _ in people:
            session.execute(
                insert(ShopMember)
                .values(shop_id=shop_id, user_id=user_id, role=Role.OWNER)
                .on_conflict_do_nothing()
            )
    return [email for _, email in people]


def new_password(factory: SessionFactory, email: str) -> str:
    """Replace a password that was lost. PermanentError when nobody has this address."""
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    with session_scope(factory) as session:
        user_id = session.scalar(select(User.user_id).where(User.email == email.lower()))
        if user_id is None:
            raise PermanentError(f"Nobody logs in as {email}.")
        set_password(session, user_id, password)
    return password
