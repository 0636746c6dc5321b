"""The proof: a person is erased, Shopify tells us everything again, and nothing of them is back.

Through the real paths: syncs over HTTP, signed webhooks, activation runs, a provider.
"""

import itertools
import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from activation.automation.presets import seed_presets
from activation.memberships import apply_membership_changes
from activation.privacy.late import forget_late
from activation.unsubscribe import Recipient, undo
from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.ingestion.inbox import receive
from core.ingestion.sync import run_sync
from core.models import Customer, DeliveryEvent, InboxMessage, Order, PrivacyRequest, Shop
from core.models.enums import EventState, InboxState, MembershipCause, PrivacyState, SyncKind
from core.settings import Settings
from tests.activation.fake_provider import FakeProvider
from tests.activation.privacy.people import found_in_database, found_in_files, settle
from tests.activation.world import World
from tests.fixtures.marts import Marts
from tests.fixtures.shopify import (
    FakeShopify,
    add_shop,
    checkout_node,
    child,
    customer_body,
    customer_node,
    encode,
    order_node,
    webhook_headers,
)

ADA, OTHER, NEW = 7_311_900_550_001, 7_311_900_550_003, 7_311_900_550_009
ORDER = 5_500_100_200_300
EMAIL = "ada.q@privat.example.com"
STRINGS = (EMAIL, str(ADA), "Adalberta", "Quitzow", "15123456789")
LATER = "2026-11-20T12:30:00Z"


def ada(number: int = ADA, **changes: Any) -> dict[str, Any]:
    node = customer_node(number, firstName="Adalberta", lastName="Quitzow", **changes)
    node["defaultEmailAddress"] |= {"emailAddress": EMAIL, "marketingUpdatedAt": LATER}
    node["defaultPhoneNumber"] = {"phoneNumber": "+4915123456789"}
    return node


def ada_body(**changes: Any) -> dict[str, Any]:
    return customer_body(ADA, email=EMAIL, first_name="Adalberta", last_name="Quitzow", **changes)


@dataclass
class Live:
    """A shop that is synced, told of and mailed for, as in an installation."""

    world: World
    shopify: FakeShopify
    ids: Any = field(default_factory=lambda: itertools.count(1))

    def sync(self, kind: SyncKind = SyncKind.FULL) -> None:
        with self.shopify.client() as client:
            run_sync(
                self.world.factory,
                client,
                shop_id=self.world.shop_id,
                kind=kind,
                clock=self.world.clock,
                run_id=None,
                settings=self.world.settings,
                sleep=lambda _: None,
            )

    def baseline(self) -> None:
        with session_scope(self.world.factory) as session:
            apply_membership_changes(
                session,
                self.world.shop_id,
                customer_ids=None,
                now=self.world.now,
                cause=MembershipCause.FULL_RUN,
                run_id=None,
            )

    def post(self, topic: str, body: dict[str, Any]) -> InboxState | None:
        raw = encode(body)
        answer = receive(
            self.world.factory,
            headers=webhook_headers(raw, topic, f"w{next(self.ids)}"),
            body=raw,
            settings=self.world.settings,
            clock=self.world.clock,
        )
        assert answer.status == 200
        return answer.state

    def run(self) -> None:
        self.world.run_cleanly()

    def first_order_of(self, number: int, order_id: int, *, email: str, updated: str) -> None:
        """As a sync brings it, placed now: a moment of the welcome flow."""
        node = order_node(
            order_id, number, email=email, processedAt=LATER, createdAt=LATER, updatedAt=updated
        )
        self.shopify.orders += [node, child(order_id, order_id + 1)]


@pytest.fixture
def live(
    session_factory: SessionFactory,
    settings: Settings,
    clock: MovableClock,
    provider: FakeProvider,
    marts: Marts,
) -> Live:
    with session_scope(session_factory) as session:
        shop = add_shop(
            session,
            settings,
            sender_name="Tea",
            sender_address="hello@mail.example.com",
            postal_address="Street 1",
        )
        seed_presets(session, shop.shop_id, now=clock.now())
        shop_id = shop.shop_id
    shopify = FakeShopify()
    world = World(session_factory, settings, clock, provider, shop_id)
    client = shopify.client()
    world.client_of = lambda _: client
    live = Live(world, shopify)
    live.shopify.customers = [customer_node(OTHER)]
    live.sync()
    live.baseline()
    world.switch_welcome_on()
    return live


