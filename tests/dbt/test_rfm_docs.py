"""docs/rfm.md says what the code does: its tables are read and played through the views."""

import csv
import re
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from sqlalchemy import Engine, text

from core.paths import DBT_PROJECT, PROJECT_ROOT
from tests.dbt.oracle import Person
from tests.dbt.shops import add_shops, decide
from tests.fixtures.marts import Marts

PAGE = (PROJECT_ROOT / "docs" / "rfm.md").read_text()
AS_OF = datetime(2026, 11, 19, 3, 0, tzinfo=UTC)
EXAMPLE = "| Customer | Orders | Spent | Last order | R | F | M | Segment |"
BOUNDS = "| Score | Recency | Frequency | Monetary |"


def tables(header: str) -> list[list[list[str]]]:
    """The cells of every table of the page that has this header."""
    found = []
    for part in PAGE.split(header + "\n")[1:]:
        lines = part.splitlines()[1:]
        rows = lines[: next(at for at, line in enumerate(lines) if not line.startswith("|"))]
        found.append([[cell.strip(" `") for cell in row.strip("|").split("|")] for row in rows])
    assert found, header
    return found


def instant(words: str) -> datetime | None:
    return None if words == "never" else datetime.fromisoformat(words).replace(tzinfo=UTC)


def scored(engine: Engine) -> dict[int, list[str]]:
    with engine.begin() as connection:
        rows = connection.execute(
            text("SELECT customer_id, r_score, f_score, m_score, segment FROM marts.customers")
        ).all()
    return {row[0]: [str(cell) for cell in row[1:]] for row in rows}


@pytest.mark.requirement("RFM-01", "RFM-02", "RFM-04")
def test_the_worked_example_comes_out_as_the_page_says(engine: Engine, marts: Marts) -> None:
    example, after = tables(EXAMPLE)
    [bounds] = tables(BOUNDS)
    ids = {row[0]: at for at, row in enumerate(example, start=1)}
    people = [Person(ids[row[0]], int(row[1]), Decimal(row[2]), instant(row[3])) for row in example]
    with engine.begin() as connection:
        [shop_id] = add_shops(connection, [people])
    marts.compute_boundaries("run-1", AS_OF)
    with engine.begin() as connection:
        decide(connection, shop_id, "run-1", buyer_count=len(people) - 1)
        computed = connection.execute(
            text(
                "SELECT dimension, score, coalesce(lower_bound_at::text, lower_bound::text)"
                " FROM marts.rfm_boundaries"
            )
        ).all()
    found = scored(engine)
    assert {name: found[at] for name, at in ids.items()} == {row[0]: row[4:] for row in example}
    assert {tuple(row[:2]): row[2] for row in computed} == {
        (dimension, int(row[0])): _as_stored(cell)
        for row in bounds
        for dimension, cell in zip(("recency", "frequency", "monetary"), row[1:], strict=True)
    }
    [(name, orders, spent, at, *expected)] = after
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE raw_shopify.customer_statistics SET order_count = :orders,"
                " total_spent = :spent, last_order_at = :at WHERE customer_id = :id"
            ),
            {"orders": int(orders), "spent": Decimal(spent), "at": instant(at), "id": ids[name]},
        )
    assert scored(engine) == found | {ids[name]: expected}


def _as_stored(cell: str) -> str:
    return f"{cell}:00+00" if ":" in cell else f"{Decimal(cell):.4f}"


@pytest.mark.requirement("RFM-03")
def test_the_125_scores_on_the_page_are_those_of_the_seed() -> None:
    [table] = tables("| R | F | M = 1 | M = 2 | M = 3 | M = 4 | M = 5 |")
    said = {
        (int(r), int(f), m): segment
        for r, f, *segments in table
        for m, segment in enumerate(segments, start=1)
    }
    with (DBT_PROJECT / "seeds" / "rfm_segments.csv").open(newline="") as file:
        shipped = {
            (int(row["r_score"]), int(row["f_score"]), int(row["m_score"])): row["segment"]
            for row in csv.DictReader(file)
        }
    assert len(said) == 125
    assert said == shipped


@pytest.mark.requirement("RFM-03")
def test_the_rules_on_the_page_give_the_same_segments() -> None:
    """First match, read from the page's own words."""
    [rules] = tables("| Segment | Rule | In words |")
    [table] = tables("| R | F | M = 1 | M = 2 | M = 3 | M = 4 | M = 5 |")
    for r, f, *segments in table:
        for m, segment in enumerate(segments, start=1):
            has = {"R": int(r), "F": int(f), "M": m}
            first = next(name for name, rule, _ in rules if _holds(rule, has))
            assert first == segment, has


def _holds(rule: str, has: dict[str, int]) -> bool:
    terms = re.findall(r"([RFM]) ([≥≤=]) (\d)", rule)
    assert terms or rule == "the rest", rule
    compare = {"≥": int.__ge__, "≤": int.__le__, "=": int.__eq__}
    return all(compare[sign](has[name], int(number)) for name, sign, number in terms)
