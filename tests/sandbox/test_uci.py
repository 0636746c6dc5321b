import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from pyarrow import parquet

from sandbox import uci
from sandbox.uci import UciReport, convert_uci

# The real file is not part of the project; where it lies beside it, the same tests read it too.
BESIDE_THE_PROJECT = Path(__file__).parents[3] / "shared" / "data"
REAL = sorted(BESIDE_THE_PROJECT.glob("uci_online_retail_II_2009-2010.parquet"))

COLUMNS = ("Invoice", "StockCode", "Quantity", "InvoiceDate", "Price", "Customer")
ONE, TWO, ONLY_RETURNS = 11111, 22222, 33333
HAND_MADE: list[tuple[str, str, int, str, float, int | None]] = [
    ("C500000", "B", -1, "2010-03-01 08:00", 1.25, TWO),  # before any sale to them
    ("500001", "A", 10, "2010-03-01 10:00", 2.50, ONE),
    ("500001", "B", 1, "2010-03-01 10:00", 1.25, ONE),
    ("C500001", "B", -1, "2010-03-01 10:00", 1.25, ONE),  # the same minute is not earlier
    ("500002", "A", 4, "2010-03-02 10:00", 3.00, ONE),
    ("C500003", "A", -3, "2010-03-03 10:00", 2.00, ONE),  # another price than the sale's
    ("C500004", "A", -6, "2010-03-04 10:00", 3.00, ONE),  # one is left of 500002
    ("C500005", "A", -1, "2010-03-04 11:00", 3.00, ONE),  # nothing is left of it
    ("C500005", "B", -1, "2010-03-04 11:00", 1.25, ONE),
    ("C500006", "X", -1, "2010-03-04 12:00", 9.00, ONE),  # never sold
    ("C500007", "A", -1, "2010-03-04 12:00", 2.50, None),  # a guest's
    ("500007", "A", 2, "2010-03-05 10:00", 2.50, None),
    ("500007", "M", 1, "2010-03-05 10:00", 0.00, None),
    ("500008", "A", -5, "2010-03-05 11:00", 0.00, None),  # stock written off
    ("A500009", "B", 1, "2010-03-05 12:00", -100.00, None),
    ("500010", "B", 2, "2010-03-06 10:00", 1.25, TWO),
    ("500010", "A", 1, "2010-03-06 10:00", 0.001, TWO),
    ("C500011", "B", -2, "2010-07-01 09:30", 1.25, TWO),
    ("500012", "GIFT", 1, "2010-07-01 16:00", 0.00, TWO),
    ("C500013", "A", -1, "2010-07-01 17:00", 2.50, ONLY_RETURNS),
    ("500014", "A", 1, "2010-07-02 18:30", -2.00, TWO),
]
FIGURES = {
    "hand_made.parquet": {
        "invoices": 17,
        "lines": 21,
        "orders": 5,
        "line_items": 7,
        "guest_orders": 1,
        "customers": 3,
        "customers_without_order": 1,
        "orders_by_status": {"PAID": 2, "PARTIALLY_REFUNDED": 1, "REFUNDED": 2},
        "zero_total_orders": 1,
        "invoices_without_sale": 2,
        "c_invoices": 9,
        "c_lines": 10,
        "c_matched": 4,
        "c_partly_matched": 1,
        "c_unmatched": 6,
        "c_units": 18,
        "c_units_matched": 7,
        "c_units_unmatched": 11,
        "a_invoices": 1,
        "a_lines": 1,
        "dropped_lines": {
            "free_without_customer": 1,
            "price_negative": 1,
            "quantity_not_positive": 1,
        },
        "rounded_prices": 1,
        "gross_total": Decimal("45.75"),  # 26.25 + 12.00 + 5.00 + 2.50 + 0.00
        "refunded_total": Decimal("15.75"),  # 3 and 1 at 3.00, 1 and 2 at 1.25
        "net_total": Decimal("30.00"),
        "a_total": Decimal("-100.00"),
        "dropped_total": Decimal("-2.00"),
    },
    # Worked out by another program that holds all lines in memory and nets them one by one.
    "uci_online_retail_II_2009-2010.parquet": {
        "invoices": 28816,
        "lines": 525461,
        "orders": 20953,
        "customers": 4383,
        "c_lines": 10206,
        "c_matched": 8017,
        "c_unmatched": 2189,
        "a_lines": 3,
        "refunded_total": Decimal("276037.77"),
    },
}


