"""Discounts and requests for codes as they are kept: each is written before Shopify is asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from activation.discounts.shopify import Made
from activation.discounts.terms import new_codes, period_of, read_terms
from activation.discounts.wanted import Stocked

LEASE: Final = timedelta(minutes=5)  # more than the longest call with all its retries
FIRST_LOOK: Final = timedelta(seconds=1)
LONGEST_WAIT: Final = timedelta(minutes=1)

ENSURE_POOL = text("""
-- Changes crm.discount_pools: the pool of a period, unless it is there. Index
-- uq_discount_pools__open.
INSERT INTO crm.discount_pools (
    shop_id, automation_id, step_key, terms, first_code, opened_at, assign_until, ends_at
)
VALUES (
    :shop_id, :automation_id, :step_key, :terms, :first_code, :now, :assign_until, :ends_at
)
ON CONFLICT (shop_id, automation_id, step_key, terms, assign_until) WHERE closed_at IS NULL
DO NOTHING
""")

CLAIM_POOLS = text("""
-- Returns pools to be looked at, with how many codes they have and will have. Changes
-- crm.discount_pools: our lease, and that they have been looked at. A pool that another worker
-- holds is passed over. Indexes uq_discount_pools__open, ix_discount_creations__open,
-- ix_discount_codes__free, ix_discount_codes__creation.
WITH claimed AS (
    SELECT pools.pool_id, pools.checked_at IS NOT NULL AS is_routine
    FROM crm.discount_pools AS pools
    WHERE
        pools.shop_id = :shop_id
        AND pools.closed_at IS NULL
        AND coalesce(pools.lease_until <= clock_timestamp(), true)
        AND (
            (
                pools.assign_until > :now
                AND coalesce(
                    pools.checked_at <= clock_timestamp() - interval '15 minutes', true
                )
            )
            OR EXISTS (
                SELECT 1
                FROM crm.discount_creations AS creations
                WHERE
                    creations.shop_id = pools.shop_id
                    AND creations.pool_id = pools.pool_id
                    AND creations.state = 'open'
                    AND creations.next_attempt_at <= clock_timestamp()
            )
        )
    ORDER BY pools.pool_id
    FOR UPDATE OF pools SKIP LOCKED
)

UPDATE crm.discount_pools AS pools
SET lease_until = clock_timestamp() + :lease, checked_at = clock_timestamp()
FROM claimed
WHERE pools.shop_id = :shop_id AND pools.pool_id = claimed.pool_id
RETURNING
    pools.pool_id,
    pools.automation_id,
    pools.step_key,
    pools.terms,
    pools.first_code,
    pools.discount_id,
    pools.opened_at,
    pools.assign_until,
    pools.ends_at,
    pools.error,
    claimed.is_routine
""")

COUNT_STOCK = text("""
-- Returns how many codes of the pool are free or asked for. Changes nothing.
-- Indexes ix_discount_codes__free, ix_discount_creations__open, ix_discount_codes__creation.
SELECT
    (
        SELECT count(*)
        FROM crm.discount_codes AS codes
        WHERE codes.shop_id = :shop_id AND codes.pool_id = :pool_id AND codes.state = 'free'
    )
    + (
        SELECT count(*)
        FROM crm.discount_creations AS creations
        INNER JOIN crm.discount_codes AS codes
            ON
                creations.shop_id = codes.shop_id
                AND creations.creation_id = codes.creation_id
        WHERE
            creations.shop_id = :shop_id
            AND creations.pool_id = :pool_id
            AND creations.state = 'open'
            AND codes.state = 'requested'
    )
""")

SETTLE_POOL = text("""
-- Changes crm.discount_pools: our lease ends; what was learned. Primary key.
UPDATE crm.discount_pools
SET
    lease_until = NULL,
    error = :error,
    checked_at = CASE :again
        WHEN 'now' THEN NULL
        WHEN 'soon' THEN clock_timestamp() - interval '14 minutes'
        ELSE checked_at
    END
