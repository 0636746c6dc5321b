"""One code to one mail, in the transaction that freezes it: so it is in the bytes, or nowhere.

A mail keeps its code whatever becomes of its batch; another gets it never.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.eligibility import Defer, Skip
from core.arrays import array_text
from core.models.enums import DeferReason, SkipReason

WAIT: Final = timedelta(minutes=10)  # codes that come wake who waits for them
SAMPLE_CODE: Final = "SAMPLE-CODE"

EXPIRE = text("""
-- Changes crm.discount_codes: a mail that is to be frozen again long after it got its code gets
-- another, once the first works no more. It has not left with the first: its batch was taken apart.
-- Index uq_discount_codes__message.
UPDATE crm.discount_codes AS codes
SET state = 'expired'
FROM crm.discount_pools AS pools
WHERE
    codes.shop_id = :shop_id
    AND codes.message_id = ANY(CAST(:message_ids AS bigint []))
    AND codes.state = 'assigned'
    AND pools.shop_id = codes.shop_id
    AND pools.pool_id = codes.pool_id
    AND (pools.ends_at <= :now OR pools.closed_at IS NOT NULL)
""")

READ_ASSIGNED = text("""
-- Returns the codes that these mails have. Changes nothing. Index uq_discount_codes__message.
SELECT message_id, code
FROM crm.discount_codes
WHERE
    shop_id = :shop_id
    AND message_id = ANY(CAST(:message_ids AS bigint []))
    AND state = 'assigned'
""")

ASSIGN = text("""
-- Returns the code that each of these mails now has; there may be fewer codes than mails. Changes
-- crm.discount_codes. Codes that another worker is giving out are passed over.
-- Indexes uq_discount_pools__open, ix_discount_codes__free.
WITH free AS MATERIALIZED (
    SELECT codes.code_id
    FROM crm.discount_pools AS pools
    INNER JOIN crm.discount_codes AS codes
        ON
            pools.shop_id = codes.shop_id
            AND pools.pool_id = codes.pool_id
            AND codes.state = 'free'
    WHERE
        pools.shop_id = :shop_id
        AND pools.automation_id = :automation_id
        AND pools.step_key = :step_key
        AND pools.terms = :terms
        AND pools.assign_until > :now
        AND pools.closed_at IS NULL
    ORDER BY pools.assign_until, codes.code_id
    LIMIT :mails
    FOR UPDATE OF codes SKIP LOCKED
),

paired AS (
    SELECT numbered.code_id, wanting.message_id
    FROM (SELECT code_id, row_number() OVER () AS place FROM free) AS numbered
    INNER JOIN
        unnest(CAST(:message_ids AS bigint [])) WITH ORDINALITY AS wanting (message_id, place)
        ON numbered.place = wanting.place
)

UPDATE crm.discount_codes AS codes
SET state = 'assigned', message_id = paired.message_id, assigned_at = :now
FROM paired
WHERE codes.shop_id = :shop_id AND codes.code_id = paired.code_id
RETURNING codes.message_id, codes.code
""")

ASK_FOR_MORE = text("""
-- Returns why no codes of these terms come, if that is known. Changes crm.discount_pools: unless it
-- is, the flow's stock is looked at next. Index uq_discount_pools__open.
WITH pools AS MATERIALIZED (
    SELECT pool_id, step_key, terms, checked_at, error
    FROM crm.discount_pools
    WHERE
        shop_id = :shop_id
        AND automation_id = :automation_id
        AND assign_until > :now
        AND closed_at IS NULL
),

asked AS (
    UPDATE crm.discount_pools AS looked_at
    SET checked_at = NULL
    FROM pools
    WHERE
        looked_at.shop_id = :shop_id
        AND looked_at.pool_id = pools.pool_id
        AND pools.error IS NULL
        AND pools.checked_at IS NOT NULL
)

SELECT max(error) FROM pools WHERE step_key = :step_key AND terms = :terms
""")

CODE_OF_MESSAGE = text("""
-- Returns the code that a mail has, and until when it works. Changes nothing.
-- Index uq_discount_codes__message.
SELECT codes.code, pools.ends_at
FROM crm.discount_codes AS codes
INNER JOIN crm.discount_pools AS pools
    ON codes.shop_id = pools.shop_id AND codes.pool_id = pools.pool_id
WHERE
    codes.shop_id = :shop_id
    AND codes.message_id = :message_id
    AND codes.state = 'assigned'
""")


class Wanting(Protocol):
    """A mail that is about to be frozen."""

    @property
    def message_id(self) -> int: ...
    @property
    def expires_at(self) -> datetime: ...
    @property
    def is_test(self) -> bool: ...


@dataclass(frozen=True)
class StepCodes:
    """What mails of one step get. `fixed`: the code for all that was chosen beside it."""

    automation_id: int
    step_key: str
    terms: str
    fixed: str | None


@dataclass(frozen=True)
class GivenCode:
    code: str
    ends_at: datetime


def give_codes(
    session: Session,
    shop_id: int,
    step: StepCodes,
    mails: Sequence[Wanting],
    *,
    now: datetime,
) -> dict[int, str | Skip | Defer]:
    """By message: its code; or that it waits for one, or is too late for it. An empty code: it
    leaves with the one that all get.
    """
    given: dict[int, str | Skip | Defer] = {
        mail.message_id: SAMPLE_CODE for mail in mails if mail.is_test
    }
    wanting = [mail for mail in mails if not mail.is_test]
    given |= _codes(session, shop_id, step, wanting, now=now)
    without = [mail for mail in wanting if mail.message_id not in given]
    if without:
        error: str | None = session.execute(
            ASK_FOR_MORE,
            {
                "shop_id": shop_id,
                "automation_id": step.automation_id,
                "step_key": step.step_key,
                "terms": step.terms,
                "now": now,
            },
        ).scalar_one()
        can_do_without = step.fixed is not None and error is not None
        for mail in without:
            given[mail.message_id] = "" if can_do_without else _wait(mail, now)
    return given


def _codes(
    session: Session, shop_id: int, step: StepCodes, mails: Sequence[Wanting], *, now: datetime
) -> Mapping[int, str]:
    """Those they have, and new ones as far as there are any."""
    asked = {"shop_id": shop_id, "message_ids": array_text(mail.message_id for mail in mails)}
    session.execute(EXPIRE, {**asked, "now": now})
    codes = {row.message_id: row.code for row in session.execute(READ_ASSIGNED, asked).all()}
    without = [mail.message_id for mail in mails if mail.message_id not in codes]
    if without:
        rows = session.execute(
            ASSIGN,
            {
                "shop_id": shop_id,
                "automation_id": step.automation_id,
                "step_key": step.step_key,
                "terms": step.terms,
                "now": now,
                "mails": len(without),
                "message_ids": array_text(without),
            },
        )
        codes |= {row.message_id: row.code for row in rows.all()}
    return codes


def _wait(mail: Wanting, now: datetime) -> Skip | Defer:
    """Until there may be one, and no longer than the mail is of use."""
    if now >= mail.expires_at:
        return Skip(SkipReason.TOO_LATE, DeferReason.NO_DISCOUNT_CODE)
    return Defer(DeferReason.NO_DISCOUNT_CODE, min(now + WAIT, mail.expires_at))


def code_of(session: Session, shop_id: int, message_id: int) -> GivenCode | None:
    """The customer's own code in a mail, if it has one."""
    asked = {"shop_id": shop_id, "message_id": message_id}
    row = session.execute(CODE_OF_MESSAGE, asked).one_or_none()
    return None if row is None else GivenCode(row.code, row.ends_at)
