"""The smoke test: the whole loop, once, in a folder that is thrown away.

What was owed and what was forbidden is decided by the sandbox from its own store; what arrived is
counted at its mailbox. Our own tables are asked only whether there is still work to do.
"""

import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import text

from activation.automation.presets import WELCOME
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.shops import shop_by_domain
from ops import flows, shops
from ops.demo import Demo, open_demo_world, start_demo
from ops.foreground import stoppable
from ops.home import Home
from ops.ports import Service, free_ports
from ops.progress import Progress
from ops.sandbox_api import SandboxApi
from ops.stack import Stack
from ops.world import World

ORDERS: Final = 60
SEED: Final = 7
_PATIENCE_SECONDS: Final = 180.0
# Two ticks of the slowest loop: whatever is still to come too much has come by then.
_QUIET_SECONDS: Final = 12.0

# Work of ours that is still to do. Reads small partial indexes only.
_OPEN_WORK: Final = text(
    """
    SELECT (SELECT count(*) FROM raw_shopify.refresh_requests WHERE next_attempt_at IS NOT NULL)
         + (SELECT count(*) FROM raw_shopify.webhook_inbox
             WHERE state IN ('received', 'failed') AND next_attempt_at IS NOT NULL)
         + (SELECT count(*) FROM crm.messages WHERE state IN ('queued', 'frozen'))
    """
)
_COUNTS: Final = text(
    """
    SELECT (SELECT count(*) FROM raw_shopify.customers WHERE shop_id = :shop_id) AS customers,
           (SELECT count(*) FROM raw_shopify.orders WHERE shop_id = :shop_id) AS orders,
           (SELECT count(*) FROM marts.customers
             WHERE shop_id = :shop_id AND segment IS NOT NULL
               AND r_score BETWEEN 1 AND 5 AND f_score BETWEEN 1 AND 5 AND m_score BETWEEN 1 AND 5
           ) AS scored
    """
)


@dataclass(frozen=True)
class Played:
    """What came of the scenario."""

    oracle: Mapping[str, Any]
    shop: Mapping[str, Any]
    is_quiet: bool


def run_smoke(
    environ: Mapping[str, str], progress: Progress, *, data: Path | None
) -> tuple[dict[str, Any], list[str]]:
    """Play it; returns the figures and, in words, what does not hold.

    Leaves no process and no file behind; when it fails, the logs, and it says where.
    """
    folder = Path(tempfile.mkdtemp(prefix="ecomcrm-smoke-"))
    home = Home(folder)
    failed = True
    try:
        figures, broken = _play(home, dict(environ) | free_ports(), progress, data=data)
        failed = bool(broken)
    except KeyboardInterrupt:
        failed = False
        raise
    finally:
        if failed and home.logs.exists():
            progress.say(f"The logs are kept in {_keep_logs(home)}")
        shutil.rmtree(folder, ignore_errors=True)
    return figures, broken


def broken_promises(figures: Mapping[str, Any]) -> list[str]:
    """What does not hold, in words; empty when all does."""
    checks = {
        "no mail was owed, so nothing was tried": figures["emails_expected"] > 0,
        "mails accepted are not the mails owed": (
            figures["emails_accepted"] == figures["emails_expected"]
        ),
        "mails reached someone they must not": figures["emails_forbidden"] == 0,
        "mails were sent twice": figures["duplicates"] == 0,
        "mails were lost": figures["lost"] == 0,
        "customers are without score or segment": figures["scored"] == figures["customers"] > 0,
        "segments do not add up": sum(figures["segments"].values()) == figures["scored"],
        "no order was read": figures["orders"] > 0,
    }
    return [claim for claim, holds in checks.items() if not holds]


def _differences(figures: Mapping[str, Any], played: Played) -> list[str]:
    """Where the database is not what the shop is, or is not done."""
    differences = [
        f"we have {figures[what]} {what}, the shop has {played.shop[what]}"
        for what in ("customers", "orders")
        if figures[what] != played.shop[what]
    ]
    if not played.is_quiet:
        differences.append(f"there was still work to do after {_PATIENCE_SECONDS:.0f} s")
    return differences