WHERE shop_id = :shop_id AND pool_id = :pool_id
""")

KEEP_DISCOUNT = text("""
-- Changes crm.discount_pools: Shopify's id of the discount. Primary key.
UPDATE crm.discount_pools
SET discount_id = :discount_id
WHERE shop_id = :shop_id AND pool_id = :pool_id
""")

CLOSE_POOL = text("""
-- Changes crm.discount_pools: its discount is gone; another takes its place. Primary key.
UPDATE crm.discount_pools
SET lease_until = NULL, closed_at = :now, error = :error
WHERE shop_id = :shop_id AND pool_id = :pool_id
""")

CLOSE_CODES = text("""
-- Changes crm.discount_codes: those of a discount that is gone are given to nobody.
-- Index ix_discount_codes__free.
UPDATE crm.discount_codes
SET state = 'expired'
WHERE shop_id = :shop_id AND pool_id = :pool_id AND state = 'free'
""")

ADD_CREATION = text("""
-- Returns the number of a new request for codes. Changes crm.discount_creations.
INSERT INTO crm.discount_creations (shop_id, pool_id, state, requested_at, next_attempt_at)
VALUES (:shop_id, :pool_id, 'open', :now, clock_timestamp() + :lease)
RETURNING creation_id
""")

ADD_CODES = text("""
-- Returns the codes that are asked for. Changes crm.discount_codes. One that we asked for before is
-- left out.
INSERT INTO crm.discount_codes (shop_id, pool_id, creation_id, code, state)
SELECT :shop_id, :pool_id, :creation_id, drawn.code, 'requested'
FROM unnest(CAST(:codes AS text [])) AS drawn (code)
ON CONFLICT (shop_id, code) DO NOTHING
RETURNING code
""")

DUE_CREATIONS = text("""
-- Returns requests of the pool that are to be looked at. Changes nothing.
-- Index ix_discount_creations__open.
SELECT creation_id, shopify_id, attempts
FROM crm.discount_creations
WHERE
    shop_id = :shop_id
    AND pool_id = :pool_id
    AND state = 'open'
    AND next_attempt_at <= clock_timestamp()
ORDER BY creation_id
""")

KEEP_JOB = text("""
-- Changes crm.discount_creations: Shopify's job, looked at shortly. Primary key.
UPDATE crm.discount_creations
SET shopify_id = :job_id, next_attempt_at = clock_timestamp() + :delay
WHERE shop_id = :shop_id AND creation_id = :creation_id
""")

LOOK_AGAIN = text("""
-- Changes crm.discount_creations: the job still runs. Primary key.
UPDATE crm.discount_creations
SET attempts = attempts + 1, next_attempt_at = clock_timestamp() + :delay
WHERE shop_id = :shop_id AND creation_id = :creation_id
""")

FINISH_CREATION = text("""
-- Changes crm.discount_creations: over. Primary key.
UPDATE crm.discount_creations
SET state = :state, finished_at = :now
WHERE shop_id = :shop_id AND creation_id = :creation_id AND state = 'open'
""")

SETTLE_CODES = text("""
-- Returns a row for each code that is free now. Changes crm.discount_codes: what Shopify said of
-- each; of what it said nothing, nothing is known. Index ix_discount_codes__creation.
UPDATE crm.discount_codes AS codes
SET
    state = CASE
        WHEN told.code IS NULL THEN 'unconfirmed'
        WHEN told.error IS NULL THEN 'free'
        ELSE 'refused'
    END,
    error = told.error
FROM crm.discount_codes AS asked
LEFT JOIN unnest(CAST(:codes AS text []), CAST(:errors AS text [])) AS told (code, error)
    ON asked.code = told.code
WHERE
    asked.shop_id = :shop_id
    AND asked.creation_id = :creation_id
    AND codes.shop_id = asked.shop_id
    AND codes.code_id = asked.code_id
    AND codes.state = 'requested'
RETURNING codes.state = 'free' AS is_free
""")

WAKE_WAITING = text("""
-- Changes crm.messages: what waits for a code of this step is looked at again.
-- Index ix_messages__no_code.
UPDATE crm.messages
SET due_at = :now, defer_reason = NULL, waited_for = defer_reason
WHERE
    shop_id = :shop_id
    AND automation_id = :automation_id
    AND step_key = :step_key
    AND state = 'queued'
    AND defer_reason = 'no_discount_code'
