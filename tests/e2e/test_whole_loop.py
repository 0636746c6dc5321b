"""A signed order becomes one mail, in real processes and a real browser."""

import os
import signal
import time
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect

from ops.dagster_api import DagsterApi
from ops.ports import Service
from ops.sandbox_api import SandboxApi
from tests.e2e.conftest import Live

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]


def eventually(what: Callable[[], bool], *, seconds: float = 60) -> bool:
    """Whether it became true in time. (Real processes: there is no clock of ours to move.)"""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if what():
                return True
        except (httpx.HTTPError, OSError):
            pass  # the process asked is just being restarted
        time.sleep(0.2)
    return False


def place_first_order(live: Live, *, first_name: str = "Ada") -> str:
    """A new subscribed customer orders; returns their address."""
    email = f"{first_name.lower()}-{uuid.uuid4().hex[:8]}@example.com"
    customer = {"email": email, "first_name": first_name, "consent": "SUBSCRIBED"}
    url = f"{live.url(Service.SANDBOX)}/_sandbox/shops/{live.demo.domain}/orders"
    httpx.post(url, json={"customer": customer, "total": "49.90"}).raise_for_status()
    return email


def mails_to(live: Live, email: str) -> list[dict[str, Any]]:
    response = httpx.get(
        f"{live.url(Service.SANDBOX)}/resend/emails",
        params={"limit": 100},
        headers={
            "Authorization": f"Bearer {live.stack.world.secrets.sandbox_resend_key}",
            "User-Agent": "tests",
        },
    )
    return [mail for mail in response.raise_for_status().json()["data"] if email in mail["to"]]


@pytest.mark.requirement("FOUND-06")
def test_a_job_launched_over_graphql_succeeds(live: Live) -> None:
    with DagsterApi(live.url(Service.DAGSTER)) as dagster:
        assert dagster.location_errors() == {"platform": None, "activation": None}
        run_id = dagster.launch("run_activation", location="activation")
        run = dagster.wait(run_id, seconds=60, watch=lambda _status: None)
    assert (run.status, run.error) == ("SUCCESS", None)


@pytest.mark.requirement("PIPE-01", "FLOW-01", "EMAIL-02", "SHOP-04")
def test_an_order_becomes_one_delivered_mail_on_the_overview_page(
    live: Live, browser: Browser
) -> None:
    email = place_first_order(live)
    assert eventually(lambda: len(mails_to(live, email)) == 1)

    page = browser.new_page()
    page.goto(live.url(Service.WEB))
    page.get_by_label("Email").fill(live.login[0])
    page.get_by_label("Password").fill(live.login[1])
    page.get_by_role("button", name="Log in").click()
    row = page.get_by_role("row").filter(has_text="Ada")
    expect(row).to_contain_text("Delivered", timeout=30_000)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    with SandboxApi(live.url(Service.SANDBOX)) as sandbox:
        said = sandbox.oracle(live.demo.domain, since=live.since)
    assert (said["emails_forbidden"], said["duplicates"], said["lost"]) == (0, 0, 0)
    assert len(mails_to(live, email)) == 1


def test_every_killed_process_comes_back_and_the_loop_goes_on(live: Live) -> None:
    supervisor = live.stack.supervisor
    before = {name: info["pid"] for name, info in supervisor.states().items()}
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)

    def all_back() -> bool:
        states = supervisor.states()
        return all(
            states[name]["statename"] == "RUNNING"
            and states[name]["pid"] != pid
            and live.stack.programs[name].ready()
            for name, pid in before.items()
        )

    assert eventually(all_back, seconds=90), supervisor.states()
    email = place_first_order(live, first_name="Grace")
    assert eventually(lambda: len(mails_to(live, email)) == 1, seconds=90)
    with SandboxApi(live.url(Service.SANDBOX)) as sandbox:
        said = sandbox.oracle(live.demo.domain, since=live.since)
    assert (said["emails_forbidden"], said["duplicates"], said["lost"]) == (0, 0, 0)
