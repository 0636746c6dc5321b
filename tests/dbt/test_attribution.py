"""Credits, figures of flows and arms are those of the definition, over random ledgers."""

import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from activation.automation.performance import FlowPerformance, flow_performance
from activation.events.engagements import Seen, classify, store
from core.models.enums import EngagementKind, EngagementSource
from tests.dbt.flow_reports import rebuild
from tests.fixtures.marts import Marts

START = datetime(2026, 3, 20, tzinfo=UTC)  # the clock changes on the 29th
AS_OF = START + timedelta(days=30)
ZONE = ZoneInfo("Europe/Berlin")


@dataclass
class Mail:
    message_id: int
    step_key: str
    enrollment_id: int
    customer_id: int
    queued_at: datetime
    skip_reason: str | None
    is_test: bool
    clicks: list[tuple[datetime, str | None, str]] = field(default_factory=list)

    @property
    def is_sent(self) -> bool:
        return self.skip_reason is None

    @property
    def human_clicks(self) -> list[datetime]:
        return [at for at, agent, url in self.clicks if agent is None and "unsubscribe" not in url]


@dataclass(frozen=True)
class Order:
    order_id: int
    customer_id: int | None
    at: datetime
    currency: str
    original: int
    refunded: int
    is_test: bool

    @property
    def counts(self) -> bool:
        return not self.is_test and not 0 < self.original <= self.refunded

    @property
    def revenue(self) -> Decimal:
        in_euro = self.counts and self.currency == "EUR"
        return Decimal(self.original - self.refunded if in_euro else 0)


@dataclass
class Ledger:
    """One shop and one flow of two mails; its third version holds out another share."""

    window: timedelta
    mails: list[Mail]
    orders: list[Order]
    entries: dict[int, tuple[int, int, bool, bool]]  # customer, version, is_held_out, is_test

    def credits(self) -> dict[int, int]:
        found = {}
        for order in filter(lambda order: order.counts, self.orders):
            clicks = [
                (at, mail.message_id)
                for mail in self.mails
                if mail.customer_id == order.customer_id and not mail.is_test
                for at in mail.human_clicks
                if at <= order.at <= at + self.window
            ]
            if clicks:
                found[order.order_id] = max(clicks)[1]
        return found

    def outcomes(self) -> dict[int, tuple[bool, int, Decimal]]:
        firsts: dict[int, Mail] = {}
        for mail in sorted(self.mails, key=lambda mail: (mail.queued_at, mail.message_id)):
            if not mail.is_test:
                firsts.setdefault(mail.customer_id, mail)
        found = {}
        for customer_id, mail in firsts.items():
            _, version, is_held_out, _ = self.entries[mail.enrollment_id]
            end = mail.queued_at + self.window
            if version == 1 or end > AS_OF:
                continue
            theirs = [
                order
                for order in self.orders
                if order.customer_id == customer_id
                and order.counts
                and mail.queued_at <= order.at < end
            ]
            revenue = sum((order.revenue for order in theirs), Decimal())
            found[customer_id] = (is_held_out, len(theirs), revenue)
        return found


def random_ledger(chance: random.Random, window: timedelta) -> Ledger:
    """Minutes are coarse, so that clicks, purchases and ends of windows fall together."""

    def moment(days: int) -> datetime:
        return START + timedelta(hours=12 * chance.randrange(2 * days))

    entries, mails = {}, []
    for enrollment_id in range(1, 60):
        customer_id = chance.randrange(1, 30)
        is_held_out, is_test = customer_id % 5 == 0, chance.random() < 0.1
        entries[enrollment_id] = (customer_id, chance.choice([1, 2, 3]), is_held_out, is_test)
        for step_key in ("first", "second"):
            reason = "holdout" if is_held_out else chance.choice([None, None, "unsubscribed"])
            mail = Mail(
                len(mails) + 1, step_key, enrollment_id, customer_id, moment(30), reason, is_test
            )
            if mail.is_sent:
                mail.clicks = [
                    (
                        mail.queued_at + timedelta(hours=12 * halves),
                        chance.choice([None, None, "HeadlessChrome/1"]),
                        chance.choice(["https://a.example", "https://a.example/unsubscribe/x"]),
                    )
                    for halves in chance.sample(range(1, 20), chance.choice([1, 2, 3]))
                ]
            mails.append(mail)
    orders = [
        Order(
            order_id,
            chance.choice([None, *range(1, 30)]),
            moment(40),
            chance.choice(["EUR", "EUR", "USD"]),
            original := chance.choice([0, 10, 99]),
            chance.choice([0, 0, min(original, 5), original]),
            chance.random() < 0.1,
        )
        for order_id in range(1, 150)
    ]
    return Ledger(window, mails, orders, entries)


