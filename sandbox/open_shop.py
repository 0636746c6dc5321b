"""One transaction in one shop, for whoever lets something happen there."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sandbox.shopkeeper import Shop
from sandbox.world import World


class Missing(Exception):  # noqa: N818 - an answer, 404
    """The shop that was named is not loaded."""


@contextmanager
def open_shop(world: World, domain: str) -> Iterator[Shop]:
    """One transaction in the shop; the deliverer is woken after it. Raises Missing."""
    with world.store.write() as db:
        yield Shop(
            db=db,
            row=shop_row(db, domain),
            version=world.api_version,
            now=world.clock.now(),
            compliance_url=world.config.compliance_url,
        )
    world.deliverer.wake()


def shop_row(db: sqlite3.Connection, domain: str) -> sqlite3.Row:
    """Raises Missing."""
    row: sqlite3.Row | None = db.execute(
        "select * from shops where domain = ?", [domain]
    ).fetchone()
    if row is None:
        raise Missing(f"no shop {domain} is loaded")
    return row
