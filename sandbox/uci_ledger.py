"""Reading the UCI file: which lines are sales, and which sale each `C` line takes back.

Amounts are whole pence; times are seconds of London wall-clock time since 1970, as the file
knows no zone. The table stays in Arrow's memory: Python holds an object per invoice and customer,
but never one per line.
"""

import importlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

COLUMNS = {
    "Invoice": "string",
    "StockCode": "string",
    "Description": "string",
    "Quantity": "int64",
    "InvoiceDate": "timestamp[s]",
    "Price": "float64",
    "Customer ID": "int64",
    "Country": "string",
}
_BATCH_ROWS = 8192


class UciError(ValueError):
    """The file cannot be read as the UCI set; the message says why."""


class Row(NamedTuple):
    """One line of the file, by its place in it. `customer` is None for a guest."""

    invoice: str
    stock_code: str
    description: str | None
    quantity: int
    at: int
    price: float
    customer: int | None
    country: str
    place: int

    @property
    def pence(self) -> int:
        return round(self.price * 100)

    @property
    def value(self) -> int:
        return self.quantity * self.pence


@dataclass(slots=True)
class Invoice:
    """`updated` is when goods last came back, or when it was written; `refunds` pence by time."""

    number: str
    at: int
    updated: int
    customer: int | None
    items: int = 0
    refunds: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Customer:
    """`first` and `last` invoice of any kind; `country` that of the first."""

    first: int
    last: int
    country: str
    buys: bool = False


class Ledger:
    """The file, read once and netted.

    `returned` maps the place of a sale's line to the units that came back. `totals` are pence by
    kind (sale, C, A, dropped), `counts` lines, `dropped` lines by reason.
    """

    def __init__(self, wanted: set[tuple[int | None, str]]) -> None:
        """Take the (customer, stock code) pairs that credits name: only their sales are kept."""
        self.invoices: dict[str, Invoice] = {}
        self.customers: dict[int, Customer] = {}
        self.returned: Counter[int] = Counter()
        self.counts: Counter[str] = Counter()
        self.totals: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.notes: dict[str, set[str]] = {"C": set(), "A": set()}
        self.last_at = 0
        self._sequences: dict[str, int] = {}
        self._places = array("q")
        self._place_sequence = array("q")
        self._wanted = wanted
        self._sales: defaultdict[tuple[int | None, str], list[Row]] = defaultdict(list)
        self._credits: list[Row] = []

    def enter(self, row: Row) -> None:
        self.last_at = max(self.last_at, row.at)
        self.counts["lines"] += 1
        self.counts["rounded"] += abs(row.price * 100 - row.pence) > 1e-6  # noqa: PLR2004
        if row.customer is not None:
            self._meet(row.customer, row)
        kind = row.invoice[:1]
        if kind in self.notes:
            self._enter_note(kind, row)
        else:
            self._enter_sale(row)

    def net(self) -> None:
        """Let each credit, oldest first, take back units of one earlier sale."""
        for credit in sorted(self._credits, key=lambda row: (row.at, row.place)):
            asked, taken = -credit.quantity, self._take_back(credit)
            self.counts["c_units"] += asked
            self.counts["c_units_matched"] += taken
            self.counts["c_matched"] += taken > 0
            self.counts["c_partly_matched"] += 0 < taken < asked

    def places_by_update(self) -> list[int]:
        """The places of all sales' lines, an invoice's together, the last updated invoice last."""
        invoices = sorted(self.invoices.values(), key=lambda inv: (inv.updated, inv.number))
        rank = [0] * len(invoices)
        for position, invoice in enumerate(invoices):
            rank[self._sequences[invoice.number]] = position
        ranks = [rank[sequence] for sequence in self._place_sequence]
        return [self._places[n] for n in sorted(range(len(ranks)), key=ranks.__getitem__)]

    def _meet(self, number: int, row: Row) -> None:
        known = self.customers.get(number)
        if known is None:
            self.customers[number] = Customer(row.at, row.at, row.country)
            return
        known.first = min(known.first, row.at)
        known.last = max(known.last, row.at)

    def _enter_note(self, kind: str, row: Row) -> None:
        self.notes[kind].add(row.invoice)
        self.counts[kind] += 1
        self.totals[kind] += row.value
        if kind == "C":
            self._credits.append(row)

    def _enter_sale(self, row: Row) -> None:
        sequence = self._sequences.setdefault(row.invoice, len(self._sequences))
        invoice = self.invoices.get(row.invoice)
        if invoice is None:
            invoice = Invoice(row.invoice, row.at, row.at, row.customer)
            self.invoices[row.invoice] = invoice
        invoice.at = invoice.updated = min(invoice.at, row.at)
        if reason := _why_no_sale(row):
            self.dropped[reason] += 1
            self.totals["dropped"] += row.value
            return
        invoice.items += 1
        self.totals["sale"] += row.value
        self._places.append(row.place)
        self._place_sequence.append(sequence)
        if row.customer is not None:
            self.customers[row.customer].buys = True
        if (row.customer, row.stock_code) in self._wanted:
            self._sales[row.customer, row.stock_code].append(row)

    def _take_back(self, credit: Row) -> int:
        """The units that could be netted: what is left of that one sale, or what is asked."""
        left = asked = max(-credit.quantity, 0)
        for line in self._latest_sale_before(credit):
            units = min(left, line.quantity - self.returned[line.place])
            if units > 0:
                self.returned[line.place] += units
                self.totals["returned"] += units * line.pence
                invoice = self.invoices[line.invoice]
                invoice.updated = credit.at
                back = invoice.refunds.get(credit.at, 0) + units * line.pence
                invoice.refunds[credit.at] = back
                left -= units
        return asked - left

    def _latest_sale_before(self, credit: Row) -> list[Row]:
        """The lines with that stock code of the customer's latest invoice before the credit."""
        if credit.customer is None:
            return []
        earlier: defaultdict[tuple[int, str], list[Row]] = defaultdict(list)
        for line in self._sales[credit.customer, credit.stock_code]:
            at = self.invoices[line.invoice].at
            if at < credit.at:
                earlier[at, line.invoice].append(line)
        return earlier[max(earlier)] if earlier else []


