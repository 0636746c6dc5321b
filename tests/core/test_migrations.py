from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, inspect, text
from sqlalchemy.engine import make_url

from core.database import make_engine
from core.migrate import alembic_config, current_revision, head_revision, upgrade
from core.models import Base

_numbers = count(1)


@pytest.fixture
def empty(postgres_url: str) -> Iterator[Engine]:
    """A database that nobody has touched."""
    name = f"empty_{next(_numbers)}"
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    url = make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    engine = make_engine(url)
    yield engine
    engine.dispose()
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name}")
    admin.dispose()


def tables(engine: Engine) -> set[str]:
    inspector = inspect(engine)
    return {
        f"{schema}.{name}"
        for schema in ("raw_shopify", "crm")
        for name in inspector.get_table_names(schema=schema)
        if name != "alembic_version"
    }


@pytest.mark.requirement("FOUND-02")
def test_an_empty_database_gets_every_table(empty: Engine) -> None:
    upgrade(empty)
    assert tables(empty) == {table.fullname for table in Base.metadata.tables.values()}
    with empty.connect() as connection:
        assert current_revision(connection) == head_revision()


@pytest.mark.requirement("FOUND-02")
def test_the_migrations_say_exactly_what_the_models_say(empty: Engine) -> None:
    upgrade(empty)
    with empty.begin() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.check(config)


@pytest.mark.requirement("FOUND-02")
def test_migrations_can_be_taken_back_and_applied_again(empty: Engine) -> None:
    upgrade(empty)
    with empty.begin() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert tables(empty) == set()
    upgrade(empty)
    assert len(tables(empty)) == len(Base.metadata.tables)


@pytest.mark.requirement("FOUND-02")
def test_processes_that_start_together_migrate_once(empty: Engine) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: upgrade(empty), range(4)))
    with empty.connect() as connection:
        versions = connection.execute(text("SELECT version_num FROM crm.alembic_version"))
        assert versions.scalars().all() == [head_revision()]


@pytest.mark.requirement("FOUND-02")
def test_a_database_of_the_earlier_state_of_0002_ends_like_all_others(empty: Engine) -> None:
    """0002 was released twice: the earlier one left two indexes and a function of other parameters,
    and such a database had to be made anew.
    """
    with empty.begin() as connection:
        command.upgrade(config_of(connection), "0003")
    earlier = (
        "CREATE INDEX ix_customers__updated ON raw_shopify.customers (shop_id, updated_at)",
        "CREATE INDEX ix_orders__updated ON raw_shopify.orders (shop_id, updated_at)",
        (
            "CREATE FUNCTION raw_shopify.take_webhooks(p_shop_id integer, p_bodies bytea [])"
            " RETURNS void LANGUAGE sql AS ''"
        ),
    )
    with empty.begin() as connection:
        for statement in earlier:
            connection.exec_driver_sql(statement)
    upgrade(empty)
    with empty.begin() as connection:
        forms = connection.exec_driver_sql(
            "SELECT count(*) FROM pg_proc WHERE proname = 'take_webhooks'"
        )
        assert forms.scalar_one() == 1
        command.check(config_of(connection))


def config_of(connection: Connection) -> Config:
    config = alembic_config()
    config.attributes["connection"] = connection
    return config
