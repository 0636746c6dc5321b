import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from sandbox.jsonl import encode_line
from sandbox.loader import order_row
from sandbox.shapes import BadLineError
from tests.sandbox.support import DOMAIN, Running, a_customer, a_line_item, an_order, write_folder


@pytest.mark.requirement("SHOP-02")
def test_a_folder_is_loaded_and_counted(sandbox: Running, folder: Path) -> None:
    answer = sandbox.load(folder)
    assert answer.status_code == 201
    counts = {k: answer.json()[k] for k in ("shop", "customers", "orders", "line_items")}
    assert counts == {"shop": DOMAIN, "customers": 5, "orders": 12, "line_items": 36}
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


def test_checkouts_are_said_to_be_left_out(sandbox: Running, folder: Path) -> None:
    (folder / "checkouts.jsonl").write_bytes(b"")
    assert sandbox.load(folder).json()["not_loaded"] == ["checkouts.jsonl"]


def _about(folder: Path, **change: str) -> None:
    path = folder / "shop.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def test_a_line_is_written_as_shopify_writes_it() -> None:
    line = encode_line({"id": "gid://shopify/Order/1", "title": "A & B \\/ ü <>", "none": None})
    assert line.startswith(b'{"id":"gid:\\/\\/shopify\\/Order\\/1",')
    assert line.endswith('"title":"A \\u0026 B \\\\\\/ ü <>","none":null}\n'.encode())
    assert orjson.loads(line)["title"] == "A & B \\/ ü <>"
