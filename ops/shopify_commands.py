"""What the subcommands about connected shops do: add, list, compare, log, inbox."""

import getpass
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.clock import SystemClock
from core.database import session_scope
from core.errors import PermanentError
from core.ingestion.inbox import failed_messages, retry_failed
from core.ingestion.status import sync_status
from core.models import InboxMessage, Shop, SyncLogEntry, SyncRun
from core.scopes import missing_scopes
from core.settings import Settings
from core.shops import all_shops, business_clock
from ops import shops
from ops.commands import Environ, world_of
from ops.dagster_api import DagsterApi
from ops.home import HomeKind
from ops.owners import let_owners_see
from ops.ports import Service
from ops.progress import Progress

SHOWN_FAILURES: Final = 100


def add_shop(
    environ: Environ,
    progress: Progress,
    *,
    domain: str,
    client_id: str | None,
    secret_file: Path | None,
) -> dict[str, Any]:
    """Connect a shop with credentials of its own; repeating it updates them."""
    world = world_of(environ)
    settings = world.settings
    credentials = _credentials(settings, client_id, secret_file)
    with shops.database(settings) as factory:
        shop_id = shops.connect(
            factory,
            settings,
            domain,
            is_sandbox=world.kind is HomeKind.DEMO,
            credentials=credentials,
        )
        owners = let_owners_see(factory, shop_id)
        problem = shops.webhooks_problem(factory, shop_id)
        with session_scope(factory) as session:
            missing = missing_scopes(session.get_one(Shop, shop_id).access_scopes)
    progress.say(f"{domain} is connected; its first sync starts within two minutes")
    for words in (problem, _scope_words(missing)):
        if words:
            progress.say(words)
    seen_by = ", ".join(owners) or "nobody yet: ecomcrm setup owner ADDRESS --shop " + domain
    progress.say(f"Who may see it: {seen_by}")
    return {
        "shop": domain,
        "shop_id": shop_id,
        "missing_scopes": missing,
        "webhooks_problem": problem,
        "owners": owners,
    }


def list_shops(environ: Environ) -> list[dict[str, Any]]:
    """Every shop with how its data stands."""
    with shops.database(world_of(environ).settings) as factory, session_scope(factory) as session:
        return [_listed(session, shop) for shop in all_shops(session)]


def shop_line(shop: Mapping[str, Any]) -> str:
    """One line of `shop list`."""
    notes = [
        f"last sync {_age(shop['sync_age_seconds'])}",
        *([f"failed webhooks: {shop['failed_webhooks']}"] if shop["failed_webhooks"] else []),
        *([f"lacks {', '.join(shop['missing_scopes'])}"] if shop["missing_scopes"] else []),
        *([shop["webhooks_problem"]] if shop["webhooks_problem"] else []),
        *([shop["error"]] if shop["error"] else []),
    ]
    return f"{shop['state']:<11} {shop['sync']:<8} {shop['shop']}  ({shop['name']})  " + "; ".join(
        notes
    )


def reconcile(environ: Environ, progress: Progress, *, shop: str | None) -> dict[str, Any]:
    """Compare shops with Shopify, through Dagster; what differs is asked for anew."""
    world = world_of(environ)
    with (
        shops.database(world.settings) as factory,
        DagsterApi(world.address(Service.DAGSTER)) as dagster,
    ):
        reports = [
            shops.reconcile_shop(dagster, factory, domain, progress=progress)
            for domain in shops.connected_shops(factory, shop)
        ]
    for report in reports:
        progress.say(f"{report['shop']}: {_difference_words(report)}")
    return {"shops": reports}


def sync_log(environ: Environ, *, shop: str | None, lines: int) -> list[dict[str, Any]]:
    """The latest entries of the sync logs, oldest first."""
    with shops.database(world_of(environ).settings) as factory:
        known = {number: domain for domain, number in shops.connected_shops(factory, shop).items()}
        with session_scope(factory) as session:
            found = session.execute(
                select(SyncLogEntry, SyncRun.kind)
                .join(
                    SyncRun,
                    (SyncRun.shop_id == SyncLogEntry.shop_id)
                    & (SyncRun.sync_run_id == SyncLogEntry.sync_run_id),
                )
                .where(SyncLogEntry.shop_id.in_(known))
                .order_by(SyncLogEntry.at.desc(), SyncLogEntry.sync_log_id.desc())
                .limit(lines)
            ).all()
    return [
        {
            "shop": known[entry.shop_id],
            "sync_run": entry.sync_run_id,
            "kind": kind.value,
            "at": entry.at.isoformat(),
            "level": entry.level.value,
            "object_type": entry.object_type.value if entry.object_type else None,
            "message": entry.message,
        }
        for entry, kind in reversed(found)
    ]


