"""Rows for several tables over one connection: all arrive, none wait in great numbers."""

import random
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from core.ingestion import copies
from core.ingestion.copies import copying
from core.models.base import STAGING

TABLES = tuple(f"{STAGING}.s9__copies__{name}" for name in ("first", "second", "rare"))
COLUMNS = dict.fromkeys(TABLES, (("number", "bigint"),))
TOGETHER = 500
LONGEST = 60


@pytest.fixture
def conninfo(database_url: str) -> Iterator[str]:
    url = database_url.replace("postgresql+psycopg:", "postgresql:")
    with psycopg.connect(url, autocommit=True) as connection:
        for table in TABLES:
            connection.execute(f"CREATE UNLOGGED TABLE {table} (number bigint)".encode())
        yield url
        for table in TABLES:
            connection.execute(f"DROP TABLE {table}".encode())


def stored(conninfo: str, table: str) -> list[Any]:
    with psycopg.connect(conninfo) as connection:
        return connection.execute(f"SELECT number FROM {table} ORDER BY 1".encode()).fetchall()


@pytest.mark.requirement("SHOP-02")
@pytest.mark.parametrize("seed", range(5))
def test_tables_take_turns_and_little_waits(
    conninfo: str, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(copies, "TOGETHER", TOGETHER)
    drawn = random.Random(seed)  # noqa: S311
    sent: dict[str, list[tuple[int]]] = {table: [] for table in TABLES}
    most = 0
    with copying(lambda: psycopg.connect(conninfo), COLUMNS) as given:
        for piece in range(2000):
            [table] = drawn.choices(TABLES, weights=(20, 20, 1))
            numbers = range(piece * 10, piece * 10 + drawn.randint(1, 10))
            sent[table] += [(number,) for number in numbers]
            given.write(table, "".join(f"{number}\n" for number in numbers).encode())
            most = max(most, sum(given._sizes.values()))
    assert most <= len(TABLES) * TOGETHER + LONGEST
    for table in TABLES:
        assert sent[table]
        assert stored(conninfo, table) == sent[table]


def test_nothing_is_kept_of_a_load_that_fails(conninfo: str) -> None:
    def fail() -> None:
        with copying(lambda: psycopg.connect(conninfo), COLUMNS) as given:
            given.write(TABLES[0], b"1\n" * copies.TOGETHER)
            given.write(TABLES[1], b"2\n")
            raise RuntimeError("the download broke")

    with pytest.raises(RuntimeError, match="the download broke"):
        fail()
    assert stored(conninfo, TABLES[0]) == []
