"""Marts of flows as dbt would build them now, from what is in the test database."""

from sqlalchemy import Connection, TextClause, text

from tests.fixtures.marts import AS_OF_MARK, Marts

BUILT = ("attributed_orders", "step_performance", "flow_performance", "flow_lift")


def compiled(marts: Marts, name: str) -> str:
    models = marts.target / "compiled" / "ecomcrm" / "models"
    return next(models.rglob(f"{name}.sql")).read_text()


def rebuild(connection: Connection, marts: Marts, *names: str, as_of: str) -> None:
    """In the transaction of the caller, who rolls it back: the views below were compiled with
    another time of the run.
    """
    outcomes = compiled(marts, "int_flow_outcomes").replace(
        f"'{AS_OF_MARK.isoformat()}'", f"'{as_of}'"
    )
    view = "CREATE OR REPLACE VIEW intermediate.int_flow_outcomes AS"
    connection.execute(_as_it_is(f"{view} {outcomes}"))
    for name in names:
        fill(connection, name, compiled(marts, name))


def fill(connection: Connection, name: str, statement: str) -> None:
    """The rows of a table by this statement in place of those that it has."""
    connection.execute(text(f"DELETE FROM marts.{name}"))
    columns = connection.execute(
        text(
            "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute WHERE attnum > 0"
            " AND NOT attisdropped AND attrelid = to_regclass(:name)"
        ),
        {"name": f"marts.{name}"},
    ).scalar_one()
    connection.execute(
        _as_it_is(
            f"INSERT INTO marts.{name} ({columns}) SELECT {columns} FROM ({statement}) AS built"
        )
    )


def _as_it_is(statement: str) -> TextClause:
    """Casts are no parameters."""
    return text(statement.replace(":", r"\:"))
