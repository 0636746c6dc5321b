"""Says which welcome mails were owed and which must not have been sent.

Knows only what the sandbox saw itself: orders, consent and its changes, and the mails that were
accepted, each with its time. It asks the product nothing.
"""

import sqlite3
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

Body = dict[str, Any]
# A mail that is bounced or suppressed reached nobody.
REACHED = {"delivered", "complained"}
UNKNOWN = "UNKNOWN"


@dataclass(frozen=True)
class Mail:
    """One accepted mail to one address."""

    id: str
    address: str
    accepted_at: float
    reached: bool


@dataclass
class Verdict:
    """What the oracle found; `customer` numbers and mails, never names."""

    expected: set[int] = field(default_factory=set)
    accepted: int = 0
    forbidden: int = 0
    duplicates: int = 0
    lost: int = 0
    seconds: list[float] = field(default_factory=list)
    details: list[Body] = field(default_factory=list)

    def report(self) -> Body:
        return {
            "emails_expected": len(self.expected),
            "emails_accepted": self.accepted,
            "emails_forbidden": self.forbidden,
            "duplicates": self.duplicates,
            "lost": self.lost,
            "order_to_email_seconds": quantiles(self.seconds),
            "details": self.details,
        }


def welcome_verdict(
    db: sqlite3.Connection, shop: int, *, since: float, tag: tuple[str, str] | None = None
) -> Verdict:
    """Holds the mailbox against the shop. `db` is a snapshot.

    Owed a welcome: a customer whose first counted order was processed at `since` or later, who
    is subscribed. Forbidden: a mail that reached anyone who was not owed one when it was
    accepted; consent counts as unknown until the customer could be read. Duplicate: each mail
    to a customer after the first. Lost: owed and without a mail.
    `tag`: only mails with this tag are looked at (where several shops share the mailbox).
    """
    verdict = Verdict()
    by_customer: dict[int, list[Mail]] = defaultdict(list)
    for mail in _mails(db, tag):
        verdict.accepted += 1
        customer, reason = _judge(db, shop, mail, since)
        if reason and mail.reached:
            verdict.forbidden += 1
            verdict.details.append(_detail("forbidden", mail=mail, reason=reason))
        if customer is not None:
            by_customer[customer].append(mail)
            if not reason:
                verdict.expected.add(customer)
    verdict.expected |= _owed_now(db, shop, since)
    _count_repeats(verdict, by_customer)
    _count_lost(verdict, by_customer)
    _time(db, shop, since, verdict, by_customer)
    return verdict


