"""How long codes are good, and what they look like."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activation.automation.definition import UniqueCode
from activation.discounts.terms import ALPHABET, new_codes, period_of, read_terms, terms_of

INSTANTS = st.datetimes(datetime(2024, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@pytest.mark.requirement("CFG-03")
@given(INSTANTS, st.integers(1, 365))
def test_a_code_is_good_for_its_days_and_not_much_longer(at: datetime, days: int) -> None:
    period = period_of(UniqueCode(percent=5, valid_days=days), at)
    assert at < period.assign_until
    good_for = period.ends_at - at
    assert timedelta(days=days) < good_for <= timedelta(days=days + min(7, max(1, days / 4)))
    same = period_of(
        UniqueCode(percent=5, valid_days=days), period.assign_until - timedelta.resolution
    )
    assert same == period, "one discount for all mails of the period"


@pytest.mark.requirement("CFG-03")
@pytest.mark.parametrize(
    ("prefix", "stem"),
    [("tea", "TEA-"), ("Über Tee!", "BERTEE-"), ("", ""), ("--", ""), ("x" * 60, "X" * 20 + "-")],
)
def test_codes_are_drawn_from_letters_nobody_mistakes(prefix: str, stem: str) -> None:
    codes = new_codes(prefix, 300)
    assert len(set(codes)) == 300
    drawn = [code.removeprefix(stem) for code in codes]
    assert all(code.startswith(stem) for code in codes)
    assert {len(each) for each in drawn} == {10}
    assert set("".join(drawn)) == set(ALPHABET), "every letter is drawn; 3000 draws miss none"


@pytest.mark.requirement("CFG-03")
def test_terms_are_read_as_they_were_written() -> None:
    for code in (UniqueCode(percent=10), UniqueCode(amount=Decimal("5.50"), prefix="HI")):
        assert read_terms(terms_of(code)) == code
    assert terms_of(UniqueCode(percent=10)) != terms_of(UniqueCode(percent=10, valid_days=7))
