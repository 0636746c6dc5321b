"""What became of messages whose sending was given up as `unknown`.

    events     anything the provider told of a message says that it took it
    its list   read back to the first attempt; each line that fits is looked up, and its tag
               `send_id` says whose it is

What is found was sent. What is not found stays `unknown`, with words that say so: only a person
may send it again (resend.py). Asking costs requests, so it keeps to the share of single mails.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from activation.outbox.pacing import wait_for_single
from activation.outbox.worker import Outbox
from activation.provider import SentMail
from core.database import session_scope
from core.errors import PermanentError, TransientError

MARGIN: Final = timedelta(minutes=2)  # their clock and ours, and the time a call may take
MOST_PAGES: Final = 100  # of a hundred mails
MOST_LOOK_UPS: Final = 200
ASK_AGAIN_AFTER: Final = timedelta(minutes=15)
LIST_GOES_BACK: Final = timedelta(days=30)
NOT_LISTED: Final = "The provider's list does not hold it."
NO_LIST: Final = "The provider keeps no list of what it sent."
TOO_OLD: Final = "The provider's list does not go back that far."

SETTLE_BY_EVENTS = text("""
-- Returns the messages. Changes crm.messages: the provider told something of them, which it does of
-- no mail that it never took. Indexes ix_messages__unknown, ix_delivery_events__message.
UPDATE crm.messages
SET state = 'sent', failure = NULL, sent_at = coalesce(messages.sent_at, told.occurred_at)
FROM (
    SELECT events.shop_id, events.message_id, min(events.occurred_at) AS occurred_at
    FROM crm.delivery_events AS events
    WHERE
        events.shop_id = :shop_id
        AND events.state = 'matched'
        AND events.event_type LIKE 'email.%'
        AND events.message_id IN (
            SELECT unknown.message_id
            FROM crm.messages AS unknown
            WHERE unknown.shop_id = :shop_id AND unknown.state = 'unknown'
        )
    GROUP BY events.shop_id, events.message_id
) AS told
WHERE
    messages.shop_id = told.shop_id
    AND messages.message_id = told.message_id
    AND messages.state = 'unknown'
