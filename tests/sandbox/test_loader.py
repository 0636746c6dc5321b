import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from sandbox.jsonl import encode_line
from sandbox.loader import checkout_row, order_row
from sandbox.shapes import BadLineError
from sandbox.shop_folder import Shop
from sandbox.store import Store
from sandbox.totals import counted
from tests.sandbox.support import (
    DOMAIN,
    Running,
    a_checkout,
    a_customer,
    a_line_item,
    an_order,
    document,
    write_folder,
)

SHOP = Shop("Try & Error", DOMAIN, "EUR", "Europe/Berlin")


COUNTS = {
    "shop": DOMAIN,
    "customers": 5,
    "orders": 12,
    "line_items": 36,
    "products": 1,
    "checkouts": 4,
}


@pytest.mark.requirement("SHOP-02")
def test_a_folder_is_loaded_and_counted(sandbox: Running, folder: Path) -> None:
    answer = sandbox.load(folder)
    assert answer.status_code == 201
    assert {name: answer.json()[name] for name in COUNTS} == COUNTS
    assert answer.json()["rejected"]["total"] == 0


@pytest.mark.requirement("SHOP-02")
def test_line_items_are_joined_wherever_they_stand(sandbox: Running, folder: Path) -> None:
    path = folder / "orders.jsonl"
    path.write_bytes(b"".join(reversed(path.read_bytes().splitlines(keepends=True))))
    assert sandbox.load(folder).json()["line_items"] == 36


def test_malformed_lines_are_counted_and_kept_out(sandbox: Running, folder: Path) -> None:
    bad_customer = a_customer(99) | {"updatedAt": "yesterday"}
    bad_order = an_order(99) | {"totalPriceSet": {"shopMoney": {"amount": 1}}}
    orphan = {**a_line_item(1), "__parentId": "gid://shopify/Order/404"}
    with (folder / "customers.jsonl").open("ab") as file:
        file.write(b'{"id":"gid:\\/\\/shopify\\/Cust\n[1]\n\n')
        file.write(encode_line(bad_customer) + encode_line({"id": "gid://shopify/Order/1"}))
        file.write(encode_line(a_customer(1)))
    with (folder / "orders.jsonl").open("ab") as file:
        file.write(encode_line(bad_order) + encode_line(orphan))
    answer = sandbox.load(folder).json()
    assert (answer["customers"], answer["orders"], answer["line_items"]) == (5, 12, 36)
    assert answer["rejected"]["by_reason"] == {
        "not JSON": 1,
        "not an object": 1,
        "updatedAt is not a time": 1,
        "not the id of a Customer": 1,
        "an id that came before": 1,
        "totalPriceSet is not money": 1,
        "a line item without its order": 1,
    }
    assert {"file": "customers.jsonl", "line": 6, "reason": "not JSON"} in answer["rejected"][
        "first"
    ]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("id", "gid://shopify/Order/12x", "not the id of a Order"),
        ("id", f"gid://shopify/Order/{2**63}", "not the id of a Order"),
        ("processedAt", "2026-03-01T12:00:00", "processedAt is not a time"),
        ("test", "no", "test is not true or false"),
        ("displayFinancialStatus", "paid", "displayFinancialStatus is not one of Shopify's"),
        ("discountCodes", None, "discountCodes is not a list"),
        ("totalRefundedSet", None, "totalRefundedSet is not money"),
        ("customer", "gid://shopify/Customer/1", "customer is not an object"),
    ],
)
def test_an_order_that_shopify_could_not_have_sent_is_refused(
    field: str, value: Any, reason: str
) -> None:
    with pytest.raises(BadLineError, match=reason):
        order_row(1, an_order(1) | {field: value})


