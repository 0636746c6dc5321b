"""Brings the file of an earlier sandbox up to date; a new file is left to the schema."""

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson

from sandbox.shapes import good_customer, good_order

Body = dict[str, Any]
_SPENT = (
    "spent integer generated always as (cast(round(1000 *"
    " (cast(body as text) ->> '$.currentTotalPriceSet.shopMoney.amount')) as integer)) virtual"
)
# Table -> columns that it lacked at first, as `alter table` takes them.
_ADDED = {
    "shops": ("next_checkout integer not null default 0",),
    "customers": (
        "extra_orders integer not null default 0",
        "extra_spent integer not null default 0",
    ),
    "orders": (
        "is_test integer generated always as (cast(body as text) ->> '$.test') virtual",
        _SPENT,
    ),
    "bulk_operations": ("offered text", "url_expired integer not null default 0"),
}
# Every stored object has every field of its shape: the fields that came later are filled in.
_MADE_WHOLE = {"customers": good_customer, "orders": good_order}


def upgrade(db: sqlite3.Connection) -> None:
    """Adds what the tables lack and fills it, all or nothing; does nothing the second time."""
    known = {
        table: {row[1] for row in db.execute(f"pragma table_xinfo({table})")} for table in _ADDED
    }
    if not known["bulk_operations"] or "offered" in known["bulk_operations"]:
        return
    db.execute("begin immediate")
    try:
        for table, columns in _ADDED.items():
            for column in columns:
                db.execute(f"alter table {table} add column {column}")
        for table, good in _MADE_WHOLE.items():
            db.create_function("whole", 1, partial(_whole, good), deterministic=True)
            db.execute(f"update {table} set body = whole(body)")
        db.execute(
            "update bulk_operations set offered = 'url'"
            " where status = 'COMPLETED' and object_count > 0"
        )
    except BaseException:
        db.execute("rollback")
        raise
    db.execute("commit")


def _whole(good: Callable[[Body], Body], body: bytes) -> bytes:
    return orjson.dumps(good(orjson.loads(body)))