class Item(NamedTuple):
    sku: str
    title: str
    quantity: int
    current_quantity: int
    price: Decimal


@dataclass(frozen=True)
class Converted:
    source: str
    report: UciReport
    customers: list[dict[str, Any]]
    orders: dict[str, dict[str, Any]]
    items: dict[str, list[Item]]
    products: list[dict[str, Any]]


@pytest.fixture(scope="module", params=["hand_made.parquet", *REAL], ids=lambda it: Path(it).stem)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    folder = tmp_path_factory.mktemp("uci")
    source = request.param if isinstance(request.param, Path) else folder / request.param
    if source not in REAL:
        _write(source)
    return _converted(source, folder / "shop")


@pytest.fixture
def hand_made(tmp_path: Path) -> Path:
    return _write(tmp_path / "hand_made.parquet")


@pytest.mark.requirement("SHOP-02")
def test_the_figures_are_those_worked_out_otherwise(shop: Converted):
    expected = FIGURES[shop.source]
    assert {name: getattr(shop.report, name) for name in expected} == expected


@pytest.mark.requirement("SHOP-07")
def test_every_line_and_every_penny_is_accounted_for(shop: Converted):
    report = shop.report
    dropped = sum(report.dropped_lines.values())
    assert report.lines == report.line_items + report.c_lines + report.a_lines + dropped
    assert report.c_lines == report.c_matched + report.c_unmatched
    assert report.c_units == report.c_units_matched + report.c_units_unmatched
    invoices = report.orders + report.invoices_without_sale + report.c_invoices + report.a_invoices
    assert report.invoices == invoices
    assert report.net_total == report.gross_total - report.refunded_total
    assert report.file_total == (
        report.gross_total - report.c_total + report.a_total + report.dropped_total
    )


@pytest.mark.requirement("SHOP-07")
def test_the_files_add_up_to_the_report(shop: Converted):
    report, orders = shop.report, shop.orders.values()
    assert (len(shop.customers), len(orders)) == (report.customers, report.orders)
    assert sum(map(len, shop.items.values())) == report.line_items
    assert sum(order["customer"] is None for order in orders) == report.guest_orders
    assert sum(_amount(order["totalPriceSet"]) for order in orders) == report.gross_total
    assert sum(_amount(order["currentTotalPriceSet"]) for order in orders) == report.net_total
    assert sum(_amount(order["totalRefundedSet"]) for order in orders) == report.refunded_total


@pytest.mark.requirement("SHOP-07")
def test_each_order_is_worth_its_lines_before_and_after_returns(shop: Converted):
    for order in shop.orders.values():
        items = shop.items[order["id"]]
        assert _amount(order["totalPriceSet"]) == sum(it.quantity * it.price for it in items)
        left = sum(it.current_quantity * it.price for it in items)
        assert _amount(order["currentTotalPriceSet"]) == left
        assert all(0 <= it.current_quantity <= it.quantity for it in items)


@pytest.mark.requirement("SHOP-07")
def test_refunds_add_up_and_end_with_the_last_touch(shop: Converted):
    seen = set()
    for order in shop.orders.values():
        refunds = order["refunds"]
        back = sum((_amount(refund["totalRefundedSet"]) for refund in refunds), Decimal(0))
        assert back == _amount(order["totalRefundedSet"])
        times = [refund["processedAt"] for refund in refunds]
        assert times == sorted(set(times))
        if back:
            assert times[-1] <= order["updatedAt"]
        seen.update(refund["id"] for refund in refunds)
    assert len(seen) == sum(len(order["refunds"]) for order in shop.orders.values())


@pytest.mark.requirement("SHOP-07")
def test_a_customer_s_totals_are_those_of_their_orders(shop: Converted):
    made: Counter[str] = Counter()
    spent: defaultdict[str, Decimal] = defaultdict(Decimal)
    for order in shop.orders.values():
        if order["customer"]:
            made[order["customer"]["id"]] += 1
            if order["displayFinancialStatus"] != "REFUNDED":
                spent[order["customer"]["id"]] += _amount(order["currentTotalPriceSet"])
    for person in shop.customers:
        assert person["numberOfOrders"] == str(made[person["id"]])
        assert Decimal(person["amountSpent"]["amount"]) == spent[person["id"]]