def test_a_shop_is_loaded_twice_only_when_asked_to(shop: Running, folder: Path) -> None:
    again = shop.load(folder)
    assert again.status_code == 409
    assert "loaded already" in again.json()["error"]
    assert shop.load(folder, if_absent=True).json()["loaded"] is False
    write_folder(folder, customers=2, orders=3)
    assert shop.load(folder, replace=True).json()["orders"] == 3
    assert shop.client.get("/_sandbox/shops").json()["shops"][0]["customers"] == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: (f / "shop.json").unlink(), "shop.json is missing"),
        (lambda f: (f / "shop.json").write_text("{"), "cannot be read"),
        (lambda f: (f / "orders.jsonl").unlink(), "orders.jsonl is missing"),
        (lambda f: _about(f, domain="try.example.com"), "name.myshopify.com"),
        (lambda f: _about(f, time_zone="Mars/Base"), "time_zone"),
        (lambda f: _about(f, currency="Euro"), "currency"),
    ],
)
def test_a_folder_that_is_no_shop_is_refused_with_the_reason(
    sandbox: Running, folder: Path, change: Callable[[Path], Any], words: str
) -> None:
    change(folder)
    answer = sandbox.load(folder)
    assert answer.status_code == 422
    assert words in answer.json()["error"]
    assert sandbox.client.get("/_sandbox/shops").json() == {"shops": []}


def test_files_that_are_no_part_of_a_shop_are_said_to_be_left_out(
    sandbox: Running, folder: Path
) -> None:
    (folder / "gift_cards.jsonl").write_bytes(b"")
    assert sandbox.load(folder).json()["not_loaded"] == ["gift_cards.jsonl"]


def test_a_folder_of_before_products_checkouts_totals_and_refunds_is_loaded_all_the_same(
    sandbox: Running, folder: Path
) -> None:
    for name in ("products.jsonl", "checkouts.jsonl"):
        (folder / name).unlink()
    customer, order = a_customer(6), an_order(13, customer=6)
    for name in ("numberOfOrders", "amountSpent"):
        del customer[name]
    del order["refunds"]
    order["totalRefundedSet"] = order["totalPriceSet"]
    with (folder / "customers.jsonl").open("ab") as customers:
        customers.write(encode_line(customer))
    with (folder / "orders.jsonl").open("ab") as orders:
        orders.write(encode_line(order) + encode_line(an_order(14, customer=6)))
    answer = sandbox.load(folder).json()
    assert answer["rejected"]["total"] == 0
    assert (answer["customers"], answer["products"], answer["checkouts"]) == (6, 0, 0)
    ids = ["gid://shopify/Customer/6", "gid://shopify/Order/13"]
    (found,) = sandbox.data(document("customers_by_id"), {"ids": ids[:1]})["nodes"]
    # The refunded order is still an order of theirs, but no money was left of it.
    assert found["numberOfOrders"] == "2"
    assert found["amountSpent"] == {"amount": "49.9", "currencyCode": "EUR"}
    (refunded,) = sandbox.data(document("orders_by_id"), {"ids": ids[1:]})["nodes"]
    assert refunded["refunds"] == [
        {
            "id": "gid://shopify/Refund/13",
            "processedAt": order["updatedAt"],
            "totalRefundedSet": order["totalPriceSet"],
        }
    ]


def test_what_a_folder_says_of_earlier_orders_is_kept_and_new_ones_are_added(
    sandbox: Running, folder: Path
) -> None:
    known = a_customer(6) | {
        "numberOfOrders": "40",
        "amountSpent": {"amount": "999999999999.9", "currencyCode": "EUR"},
    }
    with (folder / "customers.jsonl").open("ab") as customers:
        customers.write(encode_line(known))
    sandbox.load(folder)
    sandbox.place(customer={"id": known["id"]}, total="0.05")
    sandbox.place(customer={"id": known["id"]}, total="5.00", test=True)
    (found,) = sandbox.data(document("customers_by_id"), {"ids": [known["id"]]})["nodes"]
    assert found["numberOfOrders"] == "41"
    assert found["amountSpent"]["amount"] == "999999999999.95"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"abandonedCheckoutUrl": None}, "not an address"),
        ({"id": "gid://shopify/Order/1"}, "not the id of a AbandonedCheckout"),
        ({"totalPriceSet": None}, "totalPriceSet is not money"),
        ({"completedAt": "later"}, "completedAt is not a time"),
    ],
)
def test_a_checkout_that_shopify_could_not_have_sent_is_refused(
    change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BadLineError, match=reason):
        checkout_row(1, a_checkout(SHOP, 1) | change)