""")


class Again(Enum):
    """When the pool is to be looked at next: at once, in a minute, or in a quarter of an hour."""

    NOW = "now"
    SOON = "soon"
    LATER = "later"


@dataclass(frozen=True)
class Request:
    """Codes that Shopify is to make, kept."""

    creation_id: int
    codes: tuple[str, ...]


class Pools:
    """The pools of one shop, in the caller's transaction. `now` is business time."""

    def __init__(self, session: Session, shop_id: int, now: datetime) -> None:
        self._session, self._shop_id, self._now = session, shop_id, now

    def _run(self, statement: Any, **values: Any) -> Any:
        return self._session.execute(statement, {"shop_id": self._shop_id, **values})

    def ensure(self, wanted: Stocked, *, at: datetime) -> None:
        """The pool for mails of `at`."""
        code = read_terms(wanted.terms)
        period = period_of(code, at)
        self._run(
            ENSURE_POOL,
            automation_id=wanted.automation_id,
            step_key=wanted.step_key,
            terms=wanted.terms,
            first_code=new_codes(code.prefix, 1)[0],
            now=self._now,
            assign_until=period.assign_until,
            ends_at=period.ends_at,
        )

    def claim(self) -> Sequence[Row[Any]]:
        found: Sequence[Row[Any]] = self._run(CLAIM_POOLS, now=self._now, lease=LEASE).all()
        return found

    def stock(self, pool_id: int) -> int:
        return int(self._run(COUNT_STOCK, pool_id=pool_id).scalar_one())

    def keep_discount(self, pool_id: int, discount_id: str) -> None:
        self._run(KEEP_DISCOUNT, pool_id=pool_id, discount_id=discount_id)

    def settle(self, pool: Row[Any], *, error: str | None, again: Again) -> None:
        """Our lease ends. Who waits is looked at again once it is known that nothing comes."""
        self._run(SETTLE_POOL, pool_id=pool.pool_id, error=error, again=again.value)
        if error is not None and pool.error is None:
            self.wake(pool)

    def close(self, pool: Row[Any], error: str) -> None:
        self._run(CLOSE_POOL, pool_id=pool.pool_id, now=self._now, error=error)
        self._run(CLOSE_CODES, pool_id=pool.pool_id)

    def request(self, pool: Row[Any], count: int) -> Request:
        """New codes, to be asked for; if nothing more is heard of it, the request is lost."""
        creation_id = self._run(
            ADD_CREATION, pool_id=pool.pool_id, now=self._now, lease=LEASE
        ).scalar_one()
        codes = self._run(
            ADD_CODES,
            pool_id=pool.pool_id,
            creation_id=creation_id,
            codes=new_codes(read_terms(pool.terms).prefix, count),
        )
        return Request(creation_id, tuple(codes.scalars()))

    def due_creations(self, pool_id: int) -> Sequence[Row[Any]]:
        found: Sequence[Row[Any]] = self._run(DUE_CREATIONS, pool_id=pool_id).all()
        return found

    def keep_job(self, creation_id: int, job_id: str) -> None:
        self._run(KEEP_JOB, creation_id=creation_id, job_id=job_id, delay=FIRST_LOOK)

    def look_again(self, creation_id: int, attempts: int) -> None:
        delay = min(FIRST_LOOK * (1 << min(attempts, 10)), LONGEST_WAIT)
        self._run(LOOK_AGAIN, creation_id=creation_id, delay=delay)

    def finish(self, creation_id: int, made: Made, *, is_lost: bool = False) -> int:
        """What Shopify said decides which codes there are; returns how many."""
        rows = self._run(
            SETTLE_CODES,
            creation_id=creation_id,
            codes=list(made.errors),
            errors=list(made.errors.values()),
        ).all()
        state = "lost" if is_lost else "done"
        self._run(FINISH_CREATION, creation_id=creation_id, state=state, now=self._now)
        return sum(row.is_free for row in rows)

    def wake(self, pool: Row[Any]) -> None:
        values = {"automation_id": pool.automation_id, "step_key": pool.step_key}
        self._run(WAKE_WAITING, now=self._now, **values)
