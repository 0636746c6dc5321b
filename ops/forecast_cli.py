"""The subcommands that say what a flow would do: `flows dry-run` and `flows backtest`."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any

import typer

from activation.automation.backtest import backtest, backtest_json
from activation.automation.dry_run import dry_run, dry_run_json
from activation.automation.switching import load_automations
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.settings import Settings
from ops import shops
from ops.commands import world_of
from ops.explain_cli import one_shop
from ops.shopify_cli import AsJson, Shop, environ, print_json

Key = Annotated[str, typer.Argument(help="Key of the flow, such as win_back.")]
Days = Annotated[int, typer.Option(min=1, max=366, help="How many days back.")]


def flows_dry_run(key: Key, *, shop: Shop = None, as_json: AsJson = False) -> None:
    """Show who would be mailed now, and who would not and why; nothing is written."""
    settings = world_of(environ()).settings
    with shops.database(settings) as factory:
        report = dry_run_of(factory, settings, shop, key)
    if as_json:
        print_json(report)
        return
    for line in dry_run_lines(report):
        print(line)


def flows_backtest(
    key: Key, *, days: Days = 30, shop: Shop = None, as_json: AsJson = False
) -> None:
    """Show what a flow would have done in the past days, had it been on."""
    settings = world_of(environ()).settings
    with shops.database(settings) as factory:
        report = backtest_of(factory, settings, shop, key, days=days)
    if as_json:
        print_json(report)
        return
    for line in backtest_lines(report):
        print(line)


def dry_run_of(
    factory: SessionFactory, settings: Settings, shop: str | None, key: str
) -> dict[str, Any]:
    """Raises PermanentError."""
    with session_scope(factory) as session:
        shop_id, now = one_shop(session, factory, shop)
        done = dry_run(session, shop_id, key, now=now, secret_key=settings.secret_key)
        return dry_run_json(done)


def backtest_of(
    factory: SessionFactory, settings: Settings, shop: str | None, key: str, *, days: int
) -> dict[str, Any]:
    """Raises PermanentError."""
    with session_scope(factory) as session:
        shop_id, now = one_shop(session, factory, shop)
        flows = {each.key: each for each in load_automations(session, shop_id)}
        if key not in flows:
            raise PermanentError(f"This shop has no automation {key!r}.")
        done = backtest(
            session,
            shop_id,
            key,
            flows[key].definition,
            since=now - timedelta(days=days),
            until=now,
            secret_key=settings.secret_key,
        )
        return backtest_json(done)


def dry_run_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """For a terminal."""
    state = "on" if report["is_on"] else "off; as if it were switched on now"
    yield f"{report['flow']} ({state})"
    for code in report["blocked"]:
        yield f"  nobody enters: {code}"
    yield f"  {report['entering']:>9,} would enter, {report['too_late']:,} more too late"
    yield f"  {report['enrolled_and_due']:>9,} in it already are due"
    yield f"  {report['mailed']:>9,} would be mailed now, {report['later']:,} after their wait"
    for title in ("skipped", "deferred"):
        for reason, count in report[title].items():
            yield f"  {count:>9,} {title}: {reason}"
    backlog = report["backlog"]
    if backlog and backlog["customers"]:
        yield (
            f"  {backlog['customers']:>9,} silent already would follow, {backlog['per_day']:,} "
            f"a day over {len(backlog['days'])} days"
        )
    for result, people in report["samples"].items():
        shown = ", ".join(each["email"] or str(each["customer_id"]) for each in people[:3])
        yield f"  {result}: {shown}"


def backtest_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """For a terminal."""
    yield f"{report['flow']} from {report['since']} to {report['until']}"
    yield f"  {report['entries']:>9,} entries of {report['customers']:,} customers"
    yield f"  {report['would_send']:>9,} mails, {report['held_out']:,} held out"
    yield f"  {report['waiting']:>9,} would still wait at the end"
    for reason, count in report["skipped"].items():
        yield f"  {count:>9,} skipped: {reason}"
    yield f"  {report['caps_hit']:>9,} met a limit, {report['quiet_hours_hit']:,} quiet hours"
    for flow, count in report["overlap"].items():
        yield f"  {count:>9,} of the customers also entered {flow}"
    yield (
        f"  {report['orders_followed']:>9,} orders within {report['follows_within_days']} days, "
        f"{report['revenue_followed']} {report['currency']}"
    )
    for day in report["days"]:
        if day["entries"] or day["mails"]:
            yield f"    {day['date']}  {day['entries']:>6,} entries  {day['mails']:>6,} mails"
    for limit in report["limits"]:
        yield f"  Note: {limit}"


def add_to(flows_app: typer.Typer) -> None:
    """Make these part of `ecomcrm flows`."""
    flows_app.command("dry-run")(flows_dry_run)
    flows_app.command("backtest")(flows_backtest)
