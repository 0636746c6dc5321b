from datetime import UTC, datetime

from tests.fixtures.marts import Marts


def test_boundaries_of_an_empty_database_are_none(marts: Marts) -> None:
    marts.compute_boundaries("run-1", datetime(2026, 11, 20, tzinfo=UTC))
