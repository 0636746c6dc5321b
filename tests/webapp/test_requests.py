"""What holds around every request: headers, errors, limits, log lines, the pool."""

import logging
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import text
from starlette.testclient import TestClient

from core.database import make_engine, make_session_factory, session_scope
from core.errors import PermanentError, TransientError
from core.models import Shop
from tests.webapp.conftest import HTML, log_in
from webapp.app import POOL_SIZE
from webapp.assets import CachedStaticFiles, read_assets

POLICY = "content-security-policy"


def nonce_of(policy: str) -> str:
    found = re.search(r"'nonce-([^']+)'", policy)
    assert found
    return found[1]


def test_pages_allow_no_inline_script_or_style(owner: TestClient) -> None:
    response = owner.get("/", headers=HTML)
    policy = response.headers[POLICY]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    html = response.text
    assert " style=" not in html
    assert "<style" not in html
    assert not re.search(r"\son\w+=", html)
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", html, re.DOTALL)
    assert scripts
    assert set(scripts) == {""}


def test_every_script_and_htmx_element_carries_the_nonce_of_its_answer(owner: TestClient) -> None:
    response = owner.get("/", headers=HTML)
    nonce = nonce_of(response.headers[POLICY])
    tags = re.findall(r"<[^>]+(?:<script|hx-get|nonce=)[^>]*>", response.text)
    powered = [tag for tag in tags if tag.startswith("<script") or "hx-get" in tag]
    assert len(powered) == 5
    assert all(nonce in tag for tag in powered)
    assert nonce_of(owner.get("/", headers=HTML).headers[POLICY]) != nonce


@pytest.mark.parametrize("path", ["/login", "/nowhere", "/healthz", "/static/icon.svg"])
def test_every_answer_is_strict_and_numbered(client: TestClient, path: str) -> None:
    headers = client.get(path, headers=HTML).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert re.fullmatch(r"[0-9a-f]{16}", headers["x-request-id"])
    assert "server" not in headers


def test_pages_are_kept_by_nobody(owner: TestClient) -> None:
    assert owner.get("/", headers=HTML).headers["cache-control"] == "no-store"


def test_people_get_pages_and_machines_get_json(client: TestClient) -> None:
    page = client.get("/nowhere", headers=HTML)
    assert page.status_code == 404
    assert "Not found" in page.text
    assert page.headers["x-request-id"] in page.text
    assert client.get("/nowhere").json()["error"] == "Not found"


def add_broken_routes(app: FastAPI) -> None:
    def bug() -> None:
        raise ZeroDivisionError("grace@example.com")

    def later() -> None:
        raise TransientError("busy")

    def never() -> None:
        raise PermanentError("The shop is not connected.")

    for handler in (bug, later, never):
        app.add_api_route(f"/test/{handler.__name__}", handler)


def test_errors_have_their_own_status_and_words(app: FastAPI) -> None:
    add_broken_routes(app)
    with TestClient(app) as client:
        answers = {name: client.get(f"/test/{name}") for name in ("bug", "later", "never")}
        page = client.get("/test/bug", headers=HTML)
    assert {name: answer.status_code for name, answer in answers.items()} == {
        "bug": 500,
        "later": 503,
        "never": 409,
    }
    assert answers["later"].headers["retry-after"] == "5"
    assert answers["never"].json()["detail"] == "The shop is not connected."
    assert POLICY in answers["bug"].headers
    assert "grace@example.com" not in answers["bug"].text
    assert "Something broke on our side" in page.text


def test_a_database_that_is_gone_is_503_and_not_a_bug(app: FastAPI, shop: Shop) -> None:
    nowhere = make_engine("postgresql+psycopg://nobody:nothing@127.0.0.1:1/nowhere")
    with TestClient(app, follow_redirects=False) as client:
        log_in(client)
        gone = replace(app.state.services, session_factory=make_session_factory(nowhere))
        app.state.services = gone
        page = client.get("/", headers=HTML)
        webhook = client.post("/webhooks/shopify", content=b"{}")
    assert (page.status_code, webhook.status_code) == (503, 503)
    assert "The database does not answer" in page.text


def test_connections_that_died_are_replaced(app: FastAPI, shop: Shop) -> None:
    with TestClient(app, follow_redirects=False) as client:
        log_in(client)
        with app.state.services.engine.connect() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'ecomcrm web' AND pid <> pg_backend_pid()"
                )
            )
        assert client.get("/", headers=HTML).status_code == 200


def test_a_form_that_is_too_large_is_refused(client: TestClient) -> None:
    response = client.post("/login", data={"email": "x" * 70_000}, headers=HTML)
    assert response.status_code == 413
    assert "Too large" in response.text


def test_log_lines_name_the_route_and_nobody(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="webapp"):
        client.get("/unsubscribe/secret-token", headers=HTML)
        client.get("/nowhere?email=grace@example.com", headers=HTML)
    lines = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("GET /unsubscribe/{token} 404") for line in lines)
    assert any(line.startswith("GET (no route) 404") for line in lines)
    assert not any("secret-token" in line or "grace" in line for line in lines)


def test_static_files_with_a_hash_in_their_name_are_kept_for_ever(tmp_path: Path) -> None:
    build = tmp_path / "build"
    build.mkdir()
    (build / "app-1A2B3C4D.css").write_text("a{}")
    (build / "manifest.json").write_text('{"app.css": "app-1A2B3C4D.css"}')
    (tmp_path / "icon.svg").write_text("<svg/>")
    assert read_assets(build).url("app.css") == "/static/build/app-1A2B3C4D.css"
    app = FastAPI()
    app.mount("/static", CachedStaticFiles(directory=tmp_path))
    with TestClient(app) as client:
        hashed = client.get("/static/build/app-1A2B3C4D.css").headers["cache-control"]
        plain = client.get("/static/icon.svg").headers["cache-control"]
    assert hashed == "public, max-age=31536000, immutable"
    assert plain == "no-cache"


@pytest.mark.requirement("FOUND-03")
def test_many_requests_at_once_share_a_few_connections(owner: TestClient, app: FastAPI) -> None:
    def look(_: int) -> int:
        return owner.get("/", headers=HTML).status_code

    with ThreadPoolExecutor(40) as pool:
        statuses = set(pool.map(look, range(80)))
    assert statuses == {200}
    with session_scope(app.state.services.session_factory) as session:
        connections = session.scalar(
            text(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE application_name = 'ecomcrm web' AND datname = current_database()"
            )
        )
    assert connections is not None
    assert connections <= 2 * POOL_SIZE


def test_the_log_of_a_bug_in_a_statement_names_nobody(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    # SQLAlchemy repeats the parameters of a failed statement in its message.
    somebody = f"{uuid.uuid4()}@example.com"

    def divide() -> None:
        with app.state.services.engine.connect() as connection:
            connection.execute(text("SELECT :email, 1 / 0"), {"email": somebody})

    app.add_api_route("/test/statement", divide)
    with TestClient(app) as client:
        assert client.get("/test/statement").status_code == 500
    assert "division by zero" in caplog.text
    assert somebody not in caplog.text
