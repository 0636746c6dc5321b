"""What is read of plain lines is what the typed decoder reads of the same lines."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from graphql import FieldNode, SelectionSetNode, parse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection
from sqlalchemy import create_engine

from core.ingestion.copy_text import NULL, copy_statement
from core.ingestion.decoding import Decoder, Format, Kind, format_of
from core.ingestion.plain import Plain
from core.ingestion.plain_lines import CUSTOMERS, ORDERS, PRODUCTS, versions_of
from core.ingestion.screen import Screen
from core.models.enums import BulkPurpose, ObjectType
from core.shopify.documents import load
from tests.fixtures.shopify import (
    bulk_line,
    child,
    customer_node,
    money,
    order_node,
    product_node,
    refund_node,
)

LOAD = BulkPurpose.LOAD


class NobodyErased(Screen):
    """Makes the decoder read every line by type, and changes nothing."""

    def __init__(self) -> None:
        pass

    def is_erased_customer(self, customer_id: int) -> bool:  # noqa: ARG002
        return False

    def is_erased_email(self, email: str | None) -> bool:  # noqa: ARG002
        return False


# ---------------------------------------------------------------- what we select is known

SAMPLES: dict[str, object] = {
    **dict.fromkeys(("createdAt", "updatedAt", "processedAt"), "2026-11-19T10:00:00Z"),
    **dict.fromkeys(("cancelledAt", "marketingUpdatedAt"), "2026-11-19T10:00:00Z"),
    "tags": ["a"],
    "discountCodes": ["a"],
    **dict.fromkeys(("quantity", "currentQuantity"), 1),
    **dict.fromkeys(("test", "validFormat"), True),
    "refunds": [],
    "amount": "1.0",
    "numberOfOrders": "1",
    "marketingState": "SUBSCRIBED",
    "currencyCode": "EUR",
}
SCOPED = {"product", "checkoutToken"}  # absent without a scope, in an old version
NUMBER = 1234567890123


def filled(selection: SelectionSetNode, kind: str) -> dict[str, Any]:
    """The JSON that Shopify would write for a selection, in its order."""
    kinds = {"customer": "Customer", "product": "Product"}
    node: dict[str, Any] = {}
    for field in selection.selections:
        assert isinstance(field, FieldNode)
        name = field.name.value
        if name == "id":
            node[name] = f"gid://shopify/{kind}/{NUMBER}"
        elif field.selection_set and name not in SAMPLES:
            node[name] = filled(field.selection_set, kinds.get(name, kind))
        else:
            node[name] = SAMPLES.get(name, "text")
    return node


def selected(fields: str) -> SelectionSetNode:
    document = parse("{" + load(f"fields/{fields}") + "}")
    found: SelectionSetNode = document.definitions[0].selection_set  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize(
    ("fields", "kind", "plain", "parent"),
    [
        ("customer", "Customer", CUSTOMERS, None),
        ("order", "Order", ORDERS, None),
        ("line_item", "LineItem", ORDERS, "Order"),
        ("product", "Product", PRODUCTS, None),
    ],
)
def test_each_selection_is_plain_also_without_what_may_be_absent(
    fields: str, kind: str, plain: Plain, parent: str | None
) -> None:
    """A field added to a document and forgotten here would send every line the slow way; so would
    what an app may not read, or an old version of the API does not know.
    """
    node = filled(selected(fields), kind)
    if parent:
        node["__parentId"] = f"gid://shopify/{parent}/{NUMBER}"
    without = {key: value for key, value in node.items() if key not in SCOPED}
    for given_node in (node, without):
        found, others, count = plain.rows(bulk_line(given_node), 1)
        assert (sum(rows for _, rows in found), others, count) == (1, [], 1)


def test_refunds_are_plain() -> None:
    """Every refunded order would take the slow way."""
    selection = selected("order")
    [refunds] = [field for field in selection.selections if field.name.value == "refunds"]  # type: ignore[attr-defined]
    refund = filled(refunds.selection_set, "Refund")  # type: ignore[attr-defined]
    node = filled(selection, "Order") | {"refunds": [refund, refund | {"id": refund_id(2)}]}
    found, others, _ = ORDERS.rows(bulk_line(node), 7)
    assert ([rows for _, rows in found], others) == ([1, 0, 2], [])
    assert found[2][0] == b"".join(
        b"%d\t%d\t2026-11-19T10:00:00Z\t1.0\tEUR\t7\n" % (number, NUMBER)
        for number in (NUMBER, NUMBER + 2)
    )


def refund_id(more: int) -> str:
    return f"gid://shopify/Refund/{NUMBER + more}"


def test_a_comparison_is_plain() -> None:
    line = bulk_line({"id": "gid://shopify/Order/5", "updatedAt": "2026-11-19T10:00:00Z"})
    found = versions_of("Order").rows(line, 9)
    assert found == ([(b"5\t2026-11-19T10:00:00Z\t9\n", 1)], [], 1)


# ---------------------------------------------------------------- the two ways agree

any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        *("", "null", "NULL", "\\N", "\\", "a/b & c", '"', '"]', '["', "[]", "{}", "\t", "\n"),
        *(
            "a\tb",
            'x"]\t',
            "\\u0026",
            "&amp;",
            "\x00",
            "\x01",
            "\x7f",
            "\r",
            "\x01a",
            "é",
            "🍵",
            "ש",
            "x" * 400,
            "\\.",
        ),
    ]
)
moments = st.sampled_from(
    [
        *("2026-11-19T10:00:00Z", "2024-02-29T23:59:59Z", "2025-02-29T00:00:00Z"),
        *("2026-04-31T00:00:00Z", "2026-12-31T23:59:59Z", "0999-01-01T00:00:00Z", "yesterday"),
        *("2026-11-19T10:00:00.123Z", "2026-11-19T10:00:00+14:00", "2026-1-1T00:00:00Z"),
        *("9999-01-01T00:00:00Z", "2026-11-19T24:00:00Z", "2026-11-19 10:00:00Z", ""),
    ]
) | st.datetimes().map(lambda at: at.strftime("%Y-%m-%dT%H:%M:%SZ"))
amounts = st.sampled_from(
    [
        *("10.0", "-3.5", "0", "999999999999.99", "12345678901234.0", "1e5", "NaN", "", "1.", "٣"),
        *("9999999999999.99999", "00.10", "-0.0", " 1", "1.0\n"),
    ]
) | st.decimals(allow_nan=False, places=2, min_value=-(10**6), max_value=10**6).map(str)
numbers = st.integers(0, 2**63) | st.sampled_from([2**53 + 1, 10**18 - 1, 10**18, 2**63 - 1, 7])
words = st.lists(any_text | st.sampled_from(["TEA10", "a b", "a-b", " a", "A_1"]), max_size=3)
bags = st.builds(money, amounts, any_text | st.just("EUR"))


def gid_of(kind: str) -> st.SearchStrategy[str]:
    """Also those of another type, and what is left of one."""
    heads = st.sampled_from([f"gid://shopify/{kind}/"] * 8 + ["", "x", "gid://shopify/Metaobject/"])
    return st.builds("{}{}".format, heads, numbers)


def node_of(base: dict[str, Any], **changes: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """The node with some of its values replaced by others that may be odd, and without some."""
    some = st.sets(st.sampled_from(sorted(changes)), max_size=4)
    drawn = some.flatmap(lambda keys: st.fixed_dictionaries({key: changes[key] for key in keys}))
    absent: st.SearchStrategy[set[str]] = st.just(set()) | st.sets(
        st.sampled_from(sorted(base)), max_size=2
    )
    return st.builds(
        lambda new, gone: bulk_line(
            {key: value for key, value in (base | new).items() if key not in gone}
        ).rstrip(b"\n"),
        drawn,
        absent,
    )


optional = st.none() | any_text
addresses = st.fixed_dictionaries(
    {
        "emailAddress": optional,
        "marketingState": st.sampled_from(["SUBSCRIBED", "PENDING", "MAYBE"]),
        "marketingOptInLevel": optional,
        "marketingUpdatedAt": st.none() | moments,
        "validFormat": st.sampled_from([True, False, None]),
    }
)
refunds = st.fixed_dictionaries(
    {
        "id": gid_of("Refund"),
        "processedAt": st.just("2026-11-19T10:00:00Z") | moments,
        "totalRefundedSet": st.just(money("1.5")) | bags,
    },
    optional={"note": any_text},
)
lines_of_type = {
    ObjectType.CUSTOMER: node_of(
        customer_node(1, tags=["vip"]),
        id=gid_of("Customer"),
        firstName=optional,
        lastName=optional,
        tags=words,
        numberOfOrders=st.sampled_from(["0", "12", "1234567890", "-1", "x", None]),
        amountSpent=bags.map(lambda bag: bag["shopMoney"]),
        createdAt=moments,
        updatedAt=moments,
        defaultEmailAddress=st.none() | addresses,
        defaultPhoneNumber=st.none() | st.fixed_dictionaries({"phoneNumber": optional}),
    ),
    ObjectType.ORDER: node_of(
        order_node(1, 2),
        id=gid_of("Order"),
        name=any_text,
        email=optional,
        createdAt=moments,
        updatedAt=moments,
        processedAt=moments,
        cancelledAt=st.none() | moments,
        test=st.booleans(),
        displayFinancialStatus=optional | st.just("PARTIALLY_REFUNDED"),
        sourceName=optional,
        checkoutToken=optional | st.sampled_from(["0a1B", "null", "a-b"]),
        discountCodes=words,
        currencyCode=any_text,
        currentTotalPriceSet=bags,
        totalRefundedSet=bags,
        refunds=st.lists(refunds, max_size=3),
        customer=st.none() | st.fixed_dictionaries({"id": gid_of("Customer")}),
    )
    | node_of(
        child(1, 2),
        id=gid_of("LineItem"),
        title=any_text,
        variantTitle=optional,
        sku=optional,
        quantity=st.integers(-(2**40), 2**40) | st.integers(-5, 5),
        product=st.none() | st.fixed_dictionaries({"id": gid_of("Product")}),
        originalUnitPriceSet=bags,
        __parentId=gid_of("Order") | gid_of("Customer"),
    ),
    ObjectType.PRODUCT: node_of(
        product_node(1),
        id=gid_of("Product"),
        title=any_text,
        handle=optional,
        updatedAt=moments,
        onlineStoreUrl=optional,
        featuredMedia=st.sampled_from(
            [None, {"preview": None}, {"preview": {"image": {"url": "https://x.example/a&b"}}}]
        ),
    ),
}


@pytest.fixture(scope="module")
def connection(database_url: str) -> Iterator[Connection[Any]]:
    engine = create_engine(database_url)
    with engine.connect() as given:
        driver = given.connection.driver_connection
        assert driver is not None
        yield driver
    engine.dispose()


def stored(
    connection: Connection[Any], format_: Format, lines: Sequence[bytes], screen: Screen | None
) -> tuple[list[Any], list[int]]:
    """What PostgreSQL reads of the decoded lines, and the numbers of those rejected.

    NULL's character alone is the one text that both ways may read as different things.
    """
    rejected: list[int] = []
    decoder = Decoder(format_, screen, lambda number, _line, _reason: rejected.append(number))
    block = decoder.block(b"\n".join(lines), 1)
    found: list[Any] = []
    for table in format_.tables:
        typed = ", ".join(f"{name} {kind}" for name, kind in table.columns)
        connection.execute(b"DROP TABLE IF EXISTS scratch")
        connection.execute(f"CREATE TEMP TABLE scratch ({typed})".encode())
        with connection.cursor().copy(copy_statement("scratch", table.columns).encode()) as copy:
            copy.write(block.text.get(table.name, b""))
        rows = connection.execute("SELECT * FROM scratch ORDER BY line_number, 1").fetchall()
        found += [tuple(None if value == NULL else value for value in row) for row in rows]
    connection.rollback()
    assert len(found) == sum(block.counts.values())
    return found, rejected


@pytest.mark.requirement("SHOP-02")
@pytest.mark.parametrize("object_type", list(lines_of_type))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_both_ways_read_the_same_from_any_line(
    connection: Connection[Any], object_type: ObjectType, data: st.DataObject
) -> None:
    """Each odd value meets lines that are not odd, so that both ways are taken."""
    lines = data.draw(st.lists(lines_of_type[object_type], min_size=1, max_size=25))
    format_ = format_of(object_type, LOAD)
    quick = stored(connection, format_, lines, None)
    typed = stored(connection, format_, lines, NobodyErased())
    assert quick == typed


@given(
    lines=st.lists(
        st.binary(max_size=40) | st.just(b'{"id":"gid:\\/\\/shopify\\/Order\\/1"'), min_size=1
    )
)
def test_no_bytes_at_all_make_the_decoder_fail(lines: list[bytes]) -> None:
    rejected: list[int] = []
    decoder = Decoder(
        format_of(ObjectType.ORDER, LOAD), None, lambda number, *_: rejected.append(number)
    )
    clean = [line.replace(b"\n", b" ") for line in lines]
    block = decoder.block(b"\n".join([*clean, b""]), 1)
    assert rejected == list(range(1, len(lines) + 1))
    assert (block.counts, block.lines) == ({}, len(lines))


def test_plain_lines_are_not_decoded_by_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of this file: most of the lines above must really take the quick way."""
    monkeypatch.setattr(Format, "kind_of", lambda *_: pytest.fail("decoded by type"))
    for object_type, nodes in (
        (ObjectType.CUSTOMER, [customer_node(1, tags=["a", "b c"])]),
        (ObjectType.ORDER, [order_node(1, 2, discountCodes=["TEA10"]), child(1, 2, sku=None)]),
        (ObjectType.ORDER, [order_node(1, 2, refunds=[refund_node(1)])]),
        (ObjectType.PRODUCT, [product_node(1)]),
    ):
        decoder = Decoder(format_of(object_type, LOAD), None, lambda *_: pytest.fail("rejected"))
        block = decoder.block(b"".join(bulk_line(node) for node in nodes), 1)
        assert sum(block.counts.values()) >= len(nodes)


