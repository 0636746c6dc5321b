"""The gate on figures alone, each reason with its control just inside the limit."""

import pytest

from activation.gate import Figures, Gate, Swing, judge_data, judge_orders, judge_swing
from core.models.enums import GateCheck

OFF = Gate(is_on=False)
BEFORE = Figures(customers=1000, buyers=600, orders=2000)


@pytest.mark.requirement("RFM-06")
def test_a_first_run_and_a_growing_shop_pass() -> None:
    assert judge_data(BEFORE, None, mismatches=0) is None
    assert judge_data(Figures(1100, 700, 2500), BEFORE, mismatches=0) is None


@pytest.mark.requirement("RFM-06")
@pytest.mark.parametrize(
    ("now", "words"),
    [
        (Figures(979, 600, 2000), "979 customers, 21 fewer than at the last accepted run (1,000;"),
        (Figures(1000, 600, 1959), "1,959 orders, 41 fewer than at the last accepted run (2,000;"),
        (Figures(0, 0, 0), "0 customers, 1,000 fewer"),
    ],
)
def test_a_fall_of_more_than_two_percent_is_held_with_its_figures(now: Figures, words: str) -> None:
    found = judge_data(now, BEFORE, mismatches=0)
    assert found is not None
    assert words in found.reason
    assert judge_data(now, BEFORE, mismatches=0, gate=OFF) is None


@pytest.mark.requirement("RFM-06")
def test_control_a_fall_of_two_percent_passes() -> None:
    assert judge_data(Figures(980, 600, 1960), BEFORE, mismatches=0) is None


@pytest.mark.requirement("RFM-06")
def test_statistics_that_differ_from_the_orders_are_held_even_on_a_first_run() -> None:
    found = judge_data(BEFORE, None, mismatches=3)
    assert found is not None
    assert found.check is GateCheck.STATISTICS_DIFFER
    assert "statistics of 3 customers differ from their orders" in found.reason
    assert judge_data(BEFORE, None, mismatches=3, gate=OFF) is None


@pytest.mark.requirement("RFM-06")
@pytest.mark.parametrize(
    ("swing", "is_held"),
    [
        (Swing(members=200, moved=41), True),
        (Swing(members=200, moved=40), False),
        (Swing(members=199, moved=199), False),
        (Swing(members=0, moved=0), False),
    ],
)
def test_a_swing_of_more_than_a_fifth_is_held_in_shops_of_200(swing: Swing, is_held: bool) -> None:
    run, orders = judge_swing(swing), judge_orders(swing)
    assert (run is not None) == (orders is not None) == is_held
    assert judge_swing(swing, gate=OFF) is None
    if run is not None and orders is not None:
        assert "41 of 200 customers would change their segment in one run (20.5%;" in run.reason
        assert "would move 41 of 200 customers to another segment (20.5%;" in orders.reason
