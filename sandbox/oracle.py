"""Says which welcome mails were owed and which must not have been sent.

Knows only what the sandbox saw itself: orders, consent and its changes, who left, and the mails
that were accepted, each with its time. It asks the product nothing.
"""

import sqlite3
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sandbox.past import FOREVER, Past

Body = dict[str, Any]
# A mail that is bounced or suppressed reached nobody.
REACHED = {"delivered", "complained"}


@dataclass(frozen=True)
class Mail:
    """One accepted mail to one address."""

    id: str
    address: str
    accepted_at: float
    reached: bool


class _Sent(NamedTuple):
    """A mail, and the customer whose address it went to then."""

    mail: Mail
    customer: int


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
    is subscribed. Whoever was deleted, merged away or erased is owed none from then on, and
    nobody in a shop that removed the app. Forbidden: a mail that reached anyone who was not owed
    one when it was accepted; consent counts as unknown until the customer could be read.
    Duplicate: each mail to a customer after the first, also after one to whom they were merged.
    Lost: owed and without a mail.
    `tag`: only mails with this tag are looked at (where several shops share the mailbox).
    """
    verdict, past = Verdict(), Past(db, shop)
    groups: dict[int, list[_Sent]] = defaultdict(list)
    for mail in _mails(db, tag):
        verdict.accepted += 1
        customer, reason = _judge(past, mail, since)
        if reason and mail.reached:
            verdict.forbidden += 1
            verdict.details.append(_detail("forbidden", mail=mail, reason=reason))
        if customer is not None:
            survivor = past.survivor(customer)
            groups[survivor].append(_Sent(mail, customer))
            if not reason:
                verdict.expected.add(survivor)
    verdict.expected |= _owed_now(db, past, shop, since)
    _count_repeats(verdict, past, groups)
    _count_lost(verdict, groups)
    _time(db, past, shop, verdict, groups)
    return verdict


def quantiles(seconds: list[float]) -> Body:
    """`p50`, `p95`, `p99` and `max`, each a value that occurred; null without any."""
    if not seconds:
        return {"p50": None, "p95": None, "p99": None, "max": None}
    ordered = sorted(seconds)
    picks = {
        "p50": ordered[(len(ordered) - 1) // 2],
        "p95": ordered[-(-len(ordered) * 95 // 100) - 1],
        "p99": ordered[-(-len(ordered) * 99 // 100) - 1],
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


def _judge(past: Past, mail: Mail, since: float) -> tuple[int | None, str | None]:
    """(the customer with the mail's address, why the mail was not owed or None)."""
    at = mail.accepted_at
    if past.is_erased(mail.address, at):
        return None, "the address was erased"
    customers = past.customers_with(mail.address, at)
    if not customers:
        return None, "no customer of the shop has this address"
    reasons = [_reason(past, customer, at, since) for customer in customers]
    for customer, reason in zip(customers, reasons, strict=True):
        if reason is None:
            return customer, None
    return customers[0], reasons[0]


def _reason(past: Past, customer: int, at: float, since: float) -> str | None:
    """Why a welcome to the customer was not owed at the instant `at`; None when it was."""
    gone = past.departure(customer)
    if gone is not None and gone["at"] <= at:
        return f"the customer was {gone['how']}"
    if past.is_uninstalled(at):
        return "the app was removed"
    first = past.first_counted(customer, at)
    if first is None:
        return "no order of the customer counted"
    if first.processed_at < since:
        return "the customer's first counted order is from before"
    consent = past.consent(customer, at)
    return None if consent == "SUBSCRIBED" else f"consent was {consent}"


# ------------------------------------------------------------------ what was owed


def _owed_now(db: sqlite3.Connection, past: Past, shop: int, since: float) -> set[int]:
    """Subscribed customers with a valid address whose first counted order is from `since` on."""
    if past.is_uninstalled(FOREVER):
        return set()
    rows = db.execute(
        """select customers.num, email from customers
           join orders on orders.shop = customers.shop and orders.customer = customers.num
           where customers.shop = ? and consent = 'SUBSCRIBED' and is_counted
             and cast(customers.body as text) ->> '$.defaultEmailAddress.validFormat'
             and not exists (select 1 from former_customers
                 where former_customers.shop = customers.shop
                   and former_customers.num = customers.num)
           group by customers.num having min(processed_at) >= ?""",
        [shop, since],
    ).fetchall()
    return {num for num, email in rows if not past.is_erased(email, FOREVER)}


def _count_repeats(verdict: Verdict, past: Past, groups: dict[int, list[_Sent]]) -> None:
    """Two customers who were merged after each had a mail were both written to rightly."""
    for survivor, sent in groups.items():
        for place, (mail, customer) in enumerate(sent):
            then = past.survivor(customer, mail.accepted_at)
            if any(
                past.survivor(before.customer, mail.accepted_at) == then for before in sent[:place]
            ):
                verdict.duplicates += 1
                verdict.details.append(_detail("duplicate", mail=mail, customer=survivor))


def _count_lost(verdict: Verdict, groups: dict[int, list[_Sent]]) -> None:
    for customer in sorted(verdict.expected - groups.keys()):
        verdict.lost += 1
        verdict.details.append(_detail("lost", customer=customer))


def _time(
    db: sqlite3.Connection,
    past: Past,
    shop: int,
    verdict: Verdict,
    groups: dict[int, list[_Sent]],
) -> None:
    """From the first webhook with the order that made the mail owed to its acceptance."""
    for survivor in sorted(verdict.expected & groups.keys()):
        mail, customer = groups[survivor][0]
        first = past.first_counted(customer, mail.accepted_at)
        row = db.execute(
            """select coalesce(min(answered_sent_at), min(first_sent_at)) as sent_at
               from deliveries where shop = ? and topic like 'orders/%' and order_num = ?""",
            [shop, first and first.num],
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
