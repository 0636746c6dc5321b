"""Why flows that are on get no codes, for those who can put it right."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.discounts.wanted import HAS_CODES

WRITE_SCOPE = "write_discounts"

READ_PROBLEMS = text(f"""
-- Returns a row for each step of a flow that is on and has a pool of which Shopify gives no codes,
-- with the mails that wait for one. Changes nothing. Indexes uq_discount_pools__open,
-- ix_messages__no_code.
SELECT
    automations.key,
    pools.step_key,
    max(pools.error) AS error,
    (
        SELECT count(*)
        FROM crm.messages
        WHERE
            messages.shop_id = automations.shop_id
            AND messages.automation_id = automations.automation_id
            AND messages.step_key = pools.step_key
            AND messages.state = 'queued'
            AND messages.defer_reason = 'no_discount_code'
    ) AS waiting
FROM crm.automations
INNER JOIN crm.automation_versions AS versions
    ON
        automations.shop_id = versions.shop_id
        AND automations.automation_id = versions.automation_id
        AND automations.current_version = versions.version
INNER JOIN crm.discount_pools AS pools
    ON
        automations.shop_id = pools.shop_id
        AND automations.automation_id = pools.automation_id
WHERE
    automations.shop_id = :shop_id
    AND automations.is_active
    AND versions.{HAS_CODES}
    AND pools.closed_at IS NULL
    AND pools.assign_until > :now
    AND pools.error IS NOT NULL
GROUP BY automations.shop_id, automations.automation_id, automations.key, pools.step_key
ORDER BY automations.key, pools.step_key
""")

GIVES_CODES = text(f"""
-- Returns the keys of flows that are on and give codes. Changes nothing. A shop has few flows.
SELECT automations.key
FROM crm.automations
INNER JOIN crm.automation_versions AS versions
    ON
        automations.shop_id = versions.shop_id
        AND automations.automation_id = versions.automation_id
        AND automations.current_version = versions.version
WHERE automations.shop_id = :shop_id AND automations.is_active AND versions.{HAS_CODES}
ORDER BY automations.key
""")


@dataclass(frozen=True)
class CodeProblem:
    """`waiting`: how many mails wait for a code."""

    flow: str
    step_key: str
    words: str
    waiting: int


def problems(session: Session, shop_id: int, *, now: datetime) -> list[CodeProblem]:
    """What Shopify said the last time, by flow and step."""
    rows = session.execute(READ_PROBLEMS, {"shop_id": shop_id, "now": now}).all()
    return [CodeProblem(row.key, row.step_key, row.error, row.waiting) for row in rows]


def flows_with_codes(session: Session, shop_id: int) -> list[str]:
    """Keys of flows that are on and give each customer a code of their own."""
    return list(session.scalars(GIVES_CODES, {"shop_id": shop_id}))
