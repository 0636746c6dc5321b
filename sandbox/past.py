"""The shop as it was at an instant, read from the store and its history."""

import sqlite3
from typing import NamedTuple

from sandbox.history import UNKNOWN, digest

FOREVER = float("inf")


class FirstOrder(NamedTuple):
    """A customer's first order that counted."""

    num: int
    processed_at: float


class Past:
    """Looks at one shop; `db` is a snapshot."""

    def __init__(self, db: sqlite3.Connection, shop: int) -> None:
        self._db, self._shop = db, shop

    def customers_with(self, address: str, at: float) -> list[int]:
        """Whoever had the (normal) address at that instant, also those who left since."""
        key = digest(address)
        rows = self._db.execute(
            """select num from customers where shop = ?1 and email = ?2
               union select customer from address_changes where shop = ?1 and previous = ?3
               union select num from former_customers where shop = ?1 and address = ?3
               order by num""",
            [self._shop, address, key],
        )
        return [num for (num,) in rows.fetchall() if self._address_at(num, at) == key]

    def _address_at(self, customer: int, at: float) -> str | None:
        """As a digest; none for a customer who was not there yet."""
        row, gone = self._customer("email, created_at", customer), self.departure(customer)
        known = row or gone
        if known is None or known["created_at"] > at:
            return None
        later = self._db.execute(
            "select previous from address_changes where shop = ? and customer = ? and at > ?"
            " order by at limit 1",
            [self._shop, customer, at],
        ).fetchone()
        if later is not None:
            return None if later["previous"] is None else str(later["previous"])
        return digest(row["email"]) if row is not None else known["address"]

    def departure(self, customer: int) -> sqlite3.Row | None:
        """What is left of a customer who was deleted, merged away or erased."""
        row: sqlite3.Row | None = self._db.execute(
            "select * from former_customers where shop = ? and num = ?", [self._shop, customer]
        ).fetchone()
        return row

    def is_erased(self, address: str | None, at: float) -> bool:
        found = self._db.execute(
            "select 1 from erased_addresses where shop = ? and address = ? and at <= ?",
            [self._shop, digest(address), at],
        ).fetchone()
        return found is not None

    def is_uninstalled(self, at: float) -> bool:
        found = self._db.execute(
            "select 1 from uninstalls where shop = ? and at <= ?", [self._shop, at]
        ).fetchone()
        return found is not None

    def survivor(self, customer: int, at: float = FOREVER) -> int:
        """Who the customer had become by then: merges lead from one to the next."""
        while True:
            gone = self.departure(customer)
            if gone is None or gone["kept"] is None or gone["at"] > at:
                return customer
            customer = gone["kept"]

    def first_counted(self, customer: int, at: float) -> FirstOrder | None:
        """The first of the orders that were the customer's and counted at that instant."""
        row = self._db.execute(_FIRST_COUNTED, [self._shop, customer, at]).fetchone()
        return None if row is None else FirstOrder(row["num"], row["processed_at"])

    def consent(self, customer: int, at: float) -> str | None:
        """The state as it could be known at that instant."""
        later = self._db.execute(
            "select previous from consent_changes where shop = ? and customer = ? and at > ?"
            " order by at limit 1",
            [self._shop, customer, at],
        ).fetchone()
        if later is not None:
            return str(later["previous"])
        row = self._customer("consent, reads_left", customer)
        if row is not None:
            return UNKNOWN if row["reads_left"] > 0 else row["consent"]
        gone = self.departure(customer)
        return None if gone is None else gone["consent"]

    def _customer(self, columns: str, customer: int) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._db.execute(
            f"select {columns} from customers where shop = ? and num = ?", [self._shop, customer]
        ).fetchone()
        return row


# An order's owner at an instant is who it was first taken from later, else who has it now.
_FIRST_COUNTED = """
select num, processed_at from all_orders as bought
where shop = ?1
  and num in (
    select num from all_orders where shop = ?1 and customer = ?2
    union select num from order_moves where shop = ?1 and previous = ?2)
  and placed_at <= ?3 and (is_counted or uncounted_at > ?3)
  and coalesce(
    (select previous from order_moves as later
     where later.shop = ?1 and later.num = bought.num and later.at > ?3
     order by later.at limit 1),
    customer) = ?2
order by processed_at, num limit 1"""
