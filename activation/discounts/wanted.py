"""Which steps of a shop need codes, and how many soon."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from activation.automation.actions import SendEmail, walk
from activation.automation.definition import Definition, read_definition
from activation.discounts.terms import terms_of
from core.arrays import array_text

FLOOR: Final = 25  # codes in stock of a step of which nothing is due
MOST: Final = 25_000  # in stock; who comes after them finds new ones
HORIZON: Final = timedelta(days=1)

HAS_CODES: Final = "definition @? '$.**.unique_code'"

# A flow's first look, one that is due, or one that a mail without a code asked for: `checked_at` is
# NULL then (assigning.py).
IS_DUE: Final = f"""(
    EXISTS (
        SELECT 1
        FROM crm.discount_creations AS creations
        WHERE
            creations.shop_id = shops.shop_id
            AND creations.state = 'open'
            AND creations.next_attempt_at <= clock_timestamp()
    )
    OR EXISTS (
        SELECT 1
        FROM crm.automations
        INNER JOIN crm.automation_versions AS versions
            ON
                automations.shop_id = versions.shop_id
                AND automations.automation_id = versions.automation_id
                AND automations.current_version = versions.version
        WHERE
            automations.shop_id = shops.shop_id
            AND automations.is_active
            AND versions.{HAS_CODES}
            AND (
                NOT EXISTS (
                    SELECT 1
                    FROM crm.discount_pools AS pools
                    WHERE
                        pools.shop_id = shops.shop_id
                        AND pools.automation_id = automations.automation_id
                        AND pools.closed_at IS NULL
                        AND (
                            pools.checked_at > clock_timestamp() - interval '15 minutes'
                            OR pools.lease_until > clock_timestamp()
                        )
                )
                OR EXISTS (
                    SELECT 1
                    FROM crm.discount_pools AS pools
                    WHERE
                        pools.shop_id = shops.shop_id
                        AND pools.automation_id = automations.automation_id
                        AND pools.closed_at IS NULL
                        AND pools.checked_at IS NULL
                        AND coalesce(pools.lease_until <= clock_timestamp(), true)
                )
            )
    )
)"""

ANYTHING_DUE = text(f"""
-- Returns whether the shop's stock of codes is to be looked at. Changes nothing.
-- Indexes ix_discount_creations__open, uq_discount_pools__open; a shop has few flows.
SELECT {IS_DUE}
FROM crm.shops
WHERE shops.shop_id = :shop_id
""")

READ_VERSIONS = text(f"""
-- Returns the versions whose steps need codes: current ones of flows that are on, and those that
-- mails wait by. Changes nothing. Index ix_messages__no_code; a shop has few flows.
SELECT
    automations.automation_id,
    automations.name,
    versions.version,
    versions.definition
FROM crm.automations
INNER JOIN crm.automation_versions AS versions
    ON
        automations.shop_id = versions.shop_id
        AND automations.automation_id = versions.automation_id
WHERE
    automations.shop_id = :shop_id
    AND automations.is_active
    AND versions.{HAS_CODES}
    AND (
        automations.current_version = versions.version
        OR EXISTS (
            SELECT 1
            FROM crm.messages
            WHERE
                messages.shop_id = automations.shop_id
                AND messages.automation_id = automations.automation_id
                AND messages.version = versions.version
                AND messages.state = 'queued'
                AND messages.defer_reason = 'no_discount_code'
        )
    )
ORDER BY automations.automation_id, versions.version
""")

COUNT_ENROLLED = text("""
-- Returns how many are to move on soon, by where they stand. Changes nothing.
-- Index ix_enrollments__due.
SELECT
    automation_id,
    coalesce(step_version, version) AS version,
    step_position,
    count(*) AS people
FROM crm.enrollments
WHERE
    shop_id = :shop_id
    AND state = 'active'
    AND due_at <= :until
    AND automation_id = ANY(CAST(:automation_ids AS integer []))
    AND NOT is_held_out
    AND NOT is_test
GROUP BY automation_id, coalesce(step_version, version), step_position
""")

COUNT_QUEUED = text("""
-- Returns how many mails of each step may leave soon. Changes nothing. Index ix_messages__queue.
SELECT automation_id, version, step_key, count(*) AS mails
FROM crm.messages
WHERE
    shop_id = :shop_id
    AND state = 'queued'
    AND due_at <= :until
    AND automation_id = ANY(CAST(:automation_ids AS integer []))
    AND NOT is_test
GROUP BY automation_id, version, step_key
""")


@dataclass(frozen=True)
class Stocked:
    """A step with terms, of which codes are to be had; `needed` of them."""

    automation_id: int
    flow: str
    step_key: str
    terms: str
    needed: int


def read_wanted(session: Session, shop_id: int, *, now: datetime) -> list[Stocked]:
    """What is to be in stock: as many as may be due within a day, and never fewer than a few."""
    versions = session.execute(READ_VERSIONS, {"shop_id": shop_id}).all()
    if not versions:
        return []
    asked = {
        "shop_id": shop_id,
        "until": now + HORIZON,
        "automation_ids": array_text({row.automation_id for row in versions}),
    }
    enrolled = session.execute(COUNT_ENROLLED, asked).all()
    queued = {
        (row.automation_id, row.version, row.step_key): row.mails
        for row in session.execute(COUNT_QUEUED, asked).all()
    }
    latest = {row.automation_id: row.version for row in versions}
    needed: dict[tuple[int, str, str, str], int] = defaultdict(int)
    for row in versions:
        definition = read_definition(row.definition)
        for step_key, terms in _steps_with_codes(definition):
            of = (row.automation_id, row.name, step_key, terms)
            needed[of] += queued.get((row.automation_id, row.version, step_key), 0)
            if row.version == latest[row.automation_id]:
                needed[of] += _to_come(enrolled, row, definition, step_key)
    return [Stocked(*of, needed=min(MOST, max(FLOOR, count))) for of, count in needed.items()]


def _steps_with_codes(definition: Definition) -> Iterator[tuple[str, str]]:
    """Step keys and terms."""
    for step in walk(definition.steps):
        if isinstance(step, SendEmail) and step.unique_code is not None:
            yield step.step_key, terms_of(step.unique_code)


def _to_come(
    enrolled: Sequence[Row[Any]], of: Row[Any], definition: Definition, step_key: str
) -> int:
    """Who stands at or before the step. Where they follow another version, all count: they may
    come to it.
    """
    position = definition.position_of(step_key) or 0
    return sum(
        row.people
        for row in enrolled
        if row.automation_id == of.automation_id
        and (row.version != of.version or row.step_position <= position)
    )


def by_step(wanted: Sequence[Stocked]) -> Mapping[tuple[int, str, str], Stocked]:
    return {(each.automation_id, each.step_key, each.terms): each for each in wanted}
