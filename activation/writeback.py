"""What Shopify is to be told: an outbox of tags and consents (docs/decisions/0017).

A wish is queued in the transaction that makes it true here, and written by the next activation run
(activation/writer.py). Of one customer, kind and tag only the latest wish counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import func, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from activation.dedupe import write_back_key
from core.models import WriteBack
from core.models.enums import ConsentState, WriteBackKind, WriteBackState

UNSUBSCRIBED_TAG: Final = "unsubscribed"
CONFIRMED: Final = "CONFIRMED_OPT_IN"

CUSTOMERS_OF_ADDRESS = text("""
-- Returns the customers with this address. `has_tag`: somebody tagged them so already.
-- `unsubscribed_by_us`, `tagged_by_us`: our latest wish said so, and was or will be written.
-- Changes nothing. Indexes ix_customers__email, ix_write_backs__customer.
SELECT
    customers.customer_id,
    EXISTS (
        SELECT 1 FROM unnest(customers.tags) AS tagged (tag) WHERE lower(tagged.tag) = :tag
    ) AS has_tag,
    coalesce(consent.consent_state = 'UNSUBSCRIBED', false) AS unsubscribed_by_us,
    coalesce(tagging.kind = 'add_tag', false) AS tagged_by_us
FROM raw_shopify.customers
LEFT JOIN LATERAL (
    SELECT wish.consent_state
    FROM crm.write_backs AS wish
    WHERE
        wish.shop_id = customers.shop_id
        AND wish.customer_id = customers.customer_id
        AND wish.kind = 'consent'
        AND wish.state IN ('queued', 'done')
    ORDER BY wish.write_back_id DESC
    LIMIT 1
) AS consent ON true
LEFT JOIN LATERAL (
    SELECT wish.kind
    FROM crm.write_backs AS wish
    WHERE
        wish.shop_id = customers.shop_id
        AND wish.customer_id = customers.customer_id
        AND lower(wish.tag) = :tag
        AND wish.state IN ('queued', 'done')
    ORDER BY wish.write_back_id DESC
    LIMIT 1
) AS tagging ON true
WHERE
    customers.shop_id = :shop_id
    AND customers.email_normalized = :email
    AND customers.deleted_at IS NULL
ORDER BY customers.customer_id
""")

# An earlier wish may be on its way to Shopify right now (tried, and nothing said of it yet). The
# later one is not written before that has ended: activation/writer.py waits for its lease. Or the
# earlier could arrive last, and stay.
SUPERSEDE_EARLIER = text("""
-- Changes crm.write_backs: earlier wishes about the same, not to be written any more. They are
-- locked in their order, so that two who supersede many wait for each other and no more.
-- Index ix_write_backs__customer.
UPDATE crm.write_backs AS superseded
SET
    state = 'superseded',
    finished_at = :at,
    next_attempt_at = CASE
        WHEN superseded.attempts > 0 AND superseded.error IS NULL THEN superseded.next_attempt_at
    END
WHERE
    superseded.shop_id = :shop_id
    AND superseded.write_back_id IN (
        SELECT earlier.write_back_id
        FROM crm.write_backs AS later
        INNER JOIN crm.write_backs AS earlier
            ON
                later.shop_id = earlier.shop_id
                AND later.customer_id = earlier.customer_id
                AND later.write_back_id > earlier.write_back_id
                AND (later.kind = 'consent') = (earlier.kind = 'consent')
                AND lower(later.tag) IS NOT DISTINCT FROM lower(earlier.tag)
        WHERE
            later.shop_id = :shop_id
            AND later.write_back_id = ANY(CAST(:write_back_ids AS bigint []))
            AND earlier.state = 'queued'
        ORDER BY earlier.write_back_id
        FOR UPDATE OF earlier
    )
