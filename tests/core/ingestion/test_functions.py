"""The function in the database is made of the statements in the folder, and stays in step."""

import pytest

from core.ingestion.functions import take_webhooks
from core.paths import PROJECT_ROOT
from tests.core.ingestion.conftest import Rows

FROZEN = PROJECT_ROOT / "core" / "migrations" / "functions" / "take_webhooks_0005.sql"


@pytest.mark.requirement("FOUND-03")
def test_the_function_in_the_database_is_the_one_the_statements_make(rows: Rows) -> None:
    """A statement changed and the function was forgotten: `python -m core.ingestion.functions`."""
    [(source,)] = rows("SELECT prosrc FROM pg_proc WHERE proname = 'take_webhooks'")
    assert str(source).strip() in take_webhooks()


def test_the_newest_migration_keeps_what_the_statements_make() -> None:
    assert FROZEN.read_text() == take_webhooks()
