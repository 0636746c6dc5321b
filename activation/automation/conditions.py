"""What branches ask, answered as of now for everybody who may reach one in a round."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.automation.actions import (
    AddTag,
    Condition,
    HasTag,
    InSegment,
    OrderCount,
    RemoveTag,
    TotalSpent,
)
from activation.automation.walking import Due
from core.arrays import array_text

# A tag of ours that Shopify has not been told yet, or that has not been read back since, is there:
# whoever added it in one step may ask for it in the next.
READ_STANDINGS = text("""
-- Returns one row per customer: segment, tags in lower case, counted orders and what they spent.
-- Changes nothing. Primary keys, uq_segment_memberships__one_open, ix_write_backs__customer.
SELECT
    wanted.customer_id,
    memberships.segment,
    coalesce(statistics.order_count, 0) AS order_count,
    coalesce(statistics.total_spent, 0) AS total_spent,
    ARRAY(
        SELECT lower(told.tag)
        FROM unnest(customers.tags) AS told (tag)
        WHERE NOT lower(told.tag) = ANY(coalesce(wishes.removed, '{}'))
    ) || coalesce(wishes.added, '{}') AS tags
FROM unnest(CAST(:customer_ids AS bigint [])) AS wanted (customer_id)
LEFT JOIN raw_shopify.customers
    ON customers.shop_id = :shop_id AND wanted.customer_id = customers.customer_id
LEFT JOIN raw_shopify.customer_statistics AS statistics
    ON statistics.shop_id = :shop_id AND wanted.customer_id = statistics.customer_id
LEFT JOIN crm.segment_memberships AS memberships
    ON
        memberships.shop_id = :shop_id
        AND wanted.customer_id = memberships.customer_id
        AND memberships.exited_at IS NULL
LEFT JOIN raw_shopify.refresh_requests AS requests
    ON
        requests.shop_id = :shop_id
        AND requests.object_type = 'Customer'
        AND wanted.customer_id = requests.object_id
CROSS JOIN LATERAL (
    SELECT
        array_agg(latest.tag) FILTER (WHERE latest.kind = 'add_tag') AS added,
        array_agg(latest.tag) FILTER (WHERE latest.kind = 'remove_tag') AS removed
    FROM (
        SELECT DISTINCT ON (lower(wish.tag))
            lower(wish.tag) AS tag,
            wish.kind
        FROM crm.write_backs AS wish
        WHERE
            wish.shop_id = :shop_id
            AND wish.customer_id = wanted.customer_id
            AND wish.tag IS NOT NULL
            AND (
                wish.state = 'queued'
                OR (wish.state = 'done' AND requests.object_id IS NOT NULL)
            )
        ORDER BY lower(wish.tag), wish.write_back_id DESC
    ) AS latest
) AS wishes
""")


@dataclass(frozen=True)
class Standing:
    """Of one customer now; `tags` in lower case."""

    segment: str | None = None
    tags: frozenset[str] = frozenset()
    order_count: int = 0
    total_spent: Decimal = Decimal(0)


def read_standings(
    session: Session, shop_id: int, customer_ids: Iterable[int]
) -> dict[int, Standing]:
    wanted = sorted(set(customer_ids))
    if not wanted:
        return {}
    rows = session.execute(READ_STANDINGS, {"shop_id": shop_id, "customer_ids": array_text(wanted)})
    return {
        row.customer_id: Standing(
            row.segment, frozenset(row.tags), row.order_count, row.total_spent
        )
        for row in rows.all()
    }


def holds(condition: Condition, standing: Standing, done: Sequence[Due] = ()) -> bool:
    """`done`: what the same walk has done before, of which the database does not know yet."""
    match condition:
        case InSegment(segments=segments):
            return standing.segment in segments
        case HasTag(tag=tag):
            return tag.casefold() in _tags_after(standing, done)
        case OrderCount(at_least=at_least):
            return standing.order_count >= at_least
        case TotalSpent(at_least=at_least):
            return standing.total_spent >= at_least


def _tags_after(standing: Standing, done: Sequence[Due]) -> frozenset[str]:
    tags = frozenset(tag.casefold() for tag in standing.tags)
    for each in done:
        match each.step:
            case AddTag(tag=tag):
                tags |= {tag.casefold()}
            case RemoveTag(tag=tag):
                tags -= {tag.casefold()}
    return tags