def failed_webhooks(environ: Environ, *, shop: str | None) -> list[dict[str, Any]]:
    """The latest webhooks that could not be applied; never a body."""
    with shops.database(world_of(environ).settings) as factory:
        known = shops.connected_shops(factory, shop)
        with session_scope(factory) as session:
            return [
                _failed(domain, message)
                for domain, shop_id in known.items()
                for message in failed_messages(session, shop_id, limit=SHOWN_FAILURES)
            ]


def retry_webhooks(
    environ: Environ, progress: Progress, *, shop: str | None, webhook_ids: list[str]
) -> int:
    """Have failed webhooks tried again at once, all or the named ones; returns how many."""
    with shops.database(world_of(environ).settings) as factory:
        known = shops.connected_shops(factory, shop)
        with session_scope(factory) as session:
            count = sum(
                retry_failed(session, shop_id, webhook_ids or None) for shop_id in known.values()
            )
    progress.say(f"{count} webhooks will be tried again with the next activation run")
    return count


def _credentials(
    settings: Settings, client_id: str | None, secret_file: Path | None
) -> shops.Credentials:
    """The environment's secret belongs to the environment's client id, and to no other."""
    is_theirs = client_id in (None, settings.shopify_client_id)
    client_id = client_id or settings.shopify_client_id
    if client_id is None:
        raise PermanentError("Give the app's client id with --client-id.")
    known = settings.shopify_client_secret if is_theirs else None
    if known is not None and secret_file is None:
        return shops.Credentials(client_id, known)
    return shops.Credentials(client_id, _secret(secret_file))


def _secret(file: Path | None) -> SecretStr:
    """From the file (`-` is stdin) or a prompt that shows nothing.

    Never an argument: every user of the machine can read those.
    """
    if file is not None:
        text = sys.stdin.read() if str(file) == "-" else _read(file)
    elif sys.stdin.isatty():
        text = getpass.getpass("Client secret of the app: ")
    else:
        raise PermanentError(
            "Give the app's client secret with --client-secret-file FILE (- for stdin)."
        )
    if not text.strip():
        raise PermanentError("The client secret is empty.")
    return SecretStr(text.strip())


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise PermanentError(f"{file} cannot be read: {type(error).__name__}.") from None


def _listed(session: Session, shop: Shop) -> dict[str, Any]:
    now = business_clock(shop, SystemClock()).now()
    status = sync_status(session, shop.shop_id, now=now)
    return {
        "shop": shop.domain,
        "name": shop.name,
        "state": _state(shop),
        "sync": status.face.value,
        "sync_age_seconds": int(status.age.total_seconds()) if status.age is not None else None,
        "synced_at": _text(status.completed_at),
        "error": status.error,
        "warning": status.warning,
        "missing_scopes": missing_scopes(shop.access_scopes),
        "failed_webhooks": status.failed_messages,
        "webhooks_problem": shop.webhooks_problem,
        "webhooks_checked_at": _text(shop.webhooks_checked_at),
    }


def _state(shop: Shop) -> str:
    if shop.uninstalled_at is not None:
        return "uninstalled"
    return "sandbox" if shop.is_sandbox else "connected"


def _failed(domain: str, message: InboxMessage) -> dict[str, Any]:
    return {
        "shop": domain,
        "webhook_id": message.webhook_id,
        "topic": message.topic,
        "received_at": message.received_at.isoformat(),
        "attempts": message.attempts,
        "next_attempt_at": _text(message.next_attempt_at),
        "error": message.error,
    }


def _scope_words(missing: list[str]) -> str | None:
    if not missing:
        return None
    return f"The app lacks the scopes {', '.join(missing)}: see docs/shopify.md"


def _difference_words(report: Mapping[str, Any]) -> str:
    parts = [
        f"{name}: {found['held']:,} here, {_count(found['shopify'])} at Shopify, "
        f"{found['asked_for']:,} asked for"
        for name, found in report.items()
        if isinstance(found, dict)
    ]
    return "; ".join(parts)


def _count(number: int | None) -> str:
    return "too many to count" if number is None else f"{number:,}"


def _age(seconds: int | None) -> str:
    if seconds is None:
        return "never"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def _text(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
