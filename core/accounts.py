"""People who may log in: owners, passwords, sessions, and the brake on guessing.

Nothing here knows of cookies or pages. The caller commits; times are real times from its clock.
"""

import hashlib
import secrets
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import case, delete, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.clock import Clock
from core.errors import PermanentError
from core.models import LoginAttempt, Shop, ShopMember, User, UserSession
from core.models.enums import Role

MIN_PASSWORD_LENGTH: Final = 12
SESSION_IDLE: Final = timedelta(days=7)
SESSION_LIFETIME: Final = timedelta(days=30)
# A page that polls would otherwise write on every poll.
SEEN_EVERY: Final = timedelta(minutes=5)

FREE_ATTEMPTS: Final = 5  # of one address from one network
FREE_ATTEMPTS_PER_NETWORK: Final = 50
FIRST_WAIT: Final = timedelta(seconds=30)
LONGEST_WAIT: Final = timedelta(minutes=15)
ATTEMPTS_FORGOTTEN_AFTER: Final = timedelta(hours=1)

# Each hash takes 64 MiB and a core: a burst of logins must not take the machine.
_hashing = threading.BoundedSemaphore(2)


@dataclass(frozen=True)
class OpenedSession:
    """A fresh login. The token goes to the browser and is stored nowhere."""

    token: str
    expires_at: datetime


@dataclass(frozen=True)
class Viewer:
    """Who is looking: a person behind a living session."""

    user_id: int
    email: str
    csrf_token: str


def create_owner(
    session: Session, *, shop_id: int, email: str, password: str, clock: Clock
) -> User:
    """The person with this address, owner of this shop. Creates what is missing, changes nothing.

    An existing person keeps their password. Raises PermanentError for an unusable address or a
    password shorter than MIN_PASSWORD_LENGTH.
    """
    address = _normalized(email)
    if "@" not in address:
        raise PermanentError(f"{email!r} is not an email address.")
    user = session.scalar(select(User).where(User.email == address))
    if user is None:
        user = _insert_user(session, address, password, clock)
    session.execute(
        insert(ShopMember)
        .values(shop_id=shop_id, user_id=user.user_id, role=Role.OWNER)
        .on_conflict_do_nothing()
    )
    return user


def set_password(session: Session, user_id: int, password: str) -> None:
    """Give a person a new password and log them out everywhere.

    Raises PermanentError for a password shorter than MIN_PASSWORD_LENGTH.
    """
    values = {"password_hash": _hash_of_new(password)}
    session.execute(update(User).where(User.user_id == user_id).values(values))
    session.execute(delete(UserSession).where(UserSession.user_id == user_id))


def authenticate(session: Session, *, email: str, password: str) -> User | None:
    """The person, if the password is theirs. Takes as long for an address nobody has."""
    user = session.scalar(select(User).where(User.email == _normalized(email)))
    stored = user.password_hash if user else _nobodys_hash()
    is_right = _verify(stored, password)
    if user is None or not is_right:
        return None
    if _hasher().check_needs_rehash(stored):
        user.password_hash = _hash(password)
    return user


def open_session(session: Session, user_id: int, *, clock: Clock) -> OpenedSession:
    """Log a person in; their expired sessions are cleared away."""
    now = clock.now()
    session.execute(
        delete(UserSession).where(UserSession.user_id == user_id, UserSession.expires_at <= now)
    )
    opened = OpenedSession(secrets.token_urlsafe(32), now + SESSION_LIFETIME)
    session.add(
        UserSession(
            token_hash=_token_hash(opened.token),
            user_id=user_id,
            csrf_token=secrets.token_urlsafe(24),
            created_at=now,
            last_seen_at=now,
            expires_at=opened.expires_at,
        )
    )
    session.flush()
    return opened


def find_session(
    session: Session, token: str, *, clock: Clock, is_activity: bool = True
) -> Viewer | None:
    """Who holds this token; None once it is closed, expired, or idle for SESSION_IDLE.

    `is_activity=False` looks without prolonging: a tab left open must not stay logged in for ever.
    """
    now = clock.now()
    row = session.execute(
        select(UserSession, User.email)
        .join(User, User.user_id == UserSession.user_id)
        .where(
            UserSession.token_hash == _token_hash(token),
            UserSession.expires_at > now,
            UserSession.last_seen_at > now - SESSION_IDLE,
        )
    ).one_or_none()
    if row is None:
        return None
    found, email = row
    if is_activity and found.last_seen_at <= now - SEEN_EVERY:
        session.execute(
            update(UserSession)
            .where(UserSession.token_hash == found.token_hash)
            .values(last_seen_at=now)
        )
    return Viewer(found.user_id, email, found.csrf_token)


def close_session(session: Session, token: str) -> None:
    """Log out. Nothing happens for a token that is unknown."""
    session.execute(delete(UserSession).where(UserSession.token_hash == _token_hash(token)))