def test_a_checkout_is_known_by_the_token_in_its_recovery_address() -> None:
    line = a_checkout(SHOP, 1)
    older = line | {"abandonedCheckoutUrl": "https://try.example/1/checkouts/abc/recover?key=k"}
    without = line | {"abandonedCheckoutUrl": "https://try.example/cart"}
    assert [checkout_row(1, each)[2] for each in (line, older, without)] == ["token1", "abc", "1"]
    assert checkout_row(1, line, token="another")[2] == "another"


@pytest.mark.parametrize(
    ("refunds", "reason"),
    [
        ({}, None),
        ([{"id": "gid://shopify/Refund/1"}], "processedAt is not a time"),
        (["none"], "refunds is not a list of refunds"),
    ],
)
def test_a_refund_that_is_none_keeps_its_order_out(refunds: Any, reason: str | None) -> None:
    line = an_order(1) | {"refunds": refunds}
    if reason is None:
        assert orjson.loads(order_row(1, line)[-1])["refunds"] == []
        return
    with pytest.raises(BadLineError, match=reason):
        order_row(1, line)


@pytest.mark.requirement("SHOP-02")
def test_the_store_of_an_earlier_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite3"
    _store_of_before(path)
    for _ in range(2):  # the second opening finds nothing left to do
        store = Store(path)
        with store.read() as db:
            order = orjson.loads(db.execute("select body from orders").fetchone()["body"])
            customer = orjson.loads(db.execute("select body from customers").fetchone()["body"])
            assert counted(db, 1, 5) == (1, 40000)
        store.close()
    assert order["refunds"][0]["totalRefundedSet"]["shopMoney"]["amount"] == "9.9"
    assert customer["numberOfOrders"] is customer["amountSpent"] is None


def _store_of_before(path: Path) -> None:
    """The tables that were widened since, as they were, with an order and a customer."""
    order, customer = an_order(1, customer=5), a_customer(5)
    order["totalRefundedSet"] = {"shopMoney": {"amount": "9.9", "currencyCode": "EUR"}}
    order["currentTotalPriceSet"] = {"shopMoney": {"amount": "40.0", "currencyCode": "EUR"}}
    del order["refunds"], customer["numberOfOrders"], customer["amountSpent"]
    with sqlite3.connect(path) as db:
        db.executescript(
            """create table shops (shop integer primary key, domain text);
            create table customers (shop integer, num integer, email text, consent text,
                updated_at real, body blob not null);
            create table orders (shop integer, num integer, customer integer, processed_at real,
                updated_at real, is_counted integer, body blob not null);
            create table bulk_operations (num integer primary key, status text,
                object_count integer);"""
        )
        db.execute("insert into orders values (1, 1, 5, 0, 0, 1, ?)", [orjson.dumps(order)])
        db.execute(
            "insert into customers values (1, 5, null, null, 0, ?)", [orjson.dumps(customer)]
        )
    db.close()


def _about(folder: Path, **change: str) -> None:
    path = folder / "shop.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def test_a_line_is_written_as_shopify_writes_it() -> None:
    line = encode_line({"id": "gid://shopify/Order/1", "title": "A & B \\/ ü <>", "none": None})
    assert line.startswith(b'{"id":"gid:\\/\\/shopify\\/Order\\/1",')
    assert line.endswith('"title":"A \\u0026 B \\\\\\/ ü <>","none":null}\n'.encode())
    assert orjson.loads(line)["title"] == "A & B \\/ ü <>"
