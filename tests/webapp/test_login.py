from datetime import timedelta

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from starlette.testclient import TestClient

from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.models import Shop, UserSession
from core.settings import Settings
from tests.webapp.conftest import EMAIL, HTML, csrf_token, log_in, login_form
from webapp.app import create_app


def test_pages_send_strangers_to_the_login(client: TestClient) -> None:
    response = client.get("/", headers=HTML)
    assert response.status_code == 303
    assert response.headers["location"] == "/login"


def test_a_machine_without_a_login_gets_401(client: TestClient) -> None:
    assert client.get("/").status_code == 401


def test_a_poll_after_the_session_ended_leads_the_whole_page_to_the_login(
    client: TestClient,
) -> None:
    response = client.get("/overview/status", headers=HTML | {"hx-request": "true"})
    assert response.status_code == 401
    assert response.headers["hx-redirect"] == "/login"


def test_the_right_password_opens_a_session(client: TestClient, shop: Shop) -> None:
    response = client.post("/login", data=login_form(client))
    assert response.status_code == 303
    cookie = next(
        value for value in response.headers.get_list("set-cookie") if "ecomcrm_session" in value
    )
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie
    assert client.get("/", headers=HTML).status_code == 200


def test_over_https_the_cookie_is_secure_and_bound_to_the_host(
    settings: Settings, shop: Shop, clock: MovableClock
) -> None:
    app = create_app(settings.model_copy(update={"public_url": "https://crm.example"}), clock=clock)
    with TestClient(app, base_url="https://crm.example", follow_redirects=False) as client:
        response = client.post("/login", data=login_form(client))
        cookie = response.headers.get_list("set-cookie")[-1]
        assert cookie.startswith("__Host-ecomcrm=")
        assert "Secure" in cookie
        assert "strict-transport-security" in response.headers
        assert client.get("/", headers=HTML).status_code == 200


def test_wrong_password_and_unknown_address_get_the_same_answer(
    client: TestClient, shop: Shop
) -> None:
    answers = []
    for email in (EMAIL, "nobody@example.com"):
        form = login_form(client, email=email, password="wrong password")
        response = client.post("/login", data=form, headers=HTML)
        answers.append((response.status_code, response.text.count("do not belong together")))
    assert answers == [(401, 1), (401, 1)]


def test_guessing_is_braked_and_says_how_long(client: TestClient, shop: Shop) -> None:
    form = login_form(client, password="wrong password")
    assert [client.post("/login", data=form).status_code for _ in range(5)] == [401] * 5
    response = client.post("/login", data=form, headers=HTML)
    assert response.status_code == 429
    assert response.headers["retry-after"] == "30"
    assert "Try again in 30 s" in response.text


def test_the_brake_also_stops_the_right_password_until_the_wait_is_over(
    client: TestClient, shop: Shop, clock: MovableClock
) -> None:
    wrong = login_form(client, password="wrong password")
    for _ in range(5):
        client.post("/login", data=wrong)
    assert client.post("/login", data=login_form(client)).status_code == 429
    clock.advance(timedelta(seconds=30))
    log_in(client)


def test_a_login_form_of_another_site_is_refused(client: TestClient, shop: Shop) -> None:
    form = login_form(client)
    client.cookies.clear()
    assert client.post("/login", data=form).status_code == 403


def test_logging_out_ends_the_session(owner: TestClient, session_factory: SessionFactory) -> None:
    token = csrf_token(owner.get("/", headers=HTML).text)
    response = owner.post("/logout", data={"csrf_token": token})
    assert response.status_code == 303
    with session_scope(session_factory) as session:
        assert session.scalar(select(func.count()).select_from(UserSession)) == 0
    assert owner.get("/", headers=HTML).status_code == 303


@pytest.mark.parametrize("form", [{}, {"csrf_token": "made up"}])
def test_logging_out_needs_a_form_of_ours(owner: TestClient, form: dict[str, str]) -> None:
    assert owner.post("/logout", data=form).status_code == 403
    assert owner.get("/", headers=HTML).status_code == 200


def test_logging_out_is_no_link(owner: TestClient) -> None:
    assert owner.get("/logout").status_code == 405


def test_a_session_ends_after_a_week_of_mere_polling(
    owner: TestClient, shop: Shop, clock: MovableClock
) -> None:
    poll = HTML | {"hx-request": "true"}
    for _ in range(6):
        clock.advance(timedelta(days=1))
        assert owner.get("/overview/status", headers=poll).status_code == 200
    clock.advance(timedelta(days=1))
    assert owner.get("/overview/status", headers=poll).status_code == 401


def test_a_malformed_login_repeats_nothing_of_it(app: FastAPI, shop: Shop) -> None:
    with TestClient(app) as client:
        form = login_form(client, password="x" * 2000)
        response = client.post("/login", data=form, headers=HTML)
    assert response.status_code == 422
    assert "xxx" not in response.text


@pytest.mark.parametrize("field", ["email", "password", "csrf_token"])
@pytest.mark.parametrize("value", ["a\x00b", "\\ud83d"])
def test_a_login_with_what_is_no_text_is_refused(
    client: TestClient, shop: Shop, field: str, value: str
) -> None:
    """A NUL, or half a character (which a charset of the sender's choice can spell), broke in the
    database, in the hash or in the page: a 500 and a stack trace for anybody who sent one."""
    parts = login_form(client) | {field: value}
    body = "".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{part}\r\n'
        for name, part in parts.items()
    )
    kind = "multipart/form-data; boundary=x; charset=unicode_escape"
    response = client.post("/login", content=f"{body}--x--\r\n", headers={"content-type": kind})
    assert response.status_code == 422


def test_a_token_that_is_not_ascii_is_as_wrong_as_any(client: TestClient, shop: Shop) -> None:
    """`compare_digest` takes no such text: it was a 500."""
    assert client.post("/login", data=login_form(client) | {"csrf_token": "é"}).status_code == 403
