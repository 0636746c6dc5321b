"""Roles of PostgreSQL for people who read the marts: Metabase, a notebook, psql.

What may be read hangs on two groups, which nobody logs in as; a person's role has nothing of its
own, so that taking it away is one statement. What dbt builds later is readable by default
privileges of the role that builds it.
"""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from core.errors import PermanentError, TransientError

PREFIX: Final = "ecomcrm_analyst_"
READERS: Final = "ecomcrm_analysts"
STAGING_READERS: Final = "ecomcrm_analysts_staging"
SCHEMAS: Final = {READERS: ("marts", "intermediate"), STAGING_READERS: ("staging",)}
STATEMENT_TIMEOUT: Final = timedelta(minutes=2)
CONNECTIONS: Final = 10
_READ_WHAT_COMES: Final = (
    "ALTER DEFAULT PRIVILEGES FOR ROLE {builder} IN SCHEMA {schema}"
    " GRANT SELECT ON TABLES TO {group}"
)
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Database:
    """Where roles are made: `conninfo` is of one who may, `builder` the role that dbt builds as."""

    conninfo: str
    builder: str

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """One transaction. Raises TransientError where it does not answer, PermanentError where
        the role may not do it, with who may.
        """
        try:
            with psycopg.connect(self.conninfo, application_name="ecomcrm-ops") as connection:
                yield connection
        except psycopg.errors.InsufficientPrivilege as error:
            user = conninfo_to_dict(self.conninfo).get("user")
            raise PermanentError(
                f"The role {user} may not make roles ({error.diag.message_primary}). Let an "
                f"administrator of the server run: ALTER ROLE {user} CREATEROLE"
            ) from None
        except psycopg.OperationalError as error:
            raise TransientError(f"The database does not answer: {error}") from None


@dataclass(frozen=True)
class Analyst:
    """One who may read; `password` only when it was made just now."""

    name: str
    role: str
    password: str | None
    reads_staging: bool


def add_analyst(
    database: Database,
    name: str,
    *,
    staging: bool = False,
    timeout: timedelta = STATEMENT_TIMEOUT,
    new_password: bool = False,
) -> Analyst:
    """Make the role, or bring one that exists to what is asked for.

    Its password is random; a role that exists keeps the one it has unless `new_password`.
    """
    role = role_of(name)
    with database.connect() as connection:
        _open_for_groups(connection, database.builder)
        is_new = not _exists(connection, role)
        password = secrets.token_urlsafe(24) if is_new or new_password else None
        if is_new:
            _run(connection, "CREATE ROLE {role} INHERIT", role=role)
        limits = sql.SQL("LOGIN CONNECTION LIMIT {}").format(sql.Literal(CONNECTIONS))
        _run(connection, "ALTER ROLE {role} {limits}", role=role, limits=limits)
        if password:
            _set_password(connection, role, password)
        for setting, value in _settings(timeout).items():
            _run(
                connection,
                "ALTER ROLE {role} SET {setting} = {value}",
                role=role,
                setting=setting,
                value=sql.Literal(value),
            )
        _run(connection, "GRANT {group} TO {role}", group=READERS, role=role)
        change = "GRANT {group} TO {role}" if staging else "REVOKE {group} FROM {role}"
        _run(connection, change, group=STAGING_READERS, role=role)
    return Analyst(name, role, password, reads_staging=staging)


def remove_analyst(database: Database, name: str) -> int:
    """Drop the role and end its sessions; how many there were. PermanentError if there is none."""
    role = role_of(name)
    with database.connect() as connection:
        if not _exists(connection, role):
            raise PermanentError(f"There is no analyst {name}. See: ecomcrm analyst list")
        # Without it a session could begin between the two, and it outlives its role.
        _run(connection, "ALTER ROLE {role} NOLOGIN", role=role)
        connection.commit()
        if not _is_superuser(connection):
            _run(connection, "GRANT {role} TO CURRENT_USER", role=role)
        ended = connection.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = %s",
            (role,),
        ).fetchone()
        _run(connection, "DROP ROLE {role}", role=role)
    return int(ended[0]) if ended else 0


def list_analysts(database: Database) -> list[Analyst]:
    with database.connect() as connection:
        rows = connection.execute(
            "SELECT rolname, EXISTS (SELECT FROM pg_auth_members AS member"
            " INNER JOIN pg_roles AS readers ON readers.oid = member.roleid"
            " WHERE member.member = pg_roles.oid AND readers.rolname = %s)"
            " FROM pg_roles WHERE starts_with(rolname, %s) ORDER BY rolname",
            (STAGING_READERS, PREFIX),
        ).fetchall()
    return [
        Analyst(role.removeprefix(PREFIX), role, None, reads_staging=reads_staging)
        for role, reads_staging in rows
    ]


def role_of(name: str) -> str:
    """Raises PermanentError for a name that a role could not carry."""
    if not _NAME.fullmatch(name):
        raise PermanentError(
            f"{name!r} is no name for an analyst: up to 40 of a-z, 0-9 and _, a letter first."
        )
    return PREFIX + name


def _set_password(connection: Connection, role: str, password: str) -> None:
    """Hashed here: a server that logs statements does not learn it."""
    hashed = connection.pgconn.encrypt_password(
        password.encode(), role.encode(), b"scram-sha-256"
    ).decode()
    _run(connection, "ALTER ROLE {role} PASSWORD {hashed}", role=role, hashed=sql.Literal(hashed))


def _settings(timeout: timedelta) -> dict[str, str]:
    """Defaults of a session, against accidents; what holds is that nothing else is granted."""
    milliseconds = str(int(timeout.total_seconds() * 1000))
    return {
        "statement_timeout": milliseconds,
        "idle_in_transaction_session_timeout": "300000",
        "default_transaction_read_only": "on",
        "search_path": "marts",
    }


def _open_for_groups(connection: Connection, builder: str) -> None:
    """Both groups exist and may read what is in their schemas and what will be.

    PostgreSQL lets everybody make temporary tables, and before version 15 tables in `public`.
    """
    _run(connection, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    _run(
        connection,
        "REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC",
        database=connection.info.dbname,
    )
    for group, schemas in SCHEMAS.items():
        if not _exists(connection, group):
            _run(connection, "CREATE ROLE {group} NOLOGIN", group=group)
        _run(
            connection,
            "GRANT CONNECT ON DATABASE {database} TO {group}",
            database=connection.info.dbname,
            group=group,
        )
        for schema in schemas:
            for statement in (
                "CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {builder}",
                "GRANT USAGE ON SCHEMA {schema} TO {group}",
                "GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {group}",
                _READ_WHAT_COMES,
            ):
                _run(connection, statement, schema=schema, group=group, builder=builder)


def _exists(connection: Connection, role: str) -> bool:
    found = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,))
    return found.fetchone() is not None


def _is_superuser(connection: Connection) -> bool:
    row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    return bool((row.fetchone() or (False,))[0])


def _run(connection: Connection, statement: str, **names: str | sql.Composable) -> None:
    """A statement whose {names} are identifiers, unless they are composed already."""
    parts = {
        name: value if isinstance(value, sql.Composable) else sql.Identifier(value)
        for name, value in names.items()
    }
    connection.execute(sql.SQL(statement).format(**parts))
