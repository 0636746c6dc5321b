from datetime import timedelta

import pytest
from sqlalchemy import delete
from starlette.testclient import TestClient

from core import accounts
from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.models import (
    Shop,
    ShopMember,
)
from core.models.enums import (
    MessageState,
    SyncState,
)
from core.settings import Settings
from tests.webapp.builders import add_customer, add_flow, add_message, add_sync
from tests.webapp.conftest import EMAIL, HTML, PASSWORD, make_shop
from webapp.overview import View


def test_the_page_shows_everything_without_scripts(owner: TestClient, shop: Shop) -> None:
    page = owner.get("/", headers=HTML)
    assert page.status_code == 200
    for words in ("Birch", "Never synced", "Welcome flow", "Segments", "No mail yet", EMAIL):
        assert words in page.text


@pytest.mark.parametrize(
    ("part", "words"),
    [("status", "Last syncs"), ("figures", "Segments"), ("messages", "Recent messages")],
)
def test_a_part_is_what_the_page_shows_in_its_place(
    owner: TestClient, shop: Shop, part: str, words: str
) -> None:
    url = f"/overview/{part}?shop={shop.shop_id}"
    page = owner.get("/", headers=HTML).text
    fragment = owner.get(url, headers=HTML | {"hx-request": "true"}).text
    assert f'hx-get="{url}"' in page
    assert words in fragment
    assert "<html" not in fragment
    assert fragment.strip() in page


def test_text_from_shopify_is_escaped(
    owner: TestClient, session_factory: SessionFactory, shop: Shop, clock: MovableClock
) -> None:
    with session_scope(session_factory) as session:
        view = View.at(session, session.merge(shop), clock)
        add_customer(view, 1, first_name="<script>alert(1)</script>", last_name="")
        add_message(view, add_flow(view), "1", MessageState.SENT)
        view.shop.name = "<b>Shop</b>"
    page = owner.get("/", headers=HTML).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "<b>Shop" not in page


def test_somebody_elses_shop_is_not_found(
    owner: TestClient, session_factory: SessionFactory, settings: Settings
) -> None:
    with session_scope(session_factory) as session:
        foreign = make_shop(session, settings, domain="other.myshopify.com").shop_id
    for shop_id in (foreign, 999):
        assert owner.get(f"/?shop={shop_id}", headers=HTML).status_code == 404
        assert owner.get(f"/overview/messages?shop={shop_id}").status_code == 404
    assert owner.get("/overview/secrets").status_code == 404


def test_an_owner_of_two_shops_switches_between_them(
    owner: TestClient, session_factory: SessionFactory, settings: Settings, clock: MovableClock
) -> None:
    with session_scope(session_factory) as session:
        second = make_shop(session, settings, domain="clay.myshopify.com").shop_id
        accounts.create_owner(session, shop_id=second, email=EMAIL, password=PASSWORD, clock=clock)
    assert f'href="/?shop={second}"' in owner.get("/", headers=HTML).text
    assert "<title>Clay" in owner.get(f"/?shop={second}", headers=HTML).text


def test_somebody_without_a_shop_is_told(
    owner: TestClient, session_factory: SessionFactory
) -> None:
    with session_scope(session_factory) as session:
        session.execute(delete(ShopMember))
    assert "No shop yet" in owner.get("/", headers=HTML).text


def test_the_page_tells_the_shops_time(
    owner: TestClient, session_factory: SessionFactory, shop: Shop, clock: MovableClock
) -> None:
    with session_scope(session_factory) as session:
        mine = session.merge(shop)
        mine.is_sandbox, mine.clock_offset = True, timedelta(days=2)
        view = View.at(session, mine, clock)
        assert view.now == clock.now() + timedelta(days=2)
        add_sync(view, SyncState.COMPLETED, timedelta(minutes=3))
    assert "Synced 3 min ago" in owner.get("/", headers=HTML).text
