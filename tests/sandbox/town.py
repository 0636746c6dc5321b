"""A shop without a server: happenings at moments of the test's choosing, mails, and the verdict."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from sandbox import shopkeeper
from sandbox.loader import load_folder
from sandbox.oracle import welcome_verdict
from sandbox.shopkeeper import Buyer, Purchase, Shop
from sandbox.store import Store
from tests.sandbox.support import write_folder

SINCE = 1_800_000_000.0


@dataclass
class Town:
    """Every happening is one second after the one before."""

    store: Store
    now: float = SINCE + 100
    mails: int = field(default=0)

    @contextmanager
    def shop(self) -> Iterator[Shop]:
        self.now += 1
        with self.store.write() as db:
            row = db.execute("select * from shops").fetchone()
            yield Shop(db=db, row=row, version="2026-07", now=self.now)

    def buys(self, email: str, consent: str = "SUBSCRIBED", **more: Any) -> tuple[int, int]:
        """(customer, order)."""
        with self.shop() as shop:
            wanted = Purchase(customer=Buyer(email=email, consent=consent), **more)
            done = shopkeeper.place_order(shop, wanted)
        return number(done["customer"]), number(done["order"])

    def mail(self, address: str) -> None:
        self.now += 1
        self.mails += 1
        with self.store.write() as db:
            db.execute(
                "insert into emails (id, accepted_at, endpoint, sender, subject, message_id, body)"
                " values (?, ?, '', '', '', '', ?)",
                [f"mail-{self.mails}", self.now, orjson.dumps({"tags": []})],
            )
            db.execute(
                "insert into email_recipients (email, address, kind, outcome)"
                " values (last_insert_rowid(), ?, 'to', 'delivered')",
                [address],
            )

    def verdict(self) -> dict[str, Any]:
        with self.store.snapshot() as db:
            return welcome_verdict(db, 1, since=SINCE).report()

    def figures(self) -> tuple[int, ...]:
        """expected, accepted, forbidden, duplicates, lost"""
        found = self.verdict()
        names = ("emails_expected", "emails_accepted", "emails_forbidden", "duplicates", "lost")
        return tuple(found[name] for name in names)

    def reasons(self) -> list[str]:
        return [each["reason"] for each in self.verdict()["details"] if "reason" in each]


@contextmanager
def town_in(folder: Path, **size: int) -> Iterator[Town]:
    """The shop of `write_folder`: five customers, all of whose orders are from before."""
    written = write_folder(folder / "shop", **size)
    store = Store(folder / "town.sqlite3")
    load_folder(store, written, now=SINCE)
    yield Town(store)
    store.close()


def number(gid: str) -> int:
    return int(gid.rpartition("/")[2])
