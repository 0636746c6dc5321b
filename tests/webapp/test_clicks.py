"""Following a link: counted and sent on at once, whatever becomes of the counting."""

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DataError, OperationalError
from starlette.testclient import TestClient

from activation.clicks import tracked, trap
from activation.events import own
from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.models import Engagement, Message, Shop
from core.models.enums import EngagementSource, MessageState
from core.settings import Settings
from webapp.click_buffer import ClickBuffer

URL = "https://shop.example/products/mug?variant=1#top"


def engagements(factory: SessionFactory) -> list[Engagement]:
    with session_scope(factory) as session:
        return list(session.scalars(select(Engagement)))


def buffer_of(client: TestClient) -> ClickBuffer:
    buffer: ClickBuffer = client.app.state.services.clicks  # type: ignore[attr-defined]
    return buffer


@pytest.fixture
def mail(session_factory: SessionFactory, shop: Shop, clock: MovableClock) -> tuple[int, int]:
    """Shop and message of a mail that was sent."""
    with session_scope(session_factory) as session:
        message = Message(
            shop_id=shop.shop_id,
            dedupe_key="welcome/mail/1/first",
            automation_id=1,
            version=1,
            step_key="mail",
            state=MessageState.SENT,
            due_at=clock.now(),
            expires_at=clock.now(),
            queued_at=clock.now(),
        )
        session.add(message)
        session.flush()
        return shop.shop_id, message.message_id


@pytest.fixture
def path(settings: Settings, mail: tuple[int, int]) -> str:
    return tracked(settings, *mail, URL).removeprefix(settings.public_url)


@pytest.mark.requirement("AUTO-06")
def test_a_get_is_counted_and_sent_on_without_a_cookie(
    client: TestClient, session_factory: SessionFactory, mail: tuple[int, int], path: str
) -> None:
    answer = client.get(path, follow_redirects=False, headers={"user-agent": "Phone"})
    assert (answer.status_code, answer.headers["location"]) == (302, URL)
    assert "set-cookie" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert buffer_of(client).flush()
    [click] = engagements(session_factory)
    assert (click.shop_id, click.message_id) == mail
    assert (click.url, click.user_agent) == (URL, "Phone")
    assert (click.source, click.is_bot) == (EngagementSource.OWN, False)


@pytest.mark.requirement("AUTO-06")
def test_head_the_trap_and_what_we_did_not_sign(
    client: TestClient,
    settings: Settings,
    session_factory: SessionFactory,
    mail: tuple[int, int],
    path: str,
) -> None:
    assert client.head(path, follow_redirects=False).headers["location"] == URL
    for wrong in (f"{path}x", "/c/1.aHR0cHM6Ly9ldmlsLmV4YW1wbGU.AAAA", "/c/https://evil.example"):
        answer = client.get(wrong, follow_redirects=False)
        assert answer.status_code == 404
        assert "location" not in answer.headers
    assert client.post(path, follow_redirects=False).status_code in (403, 405)
    buffer_of(client).flush()
    assert engagements(session_factory) == []
    hidden = trap(settings, *mail).removeprefix(settings.public_url)
    assert client.get(hidden).status_code == 204
    buffer_of(client).flush()
    [caught] = engagements(session_factory)
    assert caught.is_trap
    assert caught.is_bot


@pytest.mark.requirement("AUTO-06")
def test_while_the_database_is_away_readers_go_on_and_clicks_wait(
    client: TestClient,
    session_factory: SessionFactory,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(*_: object) -> None:
        raise OperationalError("INSERT", {}, Exception("gone"))

    record = own.record
    monkeypatch.setattr(own, "record", away)
    for _ in range(3):
        assert client.get(path, follow_redirects=False).status_code == 302
    assert not buffer_of(client).flush()
    monkeypatch.setattr(own, "record", record)
    assert buffer_of(client).flush()
    assert len(engagements(session_factory)) == 3


def test_what_the_database_will_never_take_does_not_hold_up_the_rest(
    client: TestClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise DataError("INSERT", {}, Exception("odd"))

    monkeypatch.setattr(own, "record", refuse)
    client.get(path, follow_redirects=False)
    assert buffer_of(client).flush()
