"""What a bulk file lacks can be asked for, whatever the times: searches and halves, by property."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.loader import load_folder
from sandbox.shop_folder import Shop, ShopFolderWriter
from sandbox.shopify.export import Faulty, write_export
from sandbox.shopify.projection import compile_plan
from sandbox.store import Store
from tests.sandbox.support import THEN, a_customer, a_line_item, an_order

ORDERS = """{ orders(sortKey: UPDATED_AT, query: "%s") { edges { node { id updatedAt
    lineItems { edges { node { id } } } } } } }"""
CUSTOMERS = '{ customers(sortKey: UPDATED_AT, query: "%s") { edges { node { id updatedAt } } } }'
# Few instants, so that many objects share one; some hours apart, so that a day holds several.
MOMENTS = st.lists(st.integers(0, 12).map(lambda n: n * 4 * 3600 + n % 3), min_size=1, max_size=30)


@contextmanager
def a_store(moments: list[int]) -> Iterator[Store]:
    """A store with an order and a customer for each moment, in seconds after THEN."""
    with TemporaryDirectory() as folder:
        shop = Shop("Try", "try.myshopify.com", "EUR", "Europe/Berlin")
        with ShopFolderWriter(Path(folder) / "shop", shop) as writer:
            for number, seconds in enumerate(moments, start=1):
                at = {"updatedAt": _text(seconds)}
                writer.order(an_order(number) | at, [a_line_item(number)])
                writer.customer(a_customer(number) | at)
        store = Store(Path(folder) / "store.sqlite3")
        try:
            load_folder(store, Path(folder) / "shop", now=0)
            yield store
        finally:
            store.close()


def _text(seconds: int) -> str:
    return f"{THEN.astimezone(UTC) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"


def export(
    store: Store, query: str, *, is_half: bool = False, line_order: str = "interleaved"
) -> list[dict[str, Any]]:
    """The root objects of the file, in its order."""
    path = store.path.with_suffix(".jsonl")
    with store.snapshot() as db:
        written = write_export(
            db, 1, compile_plan(query), path, line_order=line_order, faulty=Faulty(is_half=is_half)
        )
    found = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    roots = [each for each in found if "__parentId" not in each]
    assert (written.lines, written.roots) == (len(found), len(roots))
    assert written.size == path.stat().st_size
    return roots


def _position(each: dict[str, Any]) -> tuple[str, int]:
    return each["updatedAt"], int(each["id"].rsplit("/", 1)[1])


@pytest.mark.requirement("SHOP-02")
@settings(max_examples=25, deadline=None)
@given(moments=MOMENTS, line_order=st.sampled_from(["after_parent", "interleaved", "shuffled"]))
def test_half_a_file_and_what_lies_after_its_last_object_are_the_whole(
    moments: list[int], line_order: str
) -> None:
    with a_store(moments) as store:
        half = export(store, ORDERS % "", is_half=True, line_order=line_order)
        assert len(half) == len(moments) // 2
        time, number = max(map(_position, half), default=("2000-01-01T00:00:00Z", 0))
        rest = export(
            store, ORDERS % f"(updated_at:>'{time}') OR (updated_at:'{time}' AND id:>{number})"
        )
        everything = sorted(map(_position, export(store, ORDERS % "")))
        assert sorted(map(_position, half + rest)) == everything


@pytest.mark.requirement("SHOP-02")
@settings(max_examples=25, deadline=None)
@given(moments=MOMENTS, cut=st.integers(0, 50).map(lambda n: n * 3600))
def test_two_windows_side_by_side_hold_each_order_once_and_no_customer_less(
    moments: list[int], cut: int
) -> None:
    middle = _text(cut)
    with a_store(moments) as store:
        for query, exact in ((ORDERS, True), (CUSTOMERS, False)):
            early = export(store, query % f"updated_at:<'{middle}'")
            late = export(store, query % f"updated_at:>='{middle}'")
            everything = sorted(map(_position, export(store, query % "")))
            both = sorted(map(_position, early + late))
            # Of customers a day is found whole, in both windows.
            assert both == everything if exact else set(both) == set(everything)


def test_the_moments_of_the_properties_tie_and_share_days() -> None:
    days = {datetime.fromisoformat(_text(n * 4 * 3600)).date() for n in range(13)}
    assert 1 < len(days) < 13
