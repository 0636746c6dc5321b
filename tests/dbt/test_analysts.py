"""A read-only role on what dbt really built: it reads the marts, and nothing else."""

from collections.abc import Iterator
from datetime import timedelta
from functools import partial

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from core.errors import PermanentError
from ops.analysts import Database, add_analyst, list_analysts, remove_analyst, role_of
from tests.dbt.conftest import Warehouse
from tests.fixtures.marts import libpq_url

Connection = psycopg.Connection[tuple[object, ...]]

PRIVILEGES = """
SELECT relation.oid::regclass::text
FROM pg_class AS relation
INNER JOIN pg_namespace ON pg_namespace.oid = relation.relnamespace
WHERE
    relation.relkind IN ('r', 'v', 'm', 'p', 'S')
    AND nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
    AND has_schema_privilege(%(role)s, nspname, 'USAGE')
    AND CASE WHEN relkind = 'S' THEN has_sequence_privilege(%(role)s, relation.oid, %(how)s)
        ELSE has_table_privilege(%(role)s, relation.oid, %(how)s) END
ORDER BY 1
"""
RELATIONS = """
SELECT relation.oid::regclass::text
FROM pg_class AS relation
INNER JOIN pg_namespace ON pg_namespace.oid = relation.relnamespace
WHERE relation.relkind IN ('r', 'v') AND nspname = ANY(%s)
ORDER BY 1
"""


@pytest.fixture
def database(warehouse: Warehouse) -> Iterator[Database]:
    """Of the owner, who is no superuser: as on a server of the user's."""
    found = Database(libpq_url(warehouse.url), builder=warehouse.engine.url.username or "")
    yield found
    for analyst in list_analysts(found):
        remove_analyst(found, analyst.name)


def log_in(database: Database, name: str, password: str | None) -> Connection:
    conninfo = make_conninfo(database.conninfo, user=role_of(name), password=password)
    return psycopg.connect(conninfo, autocommit=True)


def listed(database: Database, statement: str, *arguments: object, **names: object) -> list[object]:
    with psycopg.connect(database.conninfo) as owner:
        return [name for (name,) in owner.execute(statement.encode(), arguments or names)]


def test_an_analyst_reads_all_marts_and_nothing_with_a_secret(database: Database) -> None:
    analyst = add_analyst(database, "metabase")
    reading = partial(listed, database, PRIVILEGES, role=analyst.role)
    assert reading(how="SELECT") == listed(database, RELATIONS, ["marts", "intermediate"])
    with log_in(database, "metabase", analyst.password) as session:
        assert session.execute("SELECT count(*) FROM customers").fetchone() == (12,)
        assert session.execute("SELECT sum(net_revenue) FROM daily_revenue").fetchone() == (780,)
        for secret in ("crm.users", "crm.shops", "raw_shopify.customers", "staging.stg_crm__shops"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(f"SELECT * FROM {secret}".encode())


def test_an_analyst_writes_nothing_also_without_the_session_being_read_only(
    database: Database,
) -> None:
    analyst = add_analyst(database, "ada", staging=True)
    for how in ("INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"):
        writable = PRIVILEGES.replace("IN ('r', 'v', 'm', 'p', 'S')", "IN ('r', 'v', 'm', 'p')")
        assert listed(database, writable, role=analyst.role, how=how) == []
    with log_in(database, "ada", analyst.password) as session:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            session.execute("CREATE TABLE mine (x int)")
        session.execute("SET default_transaction_read_only = off")
        for statement in (
            "INSERT INTO intermediate.rfm_segments VALUES (1, 1, 1, 'lost')",
            "UPDATE marts.customers SET email = null",
            "DELETE FROM marts.daily_revenue",
            "CREATE TABLE marts.mine (x int)",
            "CREATE TABLE public.mine (x int)",
            "CREATE TEMPORARY TABLE mine (x int)",
            "CREATE SCHEMA mine",
            "SET ROLE ecomcrm",
        ):
            with pytest.raises(
                (
                    psycopg.errors.InsufficientPrivilege,
                    psycopg.errors.ObjectNotInPrerequisiteState,
                )
            ):
                session.execute(statement.encode())


def test_staging_is_given_and_taken_back(database: Database) -> None:
    analyst = add_analyst(database, "ada", staging=True)
    with log_in(database, "ada", analyst.password) as session:
        assert session.execute("SELECT count(*) FROM staging.stg_crm__shops").fetchone() == (1,)
        assert add_analyst(database, "ada").password is None
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("SELECT count(*) FROM staging.stg_crm__shops")


def test_what_dbt_builds_anew_can_still_be_read(warehouse: Warehouse, database: Database) -> None:
    # A rebuilt table or view is another relation: what was granted on the former one is gone.
    analyst = add_analyst(database, "ada")
    warehouse.dbt("run", "--full-refresh", "--select", "int_orders_classified+")
    with log_in(database, "ada", analyst.password) as session:
        assert session.execute("SELECT count(*) FROM daily_revenue").fetchone() == (12,)
        assert session.execute("SELECT count(*) FROM orders").fetchone() == (90,)


def test_a_statement_that_takes_too_long_is_ended(database: Database) -> None:
    analyst = add_analyst(database, "ada", timeout=timedelta(milliseconds=50))
    with (
        log_in(database, "ada", analyst.password) as session,
        pytest.raises(psycopg.errors.QueryCanceled),
    ):
        session.execute("SELECT pg_sleep(60)")


def test_an_analyst_who_is_removed_is_out_at_once(database: Database) -> None:
    # PostgreSQL lets the sessions of a dropped role go on.
    analyst = add_analyst(database, "ada")
    session = log_in(database, "ada", analyst.password)
    assert [each.name for each in list_analysts(database)] == ["ada"]
    assert remove_analyst(database, "ada") == 1
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        log_in(database, "ada", analyst.password)
    with pytest.raises(PermanentError, match="no analyst ada"):
        remove_analyst(database, "ada")


def test_a_lost_password_is_replaced_and_a_strange_name_refused(database: Database) -> None:
    first = add_analyst(database, "ada")
    second = add_analyst(database, "ada", new_password=True)
    assert second.password not in {None, first.password}
    log_in(database, "ada", second.password).close()
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        log_in(database, "ada", first.password)
    with pytest.raises(PermanentError, match="no name for an analyst"):
        add_analyst(database, 'ada"; DROP ROLE ecomcrm; --')


def test_a_role_that_may_make_no_roles_is_told_what_to_do(database: Database) -> None:
    analyst = add_analyst(database, "ada")
    weak = Database(
        make_conninfo(
            database.conninfo,
            user=analyst.role,
            password=analyst.password,
            options="-c default_transaction_read_only=off",
        ),
        builder=database.builder,
    )
    with pytest.raises(PermanentError, match="CREATEROLE"):
        add_analyst(weak, "eve")
