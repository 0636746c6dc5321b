"""Signed tokens in links outlive the key that signed them, and open one kind of link each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activation.consent import confirming
from activation.tokens import Recipient, read_token_of, token_of
from activation.unsubscribe import (
    list_id,
    one_click_headers,
    read_token,
    token_for,
    unsubscribe_url,
)
from core.settings import Settings, load_settings

OLD, OLDER, NEW = (letter * 32 for letter in "ocn")


def settings(key: str, *previous: str) -> Settings:
    return load_settings(
        {
            "DATABASE_URL": "postgresql://a:b@127.0.0.1/c",
            "ECOMCRM_SECRET_KEY": key,
            "ECOMCRM_PREVIOUS_SECRET_KEYS": ",".join(previous),
            "ECOMCRM_HOME": "/nowhere",
            "ECOMCRM_PUBLIC_URL": "https://crm.example",
        }
    )


@pytest.mark.requirement("EMAIL-05")
@pytest.mark.parametrize("key", [OLD, OLDER, NEW])
def test_links_that_left_under_a_replaced_key_still_open(key: str) -> None:
    token = token_for(settings(key), shop_id=7, message_id=42)
    assert read_token(settings(NEW, OLD, OLDER), token) == Recipient(7, 42)


@pytest.mark.requirement("EMAIL-05")
def test_a_replaced_key_signs_nothing_and_a_forgotten_one_opens_nothing() -> None:
    rotated = settings(NEW, OLD)
    assert token_for(rotated, shop_id=7, message_id=42) == token_for(
        settings(NEW), shop_id=7, message_id=42
    )
    assert read_token(settings(NEW), token_for(settings(OLD), shop_id=7, message_id=42)) is None


@pytest.mark.requirement("EMAIL-05")
def test_a_link_to_confirm_does_not_unsubscribe_and_the_other_way_round() -> None:
    known = settings(NEW)
    confirm = confirming.confirm_url(known, shop_id=7, message_id=42).rpartition("/")[2]
    leave = token_for(known, shop_id=7, message_id=42)
    assert confirming.read_token(known, confirm) == Recipient(7, 42)
    assert read_token(known, confirm) is None
    assert confirming.read_token(known, leave) is None


@given(st.text(min_size=1), st.integers(1, 2**31 - 1), st.integers(1, 2**63 - 1))
def test_a_token_is_of_its_purpose(purpose: str, shop_id: int, message_id: int) -> None:
    known = settings(NEW)
    token = token_of(known, shop_id=shop_id, message_id=message_id, purpose="this")
    assert read_token_of(known, token, purpose="this") == Recipient(shop_id, message_id)
    if purpose != "this":
        assert read_token_of(known, token, purpose=purpose) is None


@pytest.mark.requirement("EMAIL-05")
def test_headers_hold_exactly_one_https_address_and_name_the_shops_one_list() -> None:
    url = unsubscribe_url(settings(NEW), shop_id=7, message_id=42)
    assert one_click_headers(url, shop_domain="nordlicht.myshopify.com") == {
        "List-Unsubscribe": f"<{url}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "List-Id": "<marketing.nordlicht.myshopify.com>",
    }
    assert url.startswith("https://crm.example/unsubscribe/1.")
    assert not set(url) & set("<>, \r\n")
    assert list_id("a.myshopify.com").isascii()
