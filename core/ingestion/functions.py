"""The functions in the database, made of the statements in `sql/`.

A migration keeps what `take_webhooks()` returns; a test fails when a statement has changed and the
function has not. After such a change: `python -m core.ingestion.functions FILE`, with the file of
the newest migration that keeps it, or of a new one.
"""

import re
import sys
from pathlib import Path
from typing import Final

from core.ingestion.statements import statement

FOLDER: Final = Path(__file__).parent / "sql"
_INCLUDE: Final = re.compile(r"^( *)\{\{(\w+)\}\}", re.MULTILINE)
_PARAMETER: Final = re.compile(r"(?<![:\w]):(\w+)")
_PARAMETERS: Final = {"at": "v_at", "touched_at": "v_at"}
_RELATIONS: Final = {
    "orders": "unnest(v_orders) AS staged",
    "lines": "unnest(v_lines) AS staged_line",
    "refunds": "unnest(v_refunds) AS staged_refund",
    "customers": "unnest(v_customers) AS told",
    "checkouts": "unnest(v_checkouts) AS told",
    "touched": "unnest(v_touched) AS touched (customer_id)",
    "kept": "unnest(v_kept_ids) AS kept (order_id)",
    # Held: what the orders that are about to change were until now.
    "which": "stored.order_id = ANY(v_known_ids) AND stored.updated_at <= ("
    "SELECT staged.updated_at FROM unnest(v_known) AS staged"
    " WHERE staged.order_id = stored.order_id)",
}

# The function's plans are kept, maybe from when a table was empty: then a join that reads the whole
# shop looks cheap. With its key in a list, an index scan is bound to the list whatever is joined.
_BOUND: Final = {
    "stored.order_id = staged.order_id": "stored.order_id = ANY({order_ids})",
    "gone.order_id = staged.order_id": "gone.order_id = ANY({order_ids})",
    "orders.customer_id = touched.customer_id": "orders.customer_id = ANY(v_touched)",
    "stored.customer_id = fresh.customer_id": "stored.customer_id = ANY(v_touched)",
}
# What only known orders can need looks for no other: most of a group's are new.
_OF_KNOWN_ORDERS: Final = frozenset(
    {
        "contested_orders",
        "update_orders",
        "delete_gone_lines",
        "delete_gone_refunds",
    }
)


def take_webhooks() -> str:
    """The statements that make the function and the one it calls, without comments."""
    return _made("analyze_grown_tables") + ";\n\n" + _made("take_webhooks") + "\n"


def _made(name: str) -> str:
    lines = (FOLDER / f"{name}.plpgsql").read_text().splitlines()
    template = "\n".join(line for line in lines if not line.lstrip().startswith("--"))
    return _INCLUDE.sub(lambda found: _indented(_included(found[2]), found[1]), template)


def _included(name: str) -> str:
    relations, order_ids = _RELATIONS, "p_order_ids"
    if name in _OF_KNOWN_ORDERS:
        relations, order_ids = relations | {"orders": "unnest(v_known) AS staged"}, "v_known_ids"
    sql = statement(name, **relations).text
    for joined, bound in _BOUND.items():
        sql = sql.replace(joined, f"{joined} AND {bound.format(order_ids=order_ids)}")
    return _PARAMETER.sub(lambda found: _PARAMETERS.get(found[1], f"p_{found[1]}"), sql)


def _indented(text: str, indent: str) -> str:
    return "\n".join(indent + line if line else line for line in text.splitlines())


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(take_webhooks())
