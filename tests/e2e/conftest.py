"""The real stack, as `ecomcrm demo` starts it, on free ports."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from activation.automation.presets import WELCOME
from core.database import SessionFactory
from core.paths import PROJECT_ROOT
from ops import flows, shops
from ops.demo import OWNER_EMAIL, Demo, open_demo_world, start_demo
from ops.home import Home
from ops.ports import Service, free_ports
from ops.progress import Progress
from ops.stack import Stack

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# As a container needs it, and without the browser's own traffic.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@dataclass(frozen=True)
class Live:
    """A running demo with its welcome flow switched on, without delay."""

    stack: Stack
    demo: Demo
    factory: SessionFactory
    since: str
    """Instant from which first orders are owed a mail."""

    def url(self, service: Service) -> str:
        return self.stack.world.address(service)

    @property
    def login(self) -> tuple[str, str]:
        return OWNER_EMAIL, self.demo.password or ""


@pytest.fixture(scope="session")
def live() -> Iterator[Live]:
    folder = Path(tempfile.mkdtemp(prefix="ecomcrm-e2e-"))
    data = Path(tempfile.mkdtemp(prefix="ecomcrm-e2e-data-")) / "shop"
    _make_shop(data)
    progress = Progress()
    home = Home(folder)
    home.create()
    with home.lock():
        # Runs end soon, as one test waits for one to end.
        environ = dict(os.environ) | free_ports() | {"ECOMCRM_ACTIVATION_IDLE_SECONDS": "4"}
        stack = Stack(open_demo_world(home, environ, progress), progress)
        try:
            demo = start_demo(stack, data=data, progress=progress)
            with shops.database(stack.world.settings) as factory:
                yield Live(stack, demo, factory, _switch_on(factory, demo.domain))
        finally:
            stack.stop()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(data.parent, ignore_errors=True)


def _make_shop(folder: Path) -> None:
    """The real data set where it lies beside the project, else a small made-up shop."""
    found = sorted(PROJECT_ROOT.parent.glob("shared/data/uci_online_retail_II_*.parquet"))
    made_up = ["generate", folder, "--customers", "300"]
    real = [
        "uci",
        *found[:1],
        folder,
        "--shift-to",
        f"{datetime.now(UTC).date() - timedelta(days=1)}",
    ]
    subprocess.run(
        [sys.executable, "-m", "sandbox", *(real if found else made_up)],
        cwd=PROJECT_ROOT,
        check=True,
        capture_output=True,
    )


def _switch_on(factory: SessionFactory, domain: str) -> str:
    since = flows.turn_on(factory, WELCOME, shop=domain, delay=timedelta(0), holdout_percent=0)
    time.sleep(1.1)  # Shopify tells times by the second: an order of this one would be too early
    return since.isoformat()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """An installed Chromium where there is one, else Playwright's own."""
    installed = next(filter(None, map(shutil.which, CHROMIUM)), None)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=installed, args=FLAGS)
        yield chromium
        chromium.close()
