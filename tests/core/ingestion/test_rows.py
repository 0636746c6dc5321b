import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.database import make_engine
from core.ingestion.copy_text import copy_line, copy_statement
from core.ingestion.rows import array_text, records, recordset

COLUMNS = (("one", "text"), ("two", "text[]"))
texts = st.lists(
    st.tuples(
        st.none() | st.text(st.characters(exclude_categories=["Cs"])),
        st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3),
    ),
    max_size=20,
)


@given(values=texts)
@pytest.mark.requirement("SHOP-02")
def test_any_text_survives_the_way_into_the_database(
    values: list[tuple[str | None, list[str]]], database_url: str
) -> None:
    """Both ways in, COPY and JSON, bring the same; only NUL, which no text column holds, goes."""
    expected = [
        (one.replace("\x00", "") if one else one, [item.replace("\x00", "") for item in two])
        for one, two in values
    ]
    rows = [(one, array_text(two)) for one, two in values]
    engine = make_engine(database_url)
    with Session(engine) as session:
        session.execute(text("CREATE TEMP TABLE scratch (one text, two text[])"))
        driver = session.connection().connection.driver_connection
        assert driver is not None
        with driver.cursor().copy(copy_statement("scratch", COLUMNS)) as copy:
            copy.write(b"".join(copy_line(row) for row in rows))
        copied = session.execute(text("SELECT one, two FROM scratch")).all()
        relation = recordset("rows", "staged", COLUMNS)
        read = session.execute(
            text(f"SELECT one, two FROM {relation}"), {"rows": records(rows, COLUMNS)}
        ).all()
    engine.dispose()
    assert [tuple(row) for row in copied] == expected
    assert [tuple(row) for row in read] == expected
