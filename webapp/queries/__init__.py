"""The statements behind the pages, one file each; every file says what it returns and costs."""

from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.engine import RowMapping
from sqlalchemy.orm import Session


@cache
def statement(name: str) -> TextClause:
    return text((Path(__file__).parent / f"{name}.sql").read_text())


def rows(session: Session, name: str, **parameters: Any) -> list[RowMapping]:
    return list(session.execute(statement(name), parameters).mappings())


def row(session: Session, name: str, **parameters: Any) -> RowMapping:
    """For statements that return exactly one row."""
    return session.execute(statement(name), parameters).mappings().one()
