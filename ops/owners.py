"""Logins of owners. A password is random, shown once and stored as a hash only."""

import secrets
from typing import Final

from sqlalchemy import select

from core.accounts import create_owner, set_password
from core.clock import SystemClock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.models import User

_PASSWORD_BYTES: Final = 12


def ensure_owner(factory: SessionFactory, *, shop_id: int, email: str) -> str | None:
    """Make the person owner of the shop; their password if the login was made just now."""
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    with session_scope(factory) as session:
        known = session.scalar(select(User.user_id).where(User.email == email.lower()))
        create_owner(session, shop_id=shop_id, email=email, password=password, clock=SystemClock())
    return None if known else password


def new_password(factory: SessionFactory, email: str) -> str:
    """Replace a password that was lost. PermanentError when nobody has this address."""
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    with session_scope(factory) as session:
        user_id = session.scalar(select(User.user_id).where(User.email == email.lower()))
        if user_id is None:
            raise PermanentError(f"Nobody logs in as {email}.")
        set_password(session, user_id, password)
    return password