@pytest.mark.requirement("SHOP-02")
def test_every_stock_code_that_was_sold_is_a_product(shop: Converted):
    sold = {item.sku for items in shop.items.values() for item in items}
    assert len(shop.products) == len(sold)
    for key in ("id", "handle"):
        assert len({product[key] for product in shop.products}) == len(sold)
    updated = [product["updatedAt"] for product in shop.products]
    assert updated == sorted(updated)


@pytest.mark.requirement("SHOP-02")
def test_orders_come_last_updated_last(shop: Converted):
    updated = [order["updatedAt"] for order in shop.orders.values()]
    assert updated == sorted(updated)


def test_every_customer_has_the_address_of_their_number(shop: Converted):
    for person in shop.customers:
        number = person["id"].removeprefix("gid://shopify/Customer/")
        assert person["defaultEmailAddress"]["emailAddress"] == f"c{number}@example.com"
    for order in shop.orders.values():
        number = order["customer"] and order["customer"]["id"].rsplit("/", 1)[1]
        assert order["email"] == (f"c{number}@example.com" if number else None)


def test_consent_is_60_30_10(shop: Converted):
    states = [person["defaultEmailAddress"]["marketingState"] for person in shop.customers]
    assert set(states) <= {"SUBSCRIBED", "NOT_SUBSCRIBED", "PENDING"}
    if len(states) > 1000:
        assert states.count("SUBSCRIBED") == pytest.approx(0.6 * len(states), rel=0.05)
        assert states.count("PENDING") == pytest.approx(0.1 * len(states), rel=0.1)


def test_a_credit_takes_back_from_the_latest_earlier_invoice_at_its_price(
    hand_made: Path, tmp_path: Path
):
    shop = _converted(hand_made, tmp_path / "shop")
    newer = shop.orders["#500002"]
    assert newer["displayFinancialStatus"] == "REFUNDED"
    assert _money(newer) == (Decimal("12.0"), Decimal("0.0"), Decimal("12.0"))
    # The older sale of A is not touched, though the credits asked for more than the newer held.
    older = {it.sku: it.current_quantity for it in shop.items[shop.orders["#500001"]["id"]]}
    assert older == {"A": 10, "B": 0}
    assert shop.orders["#500001"]["displayFinancialStatus"] == "PARTIALLY_REFUNDED"
    assert _money(shop.orders["#500001"]) == (Decimal("26.25"), Decimal("25.0"), Decimal("1.25"))


def test_lines_of_one_stock_code_in_an_invoice_are_taken_back_in_turn(tmp_path: Path):
    source = _write(
        tmp_path / "twice.parquet",
        [
            ("500001", "A", 2, "2010-03-01 10:00", 5.00, ONE),
            ("500001", "A", 3, "2010-03-01 10:00", 4.00, ONE),
            ("C500002", "A", -4, "2010-03-02 10:00", 5.00, ONE),
        ],
    )
    shop = _converted(source, tmp_path / "shop")
    [order] = shop.orders.values()
    assert _money(order) == (Decimal("22.0"), Decimal("4.0"), Decimal("18.0"))
    assert {it.price: it.current_quantity for it in shop.items[order["id"]]} == {5: 0, 4: 1}


def test_times_are_london_time_and_updates_are_the_last_touch(hand_made: Path, tmp_path: Path):
    shop = _converted(hand_made, tmp_path / "shop")
    order = shop.orders["#500010"]
    assert order["createdAt"] == order["processedAt"] == "2010-03-06T10:00:00Z"
    assert order["updatedAt"] == "2010-07-01T08:30:00Z"  # 09:30 in summer
    person = {person["id"]: person for person in shop.customers}[f"gid://shopify/Customer/{TWO}"]
    assert person["createdAt"] == "2010-03-01T08:00:00Z"  # the first invoice of any kind
    assert person["updatedAt"] == "2010-07-02T17:30:00Z"


def test_shifting_moves_the_last_day_there_and_keeps_the_time_of_day(
    hand_made: Path, tmp_path: Path
):
    shop = _converted(hand_made, tmp_path / "shop", shift_to=date(2026, 1, 31))
    assert shop.report.shifted_days == (date(2026, 1, 31) - date(2010, 7, 2)).days
    # The last line of the file is of no order, but it is the last day; London has winter now.
    people = {person["id"]: person for person in shop.customers}
    assert people[f"gid://shopify/Customer/{TWO}"]["updatedAt"] == "2026-01-31T18:30:00Z"
    assert shop.orders["#500012"]["processedAt"] == "2026-01-30T16:00:00Z"
    assert shop.orders["#500001"]["processedAt"] == "2025-09-30T09:00:00Z"


