"""Orders from before the first sync that come by a bulk operation, and what they may not start."""

import pytest

from activation.automation.enrollment import EnrolmentReport, enrol
from core.database import session_scope
from core.ingestion.sync import run_sync
from core.models.enums import SyncKind
from tests.activation.world import World
from tests.fixtures.shopify import FakeShopify, customer_node, order_node

BEFORE, AFTER = "2026-11-20T09:59:59Z", "2026-11-20T12:00:00Z"  # the first sync began at 10:00


def sync(world: World, fake: FakeShopify, kind: SyncKind) -> None:
    with fake.client() as client:
        run_sync(
            world.factory,
            client,
            shop_id=world.shop_id,
            kind=kind,
            clock=world.clock,
            run_id=None,
            settings=world.settings,
            sleep=lambda _: None,
        )


def enrol_all(world: World) -> EnrolmentReport:
    with session_scope(world.factory) as session:
        return enrol(session, world.shop_id, customer_ids=None, now=world.now, run_id="run-1")


@pytest.mark.requirement("AUTO-02", "SHOP-08")
@pytest.mark.parametrize("kind", [SyncKind.FULL, SyncKind.INCREMENTAL])
def test_an_old_order_that_a_later_sync_brings_never_enrols(world: World, kind: SyncKind) -> None:
    """An imported order is created, and so told, long after it was placed."""
    fake = FakeShopify(
        customers=[customer_node(1), customer_node(2)],
        orders=[
            order_node(11, 1, processedAt=BEFORE, createdAt=AFTER, updatedAt=AFTER),
            # The control: the same, but placed since.
            order_node(12, 2, processedAt=AFTER, createdAt=AFTER, updatedAt=AFTER),
        ],
    )
    sync(world, fake, kind)
    assert enrol_all(world) == EnrolmentReport(enrolled=1)
    assert [each.customer_id for each in world.enrollments()] == [2]


@pytest.mark.requirement("AUTO-02", "SHOP-08")
def test_what_the_first_sync_brings_never_enrols(world: World) -> None:
    world.set_shop(first_sync_started_at=None, first_sync_completed_at=None)
    placed = "2026-11-20T11:59:59Z"
    fake = FakeShopify(
        customers=[customer_node(1), customer_node(2)],
        orders=[order_node(11, 1, processedAt=placed)],
    )
    sync(world, fake, SyncKind.FULL)
    assert enrol_all(world) == EnrolmentReport()
    fake.orders.append(order_node(12, 2, processedAt=AFTER))  # the control
    sync(world, fake, SyncKind.INCREMENTAL)
    assert enrol_all(world) == EnrolmentReport(enrolled=1)
