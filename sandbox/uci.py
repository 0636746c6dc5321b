"""The UCI Online Retail II set as a shop folder: real invoices in Shopify's bulk shape.

The rules, and the citation that the licence asks for, are in docs/sandbox.md.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sandbox.shop_folder import (
    Record,
    Shop,
    ShopFolderWriter,
    Totals,
    consent_of,
    customer_record,
    email_record,
    line_item_record,
    order_record,
    product_record,
    refund_record,
)
from sandbox.uci_ledger import Invoice, Ledger, Row, UciError, read_ledger, read_table, rows

SHOP = Shop(
    name="UCI Online Retail",
    domain="uci-online-retail.myshopify.com",
    currency="GBP",
    time_zone="Europe/London",
)
_FIRST_PRODUCT = 7_000_000_000_001
_REFUNDS_PER_ORDER = 1000


@dataclass(frozen=True)
class UciReport:
    """What was read, written and left out; totals in pounds, `lines` counting lines of the file.

    It adds up: lines = line_items + c_lines + a_lines + the dropped ones; c_lines = c_matched +
    c_unmatched, where a matched line took back something and a partly matched one less than it
    asked; file_total = gross_total - c_total + a_total + dropped_total; net_total = gross_total -
    refunded_total. c_total is at the credits' own prices, refunded_total at those of the sales.
    """

    invoices: int
    lines: int
    first_order_at: str
    last_order_at: str
    shifted_days: int
    orders: int
    line_items: int
    guest_orders: int
    customers: int
    customers_without_order: int
    orders_by_status: dict[str, int]
    zero_total_orders: int
    invoices_without_sale: int
    c_invoices: int
    c_lines: int
    c_matched: int
    c_partly_matched: int
    c_unmatched: int
    c_units: int
    c_units_matched: int
    c_units_unmatched: int
    a_invoices: int
    a_lines: int
    dropped_lines: dict[str, int]
    rounded_prices: int
    file_total: Decimal
    gross_total: Decimal
    refunded_total: Decimal
    net_total: Decimal
    c_total: Decimal
    a_total: Decimal
    dropped_total: Decimal


class _Clock:
    """From the file's London wall-clock seconds to UTC, moved by whole days."""

    def __init__(self, *, days: int) -> None:
        self._shift = timedelta(days=days)
        self._zone = ZoneInfo(SHOP.time_zone)

    def __call__(self, at: int) -> datetime:
        wall = datetime.fromtimestamp(at, UTC) + self._shift
        return wall.replace(tzinfo=self._zone).astimezone(UTC)


def convert_uci(parquet: Path, folder: Path, *, shift_to: date | None = None) -> UciReport:
    """Write the file as a shop into `folder`; with `shift_to`, so that its last day is that day.

    Raises UciError when the file is not that set or pyarrow is missing, OSError as usual.
    """
    table = read_table(parquet)
    ledger = read_ledger(table)
    last_day = datetime.fromtimestamp(ledger.last_at, UTC).date()
    days = (shift_to - last_day).days if shift_to else 0
    clock = _Clock(days=days)
    with ShopFolderWriter(folder, SHOP) as writer:
        totals = {number: Totals(SHOP.currency) for number in ledger.customers}
        seen = _write_orders(writer, table, ledger, clock, totals)
        _write_customers(writer, ledger, clock, totals)
    return _report(ledger, seen, clock, days=days)


def _address(customer: int) -> str:
    return f"c{customer}@example.com"


def _write_customers(
    writer: ShopFolderWriter, ledger: Ledger, clock: _Clock, totals: dict[int, Totals]
) -> None:
    """Everybody the file names, also who only ever sent goods back."""
    people = sorted(ledger.customers.items(), key=lambda item: (item[1].last, item[0]))
    for number, person in people:
        address, first_seen = _address(number), clock(person.first)
        record = customer_record(
            number,
            first_name=None,
            last_name=None,
            locale="en",
            tags=[person.country],
            created_at=first_seen,
            updated_at=clock(person.last),
            email=email_record(address, consent_of(address), asked_at=first_seen),
            totals=totals[number],
        )
        writer.customer(record)


@dataclass(slots=True)
class _Article:
    """A stock code as a product: there since its first sale, titled as on that."""

    number: int
    title: str = ""
    since: int | None = None

    def sell(self, line: Row) -> None:
        if self.since is None or line.at < self.since:
            self.since, self.title = line.at, _title(line)


def _write_orders(
    writer: ShopFolderWriter,
    table: Any,
    ledger: Ledger,
    clock: _Clock,
    totals: dict[int, Totals],
) -> Counter[str]:
    """Write the invoices, last updated last, and what was sold on them as products.

    Adds to the customers' totals; returns orders by status, and `zero_total`.
    """
    seen: Counter[str] = Counter()
    codes = sorted(table["StockCode"].unique().to_pylist())
    products = {code: _Article(_FIRST_PRODUCT + n) for n, code in enumerate(codes)}
    by_update = table.take(ledger.places_by_update())
    for number, lines in groupby(rows(by_update), key=lambda row: row.invoice):
        sale = list(lines)
        total = sum(line.value for line in sale)
        refunded = sum(ledger.returned[line.place] * line.pence for line in sale)
        order = _order(ledger.invoices[number], clock, total=total, refunded=refunded)
        for line in sale:
            products[line.stock_code].sell(line)
        writer.order(order, [_line_item(line, ledger, products) for line in sale])
        buyer = ledger.invoices[number].customer
        if buyer is not None:
            totals[buyer].add(order, current=total - refunded)
        seen[order["displayFinancialStatus"]] += 1
        seen["zero_total"] += total == 0
    _write_products(writer, products, clock)
    return seen


