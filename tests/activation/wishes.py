"""Anna, who is subscribed at Shopify, and what is asked of and written about her."""

from datetime import timedelta

from sqlalchemy import select

from activation.writer import WriteReport, write_due
from core.database import session_scope
from core.models import WriteBack
from core.models.enums import WriteBackState
from tests.activation.admin import FakeAdmin, Held
from tests.activation.world import World

ANNA = 1
QUEUED, DONE = WriteBackState.QUEUED, WriteBackState.DONE
SUPERSEDED, FAILED = WriteBackState.SUPERSEDED, WriteBackState.FAILED


def anna_at_shopify(world: World) -> FakeAdmin:
    """Anna was mailed and is subscribed at Shopify since yesterday."""
    world.buyers([ANNA])
    world.run_cleanly()
    world.clock.advance(timedelta(hours=1))
    held = Held("c1@example.com", updated_at=world.now - timedelta(days=1))
    return FakeAdmin(world.clock, {ANNA: held})


def write(world: World, admin: FakeAdmin) -> WriteReport:
    world.client_of = lambda _: admin
    return write_due(world.factory, world.client_of, world.shop_id, clock=world.clock)


def wishes(world: World) -> list[WriteBack]:
    with session_scope(world.factory) as session:
        return list(session.scalars(select(WriteBack).order_by(WriteBack.write_back_id)))


def states(world: World) -> list[WriteBackState]:
    return [wish.state for wish in wishes(world)]
