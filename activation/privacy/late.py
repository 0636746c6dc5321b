"""Webhooks, rejected lines and provider events that name somebody erased, and came after it.

Shopify goes on telling of an old order of theirs, a sync may meet a broken line about them, and the
provider may tell of a mail by an id that we have forgotten. Who was erased is known by hashes only,
so whatever in a body may be an address or a number is hashed and looked up. Once an hour for shops
that have erased somebody; nothing is mailed or stored of them meanwhile, only the body itself waits
to go.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.privacy.bodies import ERASE_INBOX, customer_numbers, walk
from core.database import SessionFactory, session_scope
from core.ingestion.screen import Screen

EVERY: Final = timedelta(hours=1)
OVERLAP: Final = timedelta(minutes=10)  # a body is committed a little after it was received
RETRIED: Final = timedelta(days=7)  # longer than any is tried again (core/ingestion/backoff.py)
CHUNK: Final = 500
ADDRESS: Final = re.compile(r"[^\s\"<>,;:\\()]+@[^\s\"<>,;:\\()]+")
NUMBER: Final = re.compile(r"(?<![\d.])\d{1,19}(?![\d.])")

CLAIM = text("""
-- Returns a shop that has erased somebody and was not looked at for an hour, and since when.
-- Changes crm.privacy_requests: it is looked at now. Reads the few requests there are.
UPDATE crm.privacy_requests AS request
SET receipt = request.receipt || jsonb_build_object('swept_at', clock_timestamp())
FROM (
    SELECT
        latest.shop_id,
        latest.privacy_request_id,
        CAST(
            coalesce(latest.receipt ->> 'swept_at', latest.receipt ->> 'screened_at') AS timestamptz
        ) AS swept_at
    FROM crm.privacy_requests AS latest
    WHERE
        latest.state = 'completed'
        AND latest.kind <> 'data_request'
        AND latest.receipt ->> 'screened_at' IS NOT NULL
        AND NOT EXISTS (
            SELECT 1
            FROM crm.privacy_requests AS later
            WHERE
                later.shop_id = latest.shop_id
                AND later.state = 'completed'
                AND later.kind <> 'data_request'
                AND later.receipt ->> 'screened_at' IS NOT NULL
                AND later.privacy_request_id > latest.privacy_request_id
        )
    FOR UPDATE OF latest SKIP LOCKED
) AS due
WHERE
    request.shop_id = due.shop_id
    AND request.privacy_request_id = due.privacy_request_id
    AND due.swept_at < clock_timestamp() - :every
RETURNING request.shop_id, due.swept_at
""")

READ_BODIES = text("""
-- Returns bodies that came since, and those of before that had to be tried again. Those that are
-- still to be applied wait until they are. Changes nothing. Index ix_webhook_inbox__received.
SELECT webhook_id, topic, body, received_at
FROM raw_shopify.webhook_inbox
WHERE
    shop_id = :shop_id
    AND (received_at, webhook_id) > (:since, :after)
    AND (received_at > :recent OR attempts > 1)
    AND next_attempt_at IS NULL
    AND octet_length(body) > 0
ORDER BY received_at, webhook_id
LIMIT :limit
""")

READ_LINES = text("""
-- Returns lines rejected since. Changes nothing. Reads all of the shop's.
SELECT rejected_line_id, content
FROM raw_shopify.rejected_lines
WHERE shop_id = :shop_id AND rejected_at > :since
""")

ERASE_LINES = text("""
-- Changes raw_shopify.rejected_lines: these go. Primary key.
DELETE FROM raw_shopify.rejected_lines
WHERE shop_id = :shop_id AND rejected_line_id = ANY(CAST(:ids AS bigint []))
""")


READ_EVENTS = text("""
-- Returns events that came since and are about no message of ours, those of other shops excepted.
-- Changes nothing. Reads all events without a message.
SELECT events.provider, events.event_id, CAST(events.body AS text) AS body
FROM crm.delivery_events AS events
WHERE
    events.message_id IS NULL
    AND events.received_at > :since
    AND events.body <> '{}'
    AND coalesce(
        events.body #>> '{data,tags,shop_id}' = CAST(CAST(:shop_id AS integer) AS text), true
    )
""")

EMPTY_EVENT = text("""
-- Changes crm.delivery_events: only that it came stays. Primary key.
UPDATE crm.delivery_events
SET body = '{}', error = NULL
WHERE provider = :provider AND event_id = :event_id
""")

DROP_SUBJECTS = text("""
-- Changes crm.privacy_requests: whom a data request was about goes with its answer, which is kept
-- for a while (core/ingestion/retention.py). Reads the few requests there are.
UPDATE crm.privacy_requests
SET subject = NULL
WHERE
    kind = 'data_request'
    AND state = 'completed'
    AND export IS NULL
    AND subject IS NOT NULL
