"""What mail can reach; the short way must never say yes where the full check says no."""

import pytest
from email_validator import validate_email
from hypothesis import example, given
from hypothesis import strategies as st

from activation.eligibility.addresses import is_address, is_plain_address

LABELS = st.text("abzAZ09-", min_size=1, max_size=66)
ADDRESSES = st.builds(
    lambda local, labels: f"{local}@{'.'.join(labels)}",
    st.text("abzAZ09._+-", min_size=1, max_size=66),
    st.lists(LABELS | st.sampled_from(["com", "test", "localhost", "xn--p1ai"]), max_size=5),
)


@pytest.mark.requirement("EMAIL-02")
@given(ADDRESSES)
@example("a@xn--p1ai.com")
@example(f"a@{'b' * 63}.{'c' * 63}.{'d' * 63}.{'e' * 60}.com")
@example(f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 58}.com")
def test_what_is_certain_without_the_full_check_passes_it(address: str) -> None:
    if is_plain_address(address):
        validate_email(address, check_deliverability=False)


@pytest.mark.requirement("EMAIL-02")
@pytest.mark.parametrize(
    ("address", "is_one"),
    [
        ("anna@example.com", True),
        (" Anna.Maria+shop@mail.example.co.uk ", True),
        ("ännä@example.com", True),
        ("anna@bücher.example", True),
        ("o'brien@example.com", True),
        ("Anna <anna@example.com>", False),
        ("anna@example.com, b@example.com", False),
        ("anna@example.com\r\nbcc: b@example.com", False),
        ("anna@localhost", False),
        ("anna@shop.test", False),
        ("anna..maria@example.com", False),
        (".anna@example.com", False),
        ("anna@-example.com", False),
        ("anna@example", False),
        (f"{'a' * 308}@example.com", False),
        (f"anna@{'b' * 320}.com", False),
        ("", False),
    ],
)
def test_addresses(address: str, is_one: bool) -> None:
    assert is_address(address) is is_one


def test_plain_addresses_take_the_short_way() -> None:
    assert all(
        is_plain_address(address)
        for address in ("anna@example.com", "Anna.M+1@mail.example-shop.co.uk", "a_b@x1.io")
    )
