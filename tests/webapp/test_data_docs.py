"""dbt's page: for whoever is logged in, with its own script and nothing else."""

import base64
import os
from hashlib import sha256

import pytest
from starlette.testclient import TestClient

from core.dbt import docs_file
from core.settings import Settings
from tests.webapp.conftest import HTML

POLICY = "content-security-policy"
SCRIPT = "document.title = 'tables'"


def write_docs(settings: Settings, script: str = SCRIPT, *, made: int = 1) -> None:
    path = docs_file(settings.home)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'<!doctype html><script defer="defer">{script}</script><p>tables</p>')
    os.utime(path, ns=(made, made))


def digest(script: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(script.encode()).digest()).decode()}'"


def test_nobody_sees_it_without_a_login(client: TestClient, settings: Settings) -> None:
    write_docs(settings)
    assert client.get("/data-docs", headers=HTML).headers["location"] == "/login"


def test_without_the_page_one_is_told_how_to_make_it(owner: TestClient) -> None:
    answer = owner.get("/data-docs", headers=HTML)
    assert answer.status_code == 404
    assert "ecomcrm docs" in answer.text
    assert "unsafe" not in answer.headers[POLICY]


def test_only_its_own_script_runs_and_it_has_no_origin(
    owner: TestClient, settings: Settings
) -> None:
    write_docs(settings)
    answer = owner.get("/data-docs", headers=HTML)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.split(" ", 1) for part in answer.headers[POLICY].split("; "))
    assert policy["sandbox"] == "allow-scripts"
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == digest(SCRIPT)
    assert "http" not in answer.headers[POLICY]
    assert "self" not in answer.headers[POLICY]


def test_a_page_made_anew_is_shown_with_its_own_script(
    owner: TestClient, settings: Settings
) -> None:
    write_docs(settings)
    before = owner.get("/data-docs", headers=HTML)
    again = owner.get("/data-docs", headers=HTML | {"if-none-match": before.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    write_docs(settings, "other()", made=2)
    after = owner.get("/data-docs", headers=HTML | {"if-none-match": before.headers["etag"]})
    assert "other()" in after.text
    assert digest("other()") in after.headers[POLICY]


@pytest.mark.parametrize("path", ["/", "/login"])
def test_other_pages_keep_the_strict_policy(
    owner: TestClient, settings: Settings, path: str
) -> None:
    write_docs(settings)
    owner.get("/data-docs", headers=HTML)
    assert "unsafe" not in owner.get(path, headers=HTML).headers[POLICY]
