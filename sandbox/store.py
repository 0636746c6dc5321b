"""The sandbox's only state: one SQLite file, written ahead, so that kill -9 loses nothing answered.

One writer at a time behind a lock; readers take a connection of their own from a pool.
"""

import queue
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox import history
from sandbox.upgrade import upgrade

SCHEMA = """
create table if not exists shops (
    shop integer primary key, domain text not null unique, name text not null,
    currency text not null, time_zone text not null, loaded_at real not null,
    next_customer integer not null, next_order integer not null, next_line integer not null,
    next_name integer not null, next_checkout integer not null default 0);
create table if not exists customers (
    shop integer not null, num integer not null, email text, consent text,
    reads_left integer not null default 0, created_at real not null, updated_at real not null,
    body blob not null, extra_orders integer not null default 0,
    extra_spent integer not null default 0, unique (shop, num));
create index if not exists customers_email on customers (shop, email);
create index if not exists customers_updated on customers (shop, updated_at, num);
create table if not exists orders (
    shop integer not null, num integer not null, customer integer, processed_at real not null,
    created_at real not null, updated_at real not null, placed_at real not null,
    is_counted integer not null, uncounted_at real, body blob not null,
    is_test integer generated always as (cast(body as text) ->> '$.test') virtual,
    spent integer generated always as (cast(round(1000 *
        (cast(body as text) ->> '$.currentTotalPriceSet.shopMoney.amount')) as integer)) virtual,
    unique (shop, num));
create index if not exists orders_customer on orders (shop, customer, processed_at, num);
create index if not exists orders_totals on orders (shop, customer, is_test, is_counted, spent);
create index if not exists orders_updated on orders (shop, updated_at, num);
create table if not exists line_items (
    shop integer not null, parent integer not null, num integer not null, body blob not null,
    primary key (shop, parent, num)) without rowid;
create table if not exists products (
    shop integer not null, num integer not null, created_at real not null,
    updated_at real not null, body blob not null, unique (shop, num));
create index if not exists products_updated on products (shop, updated_at, num);
create table if not exists checkouts (
    shop integer not null, num integer not null, token text not null, customer integer,
    created_at real not null, updated_at real not null, completed_at real, body blob not null,
    unique (shop, num), unique (shop, token));
create index if not exists checkouts_updated on checkouts (shop, updated_at, num);
create table if not exists checkout_items (
    shop integer not null, parent integer not null, num integer not null, body blob not null,
    primary key (shop, parent, num)) without rowid;
create table if not exists consent_changes (
    shop integer not null, customer integer not null, previous text, state text,
    at real not null);
create index if not exists consent_changes_customer on consent_changes (shop, customer, at);
create table if not exists tokens (
    token text primary key, shop integer not null, expires_at real not null) without rowid;
create table if not exists bulk_operations (
    num integer primary key autoincrement, shop integer not null, query text not null,
    status text not null, error_code text, created_at real not null, completed_at real,
    object_count integer not null default 0, root_object_count integer not null default 0,
    file_size integer, polls integer not null default 0, offered text,
    url_expired integer not null default 0);
create table if not exists discounts (
    num integer primary key autoincrement, shop integer not null, body blob not null,
    ends_at real, created_at real not null);
create table if not exists discount_codes (
    num integer primary key autoincrement, shop integer not null, discount integer not null,
    code text not null, key text not null, used_by integer, unique (shop, key));
create table if not exists discount_jobs (
    num integer primary key autoincrement, shop integer not null, discount integer not null,
    codes blob not null, results blob, polls integer not null default 0,
    created_at real not null);
create table if not exists subscriptions (
    num integer primary key autoincrement, shop integer not null, topic text not null,
    uri text not null, created_at real not null, updated_at real not null,
    unique (shop, topic, uri));
create table if not exists deliveries (
    num integer primary key autoincrement, channel text not null, url text not null,
    topic text not null, message_id text not null, shop integer, order_num integer,
    subscription integer, headers text not null, body blob not null,
    created_at real not null, next_at real not null, attempts integer not null default 0,
    state text not null default 'pending', first_sent_at real, answered_sent_at real,
    last_status integer, last_error text);
create index if not exists deliveries_due on deliveries (state, next_at);
create index if not exists deliveries_order on deliveries (shop, order_num);
create index if not exists deliveries_message on deliveries (message_id);
create table if not exists emails (
    seq integer primary key autoincrement, id text not null unique, accepted_at real not null,
    endpoint text not null, idempotency_key text, sender text not null, subject text not null,
    html text, text text, message_id text not null, body blob not null);
create table if not exists email_recipients (
    email integer not null, address text not null, kind text not null, outcome text not null,
    primary key (email, kind, address)) without rowid;
create index if not exists email_recipients_address on email_recipients (address);
create table if not exists email_events (
    id text primary key, email integer not null, type text not null, at real not null,
    payload blob not null) without rowid;
create index if not exists email_events_email on email_events (email, at);
create table if not exists idempotency (
    endpoint text not null, key text not null, body_sha text not null, response blob not null,
    created_at real not null, primary key (endpoint, key)) without rowid;
create table if not exists suppressions (
    email text primary key, id text not null, origin text not null, source_id text,
    created_at real not null) without rowid;
create table if not exists resend_webhooks (
    id text primary key, endpoint text not null, events blob not null,
    created_at real not null) without rowid;
create table if not exists scheduled (
    email integer primary key, at real not null, canceled_at real, data blob not null,
    outcomes text not null);
create table if not exists settings (name text primary key, value text not null) without rowid;
"""


class Store:
    """Opens or creates the file; safe to use from many threads of one process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._writer = self._connect()
        self._writer.executescript("pragma page_size = 8192; pragma journal_mode = wal;")
        upgrade(self._writer)
        self._writer.executescript(SCHEMA + history.SCHEMA)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=30, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        connection.execute("pragma synchronous = normal")
        connection.execute("pragma busy_timeout = 30000")
        connection.execute("pragma cache_size = -32000")
        return connection

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection for reading; statements see the last commit, each on its own."""
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self._connect()
        try:
            yield connection
        finally:
            self._idle.put(connection)

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A connection for reading whose statements all see the same state."""
        with self.read() as connection:
            connection.execute("begin")
            try:
                yield connection
            finally:
                connection.execute("rollback")

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: returning commits, raising rolls back. Not re-entrant."""
        with self._lock:
            self._writer.execute("begin immediate")
            try:
                yield self._writer
            except BaseException:
                self._writer.execute("rollback")
                raise
            self._writer.execute("commit")

    def close(self) -> None:
        with self._lock:
            self._writer.close()
        while not self._idle.empty():
            self._idle.get_nowait().close()
