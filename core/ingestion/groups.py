"""Webhooks of one shop that came at about the same time, in one transaction (decision 14).

Bodies that cannot be read are set aside before any SQL. What the database refuses is found by
halving the group, so a bad body never fails its neighbours; what waits for a lock of somebody else
stays in the inbox as `received`, and is applied by the next activation run.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final

from sqlalchemy.exc import DBAPIError, OperationalError

from core.database import session_scope
from core.errors import PermanentError
from core.ingestion.apply import EXCLUSIVE_TOPICS, Incoming
from core.ingestion.calls import Group, Outcome
from core.ingestion.taking import (
    LOCKED,
    STORED_MEANWHILE,
    BusyError,
    StoredMeanwhileError,
    refused,
    sqlstate,
    store,
    take,
    take_at_once,
)
from core.models.enums import InboxState

log = logging.getLogger(__name__)

# Somebody is known to hold a row then; who waits for it is only to be found.
DIVIDED_LOCK_TIMEOUT: Final = "5ms"
# Who only stores meets nobody but the same webhook, which another process is storing right now:
# refusing it after 5 ms had Shopify deliver once more what was there.
KEPT_LOCK_TIMEOUT: Final = "2s"


@dataclass(frozen=True)
class Received:
    """The HTTP status to answer with; `state` None: nothing was stored."""

    status: int
    state: InboxState | None = None


WAITING: Final = Outcome(InboxState.RECEIVED, seconds=0.0)
AGAIN: Final = Received(HTTPStatus.SERVICE_UNAVAILABLE)


def receive_group(group: Group, letters: Sequence[Incoming]) -> list[Received]:
    """Store and apply signed webhooks; one answer each, after the commit.

    503 where the database cannot be reached: Shopify delivers again. The same webhook twice is
    once, also within the group.
    """
    first = {letter.webhook_id: letter for letter in reversed(letters)}
    answers: dict[str, Received] = {}
    for part in _parts(list(first.values())[::-1]):
        answers |= _take_all(group, part)
    return [
        answers[letter.webhook_id]
        if first[letter.webhook_id] is letter
        else Received(answers[letter.webhook_id].status)
        for letter in letters
    ]


def _parts(letters: list[Incoming]) -> list[list[Incoming]]:
    """What deletes or merges goes alone: nobody else may write meanwhile."""
    together = [letter for letter in letters if letter.topic not in EXCLUSIVE_TOPICS]
    alone = [[letter] for letter in letters if letter.topic in EXCLUSIVE_TOPICS]
    return [together, *alone] if together else alone


def _take_all(  # noqa: PLR0911 - one answer for each way it may end
    group: Group, letters: list[Incoming]
) -> dict[str, Received]:
    """Together; where that fails, by halves down to the one that fails it."""
    try:
        outcomes = take_at_once(group, letters)
        if outcomes is None:
            with session_scope(group.factory) as session:
                outcomes = take(session, group, letters)
    except StoredMeanwhileError as error:
        known = {number: Received(HTTPStatus.OK) for number in error.webhook_ids}
        rest = [letter for letter in letters if letter.webhook_id not in error.webhook_ids]
        return known | (_take_all(group, rest) if rest else {})
    except BusyError:
        return _keep(group, letters, WAITING)
    except PermanentError as error:
        return _refuse(letters, str(error))
    except OperationalError as error:
        if sqlstate(error) is None:
            return _refuse(letters, f"the database has trouble: {type(error.orig).__name__}")
        return _divide(group, letters, error)
    except Exception as error:  # noqa: BLE001 - a bug of ours loses no webhook: it is kept as failed
        return _divide(group, letters, error)
    return {
        letter.webhook_id: Received(HTTPStatus.OK, outcome.state)
        for letter, outcome in zip(letters, outcomes, strict=True)
    }


def _refuse(letters: list[Incoming], words: str) -> dict[str, Received]:
    """Shopify is to deliver them again."""
    log.error("%d webhooks were refused: %s", len(letters), words)
    return {letter.webhook_id: AGAIN for letter in letters}


def _divide(group: Group, letters: list[Incoming], error: Exception) -> dict[str, Received]:
    code = sqlstate(error)
    if code == STORED_MEANWHILE:
        return _take_all(group, letters)
    if len(letters) == 1 and code in LOCKED and group.is_hasty:
        return _keep(group, letters, WAITING)
    if len(letters) == 1:
        return _keep(group, letters, refused(group.shop, letters[0].topic, error, attempts=1))
    if code in LOCKED and group.is_hasty:
        group = replace(group, lock_timeout=DIVIDED_LOCK_TIMEOUT)
    middle = len(letters) // 2
    return _take_all(group, letters[:middle]) | _take_all(group, letters[middle:])


def _keep(group: Group, letters: list[Incoming], outcome: Outcome) -> dict[str, Received]:
    """Store them without applying anything."""
    group = replace(group, lock_timeout=KEPT_LOCK_TIMEOUT)
    try:
        with session_scope(group.factory) as session:
            seen = set(store(session, group, letters, [outcome] * len(letters)))
    except DBAPIError as error:
        if sqlstate(error) == STORED_MEANWHILE:
            return _keep(group, letters, outcome)
        return _refuse(letters, f"the database has trouble: {type(error.orig).__name__}")
    return {
        letter.webhook_id: Received(
            HTTPStatus.OK, None if letter.webhook_id in seen else outcome.state
        )
        for letter in letters
    }
