from datetime import UTC, datetime

import pytest

from core.shopify.webhooks import is_signed, read_headers, sign
from tests.fixtures.shopify import signature, webhook_headers

BODY = b'{"id":1}'


@pytest.mark.requirement("SHOP-04")
def test_a_signature_holds_for_these_very_bytes_and_one_of_the_secrets() -> None:
    given = signature(BODY, "new")
    assert sign(BODY, "new") == given
    assert is_signed(BODY, given, ["new", "old"])
    assert is_signed(BODY, given, ["old", "new"])
    assert not is_signed(BODY, given, ["old"])
    assert not is_signed(BODY, given, [])
    assert not is_signed(b'{"id": 1}', given, ["new"])


@pytest.mark.requirement("SHOP-04")
@pytest.mark.parametrize("given", ["", "not base64", "ä"])
def test_no_other_text_passes_for_a_signature(given: str) -> None:
    assert not is_signed(BODY, given, ["new"])


@pytest.mark.requirement("SHOP-04")
def test_an_empty_body_is_never_signed() -> None:
    assert not is_signed(b"", signature(b"", "new"), ["new"])


def test_headers_are_read_in_any_case_and_nanoseconds_are_cut() -> None:
    headers = {k.upper(): f" {v} " for k, v in webhook_headers(BODY, "orders/create", "w1").items()}
    delivery = read_headers(headers, BODY)
    assert delivery.topic == "orders/create"
    assert delivery.webhook_id == "w1"
    assert delivery.triggered_at == datetime(2026, 11, 20, 11, 30, 0, 123456, tzinfo=UTC)


def test_a_delivery_without_an_id_is_known_by_its_body() -> None:
    one, again = read_headers({}, BODY), read_headers({}, BODY)
    assert one.webhook_id == again.webhook_id
    assert one.webhook_id != read_headers({}, b"other").webhook_id
    assert read_headers({"x-shopify-triggered-at": "soon"}, BODY).triggered_at is None