def test_a_line_with_other_keys_is_decoded_by_type() -> None:
    node = json.loads(bulk_line(order_node(1, 2))) | {"note": "x" * 5 * 2**20}
    decoder = Decoder(format_of(ObjectType.ORDER, LOAD), None, lambda *_: pytest.fail("rejected"))
    assert decoder.block(bulk_line(node), 1).counts == {"orders": 1}


def test_a_line_that_is_not_plain_leaves_its_neighbours_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Among hundreds of lines only the odd ones are decoded by type; all keep their numbers."""
    typed: list[bytes] = []
    kind_of = Format.kind_of

    def noted(format_: Format, line: bytes) -> Kind:
        typed.append(line)
        return kind_of(format_, line)

    monkeypatch.setattr(Format, "kind_of", noted)
    nodes = [order_node(number, 2) for number in range(1, 101)]
    nodes[40] |= {"name": "a\tb"}
    nodes[41] |= {"createdAt": "2024-02-29T10:00:00Z"}
    nodes[77] |= {"createdAt": "yesterday"}
    rejected: list[int] = []
    decoder = Decoder(
        format_of(ObjectType.ORDER, LOAD), None, lambda number, *_: rejected.append(number)
    )
    block = decoder.block(b"".join(bulk_line(node) for node in nodes), 1001)
    assert typed == [bulk_line(nodes[place]).rstrip() for place in (40, 41, 77)]
    assert (rejected, block.counts, block.lines) == ([1078], {"orders": 99}, 100)
    rows = [line.split(b"\t") for line in block.text["orders"].splitlines()]
    assert {int(row[0]): int(row[-1]) for row in rows} == {
        number: 1000 + number for number in range(1, 101) if number != 78
    }


def test_no_text_can_pass_for_other_rows() -> None:
    """Whoever names their order so as to end its row would write another one's."""
    forged = "x\t\x01\t\x01\n999\t#999"
    decoder = Decoder(format_of(ObjectType.ORDER, LOAD), None, lambda *_: pytest.fail("rejected"))
    block = decoder.block(bulk_line(order_node(1, 2, name=forged)), 1)
    assert block.counts == {"orders": 1}
    assert block.text["orders"].count(b"\n") == 1
