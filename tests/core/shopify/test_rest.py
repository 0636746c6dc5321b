import json
from datetime import UTC, datetime
from typing import Any

import pytest

from core.ingestion.rows import (
    LINE_COLUMNS,
    ORDER_COLUMNS,
    REFUND_COLUMNS,
    Columns,
    customer_row,
    line_row,
)
from core.shopify.naming import other_shop
from core.shopify.rest import BodyError, read_customer, read_json, read_order
from core.shopify.shapes import Customer, Money, MoneyBag, OrderLine
from core.shopify.told import LineTold, OrderTold, RefundTold
from tests.fixtures.shopify import SHOP_NUMBER, customer_body, encode, order_body, rest_money

HALF_PAST_ELEVEN = datetime(2026, 11, 20, 11, 30, tzinfo=UTC)


def read(**changes: Any) -> Any:
    return read_order(encode(order_body(1, 5, **changes)))


@pytest.mark.requirement("SHOP-06")
def test_an_order_body_becomes_rows() -> None:
    found = read(total="49.90")
    order = found.order
    assert order.order_id == 1
    assert order.processed_at == HALF_PAST_ELEVEN
    assert order.processed_at.tzinfo is UTC
    assert order.financial_status == "PAID"
    assert str(order.current_total) == "49.90"
    assert order.discount_codes == ["TEA10"]
    assert order.customer_id == 5
    assert [(line.line_id, line.order_id) for line in found.lines] == [(10, 1)]
    assert not found.is_partial


@pytest.mark.parametrize(
    ("told", "columns"),
    [(OrderTold, ORDER_COLUMNS), (LineTold, LINE_COLUMNS), (RefundTold, REFUND_COLUMNS)],
)
def test_rows_are_told_in_the_columns_of_their_tables(told: Any, columns: Columns) -> None:
    assert told.__struct_fields__ == tuple(name for name, _ in columns)


def test_what_a_body_spells_as_nul_is_left_out_and_nothing_else() -> None:
    r"""PostgreSQL's text holds no NUL. `\\u0000` is a backslash and the letters that follow it."""
    body = encode(order_body(1, 5, name="#1", source_name="*"))
    told = body.replace(b'"#1"', rb'"#\u00001\\u0000\\\u0000"').replace(b'"*"', rb'"\u0000"')
    assert told.count(b"u0000") == 4
    order = read_order(told).order
    assert (order.name, order.source_name) == ("#1\\u0000\\", "")


@pytest.mark.requirement("SHOP-07")
def test_amounts_come_from_shop_money_and_stay_exact() -> None:
    presentment = {"amount": "99999.99", "currency_code": "JPY"}
    body = order_body(1, 5)
    body["current_total_price_set"] = {
        "shop_money": {"amount": "0.1000000000000000055", "currency_code": "EUR"},
        "presentment_money": presentment,
    }
    order = read_order(encode(body)).order
    assert (str(order.current_total), order.currency) == ("0.1000000000000000055", "EUR")


@pytest.mark.requirement("SHOP-07")
def test_an_amount_written_as_a_json_number_is_not_turned_into_a_float() -> None:
    text = json.dumps(order_body(1, 5, total_price_set=None)).replace(
        '"total_price": "10.00"', '"total_price": 1234567890123.1234'
    )
    assert str(read_order(text.encode()).order.original_total) == "1234567890123.1234"


def test_refunds_are_added_up_in_the_shops_currency() -> None:
    paid = {"kind": "refund", "status": "success"}
    refunds = [
        {"transactions": [paid | {"amount": "3.50", "currency": "EUR"}]},
        {
            "transactions": [
                paid | rest_money("amount", "1.25") | {"currency": "USD"},
                {"kind": "refund", "status": "failure", "amount": "100.00"},
                {"kind": "void", "status": "success", "amount": "100.00"},
            ]
        },
    ]
    found = read(refunds=refunds, financial_status="partially_refunded")
    assert str(found.order.refunded_total) == "4.75"


@pytest.mark.parametrize(
    "changes",
    [
        {
            "refunds": [
                {
                    "transactions": [
                        {"kind": "refund", "status": "success", "amount": "3.50", "currency": "USD"}
                    ]
                }
            ]
        },
        {"refunds": [{}]},
        {"financial_status": "refunded"},
    ],
)
def test_an_order_whose_refunds_cannot_be_read_is_partial(changes: dict[str, Any]) -> None:
    assert read(**changes).is_partial


@pytest.mark.parametrize("missing", ["line_items", "customer"])
def test_an_order_without_lines_or_customer_is_partial_not_empty(missing: str) -> None:
    body = order_body(1, 5)
    del body[missing]
    assert read_order(encode(body)).is_partial


