"""One day of a played shop in which everybody leaves a flow in another way, beside who stays."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from core.database import session_scope
from sandbox import shopkeeper
from tests.simulation.people import a_newcomer, buys, mails_to, old_customers
from tests.simulation.played import Played

Begin = Callable[..., AbstractContextManager[Played]]
MORNING = datetime(2026, 8, 15, 6, tzinfo=UTC)


def until(played: Played, day: int, hour: int, minute: int = 1) -> None:
    """Moves on to that time, and the product looks."""
    played.pass_time(datetime(2026, 8, day, hour, minute, tzinfo=UTC) - played.clock.now())
    played.step()


@pytest.mark.requirement("AUTO-02")
@pytest.mark.requirement("FLOW-01")
@pytest.mark.requirement("FLOW-02")
@pytest.mark.requirement("FLOW-04")
def test_who_leaves_a_flow_in_whatever_way_gets_nothing_and_who_stays_does(begin: Begin) -> None:
    with begin(MORNING, seed=1) as played:
        _first_orders_and_carts(played)
        _the_silent(played)
        verdict = played.verdict()
        wrong = (verdict.twice, verdict.missed, verdict.forbidden)
        assert wrong == (0, 0, 0), verdict.details


def _first_orders_and_carts(played: Played) -> None:
    with played.shop() as shop:
        stays, takes_back, leaves = (a_newcomer(shop) for _ in range(3))
        (cancelled,) = shop.db.execute(
            "select num from orders where customer = ?", [takes_back]
        ).fetchone()
        carts = old_customers(shop, 5)
        tokens = [shopkeeper.start_checkout(shop, each)["token"] for each in carts]
    played.pass_time(timedelta(minutes=20))
    played.step()
    played.pass_time(timedelta(minutes=10))
    left_alone, completed, deleted, ordered, unsubscribed = carts
    with played.shop() as shop:
        shopkeeper.cancel_order(shop, cancelled)
        shopkeeper.complete_checkout(shop, tokens[1])
        shopkeeper.delete_checkout(shop, tokens[2])
        buys(shop, ordered)
        for customer in (leaves, unsubscribed):
            shopkeeper.set_consent(shop, customer, "UNSUBSCRIBED")
    until(played, 15, 7, 41)
    until(played, 15, 8, 41)
    assert mails_to(played, stays) == ["welcome"]
    assert mails_to(played, left_alone) == ["abandoned_cart"]
    for nobody in (takes_back, leaves, completed, deleted, ordered, unsubscribed):
        assert mails_to(played, nobody) == []
    assert _exit_of(played, takes_back, "welcome") == "order_no_longer_counts"


def _the_silent(played: Played) -> None:
    until(played, 16, 3)
    until(played, 16, 5)
    silent = _waiting(played, "win_back")
    assert len(silent) > 1
    played.pass_time(timedelta(minutes=5))
    with played.shop() as shop:
        buys(shop, silent[0])
    until(played, 16, 6)
    until(played, 16, 7)
    assert "win_back" not in mails_to(played, silent[0])
    assert _skipped(played, silent[0], "win_back") == "exited"
    for each in silent[1:]:
        assert "win_back" in mails_to(played, each)


def _exit_of(played: Played, customer: int, flow: str) -> str | None:
    with session_scope(played.factory) as session:
        return session.scalar(
            text(
                "SELECT exit_reason FROM crm.enrollments JOIN crm.automations USING (shop_id,"
                " automation_id) WHERE customer_id = :customer AND key = :flow"
            ),
            {"customer": customer, "flow": flow},
        )


def _skipped(played: Played, customer: int, flow: str) -> str | None:
    with session_scope(played.factory) as session:
        return session.scalar(
            text(
                "SELECT skip_reason FROM crm.messages JOIN crm.automations USING (shop_id,"
                " automation_id) WHERE customer_id = :customer AND key = :flow"
            ),
            {"customer": customer, "flow": flow},
        )


def _waiting(played: Played, flow: str) -> list[int]:
    with session_scope(played.factory) as session:
        rows = session.scalars(
            text(
                "SELECT customer_id FROM crm.messages JOIN crm.automations USING (shop_id,"
                " automation_id) WHERE state = 'queued' AND automations.key = :flow ORDER BY 1"
            ),
            {"flow": flow},
        )
        return list(rows)
