from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from core.database import SessionFactory, make_engine, make_session_factory, session_scope


@pytest.mark.requirement("FOUND-03")
def test_more_requests_than_connections_all_get_their_turn(database_url: str) -> None:
    small = make_engine(database_url, pool_size=2)
    factory = make_session_factory(small)

    def request(number: int) -> int:
        with session_scope(factory) as session:
            session.execute(text("SELECT pg_sleep(0.01)"))
            return int(session.execute(text("SELECT :n"), {"n": number}).scalar_one())

    try:
        with ThreadPoolExecutor(16) as threads:
            assert list(threads.map(request, range(80))) == list(range(80))
        assert small.pool.checkedout() == 0  # type: ignore[attr-defined]  # QueuePool has it
    finally:
        small.dispose()


@pytest.mark.requirement("FOUND-03")
def test_no_statement_is_prepared_on_the_server(session_factory: SessionFactory) -> None:
    """Behind a transaction-mode pooler the next statement meets another backend."""
    with session_scope(session_factory) as session:
        for number in range(20):
            session.execute(text("SELECT 1 WHERE 1 = :n"), {"n": number})
        prepared = session.execute(text("SELECT count(*) FROM pg_prepared_statements"))
        assert prepared.scalar_one() == 0


@pytest.mark.requirement("FOUND-03")
def test_a_connection_that_was_cut_is_replaced(engine: Engine, database_url: str) -> None:
    small = make_engine(database_url, pool_size=1)
    factory = make_session_factory(small)
    with session_scope(factory) as session:
        pid = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with engine.begin() as killer:
        killer.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    with session_scope(factory) as session:
        assert session.execute(text("SELECT pg_backend_pid()")).scalar_one() != pid
    small.dispose()


def test_returning_commits_and_raising_rolls_back(session_factory: SessionFactory) -> None:
    statement = text("INSERT INTO crm.users (email, password_hash) VALUES (:e, 'x')")
    with session_scope(session_factory) as session:
        session.execute(statement, {"e": "kept@example.com"})
    with pytest.raises(IntegrityError), session_scope(session_factory) as session:
        session.execute(statement, [{"e": "lost@example.com"}, {"e": "kept@example.com"}])
    with session_scope(session_factory) as session:
        assert session.execute(text("SELECT email FROM crm.users")).scalars().all() == [
            "kept@example.com"
        ]