RETURNING messages.message_id
""")

CLAIM_BATCH = text("""
-- Returns one batch whose list is due to be asked for, with the time of its attempts. Changes
-- crm.message_batches: not again for :again, so that no two workers ask at once and a dead one is
-- followed by another. Index ix_message_batches__unknown, primary keys.
UPDATE crm.message_batches AS batch
SET next_attempt_at = clock_timestamp() + :again
WHERE
    batch.shop_id = :shop_id
    AND batch.batch_id = (
        SELECT due.batch_id
        FROM crm.message_batches AS due
        WHERE
            due.shop_id = :shop_id
            AND due.state = 'unknown'
            AND due.next_attempt_at <= clock_timestamp()
        ORDER BY due.next_attempt_at, due.batch_id
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
RETURNING
    batch.batch_id,
    batch.first_attempt_at,
    clock_timestamp() - batch.first_attempt_at > :kept AS is_too_old,
    (
        SELECT max(coalesce(attempts.finished_at, attempts.started_at))
        FROM crm.delivery_attempts AS attempts
        WHERE attempts.shop_id = batch.shop_id AND attempts.batch_id = batch.batch_id
    ) AS last_attempt_at
""")

READ_UNKNOWN = text("""
-- Returns the messages of a batch that nobody knows of. Changes nothing. Index ix_messages__batch.
SELECT message_id, lower(btrim(email)) AS email, subject
FROM crm.messages
WHERE shop_id = :shop_id AND batch_id = :batch_id AND state = 'unknown'
""")

SETTLE_BY_LIST = text("""
-- Changes crm.messages: they are in the provider's list. Primary key.
UPDATE crm.messages
SET
    state = 'sent',
    failure = NULL,
    provider_message_id = coalesce(messages.provider_message_id, found.provider_message_id),
    sent_at = coalesce(messages.sent_at, found.sent_at)
FROM
    unnest(
        CAST(:message_ids AS bigint []),
        CAST(:provider_message_ids AS text []),
        CAST(:sent_at AS timestamptz [])
    ) AS found (message_id, provider_message_id, sent_at)
WHERE
    messages.shop_id = :shop_id
    AND messages.message_id = found.message_id
    AND messages.state = 'unknown'
""")

CLOSE = text("""
-- Changes crm.message_batches and, of what was not found, crm.messages: there is nothing more to
-- ask. Primary key, index ix_messages__batch.
WITH asked AS (
    UPDATE crm.message_batches
    SET reconciled_at = clock_timestamp(), next_attempt_at = NULL
    WHERE shop_id = :shop_id AND batch_id = :batch_id
    RETURNING shop_id, batch_id
)

UPDATE crm.messages
SET
    failure = btrim(
        replace(coalesce(messages.failure, ''), ' ' || CAST(:words AS text), '')
        || ' ' || CAST(:words AS text)
    )
FROM asked
WHERE
    messages.shop_id = asked.shop_id
    AND messages.batch_id = asked.batch_id
    AND messages.state = 'unknown'
""")


ASK_NOW = text("""
-- Changes crm.message_batches: batches with unknown messages are asked for at once.
-- Index ix_messages__unknown, primary key.
UPDATE crm.message_batches
SET next_attempt_at = clock_timestamp(), reconciled_at = NULL
WHERE
    message_batches.shop_id = :shop_id
    AND message_batches.state = 'unknown'
    AND EXISTS (
        SELECT 1
        FROM crm.messages
        WHERE
            messages.shop_id = message_batches.shop_id
            AND messages.batch_id = message_batches.batch_id
            AND messages.state = 'unknown'
    )
""")


@dataclass
class ReconcileReport:
    """Messages found to be sent, and messages that only a person can decide on now."""

    found: int = 0
    left: int = 0


def reconcile_due(outbox: Outbox, shop_id: int) -> ReconcileReport:
    """Settle what can be settled of the shop's unknown messages.

    Raises TransientError or PermanentError when the provider does not answer; it is asked later.
    """
    report = ReconcileReport()
    with session_scope(outbox.factory) as session:
        report.found += len(session.execute(SETTLE_BY_EVENTS, {"shop_id": shop_id}).all())
    while not outbox.stop():
        with session_scope(outbox.factory) as session:
            batch = session.execute(
                CLAIM_BATCH,
                {"shop_id": shop_id, "again": ASK_AGAIN_AFTER, "kept": LIST_GOES_BACK},
            ).one_or_none()
            if batch is None:
                return report
            values = {"shop_id": shop_id, "batch_id": batch.batch_id}
            unknown = session.execute(READ_UNKNOWN, values).all()
        found = _ask(outbox, batch, unknown) if unknown else _Asked()
        with session_scope(outbox.factory) as session:
            _settle(session, shop_id, found)
            if found.words is not None:
                session.execute(CLOSE, {**values, "words": found.words})
        report.found += len(found.mails)
        report.left += len(unknown) - len(found.mails)
    return report


@dataclass(frozen=True)
class _Wanted:
    """The messages, and by what their lines are known: address and subject."""

    ids: frozenset[int]
    lines: frozenset[tuple[str | None, str | None]]

    def fits(self, mail: SentMail) -> bool:
        return any((address.strip().lower(), mail.subject) in self.lines for address in mail.to)


@dataclass(frozen=True)
class _Asked:
    """What the list held, by message id; `words` None: it could not be read to the end."""

    mails: tuple[tuple[int, SentMail], ...] = ()
    words: str | None = ""


def _ask(outbox: Outbox, batch: Row[Any], unknown: Sequence[Row[Any]]) -> _Asked:
    if not outbox.provider.remembers:
        return _Asked(words=NO_LIST)
    if batch.first_attempt_at is None or batch.is_too_old:
        return _Asked(words=TOO_OLD)
    wanted = _Wanted(
        frozenset(row.message_id for row in unknown),
        frozenset((row.email, row.subject) for row in unknown),
    )
    found: dict[int, SentMail] = {}
    is_whole = False
    try:
        is_whole = _read_back(outbox, batch, wanted, found)
    except (TransientError, PermanentError):
        if not found:
            raise
    left = len(unknown) - len(found)
    return _Asked(tuple(found.items()), NOT_LISTED if is_whole or not left else None)


def _read_back(
    outbox: Outbox,
    batch: Row[Any],
    wanted: _Wanted,
    found: dict[int, SentMail],
) -> bool:
    """Page the list from now back to the first attempt; True when all of it was read."""
    since, until = batch.first_attempt_at - MARGIN, batch.last_attempt_at + MARGIN
    after: str | None = None
    look_ups = 0
    for _ in range(MOST_PAGES):
        if outbox.stop() or not wait_for_single(outbox.factory, outbox.pace, sleep=outbox.sleep):
            return False
        page = outbox.provider.list_sent(after=after)
        for mail in page.mails:
            if mail.created_at < since:
                return True
            if mail.created_at > until or not wanted.fits(mail):
                continue
            look_ups += 1
            if look_ups > MOST_LOOK_UPS:
                return False
            message_id = _whose(outbox, mail, wanted.ids)
            if message_id is not None:
                found[message_id] = mail
        if len(found) == len(wanted.ids) or page.next_after is None:
            return True
        after = page.next_after
    return False


def _whose(outbox: Outbox, mail: SentMail, wanted: frozenset[int]) -> int | None:
    """The list has no tags; the mail itself says which message it is."""
    if not wait_for_single(outbox.factory, outbox.pace, sleep=outbox.sleep):
        raise TransientError("A quota is used up: the provider's list is asked later.")
    known = outbox.provider.look_up(mail.message_id)
    send_id = known.tags.get("send_id", "") if known else ""
    message_id = int(send_id) if send_id.isascii() and send_id.isdigit() else None
    return message_id if message_id in wanted else None


def _settle(session: Session, shop_id: int, asked: _Asked) -> None:
    if not asked.mails:
        return
    session.execute(
        SETTLE_BY_LIST,
        {
            "shop_id": shop_id,
            "message_ids": [message_id for message_id, _ in asked.mails],
            "provider_message_ids": [mail.message_id for _, mail in asked.mails],
            "sent_at": [mail.created_at for _, mail in asked.mails],
        },
    )


def ask_now(session: Session, shop_id: int) -> None:
    """Have the list read anew: whoever is about to decide wants to know what it says now."""
    session.execute(ASK_NOW, {"shop_id": shop_id})
