"""Which moments are entries: who has not entered yet by this flow's rule, and how they would.

One SELECT around that of the moments. Enrolment inserts what it returns, a dry run reads it, and
what is due asks whether there is any.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from activation.automation.definition import Again, Definition
from activation.automation.holdout import TEST_TAG
from activation.automation.moments import Candidates, candidates_of, silent_before
from activation.automation.readiness import ShopState
from activation.automation.switching import LoadedAutomation
from activation.automation.triggers import AbandonedCheckout, Silence

FIRST: Final = "first"  # entry key of what happens once in a customer's life
LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Entries:
    """A SELECT of customer_id, entry_key, moment_at, order_id, checkout_key, segment, is_held_out
    and is_too_late.
    """

    sql: str
    parameters: dict[str, Any]

    def statement(self, around: str = "{entries}") -> TextClause:
        return text(around.replace("{entries}", self.sql))


@dataclass(frozen=True)
class Entry:
    """Somebody who would enter now."""

    customer_id: int
    entry_key: str
    moment_at: datetime
    order_id: int | None
    checkout_key: str | None
    segment: str | None
    is_held_out: bool
    is_too_late: bool


def allowed(definition: Definition) -> timedelta:
    """How long after its moment somebody may enter, with days of 24 hours."""
    return definition.first_delay + definition.late_after


def entries_since(
    automation: LoadedAutomation,
    shop: ShopState,
    *,
    shop_id: int,
    since: datetime,
    now: datetime,
    customer_ids: Sequence[int] | None = None,
    with_stays: bool = True,
) -> Entries | None:
    """Moments from `since` up to `now`; None where the trigger enrols nobody."""
    candidates = candidates_of(automation.definition.trigger)
    if candidates is None:
        return None
    window = {
        "since": since,
        "until": now,
        "customer_ids": None if customer_ids is None else list(customer_ids),
        "with_stays": with_stays,
    }
    return _entries(candidates, automation, shop, shop_id=shop_id, now=now, window=window)


def silent_entries(
    automation: LoadedAutomation, shop: ShopState, *, shop_id: int, until: datetime, now: datetime
) -> Entries | None:
    """Those silent already at `until`, most of them for long; None for other triggers."""
    trigger = automation.definition.trigger
    if not isinstance(trigger, Silence):
        return None
    window = {"since": LONG_AGO, "until": until, "customer_ids": None, "with_stays": True}
    return _entries(
        silent_before(trigger), automation, shop, shop_id=shop_id, now=now, window=window
    )


def read_entries(session: Session, entries: Entries) -> list[Entry]:
    """In the order of their moments. Changes nothing."""
    rows = session.execute(
        entries.statement("SELECT * FROM ({entries}) AS entries ORDER BY moment_at, customer_id"),
        entries.parameters,
    )
    return [
        Entry(
            customer_id=row.customer_id,
            entry_key=row.entry_key,
            moment_at=row.moment_at,
            order_id=row.order_id,
            checkout_key=row.checkout_key,
            segment=row.segment,
            is_held_out=row.is_held_out,
            is_too_late=row.is_too_late,
        )
        for row in rows
    ]


def _entries(
    candidates: Candidates,
    automation: LoadedAutomation,
    shop: ShopState,
    *,
    shop_id: int,
    now: datetime,
    window: dict[str, Any],
) -> Entries:
    definition = automation.definition
    waits = definition.first_waits
    parameters = {
        "shop_id": shop_id,
        "zone": shop.zone,
        "domain": shop.domain,
        "automation_id": automation.automation_id,
        "automation_key": automation.key,
        "first": FIRST,
        "test_tag": TEST_TAG,
        "holdout_percent": definition.holdout_percent,
        "wait_days": sum(wait.days for wait in waits),
        "wait_time": timedelta(seconds=sum(wait.seconds for wait in waits)),
        "late_after": definition.late_after,
        "now": now,
        "repeats_after": timedelta(),
        **candidates.parameters,
        **window,
    }
    match definition.entry:
        case Again(after_days=0):
            sql = _shape(candidates.sql, key="candidates.own_key", pick="", entered=_SAME_KEY)
        case Again(after_days=days):
            parameters["repeats_after"] = timedelta(days=days)
            sql = _shape(
                candidates.sql, key="candidates.own_key", pick=_EARLIEST, entered=_SAME_OR_RECENT
            )
        case _:
            sql = _shape(candidates.sql, key=":first", pick=_EARLIEST, entered="true")
    if isinstance(definition.trigger, AbandonedCheckout):
        sql = f"SELECT * FROM ({sql}) AS entries WHERE entries.first_due_at <= :now"
    return Entries(sql, {name: each for name, each in parameters.items() if f":{name}" in sql})


_EARLIEST: Final = "DISTINCT ON (candidates.customer_id)"
_SAME_KEY: Final = "enrollments.entry_key = candidates.own_key"
_SAME_OR_RECENT: Final = f"""(
                {_SAME_KEY}
                OR enrollments.moment_at > candidates.moment_at - :repeats_after
            )"""
# The first four bytes, big endian, of SHA-256; as activation/automation/holdout.py.
_IS_HELD_OUT: Final = """(
        :holdout_percent > 0
        AND CAST(CAST('x' || encode(substr(sha256(convert_to(
            CAST(:domain AS text) || '/' || CAST(:automation_key AS text) || '/'
            || candidates.customer_id, 'UTF8'
        )), 1, 4), 'hex') AS bit (32)) AS bigint) % 100 < :holdout_percent
        AND NOT EXISTS (
            SELECT 1 FROM unnest(customers.tags) AS told (tag) WHERE lower(told.tag) = :test_tag
        )
    )"""


def _shape(candidates: str, *, key: str, pick: str, entered: str) -> str:
    """Of several moments of one customer that may not both enter the earliest does.

    Whoever is being merged waits until it is known whose enrolments there are (merges.py); then
    they are evaluated again. Indexes uq_enrollments__… , ix_customer_merges__open, primary keys.
    """
    order = f"ORDER BY candidates.customer_id, candidates.moment_at, {key}" if pick else ""
    return f"""
    SELECT {pick}
        candidates.customer_id,
        {key} AS entry_key,
        candidates.moment_at,
        candidates.order_id,
        candidates.checkout_key,
        candidates.segment,
        {_IS_HELD_OUT} AS is_held_out,
        first_due.at + :late_after < :now AS is_too_late,
        first_due.at AS first_due_at
    FROM ({candidates}) AS candidates
    CROSS JOIN LATERAL (
        SELECT
            CASE
                WHEN :wait_days > 0
                    THEN (
                        candidates.moment_at AT TIME ZONE CAST(:zone AS text)
                        + make_interval(days => :wait_days)
                    ) AT TIME ZONE CAST(:zone AS text)
                ELSE candidates.moment_at
            END + :wait_time AS at
    ) AS first_due
    LEFT JOIN raw_shopify.customers
        ON
            customers.shop_id = :shop_id
            AND customers.customer_id = candidates.customer_id
    WHERE
        customers.deleted_at IS NULL
        AND NOT EXISTS (
            SELECT 1
            FROM raw_shopify.customer_merges AS merges
            WHERE
                merges.shop_id = :shop_id
                AND merges.applied_at IS NULL
                AND candidates.customer_id IN (merges.deleted_customer_id, merges.kept_customer_id)
        )
        AND NOT EXISTS (
            SELECT 1
            FROM crm.enrollments
            WHERE
                enrollments.shop_id = :shop_id
                AND enrollments.automation_id = :automation_id
                AND enrollments.customer_id = candidates.customer_id
                AND NOT enrollments.is_test
                AND {entered}
        )
    {order}
    """