def write(connection: Connection, ledger: Ledger, chance: random.Random) -> int:
    shop_id: int = connection.execute(
        text(
            "INSERT INTO crm.shops (domain, name, currency, time_zone, client_id,"
            " client_secret_encrypted, attribution_days) VALUES (gen_random_uuid() ||"
            " '.myshopify.com', 'Shop', 'EUR', :zone, 'id', 'x', :days) RETURNING shop_id"
        ),
        {"zone": ZONE.key, "days": ledger.window.days},
    ).scalar_one()
    flow = {
        "shop_id": shop_id,
        "automation_id": connection.execute(
            text(
                "INSERT INTO crm.automations (shop_id, key, name, current_version)"
                " VALUES (:shop_id, 'welcome', 'Welcome', 3) RETURNING automation_id"
            ),
            {"shop_id": shop_id},
        ).scalar_one(),
    }
    for version, share in ((1, 5), (2, 20), (3, 20)):
        connection.execute(
            text(
                "INSERT INTO crm.automation_versions (shop_id, automation_id, version, definition)"
                " VALUES (:shop_id, :automation_id, :version, CAST(:definition AS jsonb))"
            ),
            flow | {"version": version, "definition": json.dumps({"holdout_percent": share})},
        )
    connection.execute(
        text(
            "INSERT INTO crm.enrollments (shop_id, enrollment_id, automation_id, version,"
            " customer_id, entry_key, moment_at, state, is_held_out, is_test, enrolled_at)"
            " OVERRIDING SYSTEM VALUE VALUES (:shop_id, :id, :automation_id, :version,"
            " :customer_id, :id, :at, 'completed', :is_held_out, :is_test, :at)"
        ),
        [
            flow
            | dict(zip(("customer_id", "version", "is_held_out", "is_test"), entry, strict=True))
            | {"id": enrollment_id, "at": START}
            for enrollment_id, entry in ledger.entries.items()
        ],
    )
    connection.execute(
        text(
            "INSERT INTO crm.messages (shop_id, message_id, dedupe_key, automation_id, version,"
            " step_key, enrollment_id, customer_id, state, skip_reason, is_test, due_at,"
            " expires_at, queued_at, sent_at) OVERRIDING SYSTEM VALUE VALUES (:shop_id, :id, :id,"
            " :automation_id, 1, :step_key, :enrollment_id, :customer_id, :state, :skip_reason,"
            " :is_test, :at, :at, :at, :sent_at)"
        ),
        [
            flow
            | {
                "id": mail.message_id,
                "step_key": mail.step_key,
                "enrollment_id": mail.enrollment_id,
                "customer_id": mail.customer_id,
                "state": "sent" if mail.is_sent else "skipped",
                "skip_reason": mail.skip_reason,
                "is_test": mail.is_test,
                "at": mail.queued_at,
                "sent_at": mail.queued_at if mail.is_sent else None,
            }
            for mail in ledger.mails
        ],
    )
    connection.execute(
        text(
            "INSERT INTO raw_shopify.orders (shop_id, order_id, name, customer_id, created_at,"
            " updated_at, processed_at, is_test, currency, current_total, original_total,"
            " refunded_total) VALUES (:shop_id, :order_id, '#', :customer_id, :at, :at, :at,"
            " :is_test, :currency, :original - :refunded, :original, :refunded)"
        ),
        [{"shop_id": shop_id} | vars(order) for order in ledger.orders],
    )
    tell_clicks(connection, shop_id, ledger, chance)
    return shop_id


