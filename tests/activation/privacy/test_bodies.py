"""What counts as naming a person in a stored body, and what does not."""

import json
from typing import Any

import pytest

from activation.privacy.bodies import Sought
from activation.privacy.person import Person

SOUGHT = Sought.of(
    Person(
        customer_ids=(12,),
        emails=("Ada.Ü@privat.example",),
        phones=("+49 151 234567",),
        order_ids=(77,),
    )
)


@pytest.mark.requirement("SHOP-07")
@pytest.mark.parametrize(
    ("topic", "body"),
    [
        ("customers/update", {"id": 12}),
        ("orders/create", {"id": 77}),
        ("orders/create", {"id": 1, "customer": {"id": 12}}),
        ("orders/create", {"id": 1, "customer": {"default_address": {"customer_id": 12}}}),
        ("refunds/create", {"id": 1, "order_id": 77}),
        ("customers/redact", {"orders_to_redact": [1, 77]}),
        ("customer.tags_added", {"customerId": "gid://shopify/Customer/12"}),
        ("x", {"note": "write to ADA.ü@privat.example, please"}),
        ("x", {"shipping_address": {"phone": "(49) 151-234567"}}),
        ("x", {"ada.ü@privat.example": 1}),
        ("x", {"list": [[{"customer_id": "12"}]]}),
    ],
)
def test_a_body_names_the_person(topic: str, body: Any) -> None:
    assert SOUGHT.is_in(json.dumps(body).encode(), topic)
    assert SOUGHT.is_in(json.dumps(body, ensure_ascii=False).encode(), topic)


@pytest.mark.parametrize(
    ("topic", "body"),
    [
        ("orders/create", {"id": 12, "line_items": [{"quantity": 12, "id": 77}]}),
        ("customers/update", {"id": 77}),
        ("orders/create", {"customer": {"id": 112}, "total_price": "12.77"}),
        ("customer.tags_added", {"customerId": "gid://shopify/Customer/123"}),
        ("x", {"email": "not.ada.ü@privat.example"}),
        ("x", {"email": "ada.ü@privat.example.com"}),
        ("x", {"number": "49151234567000"}),
    ],
)
def test_a_number_that_stands_for_something_else_erases_nothing(topic: str, body: Any) -> None:
    assert not SOUGHT.is_in(json.dumps(body).encode(), topic)


def test_what_cannot_be_read_counts_as_found() -> None:
    """SQL has found something of theirs in it; leaving it would be the worse error."""
    assert SOUGHT.is_in(b'{"customer":{"id":12', "orders/create")
