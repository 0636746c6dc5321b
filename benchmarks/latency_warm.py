"""From an order to its mail accepted, at 20 orders a second, while an activation run lingers.

The whole stack: the sandbox places orders of new subscribers, signs and delivers their webhooks,
the web app stores them, the run under Dagster hears of them, reads the consent from the sandbox's
Shopify (an order's webhook has none) and sends the welcome mail to the sandbox's Resend. Times are
the sandbox's own: from the order to the accepted request. The provider's pace is set out of the
way: at Resend's ten requests a second a mail waits for its turn.
"""

import os
import subprocess
import sys
import tempfile
import time
import uuid
from datetime import timedelta
from pathlib import Path

import httpx
from sqlalchemy import text

from activation.automation.presets import WELCOME
from core.clock import SystemClock
from core.database import SessionFactory, session_scope
from core.paths import PROJECT_ROOT
from ops import flows, shops
from ops.dagster_api import DagsterApi
from ops.demo import open_demo_world, start_demo
from ops.home import Home
from ops.ports import Service, free_ports
from ops.progress import Progress
from ops.sandbox_api import SandboxApi
from ops.stack import Stack
from ops.world import World

PER_SECOND = 20
ORDERS = 300
WARM_UP = 20
CUSTOMERS = 300
PATIENCE_SECONDS = 60.0

QUIET_LOOKS = 3

# Returns whether the reports were built once. Changes nothing.
REPORTS_ARE_THERE = text("SELECT to_regclass('marts.flow_lift') IS NOT NULL")
HELD_OUT = text("""
-- Returns how many are held out of what began at :since or later. Changes nothing.
SELECT count(*) FROM crm.enrollments WHERE is_held_out AND moment_at >= :since
""")


def run() -> dict[str, object]:
    """Milliseconds over ORDERS orders, after WARM_UP that wake a run."""
    progress = Progress()
    with (
        tempfile.TemporaryDirectory(prefix="ecomcrm-bench-") as folder,
        tempfile.TemporaryDirectory(prefix="ecomcrm-bench-data-") as data_folder,
    ):
        data = Path(data_folder, "shop")
        generate = ["-m", "sandbox", "generate", str(data), "--customers", str(CUSTOMERS)]
        subprocess.run(
            [sys.executable, *generate], cwd=PROJECT_ROOT, check=True, capture_output=True
        )
        home = Home(Path(folder))
        home.create()
        with home.lock():
            tuned = {"ECOMCRM_SEND_REQUESTS_PER_SECOND": "1000"}
            world = open_demo_world(home, dict(os.environ) | free_ports() | tuned, progress)
            stack = Stack(world, progress)
            try:
                demo = start_demo(stack, data=data, progress=progress)
                with shops.database(world.settings) as factory:
                    return _measure(world, factory, demo.domain, progress)
            finally:
                stack.stop()


def _measure(
    world: World, factory: SessionFactory, domain: str, progress: Progress
) -> dict[str, object]:
    faults = {"resend_rate_per_second": 10_000}
    httpx.post(f"{world.address(Service.SANDBOX)}/_sandbox/faults", json=faults).raise_for_status()
    _wait_for_reports(world, factory)
    since = _switch_on(factory, domain)
    _play(world, domain, WARM_UP)
    _wait_for(factory, world, domain, since, WARM_UP)
    time.sleep(1.1)
    since = SystemClock().now().replace(microsecond=0).isoformat()
    _play(world, domain, ORDERS)
    warm = _wait_for(factory, world, domain, since, ORDERS)
    progress.say(f"warm: {warm}")
    return {
        "n": ORDERS,
        "repeats": 1,
        "value": round(1000 * warm["p50"], 1),
        "unit": "ms",
        "p95": round(1000 * warm["p95"], 1),
        "p99": round(1000 * warm["p99"], 1),
        "max": round(1000 * warm["max"], 1),
        "per_second": PER_SECOND,
        "floor": None,
        "ratio": None,
        "peer": None,
        "peer_ratio": None,
    }


def _wait_for_reports(world: World, factory: SessionFactory) -> None:
    """The first scores of a shop have its reports built, by a run that takes both cores meanwhile.

    The one run that may be left is the lingering one.
    """
    quiet = 0
    deadline = time.monotonic() + 2 * PATIENCE_SECONDS
    with DagsterApi(world.address(Service.DAGSTER)) as dagster:
        while quiet < QUIET_LOOKS and time.monotonic() < deadline:
            time.sleep(2.0)
            with session_scope(factory) as session:
                are_there = bool(session.scalar(REPORTS_ARE_THERE))
            is_quiet = are_there and len(dagster.unfinished_runs()) <= 1
            quiet = quiet + 1 if is_quiet else 0


def _switch_on(factory: SessionFactory, domain: str) -> str:
    since = flows.turn_on(factory, WELCOME, shop=domain, delay=timedelta(0))
    time.sleep(1.1)  # Shopify tells times by the second: an order of this one would be too early
    return since.isoformat()


def _play(world: World, domain: str, count: int) -> None:
    """An order each, at a steady pace whatever the answers take."""
    url = f"/_sandbox/shops/{domain}/orders"
    began = time.monotonic()
    with httpx.Client(base_url=world.address(Service.SANDBOX), timeout=30.0) as sandbox:
        for number in range(count):
            time.sleep(max(0.0, began + number / PER_SECOND - time.monotonic()))
            email = f"{uuid.uuid4().hex[:12]}@example.com"
            customer = {"email": email, "first_name": "Ada", "consent": "SUBSCRIBED"}
            answer = sandbox.post(url, json={"customer": customer, "total": "49.90"})
            answer.raise_for_status()


def _wait_for(
    factory: SessionFactory, world: World, domain: str, since: str, orders: int
) -> dict[str, float]:
    """Until every mail owed since then was accepted, and each once; returns the quantiles."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with SandboxApi(world.address(Service.SANDBOX)) as sandbox:
        while True:
            said = sandbox.oracle(domain, since=since)
            missing = said["lost"] - _held_out(factory, since)
            if said["emails_expected"] >= orders and missing <= 0 and not said["duplicates"]:
                return dict(said["order_to_email_seconds"])
            if time.monotonic() > deadline:
                raise SystemExit(f"of {orders} mails {missing} did not arrive")
            time.sleep(0.2)


def _held_out(factory: SessionFactory, since: str) -> int:
    """The sandbox knows of no holdout: who is in it is owed a mail there."""
    with session_scope(factory) as session:
        return int(session.scalar(HELD_OUT, {"since": since}) or 0)
