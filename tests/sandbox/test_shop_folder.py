import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from graphql import FieldNode, OperationDefinitionNode, SelectionSetNode, parse
from pyarrow import parquet

from core.shopify import documents
from sandbox.generate import generate_shop
from sandbox.jsonl import encode_line
from sandbox.shop_folder import (
    FILES,
    Record,
    Shop,
    ShopFolderWriter,
    amount,
    consent_of,
    customer_record,
    email_record,
    line_item_record,
    order_record,
    utc_text,
)
from sandbox.uci import convert_uci

SHOP = Shop("Try & Error", "try-and-error.myshopify.com", "EUR", "Europe/Berlin")
THEN = datetime(2026, 3, 1, 12, tzinfo=UTC)

# A query's selection as a tree: {"id": None, "customer": {"id": None}}, keys in its order.
Shape = dict[str, Any]


@pytest.fixture(scope="module", params=["generated", "uci"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "generated":
        generate_shop(folder, customers=200, end=date(2026, 11, 23))
    else:
        convert_uci(_one_invoice(folder / "uci.parquet"), folder)
        (folder / "checkouts.jsonl").touch()  # the set knows no checkouts
    return folder


def _one_invoice(path: Path) -> Path:
    line = {
        "Invoice": "489434",
        "StockCode": "85048",
        "Description": "SALT & PEPPER 50/50",
        "Quantity": 12,
        "InvoiceDate": "2009-12-01 07:45:00",
        "Price": 6.95,
        "Customer ID": 13085.0,
        "Country": "United Kingdom",
    }
    parquet.write_table(pa.Table.from_pylist([line]), path)
    return path


@pytest.mark.requirement("SHOP-02")
@pytest.mark.parametrize("name", ["customers", "orders", "products", "checkouts"])
def test_a_line_and_its_children_have_the_keys_of_the_bulk_query_in_its_order(
    folder: Path, name: str
):
    root, *children = _bulk_shapes(f"bulk_{name}")
    for line in _lines(folder / f"{name}.jsonl"):
        is_child = "__parentId" in line
        _assert_shape(line, children[0] | {"__parentId": None} if is_child else root)


@pytest.mark.requirement("SHOP-02")
def test_the_bytes_are_those_of_a_bulk_result(folder: Path):
    for name in FILES[:-1]:
        written = (folder / name).read_bytes()
        assert written == b"".join(encode_line(json.loads(line)) for line in written.splitlines())
        assert b"&" not in written
        assert b"/" not in written.replace(rb"\/", b"")


@pytest.mark.requirement("SHOP-07")
def test_money_is_text_and_no_number_has_a_fraction(folder: Path):
    for line in (folder / "orders.jsonl").read_bytes().splitlines():
        json.loads(line, parse_float=_refuse)


@pytest.mark.requirement("SHOP-07")
@pytest.mark.parametrize(
    ("cents", "text"),
    [(5500, "55.0"), (1290, "12.9"), (1299, "12.99"), (5, "0.05"), (0, "0.0"), (-1250, "-12.5")],
)
def test_an_amount_reads_as_shopify_writes_it(cents: int, text: str):
    assert amount(cents) == text


def test_a_time_is_written_in_utc_to_the_second():
    assert utc_text(datetime.fromisoformat("2026-07-01T02:03:04.9+02:00")) == "2026-07-01T00:03:04Z"


def test_consent_depends_on_the_key_alone_and_splits_60_30_10():
    states = [consent_of(f"c{n}@example.com") for n in range(20_000)]
    # Another state for the same person would make a mail owed here and forbidden there.
    assert states[:3] == ["SUBSCRIBED", "NOT_SUBSCRIBED", "SUBSCRIBED"]
    assert states.count("SUBSCRIBED") == pytest.approx(12_000, rel=0.02)
    assert states.count("NOT_SUBSCRIBED") == pytest.approx(6_000, rel=0.03)
    assert states.count("PENDING") == pytest.approx(2_000, rel=0.06)


def test_who_was_never_asked_has_no_time_of_consent():
    asked = {
        state: email_record("a@example.com", state, asked_at=THEN)
        for state in ("SUBSCRIBED", "NOT_SUBSCRIBED", "PENDING")
    }
    assert asked["SUBSCRIBED"]["marketingUpdatedAt"] == "2026-03-01T12:00:00Z"
    assert asked["NOT_SUBSCRIBED"]["marketingUpdatedAt"] is None
    # Shopify refuses PENDING with single opt-in.
    assert asked["PENDING"]["marketingOptInLevel"] == "CONFIRMED_OPT_IN"


@pytest.mark.requirement("SHOP-02")
def test_children_stray_before_and_far_after_their_order_and_none_is_lost(tmp_path: Path):
    with ShopFolderWriter(tmp_path, SHOP) as writer:
        for number in range(1, 501):
            writer.order(_order(number), [_item(number * 10 + place) for place in range(3)])
    places = {line["id"]: at for at, line in enumerate(_lines(tmp_path / "orders.jsonl"))}
    children = [line for line in _lines(tmp_path / "orders.jsonl") if "__parentId" in line]
    distances = [places[child["id"]] - places[child["__parentId"]] for child in children]
    assert len(children) == len({child["id"] for child in children}) == writer.counts.line_items
    assert sum(distance < -20 for distance in distances) > 50
    assert sum(0 < distance <= 3 for distance in distances) > 1000
    assert sum(distance > 100 for distance in distances) > 50


def test_orders_keep_the_order_they_were_given_in(tmp_path: Path):
    numbers = [3, 1, 2, *range(100, 50, -1)]
    with ShopFolderWriter(tmp_path, SHOP) as writer:
        for number in numbers:
            writer.order(_order(number), [_item(number)])
    roots = [line for line in _lines(tmp_path / "orders.jsonl") if "__parentId" not in line]
    assert [line["name"] for line in roots] == [f"#{number}" for number in numbers]


def test_a_shop_that_fails_half_way_leaves_the_one_before_untouched(tmp_path: Path):
    with ShopFolderWriter(tmp_path, SHOP) as writer:
        writer.customer(_customer(1))
    before = _bytes(tmp_path)
    with pytest.raises(ZeroDivisionError):
        _write_and_fail(tmp_path)
    assert _bytes(tmp_path) == before


def test_a_new_shop_replaces_the_old_one_its_products_and_checkouts(tmp_path: Path):
    for name in ("checkouts.jsonl", "products.jsonl"):
        (tmp_path / name).write_text("{}\n")
    (tmp_path / "notes.txt").write_text("mine")
    with ShopFolderWriter(tmp_path, SHOP) as writer:
        writer.customer(_customer(1))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"customers.jsonl", "orders.jsonl", "shop.json", "notes.txt"}
    assert json.loads((tmp_path / "shop.json").read_text()) == {
        "name": "Try & Error",
        "domain": "try-and-error.myshopify.com",
        "currency": "EUR",
        "time_zone": "Europe/Berlin",
    }


def _bulk_shapes(name: str) -> Iterator[Shape]:
    """The node's selection, then that of each connection in it, which become lines of their own."""
    document = parse(documents.bulk_query(name, "", sort="CREATED_AT"))
    [operation] = document.definitions
    assert isinstance(operation, OperationDefinitionNode)
    [connection] = operation.selection_set.selections
    assert isinstance(connection, FieldNode)
    connections = [_node_of(connection)]
    while connections:
        node = connections.pop(0)
        yield _shape(node)
        connections += [_node_of(field) for field in _fields(node) if _is_connection(field)]


def _fields(selection: SelectionSetNode | None) -> list[FieldNode]:
    nodes = selection.selections if selection else ()
    return [node for node in nodes if isinstance(node, FieldNode)]


def _is_connection(field: FieldNode) -> bool:
    return field.selection_set is not None and _fields(field.selection_set)[0].name.value == "edges"


def _node_of(connection: FieldNode) -> SelectionSetNode:
    [edges] = _fields(connection.selection_set)
    [node] = _fields(edges.selection_set)
    assert (edges.name.value, node.name.value) == ("edges", "node")
    assert node.selection_set is not None
    return node.selection_set


def _shape(selection: SelectionSetNode) -> Shape:
    return {
        field.name.value: _shape(field.selection_set) if field.selection_set else None
        for field in _fields(selection)
        if not _is_connection(field)
    }


def _assert_shape(line: Record, shape: Shape) -> None:
    assert list(line) == list(shape)
    for key, below in shape.items():
        if below and line[key] is not None:
            for inner in line[key] if isinstance(line[key], list) else [line[key]]:
                _assert_shape(inner, below)
        elif not below:
            assert not isinstance(line[key], dict)


def _lines(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _write_and_fail(folder: Path) -> None:
    with ShopFolderWriter(folder, SHOP) as writer:
        writer.customer(_customer(2))
        writer.order(_order(2), [_item(2)])
        raise ZeroDivisionError


def _refuse(number: str) -> float:
    raise AssertionError(f"a float in a bulk line: {number}")


def _customer(number: int) -> Record:
    return customer_record(
        number,
        first_name="Ada",
        last_name=None,
        locale="en",
        tags=[],
        created_at=THEN,
        updated_at=THEN,
        email=None,
    )


def _order(number: int) -> Record:
    return order_record(
        number,
        name=f"#{number}",
        email=None,
        created_at=THEN,
        updated_at=THEN,
        status="PAID",
        currency="EUR",
        total=100,
        current=100,
        refunded=0,
        customer=None,
    )


def _item(number: int) -> Record:
    return line_item_record(
        number,
        title="Mug",
        variant_title=None,
        sku=None,
        quantity=1,
        current_quantity=1,
        product=None,
        unit_price=100,
        currency="EUR",
    )