def meet_ada(live: Live) -> None:
    """She buys, is mailed, leaves a cart, is told of by webhooks; lines about her are broken."""
    live.world.clock.advance(timedelta(hours=1))
    broken = json.dumps(ada(), ensure_ascii=False)[:-5]
    live.shopify.customers = [customer_node(OTHER), ada(), broken]
    live.shopify.checkouts = [_checkout()]
    live.first_order_of(ADA, ORDER, email=EMAIL, updated=LATER)
    live.sync()
    live.run()
    live.post("customers/update", ada_body(updated_at="2026-11-20T13:40:00+01:00"))
    live.post("unknown/topic", {"about": EMAIL})
    live.post("orders/create", {"id": "broken", "email": EMAIL})
    live.world.execute("UPDATE raw_shopify.refresh_requests SET next_attempt_at = NULL")


def _checkout() -> dict[str, Any]:
    node = checkout_node(9, ADA)
    node["customer"]["defaultEmailAddress"]["emailAddress"] = EMAIL
    return node


def redact(live: Live) -> None:
    live.post(
        "customers/redact",
        {
            "shop_id": 548380009,
            "shop_domain": "tea-and-tools.myshopify.com",
            "customer": {"id": ADA, "email": EMAIL, "phone": "+4915123456789"},
            "orders_to_redact": [ORDER],
        },
    )
    live.run()
    settle(live.world)
    live.run()
    with session_scope(live.world.factory) as session:
        [request] = session.scalars(select(PrivacyRequest)).all()
    assert (request.state, request.error) == (PrivacyState.COMPLETED, None)


def _late_event(live: Live) -> None:
    """Without our tags, by an id that went with the message."""
    with session_scope(live.world.factory) as session:
        session.add(
            DeliveryEvent(
                provider="resend",
                event_id="late",
                event_type="email.opened",
                occurred_at=live.world.now,
                state=EventState.STORED,
                body={"data": {"to": [EMAIL.upper()], "email_id": "mail-0"}},
            )
        )


@pytest.mark.requirement("SHOP-07", "SHOP-08", "EMAIL-03")
def test_erased_people_stay_erased_whatever_shopify_tells_afterwards(live: Live) -> None:
    meet_ada(live)
    assert live.world.provider.addresses() == [EMAIL]
    before = {table for table, _ in found_in_database(live.world, STRINGS)}
    assert before >= {
        "crm.messages",
        "raw_shopify.checkouts",
        "raw_shopify.customers",
        "raw_shopify.orders",
        "raw_shopify.rejected_lines",
        "raw_shopify.webhook_inbox",
    }

    redact(live)
    assert found_in_database(live.world, STRINGS) == set()

    # Shopify knows her still: in full, newer than before, and under a new number too.
    live.world.clock.advance(timedelta(hours=1))
    newer = "2026-11-20T13:30:00Z"
    live.shopify.customers = [customer_node(OTHER), ada(updatedAt=newer), ada(NEW, updatedAt=newer)]
    live.shopify.orders = []
    live.first_order_of(ADA, ORDER, email=EMAIL, updated=newer)
    live.first_order_of(ADA, ORDER + 10, email=EMAIL, updated=newer)
    live.first_order_of(NEW, ORDER + 20, email=EMAIL.upper(), updated=newer)
    live.first_order_of(OTHER, ORDER + 30, email=f"c{OTHER}@example.com", updated=newer)
    live.sync()
    live.sync(SyncKind.INCREMENTAL)
    live.run()
    live.post("customers/create", ada_body(updated_at="2026-11-20T14:40:00+01:00"))
    live.post("customers/update", ada_body(updated_at="2026-11-20T14:50:00+01:00"))
    live.post("unknown/topic", {"customer": {"id": ADA}, "note": EMAIL})
    live.post("orders/create", {"id": "broken", "email": EMAIL})
    _late_event(live)
    live.shopify.nodes = {f"gid://shopify/Customer/{ADA}": ada(updatedAt=newer)}
    live.world.execute(
        "UPDATE raw_shopify.refresh_requests SET next_attempt_at = clock_timestamp()"
    )
    live.run()
    with session_scope(live.world.factory) as session:  # nor does an undo by her old mail help
        undo(session, Recipient(live.world.shop_id, 1), now=live.world.now)
    live.run()

    assert sorted(live.world.provider.addresses()) == sorted([EMAIL, f"c{OTHER}@example.com"])
    forget_late(live.world.factory, secret_key=live.world.settings.secret_key, every=timedelta(0))
    places = found_in_database(live.world, (*STRINGS, str(NEW)))
    assert places == set()
    assert found_in_files(live.world.settings.home, STRINGS) == set()
    with session_scope(live.world.factory) as session:
        assert session.scalars(select(Customer.customer_id)).all() == [OTHER]
        orders = session.scalars(select(Order).order_by(Order.order_id)).all()
        # what she bought is still counted, by nobody
        assert [order.customer_id for order in orders] == [None, None, None, OTHER]
        assert session.execute(text("SELECT count(*) FROM marts.customers")).scalar_one() == 1


