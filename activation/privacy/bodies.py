"""Finding a person in stored bodies: webhooks, lines that could not be read, provider events.

SQL looks for anything that may be theirs in the bytes, as they are or escaped as JSON does; what it
finds is read, and counts only where a number stands in the place of a customer or an order. So a
short number found in a price erases nothing. What cannot be read counts as found.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import orjson
from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.privacy.person import Person

CHUNK: Final = 2000  # bodies looked at in one transaction
ASCII: Final = 0x80
LONG: Final = 20  # digits: more than any id has
SHORTEST_PHONE: Final = 6  # digits; shorter ones are extension numbers, and everywhere

NEXT_CHUNK = text("""
-- Returns the last key of the next chunk, NULL at the end. Changes nothing. Primary key.
SELECT max(webhook_id)
FROM (
    SELECT webhook_id
    FROM raw_shopify.webhook_inbox
    WHERE shop_id = :shop_id AND webhook_id > :after
    ORDER BY webhook_id
    LIMIT :limit
) AS chunk
""")

SEARCH_INBOX = text("""
-- Returns bodies of one chunk that may name the person, and locks their rows. Changes nothing.
-- Primary key; `escape` keeps ASCII as it is, so one pattern serves any encoding.
SELECT inbox.webhook_id, inbox.topic, inbox.body
FROM raw_shopify.webhook_inbox AS inbox
WHERE
    inbox.shop_id = :shop_id
    AND inbox.webhook_id > :after
    AND inbox.webhook_id <= :last
    AND octet_length(inbox.body) > 0
    AND lower(encode(inbox.body, 'escape')) ~ :pattern
FOR UPDATE
""")

ERASE_INBOX = text("""
-- Changes raw_shopify.webhook_inbox: the body goes, and with it what waited to be applied; the row
-- stays, so that the same delivery is still known. Primary key.
UPDATE raw_shopify.webhook_inbox
SET
    body = '',
    error = CASE WHEN state IN ('received', 'failed') THEN 'erased at the customer''s request' END,
    next_attempt_at = NULL,
    state = CASE WHEN state IN ('received', 'failed') THEN 'ignored' ELSE state END
WHERE shop_id = :shop_id AND webhook_id = ANY(CAST(:webhook_ids AS text []))
""")

ERASE_REJECTED = text("""
-- Returns a row for each line erased. Changes raw_shopify.rejected_lines: lines are kept only to be
-- looked at, so whatever may be the person's goes. Reads all of the shop's.
DELETE FROM raw_shopify.rejected_lines AS rejected
USING
    raw_shopify.rejected_lines AS searched
    CROSS JOIN LATERAL (
        SELECT lower(encode(searched.content, 'escape')) AS content OFFSET 0
    ) AS plain
WHERE
    searched.shop_id = :shop_id
    AND rejected.shop_id = searched.shop_id
    AND rejected.rejected_line_id = searched.rejected_line_id
    AND (
        plain.content ~ :pattern
        OR EXISTS (
            SELECT 1
            FROM
                unnest(CAST(:first_names AS text []), CAST(:last_names AS text []))
                    AS named (first_name, last_name)
            WHERE
                position(named.first_name IN plain.content) > 0
                AND position(named.last_name IN plain.content) > 0
        )
    )
RETURNING 1
""")

ERASE_EVENTS = text("""
-- Returns a row for each event erased. Changes crm.delivery_events: what the provider told of the
-- address and found no message of this shop, or is about to. Events of other shops stay.
-- Reads all events without a message.
UPDATE crm.delivery_events AS events
SET
    body = '{}',
    error = NULL,
    state = CASE WHEN events.state = 'stored' THEN 'unmatched' ELSE events.state END
WHERE
    events.message_id IS NULL
    AND NOT EXISTS (
        SELECT 1
        FROM crm.shops
        WHERE
            shops.shop_id <> :shop_id
            AND events.body #>> '{data,tags,shop_id}' = CAST(shops.shop_id AS text)
    )
    AND lower(CAST(events.body AS text)) ~ :email_pattern