def test_a_guest_order_is_whole() -> None:
    found = read_order(encode(order_body(1, None)))
    assert found.order.customer_id is None
    assert found.customer is None
    assert found.order.email is None
    assert not found.is_partial


def test_an_embedded_customer_without_times_counts_as_older_than_anything() -> None:
    customer = customer_body(5, created_at=None, updated_at=None)
    found = read(customer=customer)
    assert found.customer.updated_at.year == 1970
    assert found.customer.created_at == HALF_PAST_ELEVEN


# A Decimal that raises as soon as it is added to anything.
SIGNALLING = {"transactions": [{"kind": "refund", "status": "success", "amount": "sNaN"}]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": 2}, "the two ids of the Order differ"),
        ({"id": None, "admin_graphql_api_id": None}, "the Order has no id"),
        ({"id": -4, "admin_graphql_api_id": None}, "not a Shopify id"),
        ({"admin_graphql_api_id": "gid://shopify/Product/1"}, "a Product where one of a Order"),
        ({"updated_at": "yesterday"}, "updated_at"),
        ({"updated_at": "2026-11-20T12:30:00"}, "timezone"),
        ({"current_total_price_set": None, "current_total_price": None}, "a total is missing"),
        ({"total_price_set": None, "total_price": "NaN"}, "not an amount"),
        ({"total_price_set": None, "total_price": "1e400"}, "not an amount"),
        # Written out, as it was, this is ten megabytes of zeros; with one more 9, a gigabyte.
        ({"total_price_set": None, "total_price": "1e-9999999"}, "not an amount: '1E-9999999'"),
        ({"total_price_set": None, "total_price": "1." + "0" * 50}, "not an amount"),
        ({"refunds": [SIGNALLING]}, "InvalidOperation"),
        ({"customer": {"id": 5, "email": "é" * 3000}}, "not an email address"),
        ({"line_items": [{"title": "x"}]}, "quantity"),
        ({"line_items": 5}, "line_items"),
        ({"customer": {"email": "a@b.example"}}, "the Customer has no id"),
    ],
)
def test_an_order_that_cannot_be_read_is_refused_with_the_reason(
    change: dict[str, Any], words: str
) -> None:
    with pytest.raises(BodyError, match=words):
        read(**change)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'"text"', b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BodyError):
        read_json(body)


def test_a_customer_body_tells_no_consent_and_no_tags() -> None:
    found = read_customer(encode(customer_body(5, email=" ada@example.com ", phone="a\x00b")))
    assert found.email == "ada@example.com"
    assert found.phone == "ab"
    assert not hasattr(found, "tags")
    assert not hasattr(found, "consent_state")


def test_a_customer_body_without_a_time_is_refused() -> None:
    with pytest.raises(BodyError, match="updated_at"):
        read_customer(encode(customer_body(5, updated_at=None)))


@pytest.mark.requirement("SHOP-04")
@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, None),
        ({"shop_domain": "Tea-and-tools.myshopify.com"}, None),
        ({"shop_domain": "evil.myshopify.com"}, "evil.myshopify.com"),
        ({"myshopify_domain": "evil.myshopify.com"}, "evil.myshopify.com"),
        ({"shop_id": SHOP_NUMBER}, None),
        ({"shop_id": 7}, "7"),
        ({"order_status_url": f"https://tea.example/{SHOP_NUMBER}/orders/x"}, None),
        ({"order_status_url": "https://tea.example/7/orders/x"}, "7"),
        ({"order_status_url": "https://evil.myshopify.com/orders/x"}, "evil.myshopify.com"),
        ({"order_status_url": "https://[broken"}, None),
        ({"order_status_url": 5}, None),
    ],
)
def test_a_body_of_another_shop_is_recognised(body: dict[str, Any], named: str | None) -> None:
    domain = "tea-and-tools.myshopify.com"
    assert other_shop(body, domain=domain, shopify_id=SHOP_NUMBER) == named


def test_a_customer_without_an_address_has_nothing_to_subscribe() -> None:
    then = datetime(2026, 1, 1, tzinfo=UTC)
    row = customer_row(Customer(id="gid://shopify/Customer/5", created_at=then, updated_at=then))
    assert "NOT_SUBSCRIBED" in row


def test_an_unknown_line_has_no_row() -> None:
    line = OrderLine(
        id="gid://shopify/Order/10",
        title="Tea",
        quantity=1,
        current_quantity=1,
        original_unit_price_set=MoneyBag(shop_money=Money(amount="1", currency_code="EUR")),
    )
    with pytest.raises(ValueError, match="a Order where one of a LineItem"):
        line_row(line, 1)
