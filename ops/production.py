"""`ecomcrm up`: the same processes without the sandbox, on real keys."""

from collections.abc import Mapping
from typing import Final

import psycopg
from psycopg import sql
from sqlalchemy import exists, select
from sqlalchemy.engine import URL, make_url

from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.models import Shop
from core.settings import Settings
from ops.home import Home, HomeKind, claim_kind, require_kind
from ops.manifest import ensure_manifest
from ops.programs import POSTGRES
from ops.progress import Progress
from ops.shops import connect, database, webhooks_problem
from ops.stack import Stack, clear_leftovers
from ops.world import World, open_world

_REAL_KEYS: Final = ("RESEND_API_KEY", "SHOPIFY_CLIENT_SECRET")


def open_production_world(home: Home, environ: Mapping[str, str], progress: Progress) -> World:
    """The production world of a home; SettingsError or PermanentError before anything starts."""
    require_kind(home, HomeKind.PRODUCTION)
    clear_leftovers(home, environ, progress)
    world = open_world(home, HomeKind.PRODUCTION, environ=environ)
    refuse_sandbox(world.settings, environ)
    claim_kind(home, HomeKind.PRODUCTION)
    return world


def start_production(stack: Stack, progress: Progress) -> None:
    world = stack.world
    ensure_manifest()
    stack.open()
    if POSTGRES in stack.programs:
        stack.bring_up(POSTGRES)
    else:
        _ensure_dagster_database(world.dagster_database_url)
    stack.prepare_databases()
    with database(world.settings) as factory:
        refuse_demo_data(factory, world.environ)
        progress.say("Settings and data: fit to run beside real keys")
        _connect_shop(world, factory, progress)
    stack.bring_up_rest()


def refuse_sandbox(settings: Settings, environ: Mapping[str, str]) -> None:
    """PermanentError when a vendor is a stand-in while another one's key is real."""
    keys = _real_keys(environ)
    if keys and settings.uses_sandbox:
        raise PermanentError(
            f"{' and '.join(keys)} would be used beside a stand-in on this machine "
            f"(ECOMCRM_SHOPIFY_BASE_URL={settings.shopify_base_url}, "
            f"ECOMCRM_RESEND_BASE_URL={settings.resend_base_url}). Unset one or the other: made-up "
            "orders must not reach real people, nor real ones a stand-in."
        )


def refuse_demo_data(factory: SessionFactory, environ: Mapping[str, str]) -> None:
    """PermanentError when the database holds a demo shop or moved time while a key is real."""
    keys = _real_keys(environ)
    with session_scope(factory) as session:
        demo = session.scalar(select(exists().where(Shop.is_sandbox)))  # only theirs can move time
    if keys and demo:
        raise PermanentError(
            f"{' and '.join(keys)} would be used on a database that holds a demo shop, with its "
            "login and its own time. Use another database."
        )


def _connect_shop(world: World, factory: SessionFactory, progress: Progress) -> None:
    """Connect the shop that is set; its first sync is started by a sensor."""
    settings = world.settings
    if settings.shopify_shop is None:
        progress.say("SHOPIFY_SHOP is not set: no shop is connected by this start")
        return
    shop_id = connect(factory, settings, settings.shopify_shop, is_sandbox=False)
    progress.say(f"Shop {settings.shopify_shop}: connected")
    if problem := webhooks_problem(factory, shop_id):
        progress.say(problem)


def _real_keys(environ: Mapping[str, str]) -> list[str]:
    return [name for name in _REAL_KEYS if environ.get(name)]


def _ensure_dagster_database(url: str) -> None:
    """Make Dagster's database on the user's server if it is missing and we may."""
    wanted = make_url(url).set(drivername="postgresql")
    try:
        psycopg.connect(wanted.render_as_string(hide_password=False), connect_timeout=5).close()
    except psycopg.OperationalError as error:
        if "does not exist" not in str(error):
            raise PermanentError(f"Dagster's database cannot be reached: {error}") from None
        _create_database(wanted.database or "dagster", beside=wanted)


def _create_database(name: str, *, beside: URL) -> None:
    server = beside.set(database="postgres").render_as_string(hide_password=False)
    try:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.Error as error:
        raise PermanentError(
            f"Dagster needs a database of its own, {name}, and we may not make it ({error}). "
            f"Make it, or set ECOMCRM_DAGSTER_DATABASE_URL."
        ) from None
