from datetime import timedelta

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from activation.unsubscribe import token_for
from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.models import Message, Shop, Suppression
from core.models.enums import MessageState
from core.settings import Settings
from tests.webapp.conftest import HTML

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture
def link(
    session_factory: SessionFactory, settings: Settings, shop: Shop, clock: MovableClock
) -> str:
    """The address in the List-Unsubscribe header of a mail to Grace@Example.com."""
    with session_scope(session_factory) as session:
        message = Message(
            shop_id=shop.shop_id,
            dedupe_key="welcome/mail/1/first",
            automation_id=1,
            version=1,
            step_key="mail",
            customer_id=1,
            email="Grace@Example.com",
            state=MessageState.DELIVERED,
            due_at=clock.now(),
            expires_at=clock.now() + timedelta(days=3),
            queued_at=clock.now(),
        )
        session.add(message)
        session.flush()
        token = token_for(settings, shop_id=shop.shop_id, message_id=message.message_id)
    return f"/unsubscribe/{token}"


def suppressed(factory: SessionFactory) -> list[str]:
    with session_scope(factory) as session:
        return list(
            session.scalars(
                select(Suppression.email_normalized).where(Suppression.lifted_at.is_(None))
            )
        )


@pytest.mark.requirement("EMAIL-01", "EMAIL-05")
@pytest.mark.parametrize(
    "encoding",
    [
        {"data": ONE_CLICK},
        {"files": {"List-Unsubscribe": (None, "One-Click")}},
        {"content": b""},
        {"content": b"\xff not a form", "headers": {"content-type": "multipart/form-data"}},
    ],
    ids=["urlencoded", "multipart", "empty", "broken"],
)
def test_a_mail_client_unsubscribes_with_one_post(
    client: TestClient, link: str, session_factory: SessionFactory, encoding: dict[str, object]
) -> None:
    response = client.post(link, **encoding)  # type: ignore[arg-type]  # one case per encoding
    assert (response.status_code, response.content) == (200, b"")
    assert "set-cookie" not in response.headers
    assert suppressed(session_factory) == ["grace@example.com"]


@pytest.mark.requirement("EMAIL-05")
def test_opening_the_link_changes_nothing(
    client: TestClient, link: str, session_factory: SessionFactory
) -> None:
    page = client.get(link, headers=HTML)
    assert page.status_code == 200
    assert client.head(link).status_code == 200
    assert 'method="post"' in page.text
    assert "set-cookie" not in page.headers
    assert page.headers["cache-control"] == "no-store"
    assert suppressed(session_factory) == []


def test_the_page_shows_the_address_only_in_part(client: TestClient, link: str) -> None:
    page = client.get(link, headers=HTML).text
    assert "G•••@Example.com" in page
    assert "race" not in page


@pytest.mark.requirement("EMAIL-01")
def test_a_person_unsubscribes_on_the_page_and_can_undo_it(
    client: TestClient, link: str, session_factory: SessionFactory
) -> None:
    done = client.post(link, data={"from_page": "1"}, headers=HTML)
    assert done.status_code == 200
    assert "You are unsubscribed" in done.text
    assert suppressed(session_factory) == ["grace@example.com"]
    undone = client.post(f"{link}/undo", headers=HTML)
    assert "stays subscribed" in undone.text
    assert suppressed(session_factory) == []


def test_whoever_is_unsubscribed_sees_so_and_may_undo(client: TestClient, link: str) -> None:
    client.post(link, data=ONE_CLICK)
    page = client.get(link, headers=HTML).text
    assert "You are unsubscribed" in page
    assert f'action="{link}/undo"' in page


@pytest.mark.requirement("EMAIL-05")
def test_repeating_it_gives_the_same_answer(
    client: TestClient, link: str, session_factory: SessionFactory
) -> None:
    answers = [client.post(link, data=ONE_CLICK) for _ in range(3)]
    assert [(answer.status_code, answer.content) for answer in answers] == [(200, b"")] * 3
    assert suppressed(session_factory) == ["grace@example.com"]


def test_unsubscribing_again_after_an_undo_holds(
    client: TestClient, link: str, session_factory: SessionFactory
) -> None:
    client.post(link, data=ONE_CLICK)
    client.post(f"{link}/undo")
    client.post(link, data=ONE_CLICK)
    assert suppressed(session_factory) == ["grace@example.com"]


@pytest.mark.parametrize("token", ["x", "1.MS4x.AAAA", "é", "1..", "%00"])
def test_an_unsigned_token_is_not_found(
    client: TestClient, session_factory: SessionFactory, token: str
) -> None:
    path = f"/unsubscribe/{token}"
    for response in (client.get(path, headers=HTML), client.post(path, data=ONE_CLICK)):
        assert response.status_code == 404
    assert suppressed(session_factory) == []


def test_a_broken_link_speaks_to_the_shops_customer(client: TestClient) -> None:
    page = client.get("/unsubscribe/x", headers=HTML).text
    assert "Copy the whole link from the mail" in page
    assert "Overview" not in page


def test_a_token_cannot_be_changed_into_another_persons(
    client: TestClient, link: str, session_factory: SessionFactory
) -> None:
    version, _, signature = link.rpartition("/")[2].split(".")
    forged = f"/unsubscribe/{version}.MS4y.{signature}"
    assert client.post(forged, data=ONE_CLICK).status_code == 404
    assert suppressed(session_factory) == []


def test_a_mail_that_is_gone_is_not_found_rather_than_a_false_success(
    client: TestClient, link: str, session_factory: SessionFactory
) -> None:
    with session_scope(session_factory) as session:
        session.delete(session.scalars(select(Message)).one())
    assert client.post(link, data=ONE_CLICK).status_code == 404
