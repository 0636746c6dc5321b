"""The demo: a made-up or given shop, played by the sandbox, synced, scored and shown."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from activation.automation.presets import WELCOME
from core.database import SessionFactory
from core.errors import PermanentError
from core.paths import PROJECT_ROOT
from ops import flows, shops
from ops.dagster_api import DagsterApi
from ops.home import Home, HomeKind, claim_kind
from ops.manifest import ensure_manifest
from ops.owners import ensure_owner, new_password
from ops.ports import Service
from ops.programs import (
    CODE_ACTIVATION,
    CODE_PLATFORM,
    DAGSTER_DAEMON,
    DAGSTER_WEBSERVER,
    POSTGRES,
    SANDBOX,
    WEB,
)
from ops.progress import Progress
from ops.sandbox_api import SandboxApi, run_data_tool, shop_domain
from ops.schema_file import ensure_schema_file
from ops.stack import Stack, clear_leftovers
from ops.world import World, open_world

OWNER_EMAIL: Final = "owner@example.com"
ORDERS_PER_HOUR: Final = 60.0  # something happens while one looks; nothing one could not follow
_BUILD: Final = PROJECT_ROOT / "webapp" / "static" / "build"
_REAL_KEYS: Final = ("RESEND_API_KEY", "SHOPIFY_CLIENT_SECRET", "DATABASE_URL")


@dataclass(frozen=True)
class Demo:
    """A demo that is up."""

    world: World
    domain: str
    password: str | None
    """Of the owner; only when the login was made just now."""
    sync: shops.SyncResult | None
    """The first sync, when it was done just now."""
    rfm_seconds: float | None
    orders_per_hour: float | None = None
    """That the sandbox was just told to play."""


def open_demo_world(home: Home, environ: Mapping[str, str], progress: Progress) -> World:
    """The demo's world in a home that this command holds, with nothing of it running."""
    _check_environment()
    claim_kind(home, HomeKind.DEMO)
    clear_leftovers(home, environ, progress)
    for name in _REAL_KEYS:
        if environ.get(name):
            progress.say(f"{name} is set, and not used: the demo brings stand-ins of its own")
    return open_world(home, HomeKind.DEMO, environ=environ)


def start_demo(stack: Stack, *, data: Path | None, progress: Progress) -> Demo:
    """Bring everything up and do what is still to be done of the first sync and the scores."""
    home = stack.world.home
    with ThreadPoolExecutor(3) as pool:  # a download, a parse, a generator: none needs another
        schema = pool.submit(ensure_schema_file, home.shopify)
        manifest = pool.submit(ensure_manifest)
        folder = pool.submit(lambda: data or _generated_shop(home))
        stack.open()
        stack.bring_up(POSTGRES)
        stack.prepare_databases()
        progress.say(f"Shopify's Admin schema: {schema.result().name}")
        progress.say(f"dbt: {'parsed' if manifest.result() else 'manifest is up to date'}")
        progress.say(f"Shop folder: {folder.result()}")
    stack.bring_up(SANDBOX, WEB, CODE_PLATFORM, CODE_ACTIVATION)
    with shops.database(stack.world.settings) as factory:
        domain, password = _connect(stack.world, factory, folder.result(), progress)
        return _first_run(stack, factory, domain, password, progress)


def play_orders(demo: Demo, *, per_hour: float | None) -> Demo:
    """Let the shop live. Without a pace it is set once, at the first start: who has stopped the
    orders at the sandbox finds them stopped.
    """
    if per_hour is None:
        if demo.sync is None:
            return demo
        per_hour = ORDERS_PER_HOUR
    with SandboxApi(demo.world.address(Service.SANDBOX)) as sandbox:
        sandbox.play_orders(demo.domain, per_hour=per_hour)
    return replace(demo, orders_per_hour=per_hour)


def new_owner_password(demo: Demo) -> Demo:
    """Give the owner a new password, in place of one that was lost."""
    with shops.database(demo.world.settings) as factory:
        return replace(demo, password=new_password(factory, OWNER_EMAIL))


def ready_text(demo: Demo, *, seconds: float) -> str:
    """What the user sees when the demo is up."""
    world = demo.world
    login = (
        f"{OWNER_EMAIL}   password: {demo.password}   (shown this once)"
        if demo.password
        else f"{OWNER_EMAIL}   (password as shown at the first start; new one: --new-password)"
    )
    return f"""
EcomCRM is ready after {seconds:.0f} s.

  Overview    {world.address(Service.WEB)}
  Login       {login}
  Dagster     {world.address(Service.DAGSTER)}
  Sandbox     {world.address(Service.SANDBOX)}   (Shopify, Resend and the mailbox, played)
  Shop        {demo.domain}: place an order at the sandbox and watch its mail arrive
  Orders      {_orders_text(demo.orders_per_hour)}
  State       {world.home.path}
"""


def _orders_text(per_hour: float | None) -> str:
    if per_hour is None:
        return "played as they were before; start and stop them at the sandbox"
    if per_hour == 0:
        return "none but yours; the sandbox can play some"
    return f"about {per_hour:g} an hour are played, returns and carts too; stop them at the sandbox"


def _check_environment() -> None:
    if not _BUILD.is_dir():
        raise PermanentError("The front end is not built: run `make setup`.")


def _generated_shop(home: Home) -> Path:
    """The made-up shop of this home: generated once, so that its history stays the same."""
    folder = home.sandbox / "demo-shop"
    if not (folder / "shop.json").exists():
        run_data_tool("generate", str(folder))
    return folder


def _connect(
    world: World, factory: SessionFactory, folder: Path, progress: Progress
) -> tuple[str, str | None]:
    domain = shop_domain(folder)
    with SandboxApi(world.address(Service.SANDBOX)) as sandbox:
        sandbox.load(folder, if_absent=True)
    progress.say(f"Sandbox: plays {domain}")
    shop_id = shops.connect(factory, world.settings, domain, is_sandbox=True)
    shops.refresh_webhooks(factory, world.settings)
    password = ensure_owner(factory, shop_id=shop_id, email=OWNER_EMAIL)
    progress.say(
        f"Shop {domain}: connected. "
        f"{shops.webhooks_problem(factory, shop_id) or 'Its webhooks come here'}"
    )
    return domain, password


def _first_run(
    stack: Stack, factory: SessionFactory, domain: str, password: str | None, progress: Progress
) -> Demo:
    sync, rfm_seconds = None, None
    if not shops.needs_scores(factory, domain):
        stack.bring_up(DAGSTER_WEBSERVER, DAGSTER_DAEMON)
    else:
        stack.bring_up(DAGSTER_WEBSERVER)
        with DagsterApi(stack.world.address(Service.DAGSTER)) as dagster:
            if shops.needs_first_sync(factory, domain):
                sync = shops.sync_shop(dagster, factory, domain, kind="auto", progress=progress)
                progress.say(f"Sync: {sync.customers:,} customers, {sync.orders:,} orders")
            rfm_seconds = shops.score_customers(dagster, progress=progress)
        # Only now: its sensors would otherwise start the same first sync.
        stack.bring_up(DAGSTER_DAEMON)
    if not flows.was_ever_on(factory, domain, WELCOME):
        # A newcomer wants to see a mail, not to wait an hour for it. Real shops start with it off.
        flows.turn_on(factory, WELCOME, shop=domain, delay=timedelta(0))
        progress.say("Welcome flow: on, without delay")
    return Demo(stack.world, domain, password, sync, rfm_seconds)
