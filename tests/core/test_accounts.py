import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core import accounts
from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.models import LoginAttempt, Shop, User, UserSession

PASSWORD = "correct horse battery"
NETWORK = "203.0.113.7"


@pytest.fixture
def shop(session: Session) -> Shop:
    shop = Shop(
        domain="x.myshopify.com",
        name="X",
        currency="EUR",
        time_zone="Europe/Berlin",
        client_id="id",
        client_secret_encrypted="secret",
    )
    session.add(shop)
    session.flush()
    return shop


@pytest.fixture
def owner(session: Session, shop: Shop, clock: MovableClock) -> User:
    return accounts.create_owner(
        session, shop_id=shop.shop_id, email="Ada@Example.com", password=PASSWORD, clock=clock
    )


def test_an_owner_is_created_once_and_keeps_their_password(
    session: Session, shop: Shop, owner: User, clock: MovableClock
) -> None:
    again = accounts.create_owner(
        session,
        shop_id=shop.shop_id,
        email=" ada@example.COM ",
        password="another password",
        clock=clock,
    )
    assert again.user_id == owner.user_id
    assert accounts.authenticate(session, email="ADA@example.com", password=PASSWORD)
    assert accounts.shops_of(session, owner.user_id) == [shop]


def test_an_unusable_address_and_a_short_password_are_refused(
    session: Session, shop: Shop, clock: MovableClock
) -> None:
    for email, password in (("ada", PASSWORD), ("ada@example.com", "short")):
        with pytest.raises(PermanentError):
            accounts.create_owner(
                session, shop_id=shop.shop_id, email=email, password=password, clock=clock
            )


def test_only_the_right_password_of_a_known_address_logs_in(session: Session, owner: User) -> None:
    assert accounts.authenticate(session, email=owner.email, password=PASSWORD) == owner
    assert accounts.authenticate(session, email=owner.email, password="wrong") is None
    assert accounts.authenticate(session, email="nobody@example.com", password=PASSWORD) is None


def test_passwords_are_argon2id_and_tokens_are_stored_only_as_hashes(
    session: Session, owner: User, clock: MovableClock
) -> None:
    opened = accounts.open_session(session, owner.user_id, clock=clock)
    stored = session.scalars(select(UserSession)).one()
    assert owner.password_hash.startswith("$argon2id$")
    assert opened.token.encode() not in stored.token_hash
    assert len(stored.token_hash) == 32


def test_a_session_ends_when_closed(session: Session, owner: User, clock: MovableClock) -> None:
    token = accounts.open_session(session, owner.user_id, clock=clock).token
    found = accounts.find_session(session, token, clock=clock)
    assert found is not None
    assert found.email == "ada@example.com"
    accounts.close_session(session, token)
    assert accounts.find_session(session, token, clock=clock) is None


def test_a_session_ends_after_seven_idle_days(
    session: Session, owner: User, clock: MovableClock
) -> None:
    token = accounts.open_session(session, owner.user_id, clock=clock).token
    clock.advance(timedelta(days=6))
    assert accounts.find_session(session, token, clock=clock)
    clock.advance(timedelta(days=6))
    assert accounts.find_session(session, token, clock=clock), "the visit prolonged it"
    clock.advance(timedelta(days=7))
    assert accounts.find_session(session, token, clock=clock) is None


def test_a_session_ends_after_thirty_days_however_busy(
    session: Session, owner: User, clock: MovableClock
) -> None:
    token = accounts.open_session(session, owner.user_id, clock=clock).token
    for _ in range(5):
        clock.advance(timedelta(days=5))
        assert accounts.find_session(session, token, clock=clock)
    clock.advance(timedelta(days=5))
    assert accounts.find_session(session, token, clock=clock) is None


def test_a_tab_left_open_does_not_prolong_its_session(
    session: Session, owner: User, clock: MovableClock
) -> None:
    token = accounts.open_session(session, owner.user_id, clock=clock).token
    for _ in range(6):
        clock.advance(timedelta(days=1))
        assert accounts.find_session(session, token, clock=clock, is_activity=False)
    clock.advance(timedelta(days=1))
    assert accounts.find_session(session, token, clock=clock, is_activity=False) is None