def quantiles(seconds: list[float]) -> Body:
    """`p50`, `p95` and `max`, each a value that occurred; null without any."""
    if not seconds:
        return {"p50": None, "p95": None, "max": None}
    ordered = sorted(seconds)
    picks = {
        "p50": ordered[(len(ordered) - 1) // 2],
        "p95": ordered[-(-len(ordered) * 95 // 100) - 1],
    }
    return {name: round(value, 3) for name, value in {**picks, "max": ordered[-1]}.items()}


# ------------------------------------------------------------------ what was sent


def _mails(db: sqlite3.Connection, tag: tuple[str, str] | None) -> list[Mail]:
    """Accepted mails, oldest first, one for each address they went to."""
    condition, values = "1", []
    if tag is not None:
        condition = """exists (select 1 from json_each(cast(emails.body as text), '$.tags') as tag
            where tag.value ->> 'name' = ? and tag.value ->> 'value' = ?)"""
        values = list(tag)
    rows = db.execute(
        f"""select emails.id, address, accepted_at, outcome
            from emails join email_recipients on email = seq
            where {condition} order by accepted_at, seq""",
        values,
    )
    return [Mail(id_, address, at, outcome in REACHED) for id_, address, at, outcome in rows]


def _judge(
    db: sqlite3.Connection, shop: int, mail: Mail, since: float
) -> tuple[int | None, str | None]:
    """(the customer with the mail's address, why the mail was not owed or None)."""
    rows = db.execute(
        "select num from customers where shop = ? and email = ? order by num",
        [shop, mail.address],
    ).fetchall()
    if not rows:
        return None, "no customer of the shop has this address"
    reasons = [_reason(db, shop, customer, mail.accepted_at, since) for (customer,) in rows]
    for (customer,), reason in zip(rows, reasons, strict=True):
        if reason is None:
            return customer, None
    return rows[0][0], reasons[0]


def _reason(
    db: sqlite3.Connection, shop: int, customer: int, at: float, since: float
) -> str | None:
    """Why a welcome to the customer was not owed at the instant `at`; None when it was."""
    first = _first_counted(db, shop, customer, at=at)
    if first is None:
        return "no order of the customer counted"
    if first < since:
        return "the customer's first counted order is from before"
    consent = _consent_at(db, shop, customer, at)
    return None if consent == "SUBSCRIBED" else f"consent was {consent}"


def _first_counted(db: sqlite3.Connection, shop: int, customer: int, *, at: float) -> float | None:
    """When the first order that counted at the instant `at` was processed."""
    row = db.execute(
        """select processed_at from orders
           where shop = ? and customer = ? and placed_at <= ?
             and (is_counted or uncounted_at > ?)
           order by processed_at, num limit 1""",
        [shop, customer, at, at],
    ).fetchone()
    return None if row is None else float(row["processed_at"])


def _consent_at(db: sqlite3.Connection, shop: int, customer: int, at: float) -> str | None:
    """The state as it could be known at the instant `at`."""
    later = db.execute(
        "select previous from consent_changes where shop = ? and customer = ? and at > ?"
        " order by at limit 1",
        [shop, customer, at],
    ).fetchone()
    if later is not None:
        return str(later["previous"])
    row = db.execute(
        "select consent, reads_left from customers where shop = ? and num = ?", [shop, customer]
    ).fetchone()
    return UNKNOWN if row["reads_left"] > 0 else row["consent"]


# ------------------------------------------------------------------ what was owed


def _owed_now(db: sqlite3.Connection, shop: int, since: float) -> set[int]:
    """Subscribed customers with a valid address whose first counted order is from `since` on."""
    rows = db.execute(
        """select customers.num from customers
           join orders on orders.shop = customers.shop and orders.customer = customers.num
           where customers.shop = ? and consent = 'SUBSCRIBED' and is_counted
             and cast(customers.body as text) ->> '$.defaultEmailAddress.validFormat'
           group by customers.num having min(processed_at) >= ?""",
        [shop, since],
    )
    return {num for (num,) in rows}


def _count_repeats(verdict: Verdict, by_customer: dict[int, list[Mail]]) -> None:
    for customer, mails in by_customer.items():
        for mail in mails[1:]:
            verdict.duplicates += 1
            verdict.details.append(_detail("duplicate", mail=mail, customer=customer))


def _count_lost(verdict: Verdict, by_customer: dict[int, list[Mail]]) -> None:
    for customer in sorted(verdict.expected - by_customer.keys()):
        verdict.lost += 1
        verdict.details.append(_detail("lost", customer=customer))


def _time(
    db: sqlite3.Connection,
    shop: int,
    since: float,
    verdict: Verdict,
    by_customer: dict[int, list[Mail]],
) -> None:
    """From the first webhook with the order that made the mail owed to its acceptance."""
    for customer in sorted(verdict.expected & by_customer.keys()):
        mail = by_customer[customer][0]
        row = db.execute(
            """select coalesce(min(answered_sent_at), min(first_sent_at)) as sent_at
               from deliveries
               where shop = ?1 and topic like 'orders/%' and order_num = (
                 select num from orders where shop = ?1 and customer = ?2 and placed_at <= ?3
                   and (is_counted or uncounted_at > ?3) and processed_at >= ?4
                 order by processed_at, num limit 1)""",
            [shop, customer, mail.accepted_at, since],
        ).fetchone()
        if row["sent_at"] is not None:
            verdict.seconds.append(mail.accepted_at - row["sent_at"])


def _detail(
    kind: str, *, mail: Mail | None = None, customer: int | None = None, reason: str | None = None
) -> Body:
    detail: Body = {"kind": kind}
    if customer is not None:
        detail["customer"] = f"gid://shopify/Customer/{customer}"
    if mail is not None:
        detail |= {"email_id": mail.id, "to": mail.address}
    if reason is not None:
        detail["reason"] = reason
    return detail
