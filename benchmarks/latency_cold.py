"""From a signed order webhook to its mail accepted, through sensor and run, on an idle machine.

Cold: no activation run is alive when the order comes, so each one waits for the sensor's tick and
for a new run's process. The floor is the same work called directly in a process that already
lives: what is left when Dagster costs nothing.
"""

import os
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import httpx

from activation.automation.presets import WELCOME
from activation.cycle import Cycle, run_due
from activation.provider.resend import ResendProvider
from core.clock import SystemClock
from core.database import SessionFactory, session_scope
from core.paths import PROJECT_ROOT
from core.shops import client_for, shop_by_domain
from ops import flows, shops
from ops.demo import open_demo_world, start_demo
from ops.home import Home
from ops.ports import Service, free_ports
from ops.progress import Progress
from ops.sandbox_api import SandboxApi
from ops.stack import Stack
from ops.world import World

REPEATS = 12
PATIENCE_SECONDS = 60.0
ALONE = {"ECOMCRM_ACTIVATION_IDLE_SECONDS": "0"}  # a run ends when all is done


def run() -> dict[str, object]:
    """Seconds, median over REPEATS orders placed at spread phases of the sensor's tick."""
    progress = Progress()
    with (
        tempfile.TemporaryDirectory(prefix="ecomcrm-bench-") as folder,
        tempfile.TemporaryDirectory(prefix="ecomcrm-bench-data-") as data_folder,
    ):
        data = Path(data_folder, "shop")
        generate = [sys.executable, "-m", "sandbox", "generate", str(data), "--customers", "300"]
        subprocess.run(generate, cwd=PROJECT_ROOT, check=True, capture_output=True)
        home = Home(Path(folder))
        home.create()
        with home.lock():
            world = open_demo_world(home, dict(os.environ) | free_ports() | ALONE, progress)
            stack = Stack(world, progress)
            try:
                demo = start_demo(stack, data=data, progress=progress)
                with shops.database(world.settings) as factory:
                    return _measure(stack, factory, demo.domain, progress)
            finally:
                stack.stop()


def _measure(
    stack: Stack, factory: SessionFactory, domain: str, progress: Progress
) -> dict[str, object]:
    world = stack.world
    since = _switch_on(factory, domain)
    for number in range(REPEATS):
        _place_order(world, domain, f"cold-{number}@example.com")
        _wait_for(world, domain, since, number + 1)
        progress.say(f"order {number + 1} of {REPEATS}")
        # Let the run end, and meet the 5 s tick at another phase each time.
        time.sleep(3.0 + 5.0 * number / REPEATS)
    cold = _quantiles(world, domain, since)
    progress.say(f"cold: {cold}")
    stack.supervisor.stop("dagster_daemon")
    later = SystemClock().now().isoformat()
    time.sleep(1.1)
    for number in range(REPEATS):
        _place_order(world, domain, f"floor-{number}@example.com")
        _run_directly(factory, world, domain, later, number + 1)
    floor = _quantiles(world, domain, later)
    return {
        "n": REPEATS,
        "repeats": REPEATS,
        "value": cold["p50"],
        "unit": "s",
        "p95": cold["p95"],
        "max": cold["max"],
        "floor": floor["p50"],
        "ratio": round(cold["p50"] / floor["p50"], 2),
        "peer": None,
        "peer_ratio": None,
    }


def _switch_on(factory: SessionFactory, domain: str) -> str:
    since = flows.turn_on(factory, WELCOME, shop=domain, delay=timedelta(0), holdout_percent=0)
    time.sleep(1.1)  # Shopify tells times by the second: an order of this one would be too early
    return since.isoformat()


def _place_order(world: World, domain: str, email: str) -> None:
    customer = {"email": email, "first_name": "Ada", "consent": "SUBSCRIBED"}
    url = f"{world.address(Service.SANDBOX)}/_sandbox/shops/{domain}/orders"
    httpx.post(url, json={"customer": customer, "total": "49.90"}).raise_for_status()


def _wait_for(world: World, domain: str, since: str, accepted: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    with SandboxApi(world.address(Service.SANDBOX)) as sandbox:
        while sandbox.oracle(domain, since=since)["emails_accepted"] < accepted:
            if time.monotonic() > deadline:
                raise SystemExit(f"mail {accepted} did not arrive in {PATIENCE_SECONDS:.0f} s")
            time.sleep(0.1)


def _run_directly(
    factory: SessionFactory, world: World, domain: str, since: str, timed: int
) -> None:
    """Do what is due in this process until `timed` mails have arrived since `since`."""
    settings = world.settings
    with session_scope(factory) as session:
        shop = shop_by_domain(session, domain)
        assert shop is not None
    with ResendProvider.from_settings(settings) as provider, client_for(shop, settings) as client:
        cycle = Cycle(
            factory=factory,
            settings=settings,
            clock=SystemClock(),
            provider=provider,
            client_of=lambda _shop_id: client,
            run_id=None,
            stop=lambda: False,
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while _owed_and_sent(world, domain, since) < timed:
            run_due(cycle)
            if time.monotonic() > deadline:
                raise SystemExit("the direct run did not send")


def _owed_and_sent(world: World, domain: str, since: str) -> int:
    with SandboxApi(world.address(Service.SANDBOX)) as sandbox:
        said = sandbox.oracle(domain, since=since)
    return int(said["emails_expected"]) - int(said["lost"])


def _quantiles(world: World, domain: str, since: str) -> dict[str, float]:
    with SandboxApi(world.address(Service.SANDBOX)) as sandbox:
        return dict(sandbox.oracle(domain, since=since)["order_to_email_seconds"])
