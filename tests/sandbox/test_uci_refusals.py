"""Files that are not the UCI set."""

from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from pyarrow import parquet

from sandbox import uci
from sandbox.uci import convert_uci
from sandbox.uci_ledger import UciError
from tests.sandbox.test_uci import HAND_MADE, a_table


class Unreadable(NamedTuple):
    what: str
    columns: dict[str, list[Any]] | None
    says: str


@pytest.mark.parametrize(
    "case",
    [
        Unreadable("no file", None, "No such file"),
        Unreadable("another table", {"Invoice": ["1"]}, "lacks the columns StockCode"),
        Unreadable("no lines", {}, "has no lines"),
        Unreadable("a time that is none", {"InvoiceDate": ["yesterday"]}, "yesterday"),
        Unreadable("half a customer", {"Customer ID": [1.5]}, "is not the UCI set"),
        Unreadable("no price", {"Price": [None]}, "has lines without Price"),
    ],
    ids=lambda case: case.what,
)
def test_a_file_that_is_not_the_set_is_refused_with_a_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: Unreadable
):
    source = tmp_path / "odd.parquet"
    if case.columns is not None:
        good = a_table(HAND_MADE[:1]).to_pydict()
        if case.what == "another table":
            good = {}
        lines = {name: values * bool(case.columns) for name, values in good.items()}
        parquet.write_table(pa.table(lines | case.columns), source)
    assert uci.main([str(source), str(tmp_path / "shop")]) == 1
    assert case.says in capsys.readouterr().err
    assert not (tmp_path / "shop").exists()


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path):
    (tmp_path / "odd.parquet").write_text("Invoice,StockCode\n")
    with pytest.raises(UciError, match="is not the UCI set as Parquet"):
        convert_uci(tmp_path / "odd.parquet", tmp_path / "shop")
