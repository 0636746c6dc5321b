"""The documentation that dbt really makes, in a real browser under the policy it is shown with."""

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, sync_playwright

from core.dbt import generate_docs
from core.errors import PermanentError
from tests.dbt.conftest import Warehouse
from tests.e2e.conftest import CHROMIUM, FLAGS
from webapp.routes.data_docs import read_docs


@pytest.fixture(scope="module")
def browser_path() -> str:
    return next(filter(None, map(shutil.which, CHROMIUM)), "")


def test_the_page_shows_the_marts_in_a_browser_and_asks_nobody_for_anything(
    warehouse: Warehouse, tmp_path: Path, browser_path: str
) -> None:
    parsed = tmp_path / "dbt" / "docs.msgpack"  # as an earlier run would have left it
    parsed.parent.mkdir()
    shutil.copy(warehouse.target / "partial_parse.msgpack", parsed)
    page_file = generate_docs(warehouse.url, tmp_path)
    content, policy = read_docs(page_file, 0)
    assert (warehouse.engine.url.password or "-").encode() not in content
    asked: list[str] = []
    faults: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        headers = {"content-security-policy": policy, "content-type": "text/html; charset=utf-8"}
        route.fulfill(body=content, headers=headers)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path or None, args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(f"script: {error}"))
        page.route("**/*", answer)
        page.goto("http://crm.example/data-docs#!/model/model.ecomcrm.daily_revenue")
        page.get_by_text("What is left of it after all returns").first.wait_for()
        page.get_by_text("numeric(20,4)").first.wait_for()
        _take_picture(page, "data-docs")
        page.goto("http://crm.example/data-docs#!/overview?g_v=1")
        page.reload()
        page.locator("canvas").first.wait_for()
        _take_picture(page, "data-docs-lineage")
        browser.close()
    assert set(asked) == {"http://crm.example/data-docs"}
    assert [fault for fault in faults if "script" in fault or "style" in fault] == []


def _take_picture(page: Page, name: str) -> None:
    """To look at, where ECOMCRM_SCREENSHOTS names a folder."""
    if folder := os.environ.get("ECOMCRM_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{name}.png")


def test_a_database_that_does_not_answer_leaves_the_former_page(tmp_path: Path) -> None:
    former = tmp_path / "dbt" / "docs.html"
    former.parent.mkdir()
    former.write_text("former")
    with pytest.raises(PermanentError, match="could not write its documentation"):
        generate_docs("postgresql://nobody:x@127.0.0.1:1/none", tmp_path)
    assert former.read_text() == "former"
    assert [path.name for path in former.parent.iterdir()] == ["docs.html"]
