import pytest

from activation.dedupe import message_key


@pytest.mark.requirement("AUTO-05")
def test_the_key_is_exactly_this_text() -> None:
    key = message_key(
        automation="welcome", step_key="welcome_email", customer_id=42, entry_key="first"
    )
    assert key == "welcome/welcome_email/42/first"
