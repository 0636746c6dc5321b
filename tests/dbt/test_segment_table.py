import csv

import pytest

from core.models.enums import Segment
from core.paths import DBT_PROJECT
from tests.dbt.oracle import segment_of


def shipped_rows() -> list[tuple[int, int, int, str]]:
    with (DBT_PROJECT / "seeds" / "rfm_segments.csv").open(newline="") as file:
        return [
            (int(row["r_score"]), int(row["f_score"]), int(row["m_score"]), row["segment"])
            for row in csv.DictReader(file)
        ]


@pytest.mark.requirement("RFM-03")
def test_the_shipped_table_follows_the_seven_rules_over_all_125_scores() -> None:
    scores = range(1, 6)
    rules = {(r, f, m, segment_of(r, f, m)) for r in scores for f in scores for m in scores}
    assert len(shipped_rows()) == 125
    assert set(shipped_rows()) == rules


def test_every_segment_is_reached_by_some_score() -> None:
    assert {segment for *_, segment in shipped_rows()} == {segment.value for segment in Segment}
