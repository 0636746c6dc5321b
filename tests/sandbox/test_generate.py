import itertools
import json
import re
from collections import Counter, defaultdict
from dataclasses import asdict
from datetime import date
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sandbox import generate
from sandbox.demo_catalogue import CATALOGUE
from sandbox.generate import ShopCounts, generate_shop
from sandbox.shapes import recovery_token

END = date(2026, 11, 23)
GONE = {"VOIDED", "EXPIRED", "REFUNDED"}


class Written(NamedTuple):
    counts: ShopCounts
    customers: list[dict[str, Any]]
    orders: list[dict[str, Any]]
    items: dict[str, list[dict[str, Any]]]
    products: list[dict[str, Any]]
    checkouts: list[dict[str, Any]]
    in_checkouts: dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("shop")
    counts = generate_shop(folder, end=END)
    orders, items = _families(folder / "orders.jsonl")
    return Written(
        counts,
        _lines(folder / "customers.jsonl"),
        orders,
        items,
        _lines(folder / "products.jsonl"),
        *_families(folder / "checkouts.jsonl"),
    )


def test_the_same_seed_and_end_give_the_same_bytes(tmp_path: Path):
    for name, seed in (("one", 5), ("again", 5), ("other", 6)):
        generate_shop(tmp_path / name, customers=60, seed=seed, end=END)
    one, again, other = (_bytes(tmp_path / name) for name in ("one", "again", "other"))
    assert one == again
    assert one["orders.jsonl"] != other["orders.jsonl"]
    assert one["customers.jsonl"] != other["customers.jsonl"]
    assert one["checkouts.jsonl"] != other["checkouts.jsonl"]


def test_the_report_counts_what_was_written(shop: Written):
    assert shop.counts.customers == len(shop.customers) == 3000
    assert shop.counts.orders == len(shop.orders)
    assert shop.counts.line_items == sum(map(len, shop.items.values()))
    assert shop.counts.products == len(shop.products) == len(CATALOGUE)
    assert shop.counts.checkouts == len(shop.checkouts)
    assert shop.counts.guest_orders == sum(order["customer"] is None for order in shop.orders)


@pytest.mark.requirement("SHOP-08")
def test_history_is_two_years_and_nothing_in_it_lies_on_or_after_the_last_day(shop: Written):
    times = [order[key] for order in shop.orders for key in ("processedAt", "updatedAt")]
    others = [*shop.customers, *shop.checkouts, *shop.products]
    times += [each[key] for each in others for key in ("createdAt", "updatedAt")]
    times += [refund["processedAt"] for order in shop.orders for refund in order["refunds"]]
    # An order from later today would come in as a new one and be owed a welcome mail.
    assert max(times) < "2026-11-23T00:00:00Z"
    assert min(times) >= "2024-11-22T23:00:00Z"
    days = {order["processedAt"][:10] for order in shop.orders}
    assert min(days) <= "2024-11-26"
    assert max(days) == "2026-11-22"


def test_most_buy_once_some_never_and_a_few_again_and_again(shop: Written):
    orders = Counter(_customer_of(order) for order in shop.orders if order["customer"])
    buyers = len(orders)
    once = sum(count == 1 for count in orders.values())
    assert 0.06 < 1 - buyers / len(shop.customers) < 0.10
    assert 0.45 < once / buyers < 0.65
    assert sum(count >= 10 for count in orders.values()) > 0.01 * buyers
    assert max(orders.values()) > 15


def test_consent_is_mixed_and_a_few_cannot_be_mailed_at_all(shop: Written):
    addresses = [person["defaultEmailAddress"] for person in shop.customers]
    states = Counter(address["marketingState"] for address in addresses if address)
    mailable = states.total()
    assert states["SUBSCRIBED"] + states["UNSUBSCRIBED"] == pytest.approx(0.6 * mailable, rel=0.05)
    assert states["NOT_SUBSCRIBED"] == pytest.approx(0.3 * mailable, rel=0.1)
    assert states["PENDING"] == pytest.approx(0.1 * mailable, rel=0.15)
    assert 20 < states["UNSUBSCRIBED"] < 120
    assert 10 < addresses.count(None) < 80
    assert all(
        person["defaultPhoneNumber"]
        for person in shop.customers
        if not person["defaultEmailAddress"]
    )


def test_every_address_is_reserved_and_belongs_to_one_customer(shop: Written):
    emails = [
        person["defaultEmailAddress"]["emailAddress"]
        for person in shop.customers
        if person["defaultEmailAddress"]
    ]
    emails += [order["email"] for order in shop.orders if order["email"] and not order["customer"]]
    assert len(set(emails)) == len(emails)
    assert {email.split("@")[1] for email in emails} == {
        "example.com",
        "example.org",
        "example.net",
    }


