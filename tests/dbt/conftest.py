"""A database of its own for tests that change what dbt has built."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url

from core.database import make_engine
from core.migrate import upgrade
from core.paths import DBT_PROJECT
from tests.dbt.oracle import Person
from tests.dbt.shops import LAUNCH, add_shops, decide
from tests.fixtures.marts import run_dbt

# Not as `--vars`: what is parsed with others, or with none, is parsed anew.
FULL_RUN = {"ECOMCRM_DBT_RFM_RUN_ID": "run-1", "ECOMCRM_DBT_AS_OF": "2026-11-20T03:00:00"}


@dataclass(frozen=True)
class Warehouse:
    """A database with one shop of twelve buyers, scored by run-1, and dbt to change it."""

    url: str
    engine: Engine
    target: Path
    shop_id: int
    build_log: str

    def dbt(
        self,
        *arguments: str,
        project: Path = DBT_PROJECT,
        environment: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> str:
        """Run dbt here; its output, which lists the failures where there are any."""
        result = run_dbt(
            *arguments,
            database_url=self.url,
            target=self.target,
            project=project,
            environment=environment,
            check=check,
        )
        assert check or result.returncode == 1, result.stdout
        return result.stdout

    def scalar(self, sql: str) -> object:
        with self.engine.begin() as connection:
            return connection.execute(text(sql)).scalar()


@pytest.fixture(scope="session")
def _built(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """What `warehouse` copies; nobody may stay connected to the database.

    The copies get its name: for a database of another name dbt parses the whole project anew.
    """
    url = _create_database(postgres_url, "ecomcrm_built")
    target = tmp_path_factory.mktemp("dbt_built")
    engine = make_engine(url)
    try:
        upgrade(engine)
        shop_id = _one_shop(engine)
        log = run_dbt("build", database_url=url, target=target, environment=FULL_RUN).stdout
        with engine.begin() as connection:
            decide(connection, shop_id, "run-1", buyer_count=12)
    finally:
        engine.dispose()
    _execute(postgres_url, "ALTER DATABASE ecomcrm_built RENAME TO ecomcrm_pristine")
    return Warehouse(url, engine, target, shop_id, log)


@pytest.fixture
def warehouse(postgres_url: str, _built: Warehouse, tmp_path: Path) -> Iterator[Warehouse]:
    """A copy for one test: 0.1 s, where another build takes seconds."""
    url = _create_database(postgres_url, "ecomcrm_built", template="ecomcrm_pristine")
    target = tmp_path / "target"
    shutil.copytree(_built.target, target)
    engine = make_engine(url)
    yield replace(_built, url=url, engine=engine, target=target)
    engine.dispose()
    _drop_database(postgres_url, "ecomcrm_built")


@pytest.fixture
def changed_project(tmp_path: Path) -> Callable[..., Path]:
    """A copy of the dbt project with text replaced, by file name: {name: (old, new)}."""

    def change(changes: dict[str, tuple[str, str]]) -> Path:
        copy = tmp_path / "dbt_project"
        shutil.copytree(
            DBT_PROJECT, copy, ignore=shutil.ignore_patterns("target", "logs"), dirs_exist_ok=True
        )
        for name, (old, new) in changes.items():
            [path] = copy.rglob(name)
            content = path.read_text()
            assert old in content, f"{old!r} is not in {name}"
            path.write_text(content.replace(old, new, 1))
        return copy

    return change


def _create_database(postgres_url: str, name: str, *, template: str = "template1") -> str:
    _execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    return make_url(postgres_url).set(database=name).render_as_string(hide_password=False)


def _drop_database(postgres_url: str, name: str) -> None:
    _execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


def _execute(postgres_url: str, statement: str) -> None:
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(statement)
    admin.dispose()


def _one_shop(engine: Engine) -> int:
    """Customer n of twelve ordered n times for 10 each, one order a day; one order each is void."""
    people = [
        Person(number, number, Decimal(10 * number), LAUNCH + timedelta(days=number))
        for number in range(1, 13)
    ]
    with engine.begin() as connection:
        [shop_id] = add_shops(connection, [people])
        orders = [
            _order(shop_id, person.customer_id, number, person.last_order_at, is_test=number == 0)
            for person in people
            for number in range(person.customer_id + 1)
        ]
        connection.execute(
            text(
                "INSERT INTO raw_shopify.orders (shop_id, order_id, name, customer_id, created_at,"
                " updated_at, processed_at, is_test, currency, current_total, original_total,"
                " refunded_total) VALUES (:shop_id, :order_id, '#', :customer_id, :at, :at, :at,"
                " :is_test, 'EUR', 10, 10, 0)"
            ),
            orders,
        )
    return shop_id


def _order(
    shop_id: int, customer_id: int, number: int, at: datetime | None, *, is_test: bool
) -> dict[str, object]:
    return {
        "shop_id": shop_id,
        "order_id": 100 * customer_id + number,
        "customer_id": customer_id,
        "at": at,
        "is_test": is_test,
    }