def _play(
    home: Home, environ: Mapping[str, str], progress: Progress, *, data: Path | None
) -> tuple[dict[str, Any], list[str]]:
    home.create()
    with home.lock(), stoppable():
        stack = Stack(open_demo_world(home, environ, progress), progress)
        try:
            demo = start_demo(stack, data=data, progress=progress)
            with shops.database(stack.world.settings) as factory:
                played = _play_orders(stack.world, factory, demo.domain, progress)
                figures = _figures(factory, demo, played, seconds=progress.elapsed())
            broken = broken_promises(figures) + _differences(figures, played)
            if broken:
                progress.say(f"The sandbox says: {played.oracle['details']}")
            return figures, broken
        finally:
            progress.say("Stopping")
            stack.stop()


def _play_orders(world: World, factory: SessionFactory, domain: str, progress: Progress) -> Played:
    first_sync, since = _switch_on_welcome(factory, domain)
    progress.say("Welcome flow: on, without delay")
    time.sleep(1)  # Shopify cuts times to the second: an order of this one would lie before it
    with SandboxApi(world.address(Service.SANDBOX)) as sandbox:
        kinds = sandbox.play_scenario(
            domain, orders=ORDERS, seed=SEED, first_sync_started_at=first_sync.isoformat()
        )
        progress.say(f"Orders played: {kinds}")
        return _wait_until_quiet(sandbox, factory, domain, since, progress)


def _switch_on_welcome(factory: SessionFactory, domain: str) -> tuple[datetime, datetime]:
    """Switch the flow on; returns the first sync's start and since when mails are owed."""
    since = flows.turn_on(factory, WELCOME, shop=domain, delay=timedelta(0), holdout_percent=0)
    with session_scope(factory) as session:
        shop = shop_by_domain(session, domain)
        if shop is None or shop.first_sync_started_at is None:
            raise PermanentError(f"{domain} has not been synced.")
        return shop.first_sync_started_at, max(shop.first_sync_started_at, since)


def _wait_until_quiet(
    sandbox: SandboxApi,
    factory: SessionFactory,
    domain: str,
    since: datetime,
    progress: Progress,
) -> Played:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    last_change, before = time.monotonic(), None
    while True:
        oracle = sandbox.oracle(domain, since=since.isoformat())
        state = (_open_work(factory), oracle["emails_accepted"], oracle["emails_expected"])
        if state != before:
            before, last_change = state, time.monotonic()
        open_work, accepted, expected = state
        progress.say_if_new(f"Mails: {accepted} of {expected} accepted, {open_work} things to do")
        is_done = open_work == 0 and accepted >= expected
        if is_done and time.monotonic() - last_change >= _QUIET_SECONDS:
            return Played(oracle, sandbox.shop(domain), is_quiet=True)
        if time.monotonic() > deadline:
            return Played(oracle, sandbox.shop(domain), is_quiet=False)
        time.sleep(0.5)


def _open_work(factory: SessionFactory) -> int:
    with session_scope(factory) as session:
        return int(session.scalar(_OPEN_WORK) or 0)


def _figures(
    factory: SessionFactory, demo: Demo, played: Played, *, seconds: float
) -> dict[str, Any]:
    with session_scope(factory) as session:
        shop = shop_by_domain(session, demo.domain)
        counts = session.execute(_COUNTS, {"shop_id": shop.shop_id if shop else 0}).one()
    oracle = played.oracle
    return {
        "customers": counts.customers,
        "orders": counts.orders,
        "scored": counts.scored,
        "segments": shops.segment_counts(factory),
        "emails_expected": oracle["emails_expected"],
        "emails_accepted": oracle["emails_accepted"],
        "emails_forbidden": oracle["emails_forbidden"],
        "duplicates": oracle["duplicates"],
        "lost": oracle["lost"],
        "sync_seconds": demo.sync.seconds if demo.sync else None,
        "rfm_seconds": demo.rfm_seconds,
        "order_to_email_seconds": oracle["order_to_email_seconds"]["p50"],
        "total_seconds": round(seconds, 3),
    }


def _keep_logs(home: Home) -> Path:
    kept = Path(tempfile.mkdtemp(prefix="ecomcrm-smoke-logs-"))
    shutil.copytree(home.logs, kept, dirs_exist_ok=True)
    return kept