def tell_clicks(
    connection: Connection, shop_id: int, ledger: Ledger, chance: random.Random
) -> None:
    """In any order, one by one or many together, each judged as it comes, and some told twice."""
    seen = [
        Seen(
            shop_id,
            mail.message_id,
            f"{number}",
            EngagementKind.CLICK,
            EngagementSource.OWN,
            at,
            url=url,
            user_agent=agent,
        )
        for mail in ledger.mails
        for number, (at, agent, url) in enumerate(mail.clicks)
    ]
    seen += chance.sample(seen, 10)
    chance.shuffle(seen)
    with Session(connection, join_transaction_mode="create_savepoint") as session:
        for part in (seen[::2], seen[1::2]):
            store(session, part)
            classify(session, {(each.shop_id, each.message_id) for each in part})
        session.commit()


@pytest.mark.requirement("AUTO-06", "AUTO-07")
def test_credits_figures_and_arms_are_those_of_the_definition_over_random_ledgers(
    engine: Engine, marts: Marts
) -> None:
    chance = random.Random(20261126)  # noqa: S311 - repeatable, not secret
    ledgers = {}
    with engine.connect() as connection:
        for days in (1, 5, 5):
            ledger = random_ledger(chance, timedelta(days=days))
            ledgers[write(connection, ledger, chance)] = ledger
        rebuild(connection, marts, as_of=AS_OF.isoformat())
        credited: dict[int, dict[int, int]] = {shop_id: {} for shop_id in ledgers}
        for row in read(connection, "marts.attributed_orders"):
            credited[row.shop_id][row.order_id] = row.message_id
        arms: dict[int, dict[int, Any]] = {shop_id: {} for shop_id in ledgers}
        for row in read(connection, "intermediate.int_flow_outcomes"):
            arms[row.shop_id][row.customer_id] = (row.is_held_out, row.order_count, row.revenue)
        with Session(connection) as session:
            told = {shop_id: flow_performance(session, shop_id) for shop_id in ledgers}
        connection.rollback()
    for shop_id, ledger in ledgers.items():
        assert len(ledger.credits()) > 3
        assert credited[shop_id] == ledger.credits()
        assert {held_out for held_out, _, _ in ledger.outcomes().values()} == {True, False}
        assert arms[shop_id] == ledger.outcomes()
        [flow] = told[shop_id]
        figures_agree(flow, ledger)


def read(connection: Connection, relation: str) -> Any:
    return connection.execute(text(f"SELECT * FROM {relation}"))


def figures_agree(flow: FlowPerformance, ledger: Ledger) -> None:
    by_id = {mail.message_id: mail for mail in ledger.mails}
    revenue_of = {order.order_id: order.revenue for order in ledger.orders}
    real = [mail for mail in ledger.mails if not mail.is_test]
    for step_key, figures in flow.steps.items():
        mails = [mail for mail in real if mail.step_key == step_key]
        orders = [
            order_id
            for order_id, message_id in ledger.credits().items()
            if by_id[message_id].step_key == step_key
        ]
        assert figures.owed == len(mails)
        assert figures.sent == sum(mail.is_sent for mail in mails)
        assert figures.held_out == sum(mail.skip_reason == "holdout" for mail in mails)
        unsubscribed = sum(mail.skip_reason == "unsubscribed" for mail in mails)
        assert figures.skipped_by_reason == {"unsubscribed": unsubscribed}
        assert figures.skipped == unsubscribed
        assert (figures.waiting, figures.failed) == (0, 0)
        assert figures.orders == len(orders)
        assert figures.revenue == sum((revenue_of[order_id] for order_id in orders), Decimal())
    assert set(flow.steps) == {"first", "second"}
    assert flow.figures.revenue == sum(each.revenue for each in flow.steps.values())
    assert flow.figures.owed == len(real)
    entries = [entry for entry in ledger.entries.values() if not entry[3]]
    assert flow.enrolled == len(entries)
    assert flow.enrolled_held_out == sum(is_held_out for _, _, is_held_out, _ in entries)
    outcomes = ledger.outcomes().values()
    [revenue] = [lift for lift in flow.lift if lift.metric == "revenue"]
    treated = [amount for is_held_out, _, amount in outcomes if not is_held_out]
    assert revenue.treated_people == len(treated)
    assert revenue.held_out_people == len(outcomes) - len(treated)
    assert abs(revenue.treated_per_person - sum(treated) / len(treated)) < Decimal("0.00001")
    assert revenue.verdict == "too early to say"
