"""What was touched before migration 0005 is in the queue after it, and the other way round."""

import pytest
from sqlalchemy import Engine, text

from tests.core.test_migrations import empty  # noqa: F401 - a fixture
from tests.core.test_migrations_0003 import SHOP, migrate

STATISTICS = """
INSERT INTO raw_shopify.customer_statistics (shop_id, customer_id, order_count, touched_at)
VALUES (1, 5, 2, '2026-11-20T12:00Z'), (1, 6, 1, NULL), (1, 7, 1, '2026-11-20T11:00Z')
"""
STAYS = """
INSERT INTO crm.segment_memberships (
    shop_id, customer_id, segment, entered_at, exited_at, cause, r_score, f_score, m_score
) VALUES
    (1, 5, 'new', '2026-01-01T00:00Z', '2026-02-01T00:00Z', 'baseline', 1, 1, 1),
    (1, 5, 'lost', '2026-02-01T00:00Z', NULL, 'order', 1, 1, 1)
"""


@pytest.mark.requirement("FOUND-02", "RFM-06")
def test_touches_are_kept_both_ways(empty: Engine) -> None:  # noqa: F811 - the fixture
    migrate(empty, "0004")
    with empty.begin() as connection:
        for statement in (SHOP, STATISTICS, STAYS):
            connection.execute(text(statement))
    migrate(empty, "0005")
    queue = "SELECT customer_id, touched_at FROM raw_shopify.customer_touches ORDER BY touch_id"
    with empty.begin() as connection:
        touched = [row.customer_id for row in connection.execute(text(queue))]
        connection.execute(
            text(
                "INSERT INTO raw_shopify.customer_touches (shop_id, customer_id, touched_at)"
                " VALUES (1, 6, '2026-11-21T12:00Z'), (1, 6, '2026-11-22T12:00Z')"
            )
        )
    assert touched == [7, 5]  # oldest first, as they were taken
    migrate(empty, "0004", down=True)
    column = (
        "SELECT customer_id, order_count, extract(day FROM touched_at)::int"
        " FROM raw_shopify.customer_statistics ORDER BY customer_id"
    )
    with empty.begin() as connection:
        assert connection.execute(text(column)).all() == [(5, 2, 20), (6, 1, 22), (7, 1, 20)]
        stays = connection.execute(text("SELECT count(*) FROM crm.segment_memberships"))
        assert stays.scalar_one() == 2
