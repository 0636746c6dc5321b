"""What the subcommands about segments find and do, on the database they would open."""

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import select

from core.clock import SystemClock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.models import AuditEntry, CustomerStatistics, SegmentMembership, Shop
from core.models.enums import AuditAction, GateCheck, MembershipCause, Segment
from core.settings import Settings
from ops.segments_cli import accept, held_shops, repair, repair_text, sizes
from tests.fixtures.marts import Marts
from tests.fixtures.shopify import add_shop

NOW = SystemClock().now()

pytestmark = [pytest.mark.requirement("RFM-06"), pytest.mark.usefixtures("marts")]


@pytest.fixture
def factory(session_factory: SessionFactory, settings: Settings) -> SessionFactory:
    with session_scope(session_factory) as session:
        for name in ("ash", "birch"):
            add_shop(session, settings, domain=f"{name}.myshopify.com")
    return session_factory


def hold(factory: SessionFactory, *names: str) -> None:
    with session_scope(factory) as session:
        for shop in session.scalars(select(Shop)):
            if shop.domain.partition(".")[0] in names:
                shop.segments_held_at = NOW - timedelta(hours=1)
                shop.segments_held_check = GateCheck.ORDERS_SWING
                shop.segments_held_reason = f"Too many orders of {shop.domain}."


def test_what_is_held_is_shown_and_accepted_with_its_reason(factory: SessionFactory) -> None:
    hold(factory, "birch")
    [shown] = held_shops(factory, None)
    assert (shown["shop"], shown["check"]) == ("birch.myshopify.com", "orders_swing")
    assert held_shops(factory, "ash.myshopify.com") == []
    done = accept(factory, None, reason="A sale.")
    assert (done["shop"], done["reason"]) == (shown["shop"], shown["reason"])
    assert held_shops(factory, None) == []
    with session_scope(factory) as session:
        entry = session.scalars(select(AuditEntry)).one()
        assert (entry.user_id, entry.reason) == (None, "A sale.")


def test_one_shop_at_a_time_is_accepted(factory: SessionFactory) -> None:
    with pytest.raises(PermanentError, match="Nothing is held"):
        accept(factory, None, reason="A sale.")
    hold(factory, "ash", "birch")
    with pytest.raises(PermanentError, match=r"ash\.myshopify\.com, birch.*--shop"):
        accept(factory, None, reason="A sale.")
    accept(factory, "ash.myshopify.com", reason="A sale.")
    assert [each["shop"] for each in held_shops(factory, None)] == ["birch.myshopify.com"]


def test_statistics_are_repaired_and_it_is_kept_what_was_wrong(factory: SessionFactory) -> None:
    """The page said "recompute the statistics and run again", and nothing did that by day."""
    with session_scope(factory) as session:
        ash, birch = session.scalars(select(Shop.shop_id).order_by(Shop.shop_id)).all()
        for shop_id, orders in ((ash, 2), (birch, 0)):
            session.add(
                CustomerStatistics(
                    shop_id=shop_id, customer_id=7, order_count=orders, total_spent=10 * orders
                )
            )
    hold(factory, "ash")
    before = held_shops(factory, None)
    wrong, right = repair(factory, None, reason="The page says so.")
    assert (wrong["customers"], right["customers"]) == (1, 0)
    assert (wrong["orders_before"], wrong["orders_after"]) == (2, 0)
    assert "1 customers were wrong" in repair_text(wrong)
    assert "`ecomcrm rfm`" in repair_text(wrong)
    assert "equal their orders" in repair_text(right)
    assert [each["customers"] for each in repair(factory, None, reason="")] == [0, 0]
    assert held_shops(factory, None) == before  # a full run decides, not the repair
    with session_scope(factory) as session:
        entry = session.scalars(select(AuditEntry)).one()
        kept = (entry.shop_id, entry.action, entry.reason, entry.user_id)
        assert kept == (ash, AuditAction.REPAIR_STATISTICS, "The page says so.", None)
        assert entry.figures["customers"] == 1
        assert entry.figures["before"] == {"orders": 2, "spent": "20.0000"}
        stored = session.get_one(CustomerStatistics, (ash, 7))
        assert (stored.order_count, stored.total_spent) == (0, Decimal(0))


def test_sizes_are_those_of_the_asked_instant(factory: SessionFactory, marts: Marts) -> None:
    with session_scope(factory) as session:
        shop_id = session.scalars(select(Shop.shop_id).order_by(Shop.shop_id)).first()
        session.add(
            SegmentMembership(
                shop_id=shop_id,
                customer_id=1,
                segment=Segment.LOYAL,
                entered_at=NOW - timedelta(days=3),
                exited_at=NOW - timedelta(days=1),
                cause=MembershipCause.ORDER,
                r_score=3,
                f_score=3,
                m_score=3,
            )
        )
    ash = sizes(factory, "ash.myshopify.com", NOW - timedelta(days=2))["ash.myshopify.com"]
    assert (ash["loyal"], sum(ash.values())) == (1, 1)
    assert sum(sizes(factory, "ash.myshopify.com", NOW)["ash.myshopify.com"].values()) == 0
