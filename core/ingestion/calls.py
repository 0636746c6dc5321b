"""The call of the database's function take_webhooks (sql/take_webhooks.plpgsql): a group's webhooks
and what they change, as its parameters.

Every list goes as one text in PostgreSQL's input form and past SQLAlchemy's own parameters: a
driver that adapts lists item by item took nearly as long as reading the bodies.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Any, Final

import msgspec
from psycopg import OperationalError as DriverOperationalError
from psycopg.rows import namedtuple_row
from sqlalchemy import Connection, Engine

from core.clock import Clock
from core.database import SessionFactory
from core.ingestion.apply import Incoming
from core.ingestion.changes import Changes
from core.ingestion.keys import KnownShop
from core.ingestion.screen import ErasureHasher
from core.models.enums import InboxState, ObjectType
from core.settings import Settings

# A group waits no longer than this for rows that somebody else holds: its neighbours wait with it.
GROUP_LOCK_TIMEOUT: Final = "25ms"

_TYPES: Final = {
    "shop_id": "integer",
    "now": "timestamptz",
    "mode": "text",
    "is_exclusive": "boolean",
    "lock_timeout": "text",
    "webhook_ids": "text[]",
    "topics": "text[]",
    "event_ids": "text[]",
    "triggered_at": "timestamptz[]",
    "api_versions": "text[]",
    "bodies": "bytea",
    "starts": "integer[]",
    "lengths": "integer[]",
    "states": "text[]",
    "errors": "text[]",
    "seconds": "float8[]",
    "customer_ids": "bigint[]",
    "order_ids": "bigint[]",
    "hashes": "text[]",
    "customers": "jsonb",
    "orders": "jsonb",
    "lines": "jsonb",
    "refunds": "jsonb",
    "checkouts": "jsonb",
    "named_ids": "bigint[]",
    "product_ids": "bigint[]",
    "request_types": "text[]",
    "request_ids": "bigint[]",
    "request_reasons": "text[]",
}
_CALL: Final = (
    "SELECT * FROM raw_shopify.take_webhooks("
    + ", ".join(f"p_{name} => CAST(%({name})s AS {kind})" for name, kind in _TYPES.items())
    + ")"
)


@dataclass(frozen=True)
class Outcome:
    """What becomes of a webhook. `seconds` until it is tried again; None: not by itself."""

    state: InboxState
    error: str | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Group:
    """How groups of a shop are taken: where, with whose secrets, by which clock."""

    factory: SessionFactory
    shop: KnownShop
    settings: Settings
    clock: Clock
    lock_timeout: str = GROUP_LOCK_TIMEOUT
    is_hasty: bool = True
    """What meets a lock is left to the next activation run without calling it failed."""

    @property
    def engine(self) -> Engine:
        engine: Engine = self.factory.kw["bind"]
        return engine


# Shops of which this process knows that they have erased people: only for them hashes are computed.
erasing: Final[set[int]] = set()


def call(connection: Connection, parameters: Mapping[str, Any], *, mode: str) -> Any:
    """The row that take_webhooks returns."""
    return connection.exec_driver_sql(_CALL, {**parameters, "mode": mode}).one()


def call_alone(engine: Engine, parameters: Mapping[str, Any]) -> Any:
    """As `call` in a transaction of its own, on the driver's connection: SQLAlchemy's part of a
    call took twice as long as the driver's. None when the connection had been cut; the engine then
    has no other of its age. Raises the driver's errors.
    """
    pooled = engine.raw_connection()
    try:
        connection = pooled.driver_connection
        assert connection is not None  # noqa: S101 - it was just taken
        connection.autocommit = True
        try:
            with connection.cursor(row_factory=namedtuple_row) as cursor:
                return cursor.execute(_CALL, {**parameters, "mode": "auto"}).fetchone()
        except DriverOperationalError as error:
            if not connection.broken:
                raise
            engine.dispose()
            pooled.invalidate(error)
            return None
        finally:
            if not connection.closed:
                connection.autocommit = False
    finally:
        pooled.close()


def parameters(
    group: Group, changes: Changes, letters: Sequence[Incoming], outcomes: Sequence[Outcome]
) -> dict[str, Any]:
    """Of everything but the mode. `letters`: those that are to be stored, with their outcomes."""
    outcomes = outcomes[: len(letters)]
    lengths = [len(letter.body) for letter in letters]
    return {
        "shop_id": group.shop.shop_id,
        "now": group.clock.now(),
        "is_exclusive": changes.is_exclusive,
        "lock_timeout": group.lock_timeout,
        "webhook_ids": _texts(letter.webhook_id for letter in letters),
        "topics": _texts(letter.topic for letter in letters),
        "event_ids": _texts(letter.event_id for letter in letters),
        "triggered_at": _moments(letter.triggered_at for letter in letters),
        "api_versions": _texts(letter.api_version for letter in letters),
        # In one piece, which a driver sends as it is; a list it would spell out, byte by byte.
        "bodies": b"".join([letter.body for letter in letters]),
        "starts": _numbers(list(accumulate(lengths, initial=1))[: len(lengths)]),
        "lengths": _numbers(lengths),
        "states": _texts(outcome.state.value for outcome in outcomes),
        "errors": _texts(outcome.error for outcome in outcomes),
        "seconds": _numbers(outcome.seconds for outcome in outcomes),
        "customer_ids": _numbers(changes.customer_ids()),
        "order_ids": _numbers(_order_ids(changes)),
        "hashes": _hashes(group, changes),
        "named_ids": _numbers(changes.named_ids),
        "product_ids": _numbers(changes.product_ids),
        "request_types": _texts(kind.value for kind, _ in changes.requests),
        "request_ids": _numbers(number for _, number in changes.requests),
        "request_reasons": _texts(changes.requests.values()),
    } | _objects(changes)


def _order_ids(changes: Changes) -> list[int]:
    asked = [number for kind, number in changes.requests if kind is ObjectType.ORDER]
    return [*asked, *(order.order_id for order in changes.orders)]


def _hashes(group: Group, changes: Changes) -> str | None:
    if group.shop.shop_id not in erasing:
        return None
    hasher = ErasureHasher(group.settings.secret_key, group.shop.shop_id)
    hashes = [hasher.customer(number) for number in changes.customer_ids()]
    hashes += [hasher.email(email) for email in changes.emails()]
    return _texts([*hashes, hasher.key_check])


def _objects(changes: Changes) -> dict[str, str | None]:
    orders = changes.orders
    return {
        "customers": _json(changes.customers),
        "orders": _json([order.row for order in orders]),
        "lines": _json([line for order in orders for line in order.lines]),
        "refunds": _json([refund for order in orders for refund in order.refunds]),
        "checkouts": _json(changes.checkouts),
    }


def _json(objects: Sequence[Any]) -> str | None:
    """By field name; a field that is no column is passed over.

    Half a surrogate pair cannot come from a body: JSON of bytes is decoded strictly.
    """
    return msgspec.json.encode(objects).decode() if objects else None


def _texts(values: Iterable[str | None]) -> str:
    return "{" + ",".join([_text(value) for value in values]) + "}"


def _text(value: str | None) -> str:
    if value is None:
        return "NULL"
    if '"' in value or "\\" in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'


def _numbers(values: Iterable[float | None]) -> str:
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def _moments(values: Iterable[datetime | None]) -> str:
    spelled = ["NULL" if value is None else f'"{value.isoformat()}"' for value in values]
    return "{" + ",".join(spelled) + "}"
