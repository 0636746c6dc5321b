"""Rows written before migration 0003 get what is known of them, and nothing else."""

import pytest
from alembic import command
from sqlalchemy import Engine, text

from core.migrate import alembic_config
from tests.core.test_migrations import empty  # noqa: F401 - a fixture

SHOP = """
INSERT INTO crm.shops (domain, name, currency, time_zone, client_id, client_secret_encrypted)
VALUES ('x.myshopify.com', 'X', 'EUR', 'UTC', 'id', '-')
"""
STAY = """
INSERT INTO crm.segment_memberships (
    shop_id, customer_id, segment, previous_segment, entered_at, exited_at, cause, run_id,
    r_score, f_score, m_score
) VALUES (1, :customer, :segment, :previous, :entered, :exited, :cause, :run, 1, 1, 1)
"""
HELD = """
INSERT INTO crm.rfm_runs (
    shop_id, rfm_run_id, state, held_reason, customer_count, buyer_count, order_count,
    computed_at, decided_at
) VALUES (1, :id, 'held', :reason, 1, 1, 1, '2026-01-01+00', '2026-01-01+00')
"""
DAY = [f"2026-01-{day:02}T00:00:00+00" for day in range(1, 10)]


def migrate(engine: Engine, revision: str, *, down: bool = False) -> None:
    with engine.begin() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)


def stay(
    customer: int, segment: str, previous: str | None, *days: int, cause: str
) -> dict[str, object]:
    return {
        "customer": customer,
        "segment": segment,
        "previous": previous,
        "cause": cause,
        "entered": DAY[days[0]],
        "exited": DAY[days[1]] if len(days) > 1 else None,
        "run": f"run-{days[0]}",
    }


@pytest.mark.requirement("RFM-06")
def test_old_rows_get_the_causes_that_are_known(empty: Engine) -> None:  # noqa: F811 - the fixture
    migrate(empty, "0002")
    with empty.begin() as connection:
        connection.execute(text(SHOP))
        for values in (
            stay(1, "new", None, 0, 2, cause="baseline"),
            stay(1, "lost", "new", 2, 4, cause="order"),  # an order, then a full run
            stay(1, "loyal", "lost", 4, cause="full_run"),
            stay(2, "new", None, 0, 3, cause="baseline"),  # gone
            stay(3, "new", None, 0, 1, cause="baseline"),
            stay(3, "lost", None, 1, cause="baseline"),  # scored for the first time
            stay(4, "new", None, 5, 4, cause="order"),  # closed by a clock behind the one before
            stay(-5, "new", None, 0, 1, cause="erase"),
        ):
            connection.execute(text(STAY), values)
        for number, reason in enumerate(REASONS):
            connection.execute(text(HELD), {"id": f"r{number}", "reason": reason})
    migrate(empty, "0003")
    with empty.begin() as connection:
        ends = connection.execute(
            text(
                "SELECT customer_id, exit_cause, exit_run_id, exited_at >= entered_at"
                " FROM crm.segment_memberships ORDER BY membership_id"
            )
        ).all()
        checks = connection.execute(
            text("SELECT held_check FROM crm.rfm_runs ORDER BY rfm_run_id")
        ).scalars()
        assert list(checks) == list(REASONS.values())
        hold = "SELECT segments_held_run_id, segments_held_check, segments_held_reason IS NULL"
        held = connection.execute(text(f"{hold} FROM crm.shops")).one()
        assert tuple(held) == ("r4", None, False)  # the last of them
    assert [tuple(end) for end in ends] == [
        (1, "order", "run-2", True),
        (1, "full_run", "run-4", True),
        (1, None, None, None),
        (2, None, None, True),
        (3, "baseline", "run-1", True),
        (3, None, None, None),
        (4, None, None, True),
        (-5, None, None, True),
    ]
    migrate(empty, "0002", down=True)
    migrate(empty, "0003")


REASONS = {
    "The statistics of 3 customers differ from their orders. Nothing was changed.": (
        "statistics_differ"
    ),
    "There are 979 customers, 21 fewer than at the last accepted run.": "customers_fell",
    "There are 1,959 orders, 41 fewer than at the last accepted run.": "orders_fell",
    "41 of 200 customers would change their segment in one run (20.5%).": "segments_swing",
    "Somebody held it by hand.": None,
}
