"""Webhooks of one shop within a transaction: read, adapted to what the database knows, applied.

One call of the database's function take_webhooks does nearly all (sql/take_webhooks.plpgsql).
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Final

import msgspec
from psycopg import Error as DriverError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from core.clock import Clock
from core.database import SessionFactory
from core.ingestion import rare_changes
from core.ingestion.apply import Incoming, read_into
from core.ingestion.backoff import INBOX_SECONDS, after
from core.ingestion.changes import Changes
from core.ingestion.keys import KnownShop
from core.ingestion.rows import LINE_COLUMNS, ORDER_COLUMNS, REFUND_COLUMNS, records
from core.ingestion.screen import ErasureHasher, Screen
from core.models.enums import InboxState, ObjectType
from core.settings import Settings
from core.shopify.rest import BodyError

log = logging.getLogger(__name__)

# A group waits no longer than this for rows that somebody else holds: its neighbours wait with it.
GROUP_LOCK_TIMEOUT: Final = "25ms"
LOCKED: Final = frozenset({"40P01", "55P03"})
RETRIED: Final = LOCKED | {"40001", "57014"}  # serialization, statement timeout
STORED_MEANWHILE: Final = "EC001"  # as take_webhooks raises it

_ARGUMENTS: Final = (
    *("shop_id", "now", "mode", "is_exclusive", "lock_timeout", "webhook_ids", "topics"),
    *("event_ids", "triggered_at", "api_versions", "bodies", "starts", "lengths", "states"),
    *("errors", "seconds", "customer_ids", "order_ids", "hashes", "customers", "orders"),
    *("lines", "refunds", "checkouts", "named_ids", "product_ids", "request_types"),
    *("request_ids", "request_reasons"),
)
_CASTS: Final = {
    "webhook_ids": "text[]",
    "topics": "text[]",
    "event_ids": "text[]",
    "triggered_at": "timestamptz[]",
    "api_versions": "text[]",
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
_TAKE: Final = text(
    "SELECT * FROM raw_shopify.take_webhooks("
    + ", ".join(
        f"p_{name} => CAST(:{name} AS {_CASTS[name]})" if name in _CASTS else f"p_{name} => :{name}"
        for name in _ARGUMENTS
    )
    + ")"
)


@dataclass(frozen=True)
class Outcome:
    """What becomes of a webhook. `seconds` until it is tried again; None: not by itself."""

    state: InboxState
    error: str | None = None
    seconds: float | None = None


class BusyError(Exception):
    """Somebody applies a bulk file to the shop, or deletes or merges, and will not be done soon."""


class StoredMeanwhileError(Exception):
    """Some of the webhooks came before; their ids."""

    def __init__(self, webhook_ids: Iterable[str]) -> None:
        super().__init__("some webhooks came before")
        self.webhook_ids = frozenset(webhook_ids)


APPLIED: Final = Outcome(InboxState.APPLIED)
IGNORED: Final = Outcome(InboxState.IGNORED)


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


def take_at_once(group: Group, letters: Sequence[Incoming]) -> list[Outcome] | None:
    """As `take`, in one statement that is its own transaction: one way to the database and back.

    None when the database knows something that changes what is written; then nothing was done.
    """
    changes, outcomes = _read(letters, attempts=0)
    if not changes.is_plain:
        return None
    with group.factory() as session:
        session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        facts = session.execute(_TAKE, _values(group, changes, letters, outcomes)).one()
    if facts.is_done:
        return outcomes
    _check(facts)
    return None


def _check(facts: Any) -> None:
    if not facts.is_free:
        raise BusyError
    if facts.seen:
        raise StoredMeanwhileError(facts.seen)


def take(
    session: Session,
    group: Group,
    letters: Sequence[Incoming],
    *,
    attempts: int = 0,
    is_stored: bool = False,
) -> list[Outcome]:
    """Apply the webhooks, and store them unless they are (`attempts` so far).

    Raises BusyError when the shop's data may not be written now, StoredMeanwhileError when some
    came before; then nothing was done.
    """
    changes, outcomes = _read(letters, attempts=attempts)
    stored = () if is_stored else letters
    values = _values(group, changes, stored, outcomes)
    mode = "auto" if changes.is_plain else "look"
    facts = session.execute(_TAKE, values | {"mode": mode}).one()
    if facts.is_done:
        return outcomes
    _check(facts)
    _adapt(session, group, changes, facts)
    shop_id, at = group.shop.shop_id, facts.business_time
    rare_changes.before_orders(session, shop_id, changes, at=at)
    session.execute(_TAKE, _values(group, changes, stored, outcomes) | {"mode": "apply"}).one()
    rare_changes.after_orders(session, shop_id, changes, at=at)
    return outcomes


def read_ahead(letter: Incoming) -> Incoming:
    """The same with its body read, while the database still writes others."""
    return replace(letter, told=_read_one(letter, attempts=1))


def _read(letters: Sequence[Incoming], *, attempts: int) -> tuple[Changes, list[Outcome]]:
    changes, outcomes = Changes(), []
    for letter in letters:
        told, outcome = letter.told or _read_one(letter, attempts=attempts + 1)
        changes.add(told)
        outcomes.append(outcome)
    changes.settle()
    return changes, outcomes


def _read_one(letter: Incoming, *, attempts: int) -> tuple[Changes, Outcome]:
    changes = Changes()
    try:
        return changes, APPLIED if read_into(changes, letter) else IGNORED
    except BodyError as error:
        log.warning("Shop %d: a %s webhook cannot be applied.", letter.shop.shop_id, letter.topic)
        return Changes(), Outcome(InboxState.FAILED, str(error).replace("\x00", ""))
    except Exception as error:  # noqa: BLE001 - one body that brings out a bug fails no other
        return Changes(), refused(letter.shop, letter.topic, error, attempts=attempts)


def _adapt(session: Session, group: Group, changes: Changes, facts: Any) -> None:
    """To what the database knows: deleted orders, merged customers, erased people."""
    changes.leave_out_orders({*facts.gone_orders, *changes.gone_orders})
    if facts.merged_ids:
        changes.follow(dict(zip(facts.merged_ids, facts.kept_ids, strict=True)))
    if facts.has_erased:
        _erasing.add(group.shop.shop_id)
        screen = Screen.load_for(
            session,
            group.shop.shop_id,
            group.settings.secret_key,
            customer_ids=changes.customer_ids(),
            emails=changes.emails(),
        )
        if screen is not None:
            changes.forget(screen.is_erased_customer, screen.is_erased_email)


# Shops of which this process knows that they have erased people: only for them hashes are computed.
_erasing: set[int] = set()


def store(
    session: Session, group: Group, letters: Sequence[Incoming], outcomes: Sequence[Outcome]
) -> list[str]:
    """Into the inbox and nothing else; returns the ids of those that came before."""
    nothing = _values(group, Changes(), letters, outcomes)
    facts = session.execute(_TAKE, nothing | {"mode": "look"}).one()
    seen = set(facts.seen)
    pairs = [
        (letter, outcome)
        for letter, outcome in zip(letters, outcomes, strict=True)
        if letter.webhook_id not in seen
    ]
    if pairs:
        rest, states = zip(*pairs, strict=True)
        session.execute(_TAKE, _values(group, Changes(), rest, states) | {"mode": "apply"}).one()
    return list(seen)


def _values(
    group: Group, changes: Changes, letters: Sequence[Incoming], outcomes: Sequence[Outcome]
) -> dict[str, Any]:
    outcomes = outcomes[: len(letters)]
    lengths = [len(letter.body) for letter in letters]
    return {
        "shop_id": group.shop.shop_id,
        "now": group.clock.now(),
        "mode": "auto",
        "is_exclusive": changes.is_exclusive,
        "lock_timeout": group.lock_timeout,
        "webhook_ids": [letter.webhook_id for letter in letters],
        "topics": [letter.topic for letter in letters],
        "event_ids": [letter.event_id for letter in letters],
        "triggered_at": [letter.triggered_at for letter in letters],
        "api_versions": [letter.api_version for letter in letters],
        # In one piece, which a driver sends as it is; a list it would spell out, byte by byte.
        "bodies": b"".join(letter.body for letter in letters),
        "starts": _starts(lengths),
        "lengths": lengths,
        "states": [outcome.state.value for outcome in outcomes],
        "errors": [outcome.error for outcome in outcomes],
        "seconds": [outcome.seconds for outcome in outcomes],
        "customer_ids": list(changes.customer_ids()),
        "order_ids": _order_ids(changes),
        "hashes": _hashes(group, changes),
        "named_ids": list(changes.named_ids),
        "product_ids": list(changes.product_ids),
        "request_types": [kind.value for kind, _ in changes.requests],
        "request_ids": [number for _, number in changes.requests],
        "request_reasons": list(changes.requests.values()),
    } | _objects(changes)


def _starts(lengths: list[int]) -> list[int]:
    """Where in the bodies each begins, counted from 1 as SQL does."""
    return list(accumulate(lengths, initial=1))[: len(lengths)]


def _order_ids(changes: Changes) -> list[int]:
    asked = [number for kind, number in changes.requests if kind is ObjectType.ORDER]
    return [*asked, *(order.order_id for order in changes.orders)]


def _hashes(group: Group, changes: Changes) -> list[str] | None:
    if group.shop.shop_id not in _erasing:
        return None
    hasher = ErasureHasher(group.settings.secret_key, group.shop.shop_id)
    hashes = [hasher.customer(number) for number in changes.customer_ids()]
    return [*hashes, *(hasher.email(email) for email in changes.emails()), hasher.key_check]


def _objects(changes: Changes) -> dict[str, str | None]:
    orders = changes.orders
    lines = [line for order in orders for line in order.lines]
    refunds = [refund for order in orders for refund in order.refunds]
    return {
        "customers": _json(changes.customers, msgspec.structs.asdict),
        "orders": records([order.row for order in orders], ORDER_COLUMNS) if orders else None,
        "lines": records(lines, LINE_COLUMNS),
        "refunds": records(refunds, REFUND_COLUMNS),
        "checkouts": _json(changes.checkouts, _checkout),
    }


def _checkout(checkout: Any) -> dict[str, Any]:
    values = msgspec.structs.asdict(checkout)
    del values["customer"]
    return values


def _json(objects: Sequence[Any], encode: Callable[[Any], Any]) -> str | None:
    """Half a surrogate pair cannot come from a body: JSON of bytes is decoded strictly."""
    return msgspec.json.encode([encode(one) for one in objects]).decode() if objects else None


def refused(shop: KnownShop, topic: str, error: Exception, *, attempts: int) -> Outcome:
    """What becomes of a webhook that could not be applied for this reason."""
    seconds = after(attempts, INBOX_SECONDS)
    if isinstance(error, DBAPIError | DriverError):
        code = sqlstate(error) or ""
        kind = type(error.orig if isinstance(error, DBAPIError) else error).__name__
        log.warning("Shop %d: the database refuses a %s webhook (%s).", shop.shop_id, topic, code)
        is_transient = code in RETRIED or isinstance(error, OperationalError)
        words = f"The database could not take it ({kind}, {code})."
        return Outcome(InboxState.FAILED, words, seconds if is_transient else None)
    # A bug of ours must not make Shopify drop the subscription after eight refusals, nor lose the
    # body: it stays, and is tried again after the next release.
    log.error("Shop %d: applying a %s webhook failed.", shop.shop_id, topic, exc_info=error)
    words = f"An error of EcomCRM itself ({type(error).__name__}); the log has the details."
    return Outcome(InboxState.FAILED, words, seconds)


def sqlstate(error: Exception) -> str | None:
    found: str | None = getattr(getattr(error, "orig", error), "sqlstate", None)
    return found
