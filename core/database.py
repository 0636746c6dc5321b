"""One engine and one session factory per process; one transaction per request or task (S26)."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session, sessionmaker

SessionFactory = sessionmaker[Session]


def make_engine(
    url: str, *, pool_size: int = 5, application_name: str = "ecomcrm", is_pinged: bool = True
) -> Engine:
    """An engine that also works behind a transaction-mode pooler.

    No server-side prepared statements (a pooler hands the next statement to another backend) and
    no session settings: what a statement needs travels with its transaction. Unless `is_pinged`,
    whoever takes a connection may find it cut, and asks again.
    """
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=is_pinged,
        hide_parameters=True,  # they name customers, and errors are logged
        connect_args={
            "prepare_threshold": None,
            "connect_timeout": 5,
            "application_name": application_name,
        },
    )


def make_session_factory(engine: Engine) -> SessionFactory:
    return sessionmaker(engine, expire_on_commit=False)


@contextmanager
def session_scope(factory: SessionFactory) -> Iterator[Session]:
    """One transaction: returning commits, raising rolls back."""
    with factory() as session, session.begin():
        yield session