def test_titles_are_tidy_and_fall_back_on_the_stock_code(tmp_path: Path):
    sales = [("500001", code, 1, "2010-03-01 10:00", 5.00, ONE) for code in ("A", "B")]
    shop = _converted(_write(tmp_path / "two.parquet", sales), tmp_path / "shop")
    [items] = shop.items.values()
    assert {item.sku: item.title for item in items} == {"A": "A", "B": "BIG & SMALL"}


def test_guests_are_kept_without_customer_and_free_goods_count_as_an_order(
    hand_made: Path, tmp_path: Path
):
    shop = _converted(hand_made, tmp_path / "shop")
    guest, gift = shop.orders["#500007"], shop.orders["#500012"]
    assert (guest["customer"], guest["email"]) == (None, None)
    assert len(shop.items[guest["id"]]) == 1
    assert _money(gift) == (Decimal("0.0"), Decimal("0.0"), Decimal("0.0"))
    assert gift["displayFinancialStatus"] == "PAID"


def test_the_same_file_gives_the_same_bytes(hand_made: Path, tmp_path: Path):
    for name in ("one", "two"):
        convert_uci(hand_made, tmp_path / name)
    assert (tmp_path / "one/orders.jsonl").read_bytes() == (
        tmp_path / "two/orders.jsonl"
    ).read_bytes()


def test_the_command_prints_its_report_as_one_line_with_exact_amounts(
    hand_made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert uci.main([str(hand_made), str(tmp_path / "shop"), "--shift-to", "2026-11-22"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    report = json.loads(line, parse_float=lambda number: pytest.fail(f"a float: {number}"))
    assert (report["orders"], report["net_total"]) == (5, "30.00")


def test_without_pyarrow_the_message_names_what_brings_it(
    hand_made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert uci.main([str(hand_made), str(tmp_path / "shop")]) == 1
    assert "pip install -r requirements/dev.txt" in capsys.readouterr().err


def a_table(lines: list[tuple[str, str, int, str, float, int | None]]) -> pa.Table:
    """Lines with the types of the real file: times as text, customers as floats."""
    columns = dict(zip(COLUMNS, map(list, zip(*lines, strict=True)), strict=True))
    return pa.table(
        {
            "Invoice": columns["Invoice"],
            "StockCode": columns["StockCode"],
            "Description": pa.array([None, *["  BIG  & SMALL "] * (len(lines) - 1)], pa.string()),
            "Quantity": columns["Quantity"],
            "InvoiceDate": [f"{minute}:00" for minute in columns["InvoiceDate"]],
            "Price": columns["Price"],
            "Customer ID": pa.array(columns["Customer"], pa.float64()),
            "Country": ["United Kingdom"] * len(lines),
        }
    )


def _write(
    path: Path, lines: list[tuple[str, str, int, str, float, int | None]] = HAND_MADE
) -> Path:
    parquet.write_table(a_table(lines), path)
    return path


def _converted(source: Path, folder: Path, *, shift_to: date | None = None) -> Converted:
    report = convert_uci(source, folder, shift_to=shift_to)
    orders, items = {}, defaultdict(list)
    for line in _lines(folder / "orders.jsonl"):
        if "__parentId" in line:
            items[line["__parentId"]].append(_item(line))
        else:
            orders[line["name"]] = line
    customers, products = (
        list(_lines(folder / name)) for name in ("customers.jsonl", "products.jsonl")
    )
    return Converted(source.name, report, customers, orders, items, products)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        yield from map(json.loads, file)


def _item(line: dict[str, Any]) -> Item:
    return Item(
        sys.intern(line["sku"]),
        sys.intern(line["title"]),
        line["quantity"],
        line["currentQuantity"],
        _amount(line["originalUnitPriceSet"]),
    )


def _amount(money: dict[str, Any]) -> Decimal:
    return Decimal(money["shopMoney"]["amount"])


def _money(order: dict[str, Any]) -> tuple[Decimal, Decimal, Decimal]:
    """Total, current total, refunded."""
    keys = ("totalPriceSet", "currentTotalPriceSet", "totalRefundedSet")
    total, current, refunded = (_amount(order[key]) for key in keys)
    return total, current, refunded
