"""Webhooks of one shop within a transaction: read, adapted to what the database knows, applied.

One call of the database's function take_webhooks does nearly all (calls.py).
"""

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final

from psycopg import Error as DriverError
from psycopg import OperationalError as DriverOperationalError
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from core.ingestion import rare_changes
from core.ingestion.apply import Incoming, read_into
from core.ingestion.backoff import INBOX_SECONDS, after
from core.ingestion.calls import Group, Outcome, call, call_alone, erasing, parameters
from core.ingestion.changes import Changes
from core.ingestion.keys import KnownShop
from core.ingestion.screen import Screen
from core.models.enums import InboxState
from core.shopify.rest import BodyError

log = logging.getLogger(__name__)

LOCKED: Final = frozenset({"40P01", "55P03"})
RETRIED: Final = LOCKED | {"40001", "57014"}  # serialization, statement timeout
STORED_MEANWHILE: Final = "EC001"  # as take_webhooks raises it


class BusyError(Exception):
    """Somebody applies a bulk file to the shop, or deletes or merges, and will not be done soon."""


class StoredMeanwhileError(Exception):
    """Some of the webhooks came before; their ids."""

    def __init__(self, webhook_ids: Iterable[str]) -> None:
        super().__init__("some webhooks came before")
        self.webhook_ids = frozenset(webhook_ids)


APPLIED: Final = Outcome(InboxState.APPLIED)
IGNORED: Final = Outcome(InboxState.IGNORED)


def take_at_once(group: Group, letters: Sequence[Incoming]) -> list[Outcome] | None:
    """As `take`, in one statement that is its own transaction: one way to the database and back.

    None when the database knows something that changes what is written; then nothing was done.
    """
    changes, outcomes = _read(letters, attempts=0)
    if not changes.is_plain:
        return None
    asked = parameters(group, changes, letters, outcomes)
    facts = call_alone(group.engine, asked)
    if facts is None:
        # Its connection had been cut. Had it done its work all the same, the next would say `seen`.
        facts = call_alone(group.engine, asked)
    if facts is None:
        return None
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
    connection = session.connection()
    asked = parameters(group, changes, stored, outcomes)
    facts = call(connection, asked, mode="auto" if changes.is_plain else "look")
    if facts.is_done:
        return outcomes
    _check(facts)
    _adapt(session, group, changes, facts)
    shop_id, at = group.shop.shop_id, facts.business_time
    rare_changes.before_orders(session, shop_id, changes, at=at)
    call(connection, parameters(group, changes, stored, outcomes), mode="apply")
    rare_changes.after_orders(session, shop_id, changes, at=at)
    return outcomes


def read_ahead(letter: Incoming) -> None:
    """Read its body, while the database still writes others."""
    letter.told = _read_one(letter, attempts=1)


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
        erasing.add(group.shop.shop_id)
        screen = Screen.load_for(
            session,
            group.shop.shop_id,
            group.settings.secret_key,
            customer_ids=changes.customer_ids(),
            emails=changes.emails(),
        )
        if screen is not None:
            changes.forget(screen.is_erased_customer, screen.is_erased_email)


def store(
    session: Session, group: Group, letters: Sequence[Incoming], outcomes: Sequence[Outcome]
) -> list[str]:
    """Into the inbox and nothing else; returns the ids of those that came before."""
    connection = session.connection()
    facts = call(connection, parameters(group, Changes(), letters, outcomes), mode="look")
    seen = set(facts.seen)
    pairs = [
        (letter, outcome)
        for letter, outcome in zip(letters, outcomes, strict=True)
        if letter.webhook_id not in seen
    ]
    if pairs:
        rest, states = zip(*pairs, strict=True)
        call(connection, parameters(group, Changes(), rest, states), mode="apply")
    return list(seen)


def refused(shop: KnownShop, topic: str, error: Exception, *, attempts: int) -> Outcome:
    """What becomes of a webhook that could not be applied for this reason."""
    seconds = after(attempts, INBOX_SECONDS)
    if isinstance(error, DBAPIError | DriverError):
        code = sqlstate(error) or ""
        kind = type(error.orig if isinstance(error, DBAPIError) else error).__name__
        log.warning("Shop %d: the database refuses a %s webhook (%s).", shop.shop_id, topic, code)
        is_transient = code in RETRIED or isinstance(
            error, OperationalError | DriverOperationalError
        )
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
