"""A merchant reads what the data gate holds, and accepts it."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.models import AuditEntry, Shop, ShopMember
from core.models.enums import GateCheck, Role
from tests.webapp.conftest import HTML, csrf_token, log_in, make_shop

REASON = "Orders that changed together would move 43 of 210 customers to another segment."

pytestmark = pytest.mark.requirement("RFM-06")


@pytest.fixture
def held(
    client: TestClient,
    shop: Shop,
    session_factory: SessionFactory,
    clock: MovableClock,
    marts: object,
) -> TestClient:
    with session_scope(session_factory) as session:
        stored = session.get_one(Shop, shop.shop_id)
        stored.segments_held_at = clock.now() - timedelta(hours=2)
        stored.segments_held_check = GateCheck.ORDERS_SWING
        stored.segments_held_reason = REASON
    log_in(client)
    return client


def form(client: TestClient, of: Shop, **changes: Any) -> dict[str, Any]:
    page = client.get(f"/held?shop={of.shop_id}", headers=HTML).text
    seen = page.split('name="seen" value="')[1].split('"')[0] if 'name="seen"' in page else ""
    token = csrf_token(page)
    return {
        "shop": of.shop_id,
        "seen": seen.replace("&#43;", "+"),
        "reason": "We closed a sales channel.",
        "csrf_token": token,
        **changes,
    }


def is_held(factory: SessionFactory, shop: Shop) -> bool:
    with session_scope(factory) as session:
        return session.get_one(Shop, shop.shop_id).segments_held_at is not None


def test_the_overview_leads_to_what_is_held_and_accepting_it_ends_it(
    held: TestClient, shop: Shop, session_factory: SessionFactory, clock: MovableClock
) -> None:
    assert f"/held?shop={shop.shop_id}" in held.get("/", headers=HTML).text
    assert REASON in held.get(f"/held?shop={shop.shop_id}", headers=HTML).text
    response = held.post("/held", data=form(held, shop))
    assert (response.status_code, response.headers["location"]) == (303, f"/?shop={shop.shop_id}")
    assert not is_held(session_factory, shop)
    with session_scope(session_factory) as session:
        entry = session.scalars(select(AuditEntry)).one()
        member = session.scalars(select(ShopMember)).one()
        assert (entry.user_id, entry.reason) == (member.user_id, "We closed a sales channel.")
        assert (entry.acted_at, entry.figures["reason"]) == (clock.now(), REASON)
    assert "Nothing is held" in held.get(f"/held?shop={shop.shop_id}", headers=HTML).text
    assert "held back" not in held.get("/", headers=HTML).text


def test_whoever_is_held_for_wrong_statistics_reads_what_puts_them_right(
    held: TestClient, shop: Shop, session_factory: SessionFactory
) -> None:
    """It said "recompute the statistics" and named nothing that does."""
    with session_scope(session_factory) as session:
        session.get_one(Shop, shop.shop_id).segments_held_check = GateCheck.STATISTICS_DIFFER
    for page in (f"/held?shop={shop.shop_id}", "/"):
        assert "ecomcrm segments repair" in held.get(page, headers=HTML).text


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"reason": " "}, 409),
        ({"seen": "2026-01-01T00:00:00+00:00"}, 409),
        ({"seen": "yesterday"}, 422),
        ({"reason": "x" * 501}, 422),
        ({"csrf_token": "x"}, 403),
        ({"shop": 99}, 404),
    ],
)
def test_what_does_not_release(
    held: TestClient,
    shop: Shop,
    session_factory: SessionFactory,
    changes: dict[str, Any],
    status: int,
) -> None:
    assert held.post("/held", data=form(held, shop, **changes)).status_code == status
    assert is_held(session_factory, shop)


def test_an_analyst_may_read_and_not_accept(
    held: TestClient, shop: Shop, session_factory: SessionFactory
) -> None:
    wanted = form(held, shop)
    with session_scope(session_factory) as session:
        session.execute(update(ShopMember).values(role=Role.ANALYST))
    page = held.get(f"/held?shop={shop.shop_id}", headers=HTML).text
    assert REASON in page
    assert '<form method="post" action="/held"' not in page
    assert held.post("/held", data=wanted).status_code == 403
    assert is_held(session_factory, shop)


def test_another_merchants_shop_is_as_unknown_as_none(
    held: TestClient, shop: Shop, session_factory: SessionFactory, settings: Any
) -> None:
    with session_scope(session_factory) as session:
        other = make_shop(session, settings, domain="ash.myshopify.com")
    assert held.get(f"/held?shop={other.shop_id}", headers=HTML).status_code == 404
    assert held.post("/held", data=form(held, shop, shop=other.shop_id)).status_code == 404