RETURNING 1
""")


@dataclass(frozen=True)
class Sought:
    """What to look for, once per person."""

    person: Person
    pattern: str
    email_pattern: str | None

    @classmethod
    def of(cls, person: Person) -> "Sought":
        emails = [
            _email_pattern(spelling) for email in person.emails for spelling in _spellings(email)
        ]
        ids = [str(each) for each in (*person.customer_ids, *person.order_ids)]
        parts = [*emails, *_phone_patterns(person.phones)]
        if ids:
            parts.append(f"(^|[^0-9])({'|'.join(ids)})([^0-9]|$)")
        plain = [_email_pattern(email.casefold()) for email in person.emails]
        return cls(person, "|".join(parts), "|".join(plain) or None)

    def is_in(self, body: bytes, topic: str) -> bool:
        try:
            read = orjson.loads(body)
        except orjson.JSONDecodeError:
            return True
        return any(self._is_theirs(*each) for each in walk(read, topic))

    def _is_theirs(self, place: str, value: str | int) -> bool:
        person = self.person
        if isinstance(value, int):
            return _stands_for(place, value, person)
        folded = value.casefold().strip()
        if any(_holds_email(folded, email.casefold().strip()) for email in person.emails):
            return True
        if any(
            int(number) in (person.customer_ids if kind == "Customer" else person.order_ids)
            for kind, number in _GID.findall(value)
        ):
            return True
        if value.isascii() and value.isdigit() and _stands_for(place, int(value), person):
            return True
        return any(_is_phone(value, phone) for phone in person.phones)


_GID: Final = re.compile(r"gid://shopify/(Customer|Order)/(\d{1,19})")
_CUSTOMER_PLACES: Final = frozenset({"customer.id", "customer_id", "customerid"})
_ORDER_PLACES: Final = frozenset(
    {"order.id", "order_id", "orderid", "lastorderid", "orders_to_redact", "orders_requested"}
)


def erase_bodies(session: Session, shop_id: int, sought: Sought, *, after: str) -> tuple[int, str]:
    """One chunk of the inbox: how many bodies went, and where to go on ("" at the end)."""
    last: str | None = session.execute(
        NEXT_CHUNK, {"shop_id": shop_id, "after": after, "limit": CHUNK}
    ).scalar_one()
    if last is None:
        return 0, ""
    found = find_bodies(session, shop_id, sought, after=after, last=last)
    if found:
        session.execute(
            ERASE_INBOX,
            {"shop_id": shop_id, "webhook_ids": [webhook_id for webhook_id, _ in found]},
        )
    return len(found), last


def find_bodies(
    session: Session, shop_id: int, sought: Sought, *, after: str, last: str
) -> list[tuple[str, bytes]]:
    """Webhook id and body of those in (after, last] that name the person."""
    rows = session.execute(
        SEARCH_INBOX,
        {"shop_id": shop_id, "after": after, "last": last, "pattern": sought.pattern},
    )
    return [(row.webhook_id, bytes(row.body)) for row in rows if sought.is_in(row.body, row.topic)]


def all_bodies(session: Session, shop_id: int, sought: Sought) -> Iterator[tuple[str, bytes]]:
    """Every body of the inbox that names the person, a chunk at a time."""
    after = ""
    while True:
        last: str | None = session.execute(
            NEXT_CHUNK, {"shop_id": shop_id, "after": after, "limit": CHUNK}
        ).scalar_one()
        if last is None:
            return
        yield from find_bodies(session, shop_id, sought, after=after, last=last)
        after = last


def erase_rejected(session: Session, shop_id: int, sought: Sought) -> int:
    names = [
        pair
        for first, last in sought.person.names
        for pair in product(_spellings(first), _spellings(last))
    ]
    erased = session.execute(
        ERASE_REJECTED,
        {
            "shop_id": shop_id,
            "pattern": sought.pattern,
            "first_names": [first for first, _ in names],
            "last_names": [last for _, last in names],
        },
    )
    return len(erased.all())


def erase_events(session: Session, shop_id: int, sought: Sought) -> int:
    if sought.email_pattern is None:
        return 0
    erased = session.execute(
        ERASE_EVENTS, {"shop_id": shop_id, "email_pattern": sought.email_pattern}
    )
    return len(erased.all())


def walk(read: Any, topic: str) -> Iterator[tuple[str, str | int]]:
    """Every text and number in a body, each with its place."""
    return _walk(
        read, {"customers": "customer", "orders": "order"}.get(topic.partition("/")[0], "")
    )


def customer_numbers(place: str, value: str | int) -> Iterator[int]:
    """The numbers that stand for a customer there."""
    if isinstance(value, str):
        if "gid://" in value:
            yield from (int(number) for kind, number in _GID.findall(value) if kind == "Customer")
        if place not in _CUSTOMER_PLACES:
            return
        value = int(value) if value.isascii() and value.isdigit() and len(value) < LONG else 0
    if place in _CUSTOMER_PLACES:
        yield value


def _walk(value: Any, place: str) -> Iterator[tuple[str, str | int]]:
    """Every text and number with its place: the key, and for an `id` also whose it is."""
    match value:
        case dict():
            for key, inner in value.items():
                folded = key.casefold()
                where = f"{place}.id" if folded == "id" else folded
                yield from _walk(inner, where)
                yield where, key
        case list():
            for each in value:
                yield from _walk(each, place)
        case bool() | None | float():
            return
        case str() | int():
            yield place, value


def _stands_for(place: str, number: int, person: Person) -> bool:
    if place in _CUSTOMER_PLACES:
        return number in person.customer_ids
    return place in _ORDER_PLACES and number in person.order_ids


def _holds_email(value: str, email: str) -> bool:
    """As an address of its own: `ada@x.com` is not in `nada@x.com`."""
    if email not in value:
        return False
    return re.search(rf"(?<![\w.+-]){re.escape(email)}(?![\w-]|\.\w)", value) is not None


def _is_phone(value: str, phone: str) -> bool:
    digits = re.sub(r"\D", "", phone)
    if len(digits) < SHORTEST_PHONE or re.fullmatch(r"[\d\s()+./-]+", value) is None:
        return False
    return re.sub(r"\D", "", value) == digits


def _spellings(value: str) -> set[str]:
    """As UTF-8 and with JSON's escapes, as it is and in one case, all as Postgres shows bytes."""
    folded = value.casefold().strip()
    variants = {value.strip(), folded, folded.upper()}
    escaped = {json.dumps(each)[1:-1] for each in variants}
    return {_escaped(each) for each in variants | escaped}


def _escaped(value: str) -> str:
    """As `lower(encode(bytea, 'escape'))` shows it: other bytes as three octal digits."""
    shown = [
        "\\\\" if byte == ord("\\") else chr(byte) if 0 < byte < ASCII else f"\\{byte:03o}"
        for byte in value.encode()
    ]
    return "".join(shown).lower()


def _email_pattern(spelling: str) -> str:
    return re.sub(r"([^a-z0-9])", r"\\\1", spelling)


def _phone_patterns(phones: Sequence[str]) -> Iterator[str]:
    """The digits with whatever people write between them."""
    for phone in phones:
        digits = re.sub(r"\D", "", phone)
        if len(digits) >= SHORTEST_PHONE:
            yield "[^0-9a-z]{0,3}".join(digits)
