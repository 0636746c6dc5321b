"""Who is meant by a number, Shopify's id or an address."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.errors import PermanentError
from core.ingestion.screen import Screen

NUMBER: Final = re.compile(r"(?:gid://shopify/Customer/)?(\d{1,19})")
LARGEST: Final = 2**63 - 1

FIND_BY_NUMBER = text("""
-- Returns the customer and whom they were merged into, if anybody. Changes nothing. Primary keys.
SELECT
    asked.customer_id,
    customers.customer_id IS NOT NULL AS is_known,
    customers.email,
    customers.deleted_at,
    coalesce(merges.kept_customer_id, customers.merged_into) AS merged_into,
    merges.applied_at IS NULL AND merges.kept_customer_id IS NOT NULL AS is_merging
FROM (SELECT CAST(:customer_id AS bigint) AS customer_id) AS asked
LEFT JOIN raw_shopify.customers
    ON customers.shop_id = :shop_id AND customers.customer_id = asked.customer_id
LEFT JOIN raw_shopify.customer_merges AS merges
    ON merges.shop_id = :shop_id AND merges.deleted_customer_id = asked.customer_id
""")

FIND_BY_ADDRESS = text("""
-- Returns the customer with the address, one who exists before one who was deleted, and of those
-- the latest. Changes nothing. Index ix_customers__email.
SELECT customer_id
FROM raw_shopify.customers
WHERE shop_id = :shop_id AND email_normalized = lower(btrim(CAST(:email AS text)))
ORDER BY deleted_at IS NOT NULL, updated_at DESC, customer_id DESC
LIMIT 1
""")


@dataclass(frozen=True)
class Found:
    """Who was meant. `merged_from`: the number that was asked for, where another one is left of it.

    An erased person has no number, no address and nothing else.
    """

    customer_id: int | None = None
    email: str | None = None
    deleted_at: datetime | None = None
    merged_from: int | None = None
    is_merging: bool = False
    is_erased: bool = False


ERASED: Final = Found(is_erased=True)
UNKNOWN: Final = Found()


def find_customer(
    session: Session, shop_id: int, customer: int | str, *, secret_key: SecretStr
) -> Found:
    """Raises PermanentError for what is neither a number nor an id nor an address."""
    number, email = read_customer(customer)
    if is_erased(session, shop_id, secret_key, number, email):
        return ERASED
    if number is None:
        number = session.scalar(FIND_BY_ADDRESS, {"shop_id": shop_id, "email": email})
        if number is None:
            return UNKNOWN
    found = _follow(session, shop_id, number)
    if is_erased(session, shop_id, secret_key, found.customer_id, found.email):
        return ERASED
    return found


def read_customer(customer: int | str) -> tuple[int | None, str | None]:
    """The number or the address that is meant."""
    given = str(customer).strip()
    number = NUMBER.fullmatch(given)
    if number is not None and 0 < int(number[1]) <= LARGEST:
        return int(number[1]), None
    if "@" in given:
        return None, given
    raise PermanentError(
        "Name the customer by Shopify's number, by gid://shopify/Customer/…, or by address."
    )


def _follow(session: Session, shop_id: int, asked: int) -> Found:
    """The end of a chain of merges; a circle, which Shopify cannot make, ends all the same."""
    seen: list[int] = []
    number, is_merging = asked, False
    while True:
        row = session.execute(FIND_BY_NUMBER, {"shop_id": shop_id, "customer_id": number}).one()
        seen.append(number)
        is_merging = is_merging or row.is_merging
        if row.merged_into is None or row.merged_into in seen:
            break
        number = row.merged_into
    if not row.is_known:
        return UNKNOWN
    return Found(
        customer_id=number,
        email=row.email,
        deleted_at=row.deleted_at,
        merged_from=None if number == asked else asked,
        is_merging=is_merging,
    )


def is_erased(
    session: Session,
    shop_id: int,
    secret_key: SecretStr,
    customer_id: int | None,
    email: str | None,
) -> bool:
    """Whether a number or an address is of somebody who was erased, or is about to be."""
    screen = Screen.load_for(
        session,
        shop_id,
        secret_key,
        customer_ids=[] if customer_id is None else [customer_id],
        emails=[email],
    )
    if screen is None:
        return False
    return screen.is_erased_email(email) or (
        customer_id is not None and screen.is_erased_customer(customer_id)
    )
