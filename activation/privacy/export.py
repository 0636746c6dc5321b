"""Everything we hold about a person, as JSON: the answer to a data request."""

import base64
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.privacy.bodies import Sought, all_bodies
from activation.privacy.holdings import HOLDINGS, select_statement
from activation.privacy.person import Person

# Our own answers to the person's requests would otherwise hold one another.
LEFT_OUT: Final = frozenset({"crm.privacy_requests"})

READ_SCORES = text("""
-- Returns how the person is scored, as analysts see it. Changes nothing. A view over primary keys.
SELECT to_jsonb(held)
FROM marts.customers AS held
WHERE held.shop_id = :shop_id AND held.customer_id = ANY(CAST(:customer_ids AS bigint []))
""")

HAS_SCORES = text("""
-- Returns whether dbt has built the marts. Changes nothing.
SELECT to_regclass('marts.customers') IS NOT NULL
""")


def export_of(
    session: Session, shop_id: int, person: Person, *, request_id: int, now: datetime
) -> dict[str, Any]:
    """`tables`: table → the person's rows, every column. `webhooks`: bodies that name them."""
    parameters = {**person.parameters(shop_id), "request_id": request_id}
    tables = {
        holding.table: _rows(session, select_statement(holding), parameters)
        for holding in HOLDINGS
        if holding.table not in LEFT_OUT
    }
    has_scores: bool = session.execute(HAS_SCORES).scalar_one()
    if has_scores:
        tables["marts.customers"] = list(session.scalars(READ_SCORES, parameters))
    return {
        "made_at": now.isoformat(),
        "person": person.as_subject(),
        "tables": tables,
        "webhooks": [
            {"webhook_id": webhook_id, "body": _readable(body)}
            for webhook_id, body in all_bodies(session, shop_id, Sought.of(person))
        ],
    }


def _rows(session: Session, sql: str, parameters: dict[str, Any]) -> list[Any]:
    statement = text(sql)
    wanted = {name: parameters[name] for name in statement.compile().params}
    return list(session.scalars(statement, wanted))


def _readable(body: bytes) -> Any:
    """As JSON, which is what JSONB can keep; NUL it cannot."""
    try:
        if b"\\u0000" not in body:
            return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    return {"base64": base64.b64encode(body).decode()}
