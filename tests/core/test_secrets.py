import pytest
from pydantic import SecretStr

from core.errors import PermanentError
from core.secrets import SecretBox, derived_key

KEY = SecretStr("0123456789abcdef0123456789abcdef")
OTHER = SecretStr("fedcba9876543210fedcba9876543210")


def test_a_secret_comes_back_with_its_key_only() -> None:
    token = SecretBox(KEY).encrypt("shpss_x")
    assert "shpss" not in token
    assert SecretBox(KEY).decrypt(token) == "shpss_x"
    with pytest.raises(PermanentError, match="ECOMCRM_SECRET_KEY"):
        SecretBox(OTHER).decrypt(token)


def test_a_key_of_one_purpose_opens_nothing_of_another() -> None:
    token = SecretBox(KEY, "one").encrypt("text")
    with pytest.raises(PermanentError):
        SecretBox(KEY, "two").decrypt(token)
    assert derived_key(KEY, "one") != derived_key(KEY, "two")
    assert len(derived_key(KEY, "one")) == 32
