"""A made-up shop in the real tables, written through core's own statistics, and a way to run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
from sqlalchemy import select, text, update

from activation.automation.presets import WELCOME, seed_presets
from activation.automation.switching import set_delay, set_holdout, switch_off, switch_on
from activation.cycle import Cycle, CycleReport, run_due
from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.ingestion import statistics
from core.models import (
    Checkout,
    Customer,
    Enrollment,
    Message,
    MessageBatch,
    Order,
    OrderLine,
    SegmentMembership,
    Shop,
)
from core.models.enums import ConsentState, MembershipCause, MessageState
from core.settings import Settings
from core.shopify.client import ShopifyClient
from tests.activation.fake_provider import FakeProvider

ADDRESS = "Nordlicht Keramik GmbH\nLange Reihe 12\n20099 Hamburg"


# Versions are never changed; a test that is not about the holdout wants all its customers.
NOBODY_HELD_OUT = text(
    "UPDATE crm.automation_versions SET definition = definition - 'holdout_percent'"
    " WHERE shop_id = :shop_id"
)


def no_shopify(shop_id: int) -> ShopifyClient:
    raise AssertionError(f"shop {shop_id} asked for Shopify")


@dataclass
class World:
    """One shop, synced and with a baseline an hour ago; everything happens at `clock`."""

    factory: SessionFactory
    settings: Settings
    clock: MovableClock
    provider: FakeProvider
    shop_id: int = 0
    next_order: int = 5000
    naps: list[float] = field(default_factory=list)
    client_of: Callable[[int], Any] = no_shopify

    @property
    def now(self) -> datetime:
        return self.clock.now()

    def add_shop(self, **columns: Any) -> int:
        with session_scope(self.factory) as session:
            shop = Shop(
                **{
                    "domain": f"shop-{self.next_order}.myshopify.com",
                    "name": "Nordlicht Keramik",
                    "currency": "EUR",
                    "time_zone": "Europe/Berlin",
                    "client_id": "id",
                    "client_secret_encrypted": "x",
                    "sender_name": "Nordlicht Keramik",
                    "sender_address": "hello@mail.example.com",
                    "reply_to": "shop@example.com",
                    "postal_address": ADDRESS,
                    "first_sync_started_at": self.now - timedelta(hours=2),
                    "first_sync_completed_at": self.now - timedelta(hours=1),
                    "baseline_at": self.now - timedelta(hours=1),
                    **columns,
                }
            )
            session.add(shop)
            session.flush()
            seed_presets(session, shop.shop_id, now=self.now)
            session.execute(NOBODY_HELD_OUT, {"shop_id": shop.shop_id})
            self.next_order += 1
            return shop.shop_id

    def switch_welcome_on(self, *, delay: timedelta = timedelta(), shop_id: int = 0) -> None:
        with session_scope(self.factory) as session:
            shop_id = shop_id or self.shop_id
            set_delay(session, shop_id, WELCOME, "delay", delay, now=self.now)
            switch_on(session, shop_id, WELCOME, now=self.now)

    def switch_flow_on(
        self, key: str, *, holdout_percent: int = 0, include_silent: bool = True, shop_id: int = 0
    ) -> None:
        """A preset as it is shipped, except that by default nobody is held out."""
        with session_scope(self.factory) as session:
            shop_id = shop_id or self.shop_id
            if holdout_percent:
                set_holdout(session, shop_id, key, holdout_percent, now=self.now)
            switch_on(session, shop_id, key, now=self.now, include_silent=include_silent)

    def switch_flow_off(self, key: str) -> None:
        with session_scope(self.factory) as session:
            switch_off(session, self.shop_id, key, now=self.now)

    def add_customer(self, customer_id: int, **columns: Any) -> int:
        self.add_customers([customer_id], **columns)
        return customer_id

    def add_customers(self, numbers: Sequence[int], *, shop_id: int = 0, **columns: Any) -> None:
        with session_scope(self.factory) as session:
            session.add_all(
                Customer(
                    **{
                        "shop_id": shop_id or self.shop_id,
                        "customer_id": number,
                        "email": f"c{number}@example.com",
                        "first_name": "Anna",
                        "consent_state": ConsentState.SUBSCRIBED,
                        "consent_updated_at": self.now - timedelta(days=1),
                        "created_at": self.now,
                        "updated_at": self.now,
                        **columns,
                    }
                )
                for number in numbers
            )

    def place_order(self, customer_id: int | None, *, shop_id: int = 0, **columns: Any) -> int:
        return self.place_orders([customer_id], shop_id=shop_id, **columns)

    def place_orders(
        self, customer_ids: Sequence[int | None], *, shop_id: int = 0, **columns: Any
    ) -> int:
        """One order each, written as the webhook path does: statistics locked, then recomputed.
        Returns the last order's id.
        """
        shop_id = shop_id or self.shop_id
        touched = [each for each in customer_ids if each is not None]
        with session_scope(self.factory) as session:
            statistics.lock(session, shop_id, touched)
            for customer_id in customer_ids:
                self.next_order += 1
                session.add_all(self._order(shop_id, self.next_order, customer_id, columns))
            session.flush()
            statistics.recompute(session, shop_id, touched, touched_at=self._touched_at())
        return self.next_order

    def _order(
        self, shop_id: int, order_id: int, customer_id: int | None, columns: dict[str, Any]
    ) -> list[Order | OrderLine]:
        order = {
            "shop_id": shop_id,
            "order_id": order_id,
            "name": f"#{order_id}",
            "customer_id": customer_id,
            "created_at": self.now,
            "updated_at": self.now,
            "processed_at": self.now,
            "is_test": False,
            "financial_status": "PAID",
            "currency": "EUR",
            "current_total": Decimal("49.90"),
            "original_total": Decimal("49.90"),
            "refunded_total": Decimal(0),
        }
        line = OrderLine(
            shop_id=shop_id,
            line_id=order_id,
            order_id=order_id,
            title="Becher Fjord",
            variant_title="Blau",
            quantity=2,
            current_quantity=2,
            unit_price=Decimal("24.95"),
            currency="EUR",
        )
        return [Order(**(order | columns)), line]

    def _touched_at(self) -> datetime:
        """Distinct per change, as with a clock that runs."""
        return datetime.now(self.now.tzinfo)

    def change_order(self, order_id: int, **columns: Any) -> None:
        with session_scope(self.factory) as session:
            order = session.scalars(select(Order).where(Order.order_id == order_id)).one()
            touched = [each for each in {order.customer_id, columns.get("customer_id")} if each]
            statistics.lock(session, order.shop_id, touched)
            for name, value in columns.items():
                setattr(order, name, value)
            session.flush()
            statistics.recompute(session, order.shop_id, touched, touched_at=self._touched_at())

    def stay(
        self, customer_id: int, segment: str, *, before: str | None = "potential", **columns: Any
    ) -> None:
        """They are in this segment from now on, out of `before`; None: it is their first known."""
        with session_scope(self.factory) as session:
            session.execute(
                update(SegmentMembership)
                .where(
                    SegmentMembership.shop_id == self.shop_id,
                    SegmentMembership.customer_id == customer_id,
                    SegmentMembership.exited_at.is_(None),
                )
                .values(exited_at=self.now, exit_cause=MembershipCause.ORDER)
            )
            session.add(
                SegmentMembership(
                    **{
                        "shop_id": self.shop_id,
                        "customer_id": customer_id,
                        "segment": segment,
                        "previous_segment": before,
                        "entered_at": self.now,
                        "cause": MembershipCause.ORDER if before else MembershipCause.BASELINE,
                        "r_score": 3,
                        "f_score": 3,
                        "m_score": 3,
                        **columns,
                    }
                )
            )

    def leave_cart(self, key: str, customer_id: int | None = None, **columns: Any) -> None:
        """A checkout left just now, with the customer's address."""
        with session_scope(self.factory) as session:
            session.add(
                Checkout(
                    **{
                        "shop_id": self.shop_id,
                        "checkout_key": key,
                        "token": f"token-{key}",
                        "customer_id": customer_id,
                        "email": customer_id and f"c{customer_id}@example.com",
                        "recovery_url": f"https://shop.example.com/checkouts/ac/{key}/recover",
                        "created_at": self.now,
                        "updated_at": self.now,
                        "currency": "EUR",
                        "total": Decimal("49.90"),
                        "line_items": [
                            {"title": "Becher Fjord", "quantity": 2, "unit_price": "24.95"}
                        ],
                        **columns,
                    }
                )
            )

    def buyers(self, numbers: Sequence[int], **columns: Any) -> None:
        """Subscribed customers with one order each."""
        self.add_customers(numbers, **columns)
        self.place_orders(numbers)

    def cycle(self, **options: Any) -> Cycle:
        return Cycle(
            **{
                "factory": self.factory,
                "settings": self.settings,
                "clock": self.clock,
                "provider": self.provider,
                "client_of": self.client_of,
                "run_id": "run-1",
                "stop": lambda: False,
                "sleep": self.naps.append,
                "patience": timedelta(),
                **options,
            }
        )

    def run(self, **options: Any) -> CycleReport:
        return run_due(self.cycle(**options))

    def run_cleanly(self, **options: Any) -> CycleReport:
        report = self.run(**options)
        assert report.failures == []
        return report

    def end_leases(self) -> None:
        """As if the lease time of every dead worker had passed."""
        self.execute(
            "UPDATE crm.message_batches SET lease_until = clock_timestamp() WHERE state = 'open'"
        )

    def execute(self, sql: str, **values: Any) -> None:
        with session_scope(self.factory) as session:
            session.execute(text(sql), values)

    def end_pauses(self) -> None:
        """As if the pauses of the shops and of the provider's account were over."""
        self.execute("UPDATE crm.send_paces SET paused_until = NULL")
        self.execute(
            "UPDATE crm.send_teams SET paused_until = NULL, next_at = clock_timestamp(),"
            " single_next_at = clock_timestamp()"
        )

    def messages(self) -> list[Message]:
        with session_scope(self.factory) as session:
            return list(session.scalars(select(Message).order_by(Message.message_id)))

    def message(self) -> Message:
        [message] = self.messages()
        return message

    def states(self) -> list[str]:
        return sorted(message.state.value for message in self.messages())

    def batches(self) -> list[MessageBatch]:
        with session_scope(self.factory) as session:
            return list(session.scalars(select(MessageBatch).order_by(MessageBatch.batch_id)))

    def enrollments(self) -> list[Enrollment]:
        with session_scope(self.factory) as session:
            return list(session.scalars(select(Enrollment).order_by(Enrollment.enrollment_id)))

    def set_customer(self, customer_id: int, **columns: Any) -> None:
        with session_scope(self.factory) as session:
            session.execute(
                update(Customer).where(Customer.customer_id == customer_id).values(**columns)
            )

    def set_shop(self, **columns: Any) -> None:
        with session_scope(self.factory) as session:
            session.execute(update(Shop).where(Shop.shop_id == self.shop_id).values(**columns))

    def assert_no_mail_twice(self) -> None:
        addresses = self.provider.addresses()
        assert len(addresses) == len(set(addresses))

    def assert_each_sent_once(self, customer_ids: Sequence[int]) -> None:
        """Counted at the provider, not in our tables."""
        assert sorted(self.provider.addresses()) == sorted(
            f"c{number}@example.com" for number in customer_ids
        )
        wanted = {MessageState.SENT, MessageState.DELIVERED}
        assert all(message.state in wanted for message in self.messages())


def mails(body: bytes) -> list[dict[str, Any]]:
    parsed: list[dict[str, Any]] = orjson.loads(body)
    return parsed


Hook = Callable[[str], None]
