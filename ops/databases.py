"""Roles, databases and read access in the embedded cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from sqlalchemy import Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from core.database import make_engine
from core.errors import TransientError

OWNER: Final = "ecomcrm"
READER: Final = "ecomcrm_reader"
APPLICATION_DATABASE: Final = "ecomcrm"
DAGSTER_DATABASE: Final = "dagster"
READABLE_SCHEMAS: Final = ("marts", "intermediate", "staging")


@contextmanager
def open_engine(url: str) -> Iterator[Engine]:
    """An engine on a database that answers. TransientError, without the password, if not."""
    engine = make_engine(url, pool_size=2, application_name="ecomcrm-ops")
    try:
        engine.connect().close()
        yield engine
    except OperationalError as error:
        where = make_url(url).render_as_string(hide_password=True)
        raise TransientError(
            f"The database {where} does not answer: {error.orig}\nIs the installation running "
            "(`ecomcrm status`)?"
        ) from error
    finally:
        engine.dispose()


def prepare_databases(
    conninfo: str,
    *,
    owner_password: str,
    reader_password: str,
    owner_creates_databases: bool = False,
) -> None:
    """Make both roles and both databases, or bring those that exist to the wanted state.

    `conninfo` is the superuser's. The reader sees what dbt builds, in read-only transactions,
    and nothing of `crm`, `raw_shopify` or Dagster's database. With `owner_creates_databases` the
    owner may make roles too; only tests need it.
    """
    with psycopg.connect(conninfo, autocommit=True) as connection:
        _ensure_role(connection, OWNER, owner_password)
        _ensure_role(connection, READER, reader_password)
        if owner_creates_databases:
            connection.execute(
                sql.SQL("ALTER ROLE {} CREATEDB CREATEROLE").format(sql.Identifier(OWNER))
            )
        connection.execute(
            sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(
                sql.Identifier(READER)
            )
        )
        for name in (APPLICATION_DATABASE, DAGSTER_DATABASE):
            _ensure_database(connection, name)
        connection.execute(
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
                sql.Identifier(APPLICATION_DATABASE), sql.Identifier(READER)
            )
        )
    with psycopg.connect(make_conninfo(conninfo, dbname=APPLICATION_DATABASE)) as connection:
        for schema in READABLE_SCHEMAS:
            _open_for_reading(connection, schema)


def _ensure_role(
    connection: psycopg.Connection[tuple[object, ...]], name: str, password: str
) -> None:
    known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone()
    statement = "ALTER ROLE {} LOGIN PASSWORD {}" if known else "CREATE ROLE {} LOGIN PASSWORD {}"
    connection.execute(sql.SQL(statement).format(sql.Identifier(name), sql.Literal(password)))


def _ensure_database(connection: psycopg.Connection[tuple[object, ...]], name: str) -> None:
    known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
    if not known:
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(
                sql.Identifier(name), sql.Identifier(OWNER)
            )
        )
    connection.execute(
        sql.SQL("REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name))
    )


def _open_for_reading(connection: psycopg.Connection[tuple[object, ...]], schema: str) -> None:
    """The schema exists, dbt's role owns it, and the reader may read what is and will be there."""
    names = {
        "schema": sql.Identifier(schema),
        "owner": sql.Identifier(OWNER),
        "reader": sql.Identifier(READER),
    }
    for statement in (
        sql.SQL("CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {owner}"),
        sql.SQL("GRANT USAGE ON SCHEMA {schema} TO {reader}"),
        sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {reader}"),
        sql.SQL(
            "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} "
            "GRANT SELECT ON TABLES TO {reader}"
        ),
    ):
        connection.execute(statement.format(**names))
