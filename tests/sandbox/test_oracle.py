"""The oracle held against hand-made stores, most of them with something wrong in them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from sandbox.clock import utc_z
from sandbox.loader import INSERT_CUSTOMER, INSERT_ORDER, customer_row, order_row
from sandbox.oracle import quantiles, welcome_verdict
from sandbox.outbox import SHOPIFY, Delivery, enqueue
from sandbox.store import Store
from tests.sandbox.support import a_customer, an_order

SINCE = 1_800_000_000.0
LATER = SINCE + 100
SHOP = 1


@dataclass
class Books:
    """A store written by hand."""

    store: Store
    mails: int = 0

    def customer(self, number: int, state: str = "SUBSCRIBED") -> None:
        with self.store.write() as db:
            db.execute(INSERT_CUSTOMER, customer_row(SHOP, a_customer(number, state=state)))

    def order(self, number: int, customer: int | None, *, at: float = LATER, **change: Any) -> None:
        body = an_order(number, customer=customer) | {"processedAt": utc_z(at)} | change
        with self.store.write() as db:
            db.execute(INSERT_ORDER, order_row(SHOP, body, placed_at=LATER))

    def mail(
        self,
        address: str,
        *,
        at: float = LATER + 10,
        outcome: str = "delivered",
        tags: tuple[dict[str, str], ...] = (),
    ) -> None:
        self.mails += 1
        with self.store.write() as db:
            db.execute(
                "insert into emails (id, accepted_at, endpoint, sender, subject, message_id, body)"
                " values (?, ?, '', '', '', '', ?)",
                [f"mail-{self.mails}", at, orjson.dumps({"tags": tags})],
            )
            db.execute(
                "insert into email_recipients (email, address, kind, outcome)"
                " values (?, ?, 'to', ?)",
                [self.mails, address, outcome],
            )

    def delivered(
        self, order: int, *, sent: float, answered: float | None, topic: str = "orders/create"
    ) -> None:
        with self.store.write() as db:
            delivery = Delivery(
                channel=SHOPIFY,
                url="",
                topic=topic,
                message_id=f"w{order}",
                body=b"",
                at=sent,
                shop=SHOP,
                order_num=order,
            )
            enqueue(db, delivery, now=sent)
            db.execute(
                "update deliveries set first_sent_at = ?, answered_sent_at = ?"
                " where num = last_insert_rowid()",
                [sent, answered],
            )

    def do(self, sql: str, *values: Any) -> None:
        with self.store.write() as db:
            db.execute(sql, values)

    def verdict(self, **more: Any) -> dict[str, Any]:
        with self.store.snapshot() as db:
            return welcome_verdict(db, SHOP, since=SINCE, **more).report()


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    store = Store(tmp_path / "books.sqlite3")
    yield Books(store)
    store.close()


def figures(verdict: dict[str, Any]) -> tuple[int, ...]:
    """expected, accepted, forbidden, duplicates, lost"""
    names = ("emails_expected", "emails_accepted", "emails_forbidden", "duplicates", "lost")
    return tuple(verdict[name] for name in names)


def reason(verdict: dict[str, Any]) -> str:
    (detail,) = verdict["details"]
    return str(detail["reason"])


def test_an_owed_mail_that_came_once_is_right(books: Books) -> None:
    books.customer(1)
    books.order(1, 1)
    books.mail("c1@example.com")
    assert figures(books.verdict()) == (1, 1, 0, 0, 0)
    assert books.verdict()["details"] == []


def test_an_owed_mail_that_did_not_come_is_lost(books: Books) -> None:
    books.customer(1)
    books.order(1, 1)
    verdict = books.verdict()
    assert figures(verdict) == (1, 0, 0, 0, 1)
    assert verdict["details"] == [{"kind": "lost", "customer": "gid://shopify/Customer/1"}]


def test_a_second_mail_is_a_duplicate(books: Books) -> None:
    books.customer(1)
    books.order(1, 1)
    books.order(2, 1)
    books.mail("c1@example.com")
    books.mail("c1@example.com")
    verdict = books.verdict()
    assert figures(verdict) == (1, 2, 0, 1, 0)
    assert verdict["details"][0]["kind"] == "duplicate"
    assert verdict["details"][0]["email_id"] == "mail-2"


@pytest.mark.parametrize("state", ["NOT_SUBSCRIBED", "PENDING", "UNSUBSCRIBED", "INVALID"])
def test_a_mail_without_consent_is_forbidden(books: Books, state: str) -> None:
    books.customer(1, state)
    books.order(1, 1)
    books.mail("c1@example.com")
    verdict = books.verdict()
    assert figures(verdict) == (0, 1, 1, 0, 0)
    assert reason(verdict) == f"consent was {state}"


@pytest.mark.parametrize(
    "change",
    [
        {"test": True},
        {"cancelledAt": utc_z(LATER)},
        {"displayFinancialStatus": "VOIDED"},
        {"displayFinancialStatus": "EXPIRED"},
        {"displayFinancialStatus": "REFUNDED"},
        {"totalRefundedSet": {"shopMoney": {"amount": "49.9", "currencyCode": "EUR"}}},
    ],
)
def test_a_mail_for_an_order_that_does_not_count_is_forbidden(
    books: Books, change: dict[str, Any]
) -> None:
    books.customer(1)
    books.order(1, 1, **change)
    assert figures(books.verdict()) == (0, 0, 0, 0, 0)
    books.mail("c1@example.com")
    verdict = books.verdict()
    assert figures(verdict) == (0, 1, 1, 0, 0)
    assert reason(verdict) == "no order of the customer counted"


def test_a_free_order_counts(books: Books) -> None:
    nothing = {"shopMoney": {"amount": "0.0", "currencyCode": "EUR"}}
    books.customer(1)
    books.order(1, 1, totalPriceSet=nothing, currentTotalPriceSet=nothing)
    assert books.verdict()["emails_expected"] == 1


@pytest.mark.requirement("SHOP-08")
def test_a_mail_to_someone_who_bought_before_is_forbidden(books: Books) -> None:
    books.customer(1)
    books.order(1, 1, at=SINCE - 1)
    books.order(2, 1)
    books.mail("c1@example.com")
    verdict = books.verdict()
    assert figures(verdict) == (0, 1, 1, 0, 0)
    assert reason(verdict) == "the customer's first counted order is from before"


def test_an_earlier_test_order_does_not_make_a_buyer(books: Books) -> None:
    books.customer(1)
    books.order(1, 1, at=SINCE - 1, test=True)
    books.order(2, 1)
    assert books.verdict()["emails_expected"] == 1


def test_a_mail_to_a_stranger_or_a_guest_is_forbidden(books: Books) -> None:
    books.order(1, None)
    books.mail("guest@example.com")
    verdict = books.verdict()
    assert figures(verdict) == (0, 1, 1, 0, 0)
    assert reason(verdict) == "no customer of the shop has this address"


def test_a_mail_before_the_order_is_forbidden(books: Books) -> None:
    books.customer(1)
    books.order(1, 1)
    books.mail("c1@example.com", at=LATER - 1)
    assert figures(books.verdict()) == (1, 1, 1, 0, 0)


@pytest.mark.parametrize(("at", "forbidden"), [(LATER + 49, 0), (LATER + 51, 1)])
def test_consent_is_judged_as_it_was_when_the_mail_was_accepted(
    books: Books, at: float, forbidden: int
) -> None:
    books.customer(1, "UNSUBSCRIBED")
    books.order(1, 1)
    books.do(
        "insert into consent_changes values (1, 1, 'SUBSCRIBED', 'UNSUBSCRIBED', ?)", LATER + 50
    )
    books.mail("c1@example.com", at=at)
    assert books.verdict()["emails_forbidden"] == forbidden
    assert books.verdict()["emails_expected"] == 1 - forbidden


@pytest.mark.requirement("EMAIL-02")
def test_a_mail_while_consent_was_unknown_is_forbidden(books: Books) -> None:
    books.customer(1)
    books.order(1, 1)
    books.do("update customers set reads_left = 2")
    assert figures(books.verdict()) == (1, 0, 0, 0, 1)
    books.mail("c1@example.com", at=LATER + 5)
    assert reason(books.verdict()) == "consent was UNKNOWN"
    books.do("update customers set reads_left = 0")
    books.do("insert into consent_changes values (1, 1, 'UNKNOWN', 'SUBSCRIBED', ?)", LATER + 20)
    assert figures(books.verdict()) == (1, 1, 1, 0, 0)


def test_an_order_cancelled_after_its_mail_leaves_the_mail_right(books: Books) -> None:
    books.customer(1)
    books.order(1, 1)
    books.mail("c1@example.com")
    books.do("update orders set is_counted = 0, uncounted_at = ?", LATER + 60)
    assert figures(books.verdict()) == (1, 1, 0, 0, 0)


def test_an_order_cancelled_before_its_mail_makes_the_mail_forbidden(books: Books) -> None:
    books.customer(1)
    books.order(1, 1)
    books.do("update orders set is_counted = 0, uncounted_at = ?", LATER + 5)
    books.mail("c1@example.com")
    assert figures(books.verdict()) == (0, 1, 1, 0, 0)


@pytest.mark.parametrize("outcome", ["bounced", "suppressed"])
def test_a_mail_that_reached_nobody_is_not_forbidden(books: Books, outcome: str) -> None:
    books.mail("guest@example.com", outcome=outcome)
    assert figures(books.verdict()) == (0, 1, 0, 0, 0)


def test_nothing_is_owed_to_an_address_that_is_none(books: Books) -> None:
    books.customer(1)
    books.order(1, 1)
    books.do("""update customers set body = replace(cast(body as text), '"validFormat":true',
                '"validFormat":false')""")
    assert figures(books.verdict()) == (0, 0, 0, 0, 0)


def test_mails_can_be_told_apart_by_a_tag(books: Books) -> None:
    books.mail("x@example.com", tags=({"name": "shop_id", "value": "2"},))
    assert books.verdict(tag=("shop_id", "1"))["emails_accepted"] == 0
    assert books.verdict(tag=("shop_id", "2"))["emails_accepted"] == 1


def test_time_runs_from_the_first_webhook_with_the_order_that_was_answered(books: Books) -> None:
    for number, answered in ((1, LATER + 2), (2, None)):
        books.customer(number)
        books.order(number, number)
        books.delivered(number, sent=LATER + 1, answered=answered)
        books.mail(f"c{number}@example.com")
    books.delivered(1, sent=LATER + 4, answered=LATER + 4)
    books.delivered(1, sent=LATER + 1.5, answered=LATER + 1.5, topic="orders/paid")
    books.delivered(1, sent=LATER, answered=LATER, topic="refunds/create")
    assert books.verdict()["order_to_email_seconds"] == {
        "p50": 8.5,
        "p95": 9.0,
        "p99": 9.0,
        "max": 9.0,
    }


def test_quantiles_are_values_that_occurred() -> None:
    assert quantiles([]) == {"p50": None, "p95": None, "p99": None, "max": None}
    assert quantiles([3.0]) == {"p50": 3.0, "p95": 3.0, "p99": 3.0, "max": 3.0}
    assert quantiles([float(n) for n in range(1, 101)]) == {
        "p50": 50.0,
        "p95": 95.0,
        "p99": 99.0,
        "max": 100.0,
    }