def _write_products(writer: ShopFolderWriter, products: dict[str, _Article], clock: _Clock) -> None:
    sold = [(article.since, code, article) for code, article in products.items() if article.since]
    taken: Counter[str] = Counter()
    for since, code, article in sorted(sold, key=lambda each: each[:2]):
        handle = code.lower().replace(" ", "-")
        taken[handle] += 1  # some codes differ by case alone
        writer.product(
            product_record(
                article.number,
                title=article.title,
                handle=handle if taken[handle] == 1 else f"{handle}-{taken[handle] - 1}",
                created_at=clock(since),
                updated_at=clock(since),
                vendor=SHOP.name,
            )
        )


def _order(invoice: Invoice, clock: _Clock, *, total: int, refunded: int) -> Record:
    status = "PAID"
    if refunded:
        status = "REFUNDED" if refunded == total else "PARTIALLY_REFUNDED"
    return order_record(
        int(invoice.number),
        name=f"#{invoice.number}",
        email=None if invoice.customer is None else _address(invoice.customer),
        created_at=clock(invoice.at),
        updated_at=clock(invoice.updated),
        status=status,
        currency=SHOP.currency,
        total=total,
        current=total - refunded,
        refunded=refunded,
        customer=invoice.customer,
        refunds=[
            refund_record(
                int(invoice.number) * _REFUNDS_PER_ORDER + n,
                processed_at=clock(at),
                cents=pence,
                currency=SHOP.currency,
            )
            for n, (at, pence) in enumerate(sorted(invoice.refunds.items()), start=1)
        ],
    )


def _title(line: Row) -> str:
    return " ".join((line.description or line.stock_code).split())


def _line_item(line: Row, ledger: Ledger, products: dict[str, _Article]) -> Record:
    return line_item_record(
        line.place + 1,
        title=_title(line),
        variant_title=None,
        sku=line.stock_code,
        quantity=line.quantity,
        current_quantity=line.quantity - ledger.returned[line.place],
        product=products[line.stock_code].number,
        unit_price=line.pence,
        currency=SHOP.currency,
    )


def _report(ledger: Ledger, seen: Counter[str], clock: _Clock, *, days: int) -> UciReport:
    counts, totals = ledger.counts, ledger.totals
    orders = [invoice for invoice in ledger.invoices.values() if invoice.items]
    zero_total = seen.pop("zero_total", 0)
    return UciReport(
        invoices=len(ledger.invoices) + sum(map(len, ledger.notes.values())),
        lines=counts["lines"],
        first_order_at=_edge(min, orders, clock),
        last_order_at=_edge(max, orders, clock),
        shifted_days=days,
        orders=len(orders),
        line_items=sum(invoice.items for invoice in orders),
        guest_orders=sum(invoice.customer is None for invoice in orders),
        customers=len(ledger.customers),
        customers_without_order=sum(not person.buys for person in ledger.customers.values()),
        orders_by_status=dict(sorted(seen.items())),
        zero_total_orders=zero_total,
        invoices_without_sale=len(ledger.invoices) - len(orders),
        c_invoices=len(ledger.notes["C"]),
        c_lines=counts["C"],
        c_matched=counts["c_matched"],
        c_partly_matched=counts["c_partly_matched"],
        c_unmatched=counts["C"] - counts["c_matched"],
        c_units=counts["c_units"],
        c_units_matched=counts["c_units_matched"],
        c_units_unmatched=counts["c_units"] - counts["c_units_matched"],
        a_invoices=len(ledger.notes["A"]),
        a_lines=counts["A"],
        dropped_lines=dict(sorted(ledger.dropped.items())),
        rounded_prices=counts["rounded"],
        file_total=_pounds(sum(totals[kind] for kind in ("sale", "C", "A", "dropped"))),
        gross_total=_pounds(totals["sale"]),
        refunded_total=_pounds(totals["returned"]),
        net_total=_pounds(totals["sale"] - totals["returned"]),
        c_total=_pounds(-totals["C"]),
        a_total=_pounds(totals["A"]),
        dropped_total=_pounds(totals["dropped"]),
    )


def _edge(pick: Any, orders: Iterable[Invoice], clock: _Clock) -> str:
    at = pick((invoice.at for invoice in orders), default=None)
    return "" if at is None else clock(at).isoformat()


def _pounds(pence: int) -> Decimal:
    return Decimal(pence).scaleb(-2)


def main(args: Sequence[str]) -> int:
    """`uci PARQUET FOLDER [--shift-to YYYY-MM-DD]`: one JSON line at the end, 1 if it cannot."""
    parser = argparse.ArgumentParser(prog="python -m sandbox uci", description=__doc__)
    parser.add_argument("parquet", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--shift-to", type=date.fromisoformat, default=None, metavar="YYYY-MM-DD",
        help="move all times by whole days, so that the last day of the set is this one",
    )  # fmt: skip
    given = parser.parse_args(args)
    try:
        report = convert_uci(given.parquet, given.folder, shift_to=given.shift_to)
    except (UciError, OSError) as error:
        print(f"uci: {error}", file=sys.stderr)  # noqa: T201 - a command's message
        return 1
    print(json.dumps(asdict(report), default=str))  # noqa: T201 - a command's report
    return 0
