"""Alembic environment: our two schemas only; dbt's and Dagster's are not ours to migrate."""

from typing import Any

from alembic import context
from sqlalchemy import Connection

from core.models import Base

OWN_SCHEMAS = {"raw_shopify", "crm"}


def include_name(name: str | None, type_: str, _parents: Any) -> bool:
    return type_ != "schema" or name in OWN_SCHEMAS


def run(connection: Connection) -> None:
    connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS raw_shopify")
    connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS crm")
    # A migration that cannot get its lock gives up instead of queueing behind it every query of
    # the product (S40).
    connection.exec_driver_sql("SET LOCAL lock_timeout = '4s'")
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_schemas=True,
        include_name=include_name,
        version_table_schema="crm",
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes["connection"])
