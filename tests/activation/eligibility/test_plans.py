"""Counting goes by the address, however many messages the ledger holds."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from activation.eligibility import Stage, Subject, load_facts
from activation.outbox.members import claim_queued
from core.database import session_scope
from tests.activation.eligibility.flows import add_flow, queue
from tests.activation.world import World

# Sent a minute apart; every tenth waits in the queue for next week.
FILL = """
INSERT INTO crm.messages (
    shop_id, dedupe_key, automation_id, version, step_key, customer_id, email, priority, state,
    due_at, expires_at, queued_at, frozen_at, sent_at, defer_reason
)
SELECT
    :shop_id, 'old/' || n, :flow, 1, 'mail', 1000 + n % 5000, 'c' || n % 5000 || '@example.com', 40,
    CASE WHEN n % 10 = 0 THEN 'queued' ELSE 'sent' END,
    CASE WHEN n % 10 = 0 THEN :now + interval '7 days' ELSE sent.at END,
    :now + interval '14 days', sent.at,
    CASE WHEN n % 10 <> 0 THEN sent.at END, CASE WHEN n % 10 <> 0 THEN sent.at END,
    CASE WHEN n % 10 = 0 THEN 'frequency_cap' END
FROM generate_series(CAST(:first AS integer), CAST(:last AS integer)) AS n
CROSS JOIN LATERAL (SELECT :now - n * interval '1 minute' AS at) AS sent
"""


class Explained:
    """Runs every statement on this session's connection once more, explained."""

    def __init__(self) -> None:
        self.plans: list[dict[str, Any]] = []
        self._busy = False

    def __call__(self, _: Any, cursor: Any, statement: str, parameters: Any, *__: Any) -> None:
        if self._busy or not statement.lstrip().startswith(("--", "SELECT", "WITH")):
            return
        self._busy = True
        try:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)\n{statement}", parameters)
            self.plans.append(cursor.fetchone()[0][0]["Plan"])
        finally:
            self._busy = False


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan] + [found for each in plan.get("Plans", []) for found in nodes(each)]


def costs(world: World, work: Any) -> tuple[int, set[str], set[str]]:
    """Pages touched, indexes used and tables of messages read whole."""
    explained = Explained()
    with session_scope(world.factory) as session:
        connection = session.connection()
        event.listen(connection, "before_cursor_execute", explained)
        work(session)
        event.remove(connection, "before_cursor_execute", explained)
    found = [node for plan in explained.plans for node in nodes(plan)]
    pages = sum(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in explained.plans)
    used = {node["Index Name"] for node in found if "Index Name" in node}
    whole = {
        node["Relation Name"]
        for node in found
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] == "messages"
    }
    assert explained.plans
    return pages, used, whole


@pytest.mark.requirement("EMAIL-02")
def test_what_counts_is_found_by_address_and_costs_the_same_in_a_large_ledger(
    world: World,
) -> None:
    world.add_customers(range(1, 101))
    flow = add_flow(world, "win_back", priority=40)
    subjects = [
        Subject(
            key=queue(world, flow, number, dedupe_key=f"due {number}"),
            customer_id=number,
            automation_id=flow,
            order_id=None,
            expires_at=world.now + timedelta(days=1),
            due_at=world.now,
            priority=40,
        )
        for number in range(1, 101)
    ]

    def facts(session: Any) -> None:
        load_facts(
            session,
            world.shop_id,
            subjects,
            secret_key=world.settings.secret_key,
            now=world.now,
            stage=Stage.FREEZE,
        )

    def claim(session: Any) -> None:
        claim_queued(session, world.shop_id, now=world.now, limit=50)

    costs_of: dict[str, list[int]] = {"facts": [], "claim": []}
    for first, last in ((1, 5_000), (5_001, 40_000)):
        world.execute(FILL, shop_id=world.shop_id, flow=flow, now=world.now, first=first, last=last)
        world.execute("ANALYZE crm.messages")
        pages, used, whole = costs(world, facts)
        assert "ix_messages__address" in used
        assert not used & {"ix_messages__queue", "ix_messages__claim"}
        assert not whole
        costs_of["facts"].append(pages)
        pages, used, whole = costs(world, claim)
        assert "ix_messages__claim" in used
        assert not whole
        costs_of["claim"].append(pages)
    for small, large in costs_of.values():
        assert large < 1.5 * small + 100