def shops_of(session: Session, user_id: int) -> list[Shop]:
    """The shops this person may see, in the order they were connected."""
    return list(
        session.scalars(
            select(Shop)
            .join(ShopMember, ShopMember.shop_id == Shop.shop_id)
            .where(ShopMember.user_id == user_id)
            .order_by(Shop.shop_id)
        )
    )


def count_login_attempt(
    session: Session, *, email: str, network: str, clock: Clock
) -> timedelta | None:
    """Count an attempt before its password is looked at; how long to wait, or None to go on.

    Counted before rather than after, or parallel guesses would all pass the check. Commit at
    once, so that other processes see it. `network` is the caller's IP address.
    """
    now = clock.now()
    keys = (
        (_attempt_key(email, network), FREE_ATTEMPTS),
        (_attempt_key("", network), FREE_ATTEMPTS_PER_NETWORK),
    )
    waits = [_count(session, key, free=free, now=now) for key, free in keys]
    return max((wait for wait in waits if wait), default=None)


def forget_login_attempts(session: Session, *, email: str, network: str, clock: Clock) -> None:
    """After a success: forget this address and network, and everything that is long ago.

    The network's count loses this attempt alone, so that neither an office full of people runs
    into the brake nor a guesser gets rid of it by logging in to an account of their own.
    """
    long_ago = clock.now() - ATTEMPTS_FORGOTTEN_AFTER
    session.execute(
        delete(LoginAttempt).where(
            (LoginAttempt.attempt_key == _attempt_key(email, network))
            | (LoginAttempt.attempted_at < long_ago)
        )
    )
    left = LoginAttempt.attempt_count - 1
    session.execute(
        update(LoginAttempt)
        .where(LoginAttempt.attempt_key == _attempt_key("", network))
        .values(
            attempt_count=left,
            blocked_until=case((left >= FREE_ATTEMPTS_PER_NETWORK, LoginAttempt.blocked_until)),
        )
    )


# Counts one attempt and returns nothing when the key is blocked. Past the free attempts each one
# doubles the wait before the next. Changes crm.login_attempts; one row by primary key.
_COUNT_ATTEMPT = text(
    """
    INSERT INTO crm.login_attempts AS login_attempts (attempt_key, attempt_count, attempted_at)
    VALUES (:attempt_key, 1, :now)
    ON CONFLICT (attempt_key) DO UPDATE SET
        attempt_count = CASE
            WHEN login_attempts.attempted_at < :long_ago THEN 1
            ELSE login_attempts.attempt_count + 1
        END,
        attempted_at = :now,
        blocked_until = CASE
            WHEN login_attempts.attempted_at >= :long_ago
                AND login_attempts.attempt_count + 1 >= :free
            THEN :now + least(
                :longest_wait,
                :first_wait * power(2, least(login_attempts.attempt_count + 1 - :free, 20))
            )
        END
    WHERE coalesce(login_attempts.blocked_until <= :now, true)
    RETURNING login_attempts.attempt_count
    """
)


def _count(session: Session, key: bytes, *, free: int, now: datetime) -> timedelta | None:
    counted = session.scalar(
        _COUNT_ATTEMPT,
        {
            "attempt_key": key,
            "now": now,
            "long_ago": now - ATTEMPTS_FORGOTTEN_AFTER,
            "free": free,
            "first_wait": FIRST_WAIT,
            "longest_wait": LONGEST_WAIT,
        },
    )
    if counted is not None:
        return None
    blocked_until = session.scalar(
        select(LoginAttempt.blocked_until).where(LoginAttempt.attempt_key == key)
    )
    return blocked_until - now if blocked_until else FIRST_WAIT


def _insert_user(session: Session, address: str, password: str, clock: Clock) -> User:
    session.execute(
        insert(User)
        .values(email=address, password_hash=_hash_of_new(password), created_at=clock.now())
        .on_conflict_do_nothing()
    )
    return session.scalars(select(User).where(User.email == address)).one()


def _normalized(email: str) -> str:
    return email.strip().lower()


def _attempt_key(email: str, network: str) -> bytes:
    return hashlib.sha256(f"{_normalized(email)}|{network}".encode()).digest()


def _token_hash(token: str) -> bytes:
    # 256 random bits need no salt and no slow hash.
    return hashlib.sha256(token.encode()).digest()


@cache
def _hasher() -> PasswordHasher:
    return PasswordHasher()  # argon2id, RFC 9106 low-memory profile


@cache
def _nobodys_hash() -> str:
    return _hash(secrets.token_urlsafe(32))


def _hash_of_new(password: str) -> str:
    if len(password) < MIN_PASSWORD_LENGTH:
        raise PermanentError(f"A password needs at least {MIN_PASSWORD_LENGTH} characters.")
    return _hash(password)


def _hash(password: str) -> str:
    with _hashing:
        return _hasher().hash(password)


def _verify(stored: str, password: str) -> bool:
    try:
        with _hashing:
            return _hasher().verify(stored, password)
    except (VerifyMismatchError, InvalidHashError):
        return False