@pytest.mark.requirement("SHOP-07")
def test_what_is_left_of_an_order_is_its_total_less_what_went_back(shop: Written):
    for order in shop.orders:
        total, current, refunded = _money(order)
        assert min(total, current, refunded) >= 0
        if order["cancelledAt"] and order["displayFinancialStatus"] == "VOIDED":
            assert (current, refunded) == (0, 0)
        else:
            assert current == total - refunded


@pytest.mark.requirement("SHOP-07")
def test_refunds_add_up_to_what_went_back(shop: Written):
    ids = [refund["id"] for order in shop.orders for refund in order["refunds"]]
    assert len(ids) == len(set(ids)) > 100
    for order in shop.orders:
        back = sum(_amount(refund["totalRefundedSet"]) for refund in order["refunds"])
        assert back == _money(order)[2]
        for refund in order["refunds"]:
            assert order["createdAt"] < refund["processedAt"] <= order["updatedAt"]


@pytest.mark.requirement("SHOP-07")
def test_a_customer_s_totals_are_those_of_their_orders(shop: Written):
    made, spent = Counter(), defaultdict(Decimal)
    for order in shop.orders:
        if order["customer"] and not order["test"]:
            made[_customer_of(order)] += 1
            counts = not order["cancelledAt"] and order["displayFinancialStatus"] not in GONE
            spent[_customer_of(order)] += _money(order)[1] if counts else 0
    for person in shop.customers:
        assert person["numberOfOrders"] == str(made[person["id"]])
        assert Decimal(person["amountSpent"]["amount"]) == spent[person["id"]]


@pytest.mark.requirement("SHOP-02")
def test_every_line_is_of_a_product_that_is_in_the_catalogue(shop: Written):
    titles = {product["id"]: product["title"] for product in shop.products}
    for item in itertools.chain(*shop.items.values(), *shop.in_checkouts.values()):
        assert titles[item["product"]["id"]] == item["title"]
    handles = [product["handle"] for product in shop.products]
    assert len(set(handles)) == len(handles)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", handle) for handle in handles)


def test_checkouts_were_left_and_some_of_them_taken_up_again(shop: Written):
    tokens = {order["checkoutToken"]: order for order in shop.orders}
    kinds = Counter(bool(checkout["completedAt"]) for checkout in shop.checkouts)
    assert min(kinds.values()) > 50
    for checkout in shop.checkouts:
        assert shop.in_checkouts[checkout["id"]]
        assert checkout["createdAt"] <= checkout["updatedAt"]
        order = tokens.get(recovery_token(checkout["abandonedCheckoutUrl"]))
        assert bool(order) == bool(checkout["completedAt"])
        if order:
            assert checkout["completedAt"] == order["createdAt"]
            assert checkout["customer"]["id"] == _customer_of(order)
    nobody = [checkout for checkout in shop.checkouts if checkout["customer"] is None]
    assert 0 < len(nobody) < 0.1 * len(shop.checkouts)
    created = [checkout["createdAt"] for checkout in shop.checkouts]
    assert created == sorted(created)


def test_the_status_tells_how_much_went_back(shop: Written):
    for order in shop.orders:
        total, _, refunded = _money(order)
        status = order["displayFinancialStatus"]
        assert (status == "REFUNDED") == (refunded == total > 0)
        assert (status == "PARTIALLY_REFUNDED") == (0 < refunded < total)


def test_quantities_agree_with_refunds_and_totals_with_lines(shop: Written):
    for order in shop.orders:
        items = shop.items[order["id"]]
        assert items
        total, _, refunded = _money(order)
        back = sum(item["quantity"] - item["currentQuantity"] for item in items)
        assert all(0 <= item["currentQuantity"] <= item["quantity"] for item in items)
        assert (back > 0) == (refunded > 0 or bool(order["cancelledAt"]))
        goods = sum(item["quantity"] * _amount(item["originalUnitPriceSet"]) for item in items)
        assert total <= goods + Decimal("4.9")


