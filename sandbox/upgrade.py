"""Brings the file of an earlier sandbox up to date; a new file is left to the schema."""

import sqlite3

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
_FILLED = """
update customers set body = cast(json_insert(cast(body as text),
    '$.numberOfOrders', null, '$.amountSpent', null) as blob);
update orders set body = cast(json_insert(cast(body as text), '$.refunds',
    case when (cast(body as text) ->> '$.totalRefundedSet.shopMoney.amount') + 0 > 0
    then json_array(json_object('id', 'gid://shopify/Refund/' || num,
        'processedAt', cast(body as text) ->> '$.updatedAt',
        'totalRefundedSet', json(cast(body as text) -> '$.totalRefundedSet')))
    else json('[]') end) as blob);
update bulk_operations set offered = 'url' where status = 'COMPLETED' and object_count > 0;
"""


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
        for statement in _FILLED.split(";"):
            db.execute(statement)
    except BaseException:
        db.execute("rollback")
        raise
    db.execute("commit")