""")


@dataclass(frozen=True)
class Named:
    """What in a body may be a customer's number or an address."""

    numbers: frozenset[int]
    addresses: frozenset[str]

    @classmethod
    def in_body(cls, body: bytes, topic: str) -> "Named":
        try:
            places = list(walk(orjson.loads(body), topic))
        except orjson.JSONDecodeError:
            plain = body.decode(errors="replace").replace("\\/", "/")
            numbers = {int(each) for each in NUMBER.findall(plain)}
            return cls(frozenset(numbers), _addresses(plain))
        return cls(
            frozenset(number for each in places for number in customer_numbers(*each)),
            frozenset[str]().union(*(_addresses(str(value)) for _, value in places)),
        )


def forget_late(factory: SessionFactory, *, secret_key: SecretStr, every: timedelta = EVERY) -> int:
    """Look at every shop whose hour is over; returns how many bodies and lines went."""
    with session_scope(factory) as session:
        session.execute(DROP_SUBJECTS)
        due = session.execute(CLAIM, {"every": every}).all()
    return sum(_forget(factory, row.shop_id, row.swept_at, secret_key=secret_key) for row in due)


def _forget(
    factory: SessionFactory, shop_id: int, since: datetime, *, secret_key: SecretStr
) -> int:
    recent = since - OVERLAP
    erased, start, after = 0, since - RETRIED, ""
    while True:
        with session_scope(factory) as session:
            rows = session.execute(
                READ_BODIES,
                {
                    "shop_id": shop_id,
                    "since": start,
                    "after": after,
                    "recent": recent,
                    "limit": CHUNK,
                },
            ).all()
            bodies = {row.webhook_id: (bytes(row.body), row.topic) for row in rows}
            gone = list(_naming_erased(session, shop_id, bodies, secret_key=secret_key))
            if gone:
                session.execute(ERASE_INBOX, {"shop_id": shop_id, "webhook_ids": gone})
        erased += len(gone)
        if len(rows) < CHUNK:
            break
        start, after = rows[-1].received_at, rows[-1].webhook_id
    with session_scope(factory) as session:
        erased += _forget_lines(session, shop_id, recent, secret_key=secret_key)
        return erased + _forget_events(session, shop_id, recent, secret_key=secret_key)


def _forget_lines(session: Session, shop_id: int, since: datetime, *, secret_key: SecretStr) -> int:
    rows = session.execute(READ_LINES, {"shop_id": shop_id, "since": since})
    lines = {row.rejected_line_id: (bytes(row.content), "") for row in rows}
    gone = list(_naming_erased(session, shop_id, lines, secret_key=secret_key))
    if gone:
        session.execute(ERASE_LINES, {"shop_id": shop_id, "ids": gone})
    return len(gone)


def _forget_events(
    session: Session, shop_id: int, since: datetime, *, secret_key: SecretStr
) -> int:
    rows = session.execute(READ_EVENTS, {"shop_id": shop_id, "since": since})
    events = {(row.provider, row.event_id): (row.body.encode(), "") for row in rows}
    gone = list(_naming_erased(session, shop_id, events, secret_key=secret_key))
    for provider, event_id in gone:
        session.execute(EMPTY_EVENT, {"provider": provider, "event_id": event_id})
    return len(gone)


def _naming_erased(
    session: Session,
    shop_id: int,
    bodies: Mapping[Any, tuple[bytes, str]],
    *,
    secret_key: SecretStr,
) -> Iterator[Any]:
    """Keys of the bodies (with their topics) that name somebody erased; one look-up for all."""
    named = {key: Named.in_body(*each) for key, each in bodies.items()}
    screen = Screen.load_for(
        session,
        shop_id,
        secret_key,
        customer_ids={number for each in named.values() for number in each.numbers},
        emails={address for each in named.values() for address in each.addresses},
    )
    if screen is None:
        return
    for key, each in named.items():
        if any(map(screen.is_erased_customer, each.numbers)) or any(
            map(screen.is_erased_email, each.addresses)
        ):
            yield key


def _addresses(value: str) -> frozenset[str]:
    if "@" not in value:
        return frozenset()
    return frozenset(each.rstrip(".") for each in ADDRESS.findall(value))