def test_logging_in_clears_expired_sessions(
    session: Session, owner: User, clock: MovableClock
) -> None:
    accounts.open_session(session, owner.user_id, clock=clock)
    clock.advance(timedelta(days=31))
    accounts.open_session(session, owner.user_id, clock=clock)
    assert session.scalar(select(func.count()).select_from(UserSession)) == 1


def attempt(
    session: Session, clock: MovableClock, *, email: str = "ada@example.com"
) -> timedelta | None:
    return accounts.count_login_attempt(session, email=email, network=NETWORK, clock=clock)


def test_guessing_waits_longer_and_longer(session: Session, clock: MovableClock) -> None:
    assert [attempt(session, clock) for _ in range(5)] == [None] * 5
    waits = []
    for _ in range(7):
        wait = attempt(session, clock)
        assert wait is not None
        waits.append(wait.total_seconds())
        clock.advance(wait)
        assert attempt(session, clock) is None
    assert waits == [30, 60, 120, 240, 480, 900, 900]


def test_one_person_guessing_blocks_nobody_else(session: Session, clock: MovableClock) -> None:
    for _ in range(6):
        attempt(session, clock)
    assert attempt(session, clock) is not None
    assert attempt(session, clock, email="grace@example.com") is None
    assert (
        accounts.count_login_attempt(
            session, email="ada@example.com", network="198.51.100.1", clock=clock
        )
        is None
    )


def test_guessing_at_many_addresses_from_one_network_is_braked(
    session: Session, clock: MovableClock
) -> None:
    waits = [attempt(session, clock, email=f"a{i}@example.com") for i in range(51)]
    assert waits[:50] == [None] * 50
    assert waits[50] == timedelta(seconds=30)


def test_a_success_forgets_the_failures_before_it(session: Session, clock: MovableClock) -> None:
    for _ in range(4):
        attempt(session, clock)
    accounts.forget_login_attempts(session, email="ADA@example.com", network=NETWORK, clock=clock)
    assert [attempt(session, clock) for _ in range(5)] == [None] * 5


def test_logging_in_often_from_one_network_is_not_braked(
    session: Session, clock: MovableClock
) -> None:
    """Successes counted as guesses: fifty logins from one office, or through one proxy, shut out
    everybody there as long as somebody tried once an hour."""
    for _ in range(60):
        assert attempt(session, clock) is None
        accounts.forget_login_attempts(
            session, email="ada@example.com", network=NETWORK, clock=clock
        )


def test_a_guesser_who_logs_in_to_an_account_of_their_own_stays_braked(
    session: Session, clock: MovableClock
) -> None:
    for number in range(48):
        assert attempt(session, clock, email=f"a{number}@example.com") is None
    assert attempt(session, clock, email="own@example.com") is None
    accounts.forget_login_attempts(session, email="own@example.com", network=NETWORK, clock=clock)
    waits = [attempt(session, clock, email=f"b{number}@example.com") for number in range(3)]
    assert waits == [None, None, timedelta(seconds=30)]


def test_failures_are_forgotten_after_an_hour(session: Session, clock: MovableClock) -> None:
    for _ in range(5):
        attempt(session, clock)
    clock.advance(timedelta(minutes=61))
    assert [attempt(session, clock) for _ in range(5)] == [None] * 5


def test_attempts_keep_no_address(session: Session, clock: MovableClock) -> None:
    attempt(session, clock)
    keys = session.scalars(select(LoginAttempt.attempt_key)).all()
    assert all(len(key) == 32 for key in keys)


def test_parallel_guesses_count_one_by_one(
    session_factory: SessionFactory, clock: MovableClock
) -> None:
    allowed: list[bool] = []

    def guess() -> None:
        with session_scope(session_factory) as session:
            allowed.append(attempt(session, clock) is None)

    threads = [threading.Thread(target=guess) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(allowed) == accounts.FREE_ATTEMPTS