@pytest.mark.requirement("SHOP-07")
def test_without_the_hashes_she_would_be_mailed_again(live: Live) -> None:
    """The control: it is the hashes that keep her out, and nothing else in this world."""
    meet_ada(live)
    redact(live)
    live.world.execute("TRUNCATE crm.suppressions")
    live.world.clock.advance(timedelta(hours=1))
    live.shopify.customers = [customer_node(OTHER), ada(updatedAt="2026-11-20T13:30:00Z")]
    live.shopify.orders = []
    live.first_order_of(ADA, ORDER + 10, email=EMAIL, updated="2026-11-20T13:30:00Z")
    live.sync()
    live.run()
    assert live.world.provider.addresses() == [EMAIL, EMAIL]
    assert ("raw_shopify.customers", EMAIL) in found_in_database(live.world, STRINGS)


@pytest.mark.requirement("SHOP-07")
def test_bodies_that_come_late_and_name_nobody_erased_stay(live: Live) -> None:
    meet_ada(live)
    redact(live)
    live.post("customers/update", customer_body(OTHER, updated_at="2026-11-20T14:40:00+01:00"))
    live.post("customers/update", ada_body(updated_at="2026-11-20T14:40:00+01:00"))
    key = live.world.settings.secret_key
    assert forget_late(live.world.factory, secret_key=key) == 0  # not before the hour is over
    assert forget_late(live.world.factory, secret_key=key, every=timedelta(0)) == 1
    with session_scope(live.world.factory) as session:
        kept = session.scalars(select(InboxMessage.body).where(InboxMessage.body != b"")).all()
    assert [json.loads(body)["id"] for body in kept] == [OTHER]


@pytest.mark.requirement("SHOP-07")
def test_shop_redact_leaves_a_shell(live: Live) -> None:
    meet_ada(live)
    live.post("app/uninstalled", {"id": 548380009, "domain": "tea-and-tools.myshopify.com"})
    about = {"shop_id": 548380009, "shop_domain": "tea-and-tools.myshopify.com"}
    live.post("shop/redact", about)
    live.run()
    settle(live.world)
    live.run()
    with session_scope(live.world.factory) as session:
        [request] = session.scalars(select(PrivacyRequest)).all()
        shop = session.get_one(Shop, live.world.shop_id)
    assert (request.state, request.error) == (PrivacyState.COMPLETED, None)
    assert (shop.name, shop.client_secret_encrypted) == ("Erased shop", "")
    assert found_in_database(live.world, (*STRINGS, str(OTHER), "Tea & Tools")) == set()