""")


@dataclass(frozen=True)
class Occasion:
    """What asked for a change. `name` is made of stable identifiers: the same occasion is once.
    `at` is business time.
    """

    shop_id: int
    name: str
    at: datetime


@dataclass(frozen=True)
class TagWish:
    """A tag of one customer to be added or removed. `occasion` names what asked for it (a step of
    an enrolment) by stable identifiers.
    """

    customer_id: int
    tag: str
    is_added: bool
    occasion: str


def request_tags(session: Session, shop_id: int, wishes: Sequence[TagWish], *, at: datetime) -> int:
    """Have these tags added or removed at Shopify, once the caller's transaction commits.

    Returns how many are new: the same occasion again changes nothing. Of one customer and tag the
    last counts. `at` is business time.
    """
    rows = [
        _tag(
            Occasion(shop_id, wish.occasion, at),
            wish.customer_id,
            WriteBackKind.ADD_TAG if wish.is_added else WriteBackKind.REMOVE_TAG,
            wish.tag,
        )
        for wish in wishes
    ]
    return _queue(session, Occasion(shop_id, "", at), rows)


def request_tag(
    session: Session,
    shop_id: int,
    customer_id: int,
    tag: str,
    *,
    add: bool = True,
    occasion: str,
    at: datetime,
) -> bool:
    """As `request_tags`, of one; returns whether it is new."""
    wish = TagWish(customer_id, tag, is_added=add, occasion=occasion)
    return request_tags(session, shop_id, [wish], at=at) > 0


def after_unsubscribe(session: Session, asked: Occasion, email: str) -> int:
    """Tell Shopify that this (normalised) address left; returns how many wishes were queued."""
    wishes = []
    for row in _customers(session, asked.shop_id, email):
        wishes.append(_consent(asked, row.customer_id, ConsentState.UNSUBSCRIBED))
        if not row.has_tag or row.tagged_by_us:
            kind = WriteBackKind.ADD_TAG
            wishes.append(_tag(asked, row.customer_id, kind, UNSUBSCRIBED_TAG))
    return _queue(session, asked, wishes)


def after_undo(session: Session, asked: Occasion, email: str) -> int:
    """Take back what we told Shopify of this address, and nothing that others did there."""
    wishes = []
    for row in _customers(session, asked.shop_id, email):
        if row.unsubscribed_by_us:
            wishes.append(_consent(asked, row.customer_id, ConsentState.SUBSCRIBED))
        if row.tagged_by_us:
            kind = WriteBackKind.REMOVE_TAG
            wishes.append(_tag(asked, row.customer_id, kind, UNSUBSCRIBED_TAG))
    return _queue(session, asked, wishes)


def after_confirmation(session: Session, asked: Occasion, email: str) -> int:
    """Tell Shopify that whoever has this (normalised) address confirmed their subscription."""
    rows = _customers(session, asked.shop_id, email)
    return _queue(
        session,
        asked,
        [
            _consent(asked, row.customer_id, ConsentState.SUBSCRIBED) | {"consent_level": CONFIRMED}
            for row in rows
        ],
    )


def _customers(session: Session, shop_id: int, email: str) -> Sequence[Any]:
    return session.execute(
        CUSTOMERS_OF_ADDRESS, {"shop_id": shop_id, "email": email, "tag": UNSUBSCRIBED_TAG}
    ).all()


def _queue(session: Session, asked: Occasion, wishes: Sequence[dict[str, Any]]) -> int:
    """Numbered in the order in which they come, by which the later one is told."""
    if not wishes:
        return 0
    statement = (
        insert(WriteBack)
        .values(next_attempt_at=func.clock_timestamp())
        .on_conflict_do_nothing(index_elements=["shop_id", "dedupe_key"])
        .returning(WriteBack.write_back_id)
    )
    new = list(session.scalars(statement, list(wishes)))
    session.execute(
        SUPERSEDE_EARLIER, {"shop_id": asked.shop_id, "write_back_ids": new, "at": asked.at}
    )
    return len(new)


def _consent(asked: Occasion, customer_id: int, state: ConsentState) -> dict[str, Any]:
    wish = _wish(asked, customer_id, WriteBackKind.CONSENT, None)
    return wish | {"consent_state": state, "consent_at": asked.at}


def _tag(asked: Occasion, customer_id: int, kind: WriteBackKind, tag: str) -> dict[str, Any]:
    return _wish(asked, customer_id, kind, tag)


def _wish(
    asked: Occasion, customer_id: int, kind: WriteBackKind, tag: str | None
) -> dict[str, Any]:
    return {
        "shop_id": asked.shop_id,
        "dedupe_key": write_back_key(
            kind=kind.value, customer_id=customer_id, tag=tag, occasion=asked.name
        ),
        "customer_id": customer_id,
        "kind": kind,
        "tag": tag,
        "consent_state": None,
        "consent_level": None,
        "consent_at": None,
        "state": WriteBackState.QUEUED,
        "requested_at": asked.at,
    }
