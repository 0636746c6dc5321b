"""Marts of flows as dbt would build them now, from what is in the test database."""

from sqlalchemy import Connection, TextClause, text

from tests.fixtures.marts import AS_OF_MARK, Marts

# In the order in which they are read.
BUILT = (
    "marts.attributed_orders",
    "intermediate.int_flow_outcomes",
    "marts.step_performance",
    "marts.flow_performance",
    "marts.flow_lift",
)


def compiled(marts: Marts, name: str) -> str:
    models = marts.target / "compiled" / "ecomcrm" / "models"
    return next(models.rglob(f"{name}.sql")).read_text()


def rebuild(connection: Connection, marts: Marts, *, as_of: str) -> None:
    """All of them as a run at that time makes them, in the transaction of the caller, who rolls it
    back.
    """
    for name in BUILT:
        statement = compiled(marts, name.rpartition(".")[2])
        fill(connection, name, statement.replace(AS_OF_MARK.isoformat(), as_of))


def fill(connection: Connection, name: str, statement: str) -> None:
    """The rows of a table by this statement in place of those that it has."""
    connection.execute(text(f"DELETE FROM {name}"))
    columns = connection.execute(
        text(
            "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute WHERE attnum > 0"
            " AND NOT attisdropped AND attrelid = to_regclass(:name)"
        ),
        {"name": name},
    ).scalar_one()
    connection.execute(
        _as_it_is(f"INSERT INTO {name} ({columns}) SELECT {columns} FROM ({statement}) AS built")
    )


def _as_it_is(statement: str) -> TextClause:
    """Casts are no parameters."""
    return text(statement.replace(":", r"\:"))