def test_orders_of_every_kind_are_there(shop: Written):
    kinds = Counter(
        kind
        for order in shop.orders
        for kind, holds in {
            "guest": order["customer"] is None,
            "guest without address": order["customer"] is None and order["email"] is None,
            "test": order["test"],
            "cancelled": order["cancelledAt"] is not None,
            "zero total": _money(order)[0] == 0,
            "discounted": bool(order["discountCodes"]),
            order["displayFinancialStatus"]: True,
        }.items()
        if holds
    )
    expected = {
        *("guest", "guest without address", "test", "cancelled", "zero total", "discounted"),
        *("PAID", "PENDING", "PARTIALLY_REFUNDED", "REFUNDED", "VOIDED", "EXPIRED"),
    }
    assert {kind for kind in expected if kinds[kind] < 3} == set()
    assert kinds["PAID"] > 0.9 * len(shop.orders)


def test_some_first_orders_do_not_count_but_later_ones_do(shop: Written):
    first_counted: dict[str, bool] = {}
    for order in sorted(shop.orders, key=lambda order: order["processedAt"]):
        if order["customer"]:
            counted = not (
                order["test"] or order["cancelledAt"] or order["displayFinancialStatus"] in GONE
            )
            first_counted.setdefault(_customer_of(order), counted)
    assert sum(not counted for counted in first_counted.values()) > 30


def test_every_order_is_of_a_customer_who_was_there_before_it(shop: Written):
    created = {person["id"]: person["createdAt"] for person in shop.customers}
    updated = {person["id"]: person["updatedAt"] for person in shop.customers}
    for order in shop.orders:
        if order["customer"]:
            assert created[_customer_of(order)] <= order["createdAt"]
            assert updated[_customer_of(order)] >= order["createdAt"]
        assert order["createdAt"] <= order["updatedAt"]


@pytest.mark.requirement("SHOP-02")
def test_lines_come_last_updated_last_as_the_bulk_query_sorts_them(shop: Written):
    for records in (shop.customers, shop.orders, shop.products):
        assert all(one["updatedAt"] <= next_["updatedAt"] for one, next_ in pairwise(records))


def test_ids_and_names_rise_with_the_time_of_creation(shop: Written):
    orders = sorted(shop.orders, key=_number)
    assert all(one["createdAt"] <= next_["createdAt"] for one, next_ in pairwise(orders))
    assert [order["name"] for order in orders] == [f"#{1001 + n}" for n in range(len(orders))]
    people = sorted(shop.customers, key=_number)
    assert all(one["createdAt"] <= next_["createdAt"] for one, next_ in pairwise(people))


def test_names_hold_what_breaks_careless_code(shop: Written):
    names = "".join(f"{person['firstName']} {person['lastName']}" for person in shop.customers)
    assert set("'&/\"<>ßØışł美Ш") <= set(names)


def test_december_sells_more_than_january(shop: Written):
    months = Counter(order["processedAt"][:7] for order in shop.orders)
    assert months["2025-12"] > 1.2 * months["2026-01"]


def test_the_command_prints_its_report_as_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    args = [str(tmp_path), "--customers", "20", "--seed", "3", "--end", "2026-11-23"]
    assert generate.main(args) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line) == asdict(generate_shop(tmp_path, customers=20, seed=3, end=END))


@pytest.mark.parametrize("args", [["--customers", "0"], ["--end", "today"], ["--seed", "x"]])
def test_the_command_refuses_what_makes_no_shop(tmp_path: Path, args: list[str]):
    with pytest.raises(SystemExit) as refusal:
        generate.main([str(tmp_path / "shop"), *args])
    assert refusal.value.code == 2
    assert not (tmp_path / "shop").exists()


def test_a_shop_of_one_customer_is_a_shop(tmp_path: Path):
    for seed in range(12):
        assert generate_shop(tmp_path, customers=1, seed=seed, end=END).customers == 1


def _families(path: Path) -> tuple[list[dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    """The roots, and the children by the id of their root."""
    roots, children = [], defaultdict(list)
    for line in _lines(path):
        if "__parentId" in line:
            children[line["__parentId"]].append(line)
        else:
            roots.append(line)
    return roots, children


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _amount(money: dict[str, Any]) -> Decimal:
    assert money["shopMoney"]["currencyCode"] == "EUR"
    return Decimal(money["shopMoney"]["amount"])


def _money(order: dict[str, Any]) -> tuple[Decimal, Decimal, Decimal]:
    """Total, current total, refunded."""
    keys = ("totalPriceSet", "currentTotalPriceSet", "totalRefundedSet")
    total, current, refunded = (_amount(order[key]) for key in keys)
    return total, current, refunded


def _customer_of(order: dict[str, Any]) -> str:
    return str(order["customer"]["id"])


def _number(record: dict[str, Any]) -> int:
    return int(record["id"].rsplit("/", 1)[1])
