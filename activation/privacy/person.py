"""Whom a request is about: every number, address and phone by which we know that one person."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.errors import PermanentError

EXPANDED: Final = "customer_ids"  # a subject with this key has been looked up before

READ_CUSTOMERS = text("""
-- Returns the customer rows of a person: by number, by address, and by what Shopify merged into
-- them or them into. Changes nothing. Indexes pk_customers, ix_customers__email,
-- pk_customer_merges, ix_customer_merges__kept.
SELECT customers.customer_id, customers.email, customers.phone,
    customers.first_name, customers.last_name
FROM raw_shopify.customers
WHERE
    customers.shop_id = :shop_id
    AND (
        customers.customer_id = ANY(CAST(:customer_ids AS bigint []))
        OR customers.email_normalized IN (
            SELECT lower(btrim(known.email))
            FROM unnest(CAST(:emails AS text [])) AS known (email)
        )
    )
""")

READ_MERGED = text("""
-- Returns the numbers of customers merged with these, either way. Changes nothing.
-- Indexes pk_customer_merges, ix_customer_merges__kept.
SELECT merges.deleted_customer_id AS customer_id
FROM raw_shopify.customer_merges AS merges
WHERE
    merges.shop_id = :shop_id
    AND merges.kept_customer_id = ANY(CAST(:customer_ids AS bigint []))
UNION
SELECT merges.kept_customer_id
FROM raw_shopify.customer_merges AS merges
WHERE
    merges.shop_id = :shop_id
    AND merges.deleted_customer_id = ANY(CAST(:customer_ids AS bigint []))
""")

READ_MAILED = text("""
-- Returns the addresses that mails to these customers went to, and under which they decided on
-- mails; a customer may have changed theirs. Changes nothing.
-- Indexes ix_messages__customer, ix_consent_events__customer.
SELECT messages.email
FROM crm.messages
WHERE
    messages.shop_id = :shop_id
    AND messages.customer_id = ANY(CAST(:customer_ids AS bigint []))
    AND messages.email IS NOT NULL
UNION
SELECT events.email_normalized
FROM crm.consent_events AS events
WHERE
    events.shop_id = :shop_id
    AND events.customer_id = ANY(CAST(:customer_ids AS bigint []))
    AND events.email_normalized IS NOT NULL
""")

READ_ORDERS = text("""
-- Returns the numbers of the person's orders, as a guest too. Changes nothing.
-- Index ix_orders__customer; the addresses of guests are searched one by one.
SELECT orders.order_id
FROM raw_shopify.orders
WHERE
    orders.shop_id = :shop_id
    AND (
        orders.customer_id = ANY(CAST(:customer_ids AS bigint []))
        OR lower(btrim(orders.email)) IN (
            SELECT lower(btrim(known.email))
            FROM unnest(CAST(:emails AS text [])) AS known (email)
        )
    )
""")


class NamesNobodyError(PermanentError):
    """Nothing can be done about such a request, ever."""


@dataclass(frozen=True)
class Person:
    """All tuples are sorted and without repeats. `names` are (first, last) where both are known."""

    customer_ids: tuple[int, ...] = ()
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    order_ids: tuple[int, ...] = ()
    names: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of_subject(cls, subject: Mapping[str, Any] | None) -> Self:
        """As a webhook named them, or as `as_subject` kept them.

        Raises NamesNobodyError.
        """
        given = subject or {}
        if EXPANDED in given:
            person = cls(
                customer_ids=tuple(given["customer_ids"]),
                emails=tuple(given["emails"]),
                phones=tuple(given["phones"]),
                order_ids=tuple(given["order_ids"]),
                names=tuple((first, last) for first, last in given["names"]),
            )
        else:
            person = cls(
                customer_ids=_sorted([given.get("customer_id")]),
                emails=_sorted([given.get("email")]),
                phones=_sorted([given.get("phone")]),
                order_ids=_sorted(given.get("order_ids") or ()),
            )
        if not (person.customer_ids or person.emails or person.order_ids):
            raise NamesNobodyError(
                "Shopify's request names neither a customer nor an address nor orders."
            )
        return person

    def as_subject(self) -> dict[str, Any]:
        return asdict(self)

    def parameters(self, shop_id: int) -> dict[str, Any]:
        """For statements of this package."""
        return {
            "shop_id": shop_id,
            "customer_ids": list(self.customer_ids),
            "emails": list(self.emails),
            "phones": list(self.phones),
            "order_ids": list(self.order_ids),
        }


def find_person(session: Session, shop_id: int, subject: Mapping[str, Any] | None) -> Person:
    """Everything known of whom a webhook names: merged accounts, former addresses, all orders."""
    person = Person.of_subject(subject)
    while True:
        wider = _widened(session, shop_id, person)
        if wider == person:
            return person
        person = wider


def _widened(session: Session, shop_id: int, person: Person) -> Person:
    parameters = person.parameters(shop_id)
    customers = session.execute(READ_CUSTOMERS, parameters).all()
    merged = session.scalars(READ_MERGED, parameters).all()
    mailed = session.scalars(READ_MAILED, parameters).all()
    orders = session.scalars(READ_ORDERS, parameters).all()
    names = [(row.first_name, row.last_name) for row in customers]
    return Person(
        customer_ids=_sorted(
            [*person.customer_ids, *(row.customer_id for row in customers), *merged]
        ),
        emails=_sorted([*person.emails, *(row.email for row in customers), *mailed]),
        phones=_sorted([*person.phones, *(row.phone for row in customers)]),
        order_ids=_sorted([*person.order_ids, *orders]),
        names=_sorted([*person.names, *(each for each in names if all(each))]),
    )


def _sorted(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(sorted({value for value in values if value}))
