"""Shops as seen by the command: connecting one to the product, syncing, scoring."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from pydantic import SecretStr
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from activation.automation.presets import seed_presets
from core.clock import SystemClock
from core.database import SessionFactory, make_session_factory, session_scope
from core.errors import EcomCRMError, PermanentError
from core.ingestion.requests import finish_for_run, mark_launched
from core.models import Shop, SyncRequest, SyncRun
from core.models.enums import Segment, SyncKind
from core.settings import Settings
from core.shopify.client import ShopifyClient
from core.shops import (
    all_shops,
    client_for,
    connect_shop,
    installed_shops,
    shop_by_domain,
)
from core.subscriptions import check_subscriptions, receiver_address
from ops.dagster_api import DagsterApi, JobRun
from ops.databases import open_engine
from ops.progress import Progress

PLATFORM: Final = "platform"
SYNC_JOB: Final = "sync_shop"
RECONCILE_JOB: Final = "reconcile_shop"
SCORE_JOB: Final = "score_customers"
_SHOPS: Final = "shops"
_SYNC_SECONDS: Final = 6 * 3600.0
_SCORE_SECONDS: Final = 3600.0


@dataclass(frozen=True)
class SyncResult:
    """What one sync brought."""

    shop: str
    kind: str
    customers: int
    orders: int
    order_lines: int
    rejected: int
    seconds: float


@contextmanager
def database(settings: Settings) -> Iterator[SessionFactory]:
    """Sessions on the application's database; TransientError when it does not answer."""
    with open_engine(settings.listen_url) as engine:
        yield make_session_factory(engine)


@dataclass(frozen=True)
class Credentials:
    """Of one shop's app in the Dev Dashboard."""

    client_id: str
    client_secret: SecretStr


def credentials_of(settings: Settings) -> Credentials:
    """Those of the environment. PermanentError when they are not set."""
    if settings.shopify_client_id is None or settings.shopify_client_secret is None:
        raise PermanentError("SHOPIFY_CLIENT_ID and SHOPIFY_CLIENT_SECRET are not set.")
    return Credentials(settings.shopify_client_id, settings.shopify_client_secret)


def connect(
    factory: SessionFactory,
    settings: Settings,
    domain: str,
    *,
    is_sandbox: bool,
    credentials: Credentials | None = None,
) -> int:
    """Connect a shop with its credentials, those in the settings; repeating it changes nothing.

    Its webhooks come to this installation and its flows are there, switched off. What is wrong
    with its webhooks is kept with the shop (`webhooks_problem`) and stops nothing. Returns its
    shop_id. Raises PermanentError when credentials are missing or Shopify refuses them.
    """
    credentials = credentials or credentials_of(settings)
    clock = SystemClock()
    with ShopifyClient(
        domain=domain,
        client_id=credentials.client_id,
        client_secret=credentials.client_secret,
        base_url=settings.shopify_base_url,
        api_version=settings.shopify_api_version,
    ) as client:
        with session_scope(factory) as session:
            shop = connect_shop(
                session, client, settings=settings, is_sandbox=is_sandbox, clock=clock
            )
            if is_sandbox:
                _complete_made_up_shop(shop)
            seed_presets(session, shop.shop_id, now=clock.now())
        with suppress(EcomCRMError):  # kept with the shop, and tried again every hour
            keep_webhooks(factory, client, settings, shop)
        return shop.shop_id


def keep_webhooks(
    factory: SessionFactory, client: ShopifyClient, settings: Settings, shop: Shop
) -> None:
    """Have the shop's webhooks come to where the web app is reached now."""
    check_subscriptions(
        factory,
        client,
        shop_id=shop.shop_id,
        address=receiver_address(settings.public_url, is_sandbox=shop.is_sandbox),
        now=SystemClock().now(),
    )


def refresh_webhooks(factory: SessionFactory, settings: Settings) -> None:
    """The same for every sandbox shop, whose web app may have moved to another port."""
    with session_scope(factory) as session:
        shops = [shop for shop in installed_shops(session) if shop.is_sandbox]
    for shop in shops:
        with client_for(shop, settings) as client:
            keep_webhooks(factory, client, settings, shop)


def webhooks_problem(factory: SessionFactory, shop_id: int) -> str | None:
    """Why some webhooks of the shop will not come, in words."""
    with session_scope(factory) as session:
        return session.get_one(Shop, shop_id).webhooks_problem


def connected_shops(factory: SessionFactory, wanted: str | None) -> dict[str, int]:
    """shop_id by domain: the wanted shop, or all. PermanentError when there is no such shop."""
    with session_scope(factory) as session:
        known = {shop.domain: shop.shop_id for shop in all_shops(session)}
    if not known:
        raise PermanentError("No shop is connected yet.")
    if wanted and wanted not in known:
        raise PermanentError(f"No shop {wanted} is connected; there are: {', '.join(known)}.")
    return {wanted: known[wanted]} if wanted else known


def sync_shop(
    dagster: DagsterApi,
    factory: SessionFactory,
    domain: str,
    *,
    kind: Literal["auto", "full", "incremental"],
    progress: Progress,
) -> SyncResult:
    """Sync one shop through Dagster and wait for it. PermanentError with the reason if it fails."""
    started = time.monotonic()
    run_config = {"ops": {"shopify_raw": {"config": {"kind": kind}}}}

    def tell(run_id: str, status: str) -> None:
        progress.say_if_new(f"Sync of {domain}: {_live_counts(factory, run_id) or status.lower()}")

    run_id = _do(
        dagster,
        factory,
        SYNC_JOB,
        domain,
        kind=_kind(factory, domain, kind),
        run_config=run_config,
        tell=tell,
    )
    with session_scope(factory) as session:
        run = session.scalars(select(SyncRun).where(SyncRun.run_id == run_id)).one()
        return SyncResult(
            shop=domain,
            kind=run.kind.value,
            customers=run.customers_loaded,
            orders=run.orders_loaded,
            order_lines=run.order_lines_loaded,
            rejected=run.lines_rejected,
            seconds=round(time.monotonic() - started, 3),
        )


