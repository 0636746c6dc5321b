"""The page of the mail that asks whether a subscription is wanted."""

from datetime import timedelta

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from activation.consent.confirming import confirm_url
from activation.consent.policy import KEY, require_confirmation
from activation.unsubscribe import token_for
from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.models import Automation, ConsentConfirmation, ConsentEvent, Customer, Message, Shop
from core.models.enums import ConsentSource, ConsentState, MessageState
from core.settings import Settings
from tests.webapp.conftest import HTML

pytestmark = pytest.mark.requirement("EMAIL-02")


@pytest.fixture
def message_id(session_factory: SessionFactory, shop: Shop, clock: MovableClock) -> int:
    """Grace subscribed and was asked."""
    with session_scope(session_factory) as session:
        require_confirmation(session, shop.shop_id, reason="x", now=clock.now())
        session.add(
            Customer(
                shop_id=shop.shop_id,
                customer_id=1,
                email="Grace@Example.com",
                consent_state=ConsentState.SUBSCRIBED,
                consent_updated_at=clock.now(),
                created_at=clock.now(),
                updated_at=clock.now(),
            )
        )
        session.add(
            ConsentConfirmation(
                shop_id=shop.shop_id,
                email_normalized="grace@example.com",
                customer_id=1,
                given_at=clock.now(),
                asked_at=clock.now(),
            )
        )
        flow = session.scalars(select(Automation).where(Automation.key == KEY)).one()
        message = Message(
            shop_id=shop.shop_id,
            dedupe_key="ask",
            automation_id=flow.automation_id,
            version=1,
            step_key="confirm_email",
            customer_id=1,
            email="Grace@Example.com",
            state=MessageState.DELIVERED,
            due_at=clock.now(),
            expires_at=clock.now() + timedelta(days=3),
            queued_at=clock.now(),
        )
        session.add(message)
        session.flush()
        return message.message_id


@pytest.fixture
def link(settings: Settings, shop: Shop, message_id: int) -> str:
    url = confirm_url(settings, shop_id=shop.shop_id, message_id=message_id)
    return "/confirm/" + url.rpartition("/")[2]


def clicks(factory: SessionFactory) -> list[ConsentEvent]:
    with session_scope(factory) as session:
        return list(session.scalars(select(ConsentEvent)))


def test_a_scanner_that_opens_the_link_confirms_nothing(
    client: TestClient, link: str, session_factory: SessionFactory
) -> None:
    for _ in range(3):
        page = client.get(link, headers=HTML)
        assert client.head(link).status_code == 200
    assert "Yes, subscribe me" in page.text
    assert "G•••@Example.com" in page.text
    assert ("race" in page.text, "set-cookie" in page.headers) == (False, False)
    assert clicks(session_factory) == []


def test_the_button_confirms_once_and_the_ledger_has_what_was_agreed_to(
    client: TestClient, link: str, session_factory: SessionFactory
) -> None:
    page = client.get(link, headers=HTML).text
    for _ in range(2):
        done = client.post(link, headers=HTML | {"user-agent": "Browser/1"})
        assert "You are subscribed" in done.text
    [event] = clicks(session_factory)
    assert event.source is ConsentSource.DOUBLE_OPT_IN
    assert (event.ip, event.user_agent) == ("testclient", "Browser/1")
    assert event.wording is not None
    agreed, _, button = event.wording.rstrip("]").rpartition(" [")
    assert agreed in page
    assert f">{button}</button>" in page
    with session_scope(session_factory) as session:
        assert session.scalars(select(ConsentConfirmation)).one().confirmed_at is not None


@pytest.mark.parametrize("gone", ["erased", "unsubscribed"])
def test_for_who_is_gone_there_is_nothing_to_confirm(
    client: TestClient, link: str, session_factory: SessionFactory, gone: str
) -> None:
    with session_scope(session_factory) as session:
        if gone == "erased":
            message = session.scalars(select(Message)).one()
            message.email = message.customer_id = None
        else:
            session.scalars(select(Customer)).one().consent_state = ConsentState.UNSUBSCRIBED
    for page in (client.get(link, headers=HTML), client.post(link, headers=HTML)):
        assert (page.status_code, "Nothing to confirm" in page.text) == (200, True)
        assert "@" not in page.text.partition("<main")[2].replace("@example", "")
    assert clicks(session_factory) == []


def test_other_links_confirm_nothing(
    client: TestClient,
    settings: Settings,
    shop: Shop,
    message_id: int,
    session_factory: SessionFactory,
) -> None:
    leave = token_for(settings, shop_id=shop.shop_id, message_id=message_id)
    for token in ("x", "1.MS4x.AAAA", leave):
        assert client.get(f"/confirm/{token}", headers=HTML).status_code == 404
        assert client.post(f"/confirm/{token}").status_code == 404
    assert clicks(session_factory) == []
