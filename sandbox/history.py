"""What was before: kept so that the oracle can judge a mail by the moment it was accepted.

A customer who was deleted, merged away or erased leaves the shop's tables, an order changes hands
or goes, an address changes. Addresses stand here as digests: who was erased is to be recognised,
not to be read.
"""

import hashlib
import sqlite3
from collections.abc import Iterable

from sandbox.shapes import normal_email

DELETED, MERGED, ERASED = "deleted", "merged away", "erased"
UNKNOWN = "UNKNOWN"
LEFT, OVER = "left", "over"

TABLES = (
    "consent_changes",
    "address_changes",
    "former_customers",
    "former_orders",
    "order_moves",
    "erased_addresses",
    "checkout_changes",
    "simulated",
)
SCHEMA = """
create table if not exists address_changes (
    shop integer not null, customer integer not null, previous text, at real not null);
create index if not exists address_changes_customer on address_changes (shop, customer, at);
create index if not exists address_changes_previous on address_changes (shop, previous);
create table if not exists former_customers (
    shop integer not null, num integer not null, address text, consent text, how text not null,
    kept integer, created_at real not null, at real not null, body blob,
    primary key (shop, num)) without rowid;
create index if not exists former_customers_address on former_customers (shop, address);
create table if not exists former_orders (
    shop integer not null, num integer not null, customer integer, processed_at real not null,
    placed_at real not null, is_counted integer not null, uncounted_at real,
    primary key (shop, num)) without rowid;
create index if not exists former_orders_customer on former_orders (shop, customer);
create table if not exists order_moves (
    shop integer not null, num integer not null, previous integer not null, at real not null);
create index if not exists order_moves_order on order_moves (shop, num, at);
create index if not exists order_moves_previous on order_moves (shop, previous);
create table if not exists erased_addresses (
    shop integer not null, address text not null, at real not null,
    primary key (shop, address)) without rowid;
create table if not exists checkout_changes (
    shop integer not null, token text not null, customer integer, what text not null,
    at real not null);
create index if not exists checkout_changes_token on checkout_changes (shop, token, at);
create table if not exists uninstalls (shop integer primary key, at real not null);
create table if not exists simulated (
    shop integer not null, what text not null, times integer not null,
    primary key (shop, what)) without rowid;
create view if not exists all_orders as
    select shop, num, customer, processed_at, placed_at, is_counted, uncounted_at from orders
    union all
    select shop, num, customer, processed_at, placed_at, is_counted, uncounted_at
    from former_orders;
"""


def digest(address: str | None) -> str | None:
    """The address as it is compared, unreadable."""
    normal = normal_email(address)
    return hashlib.sha256(normal.encode()).hexdigest() if normal else None


def note_consent(
    db: sqlite3.Connection, shop: int, row: sqlite3.Row, state: str | None, *, at: float
) -> None:
    """The customer `row` is about to get another consent; unknown consent has no history."""
    if row["reads_left"] == 0 and row["consent"] != state:
        db.execute(
            "insert into consent_changes (shop, customer, previous, state, at)"
            " values (?, ?, ?, ?, ?)",
            [shop, row["num"], row["consent"], state, at],
        )


def note_address(
    db: sqlite3.Connection, shop: int, row: sqlite3.Row, address: str | None, *, at: float
) -> None:
    """The customer `row` is about to get another address."""
    if row["email"] != normal_email(address):
        db.execute(
            "insert into address_changes (shop, customer, previous, at) values (?, ?, ?, ?)",
            [shop, row["num"], digest(row["email"]), at],
        )


def note_departure(
    db: sqlite3.Connection,
    shop: int,
    row: sqlite3.Row,
    how: str,
    *,
    at: float,
    kept: int | None = None,
) -> None:
    """The customer `row` leaves; the body is kept until the person is erased."""
    db.execute(
        """insert into former_customers
             (shop, num, address, consent, how, kept, created_at, at, body)
           values (?, ?, ?, ?, ?, ?, ?, ?, ?)
           on conflict (shop, num) do update set how = excluded.how, body = excluded.body""",
        [
            shop,
            row["num"],
            digest(row["email"]),
            UNKNOWN if row["reads_left"] else row["consent"],
            how,
            kept,
            row["created_at"],
            at,
            None if how == ERASED else row["body"],
        ],
    )


def note_erasure(
    db: sqlite3.Connection, shop: int, addresses: Iterable[str | None], *, at: float
) -> None:
    """These addresses, given as digests, may never be written to again."""
    db.executemany(
        "insert or ignore into erased_addresses (shop, address, at) values (?, ?, ?)",
        [(shop, address, at) for address in addresses if address],
    )


def note_checkout(
    db: sqlite3.Connection, shop: int, token: str, customer: int | None, what: str, *, at: float
) -> None:
    """`what` is LEFT when it was begun or changed, else OVER; the row tells only the last."""
    db.execute(
        "insert into checkout_changes (shop, token, customer, what, at) values (?, ?, ?, ?, ?)",
        [shop, token, customer, what, at],
    )


def note_order_gone(db: sqlite3.Connection, shop: int, number: int, *, at: float) -> None:
    """The order is about to be deleted; it counted until now, if it did."""
    db.execute(
        """insert into former_orders
           select shop, num, customer, processed_at, placed_at, 0,
                  case when is_counted then ? else uncounted_at end
           from orders where shop = ? and num = ?""",
        [at, shop, number],
    )


def note_moves(db: sqlite3.Connection, shop: int, customer: int, *, at: float) -> None:
    """All orders of the customer are about to change hands, or to have no customer any more."""
    db.execute(
        "insert into order_moves select shop, num, customer, ? from orders"
        " where shop = ? and customer = ?",
        [at, shop, customer],
    )
