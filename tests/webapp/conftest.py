"""The application on the test database, spoken to as a browser would."""

import re
from collections.abc import Iterator
from datetime import timedelta
from functools import cache

import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from core import accounts
from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.models import Shop, ShopMember, User
from core.models.enums import Role
from core.scopes import NEEDED
from core.secrets import SecretBox
from core.settings import Settings
from webapp.app import create_app
from webapp.overview import View

EMAIL = "ada@example.com"
PASSWORD = "correct horse battery"
SECRET = "shpss_secret"
HTML = {"accept": "text/html"}


def make_shop(session: Session, settings: Settings, *, domain: str = "birch.myshopify.com") -> Shop:
    shop = Shop(
        domain=domain,
        name=domain.partition(".")[0].title(),
        currency="GBP",
        time_zone="Europe/London",
        client_id="id",
        client_secret_encrypted=SecretBox(settings.secret_key).encrypt(SECRET),
        access_scopes=list(NEEDED),
        sender_address="hello@birch.example",
        postal_address="1 Kiln Lane, Stoke",
    )
    session.add(shop)
    session.flush()
    return shop


def log_in(client: TestClient, *, email: str = EMAIL, password: str = PASSWORD) -> None:
    response = client.post("/login", data=login_form(client, email=email, password=password))
    assert response.status_code == 303, response.text


def login_form(
    client: TestClient, *, email: str = EMAIL, password: str = PASSWORD
) -> dict[str, str]:
    token = csrf_token(client.get("/login", headers=HTML).text)
    return {"email": email, "password": password, "csrf_token": token}


def csrf_token(html: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', html)
    assert found
    return found[1]


@cache
def password_hash() -> str:
    """Hashing is slow on purpose: once is enough."""
    return PasswordHasher().hash(PASSWORD)


@pytest.fixture
def shop(session_factory: SessionFactory, settings: Settings, clock: MovableClock) -> Shop:
    """A shop whose owner is EMAIL, synced three minutes ago."""
    with session_scope(session_factory) as session:
        shop = make_shop(session, settings)
        shop.first_sync_started_at = clock.now() - timedelta(days=40)
        shop.first_sync_completed_at = shop.baseline_at = shop.first_sync_started_at
        user = User(email=EMAIL, password_hash=password_hash())
        session.add(user)
        session.flush()
        session.add(ShopMember(shop_id=shop.shop_id, user_id=user.user_id, role=Role.OWNER))
        return shop


@pytest.fixture
def app(settings: Settings, session_factory: SessionFactory, clock: MovableClock) -> FastAPI:
    return create_app(settings, clock=clock)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """Nobody is logged in; redirects are not followed."""
    with TestClient(app, follow_redirects=False) as client:
        yield client


@pytest.fixture
def owner(
    client: TestClient, shop: Shop, session_factory: SessionFactory, clock: MovableClock
) -> TestClient:
    """The client, logged in as the owner of `shop`."""
    with session_scope(session_factory) as session:
        user = session.scalars(select(User)).one()
        opened = accounts.open_session(session, user.user_id, clock=clock)
    client.cookies.set("ecomcrm_session", opened.token)
    return client


@pytest.fixture
def view(session: Session, shop: Shop, clock: MovableClock) -> View:
    return View.at(session, session.merge(shop), clock)
