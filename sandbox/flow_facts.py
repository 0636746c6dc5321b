"""What happened in a shop, in the order of time, read from the sandbox's store and its history."""

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple
from unicodedata import normalize

from sandbox.history import LEFT, MERGED
from sandbox.oracle import REACHED
from sandbox.past import Past

ORDERED, UNCOUNTED, CHECKOUT, CHECKOUT_OVER = "ordered", "uncounted", "checkout", "checkout over"
CONSENT, GONE, JOINED, MERGED_INTO = "consent", "gone", "joined", "merged into"


class Fact(NamedTuple):
    """`key`: of an order its number, of a checkout its token, of consent the state from then on, of
    a merge who is kept.
    """

    at: float
    what: str
    customer: int
    key: str = ""
    processed_at: float = 0.0
    spent: Decimal = Decimal(0)


class Mail(NamedTuple):
    """An accepted mail of a flow. `customer` None: nobody had that address then."""

    id: str
    flow: str
    customer: int | None
    at: float
    reached: bool


@dataclass(frozen=True)
class Story:
    """`unsure`: who was merged; what a merge makes of their entries is not foretold. `addresses`
    are of those who are there, in the spelling that is one for all ways to write them.
    """

    domain: str
    zone: str
    facts: tuple[Fact, ...]
    mails: tuple[Mail, ...]
    unsure: frozenset[int] = frozenset()
    addresses: Mapping[int, str] = field(default_factory=dict)


def story_of(db: sqlite3.Connection, shop: int) -> Story:
    """`db` is a snapshot."""
    row = db.execute("select domain, time_zone from shops where shop = ?", [shop]).fetchone()
    facts = [*_orders(db, shop), *_checkouts(db, shop), *_consents(db, shop), *_gone(db, shop)]
    merged = db.execute(
        "select num, kept from former_customers where shop = ? and how = ?", [shop, MERGED]
    ).fetchall()
    return Story(
        domain=row["domain"],
        zone=row["time_zone"],
        facts=tuple(sorted(facts, key=lambda fact: fact.at)),
        mails=tuple(_mails(db, shop)),
        unsure=frozenset(number for pair in merged for number in pair),
        addresses=_addresses(db, shop),
    )


def _addresses(db: sqlite3.Connection, shop: int) -> dict[int, str]:
    rows = db.execute(
        "select num, email from customers where shop = ? and email is not null", [shop]
    )
    return {num: normalize("NFKC", email).strip().casefold() for num, email in rows.fetchall()}


def _orders(db: sqlite3.Connection, shop: int) -> Iterator[Fact]:
    """Each order as its first owner's: what became of it tells who was merged or deleted. One that
    was refunded is kept with nothing spent: until then it was what it first came to.
    """
    rows = db.execute(
        """select num, coalesce((select previous from order_moves as moves
                                 where moves.shop = bought.shop and moves.num = bought.num
                                 order by moves.at limit 1), customer),
                  processed_at, placed_at, is_counted, uncounted_at, spent
           from (select shop, num, customer, processed_at, placed_at, is_counted, uncounted_at,
                   iif(uncounted_at is null, spent, 1000 * json_extract(
                       cast(body as text), '$.totalPriceSet.shopMoney.amount')) as spent
                 from orders
                 union all
                 select shop, num, customer, processed_at, placed_at, is_counted, uncounted_at, 0
                 from former_orders) as bought
           where shop = ?""",
        [shop],
    )
    for num, customer, processed_at, placed_at, counts, uncounted_at, spent in rows.fetchall():
        if customer is None or not (counts or uncounted_at):
            continue
        yield Fact(
            placed_at, ORDERED, customer, str(num), processed_at, Decimal(round(spent or 0)) / 1000
        )
        if uncounted_at:
            yield Fact(uncounted_at, UNCOUNTED, customer, str(num))


def _checkouts(db: sqlite3.Connection, shop: int) -> Iterator[Fact]:
    rows = db.execute(
        "select token, customer, what, at from checkout_changes where shop = ?", [shop]
    )
    for token, customer, what, at in rows.fetchall():
        if customer is not None:
            yield Fact(at, CHECKOUT if what == LEFT else CHECKOUT_OVER, customer, token)


def _consents(db: sqlite3.Connection, shop: int) -> Iterator[Fact]:
    rows = db.execute(
        "select customer, previous, state, at from consent_changes where shop = ? order by at",
        [shop],
    )
    first: dict[int, str] = {}
    for customer, previous, state, at in rows.fetchall():
        first.setdefault(customer, previous)
        yield Fact(at, CONSENT, customer, state or "")
    for num, created_at, consent in db.execute(
        """select num, created_at, consent from customers where shop = ?1
           union all select num, created_at, consent from former_customers where shop = ?1""",
        [shop],
    ).fetchall():
        yield Fact(created_at, JOINED, num)
        yield Fact(created_at, CONSENT, num, first.get(num, consent) or "")


def _gone(db: sqlite3.Connection, shop: int) -> Iterator[Fact]:
    rows = db.execute("select num, kept, at from former_customers where shop = ?", [shop])
    for num, kept, at in rows.fetchall():
        if kept is not None:
            yield Fact(at, MERGED_INTO, num, str(kept))
        yield Fact(at, GONE, num)


def _mails(db: sqlite3.Connection, shop: int) -> Iterator[Mail]:
    """Those that name their flow, oldest first; of whom the address was, the first is taken."""
    past = Past(db, shop)
    rows = db.execute(
        """select emails.id, address, accepted_at, outcome, tag.value ->> 'value' as flow
           from emails join email_recipients on email = seq
           join json_each(cast(emails.body as text), '$.tags') as tag
             on tag.value ->> 'name' = 'automation'
           order by accepted_at, seq"""
    )
    for id_, address, at, outcome, flow in rows.fetchall():
        owners = past.customers_with(address, at)
        yield Mail(id_, flow, owners[0] if owners else None, at, outcome in REACHED)