def _why_no_sale(row: Row) -> str | None:
    """The reason to leave a line out, of those that are neither credit nor adjustment."""
    if not row.invoice.isdigit():
        return "invoice_not_a_number"
    if row.quantity <= 0:
        return "quantity_not_positive"
    if row.pence < 0:
        return "price_negative"
    if row.pence == 0 and row.customer is None:
        return "free_without_customer"
    return None


def read_ledger(table: Any) -> Ledger:
    """Read the table of `read_table`: all lines entered, all credits netted."""
    compute = _arrow("pyarrow.compute")
    credit_lines = table.filter(compute.starts_with(table["Invoice"], "C"))
    ledger = Ledger({(row.customer, row.stock_code) for row in rows(credit_lines)})
    for row in rows(table):
        ledger.enter(row)
    ledger.net()
    return ledger


def read_table(parquet: Path) -> Any:
    """The file as an Arrow table of the columns above and `place`; raises UciError."""
    arrow, reader = _arrow("pyarrow"), _arrow("pyarrow.parquet")
    try:
        names = reader.read_schema(parquet).names
        if missing := [name for name in COLUMNS if name not in names]:
            raise UciError(f"{parquet.name} lacks the columns {', '.join(missing)}")
        table = reader.read_table(parquet, columns=list(COLUMNS)).cast(_schema(arrow))
    except arrow.ArrowInvalid as error:
        raise UciError(f"{parquet.name} is not the UCI set as Parquet: {error}") from error
    _refuse_gaps(table, parquet)
    return table.append_column("place", arrow.array(range(table.num_rows)))


def rows(table: Any) -> Iterator[Row]:
    """The table's lines, some thousand of them in memory at a time."""
    seconds = _arrow("pyarrow").int64()
    at = table.column_names.index("InvoiceDate")
    plain = table.set_column(at, "InvoiceDate", table["InvoiceDate"].cast(seconds))
    for batch in plain.to_batches(max_chunksize=_BATCH_ROWS):
        yield from map(Row, *(column.to_pylist() for column in batch.columns))


def _schema(arrow: Any) -> Any:
    kinds = {
        "string": arrow.string(),
        "int64": arrow.int64(),
        "float64": arrow.float64(),
        "timestamp[s]": arrow.timestamp("s"),
    }
    return arrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])


def _refuse_gaps(table: Any, parquet: Path) -> None:
    if not table.num_rows:
        raise UciError(f"{parquet.name} has no lines")
    for name in COLUMNS:
        if name not in {"Description", "Customer ID"} and table[name].null_count:
            raise UciError(f"{parquet.name} has lines without {name}")


def _arrow(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UciError(
            "reading Parquet needs pyarrow, which only the development requirements bring: "
            "pip install -r requirements/dev.txt"
        ) from error