def reconcile_shop(
    dagster: DagsterApi, factory: SessionFactory, domain: str, *, progress: Progress
) -> dict[str, Any]:
    """Compare one shop with Shopify through Dagster; returns what was found, by type."""

    def tell(_run_id: str, status: str) -> None:
        progress.say_if_new(f"Comparison of {domain}: {status.lower()}")

    run_id = _do(dagster, factory, RECONCILE_JOB, domain, kind=SyncKind.RECONCILE, tell=tell)
    with session_scope(factory) as session:
        run = session.scalars(select(SyncRun).where(SyncRun.run_id == run_id)).one()
        return {"shop": domain, **(run.report or {})}


def _do(
    dagster: DagsterApi,
    factory: SessionFactory,
    job: str,
    domain: str,
    *,
    kind: SyncKind,
    tell: Callable[[str, str], None],
    run_config: Mapping[str, Any] | None = None,
) -> str:
    """Run a job for one shop and wait; returns the run's id. PermanentError if it fails.

    Started here, not left to the sensor that starts what pages ask for: whoever types a command
    watches, and it works without the daemon. The request is written all the same, so that the
    pages show who asked, and ends even if this command is killed.
    """
    dagster.add_partition(_SHOPS, domain, location=PLATFORM)
    run_id = dagster.launch(job, location=PLATFORM, partition=domain, run_config=run_config)
    _note_request(factory, domain, kind, run_id)
    run = dagster.wait(run_id, seconds=_SYNC_SECONDS, watch=lambda status: tell(run_id, status))
    with session_scope(factory) as session:
        error = None if run.status == "SUCCESS" else _why(session, run)
        finish_for_run(session, run_id, error=error)
    _succeed(run, f"{'Comparison' if kind is SyncKind.RECONCILE else 'Sync'} of {domain}")
    return run_id


def _note_request(factory: SessionFactory, domain: str, kind: SyncKind, run_id: str) -> None:
    now = SystemClock().now()
    with session_scope(factory) as session:
        shop = shop_by_domain(session, domain)
        if shop is None:
            raise PermanentError(f"No shop {domain} is connected.")
        request = SyncRequest(shop_id=shop.shop_id, kind=kind, requested_by="cli", requested_at=now)
        session.add(request)
        mark_launched(session, request, run_id)


def _why(session: Session, run: JobRun) -> str:
    """The words of the sync itself, which are for people; Dagster's are for developers."""
    error = session.scalar(select(SyncRun.error).where(SyncRun.run_id == run.run_id))
    return error or f"The run ended as {run.status.lower()}."


def _kind(factory: SessionFactory, domain: str, kind: str) -> SyncKind:
    """What `auto` comes to."""
    if kind == "auto":
        return SyncKind.FULL if needs_first_sync(factory, domain) else SyncKind.INCREMENTAL
    return SyncKind(kind)


def score_customers(dagster: DagsterApi, *, progress: Progress) -> float:
    """Score all shops through Dagster and wait for it; returns the seconds it took."""
    started = time.monotonic()
    run_id = dagster.launch(SCORE_JOB, location=PLATFORM)
    _succeed(
        dagster.wait(
            run_id,
            seconds=_SCORE_SECONDS,
            watch=lambda status: progress.say_if_new(f"RFM: {status.lower()}"),
        ),
        "RFM",
    )
    return round(time.monotonic() - started, 3)


def needs_first_sync(factory: SessionFactory, domain: str) -> bool:
    with session_scope(factory) as session:
        return (
            session.scalar(
                select(Shop.shop_id).where(
                    Shop.domain == domain, Shop.first_sync_completed_at.is_(None)
                )
            )
            is not None
        )


def needs_scores(factory: SessionFactory, domain: str) -> bool:
    """Whether the shop's first memberships are still to be made."""
    with session_scope(factory) as session:
        return (
            session.scalar(
                select(Shop.shop_id).where(Shop.domain == domain, Shop.baseline_at.is_(None))
            )
            is not None
        )


def segment_counts(factory: SessionFactory) -> dict[str, int]:
    """Customers per segment over all shops, in the fixed order of segments."""
    with session_scope(factory) as session:
        rows = session.execute(
            text("SELECT segment, count(*) AS people FROM marts.customers GROUP BY segment")
        ).all()
    counts: dict[str, int] = {row.segment: row.people for row in rows}
    return {segment.value: counts.get(segment.value, 0) for segment in Segment}


def as_json(result: SyncResult) -> dict[str, object]:
    return asdict(result)


def _complete_made_up_shop(shop: Shop) -> None:
    """What a merchant fills in before the first mail may leave."""
    shop.sender_name = shop.sender_name or shop.name
    shop.sender_address = shop.sender_address or f"hello@{shop.domain.partition('.')[0]}.example"
    shop.postal_address = shop.postal_address or f"{shop.name}, 1 Sample Street, 10115 Berlin"


def _live_counts(factory: SessionFactory, run_id: str) -> str | None:
    with session_scope(factory) as session:
        run = session.scalar(select(SyncRun).where(SyncRun.run_id == run_id))
        if run is None:
            return None
        return f"{run.customers_loaded:,} customers, {run.orders_loaded:,} orders"


def _succeed(run: JobRun, what: str) -> None:
    if run.status != "SUCCESS":
        raise PermanentError(f"{what} ended as {run.status} (run {run.run_id}):\n{run.error}")
