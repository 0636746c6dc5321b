import pytest

from activation.dedupe import (
    displaced,
    is_displaced,
    is_erased,
    key_of_survivor,
    message_key,
)


@pytest.mark.requirement("AUTO-05")
def test_the_key_is_exactly_this_text() -> None:
    key = message_key(
        automation="welcome", step_key="welcome_email", customer_id=42, entry_key="first"
    )
    assert key == "welcome/welcome_email/42/first"


def test_a_merged_customers_key_goes_on_blocking_under_the_survivors_number() -> None:
    moved = key_of_survivor(
        "welcome/mail/12/first",
        automation="welcome",
        step_key="mail",
        customer_id=12,
        survivor_id=7,
    )
    assert moved == "welcome/mail/7/first"
    other = key_of_survivor(
        "welcome/mail/123/first",
        automation="welcome",
        step_key="mail",
        customer_id=12,
        survivor_id=7,
    )
    assert other is None


def test_a_displaced_key_stands_beside_the_one_that_stays() -> None:
    key = displaced("welcome/mail/7/first", 99)
    assert key == "welcome/mail/7/first/merged/99"
    assert is_displaced(key)
    assert not is_displaced("welcome/mail/7/first")


def test_an_erased_key_names_nobody() -> None:
    assert is_erased("erased/99")
    assert not is_erased("welcome/mail/7/first")
