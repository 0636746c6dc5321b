"""The subcommands about how often and when a shop's flows may write to one address."""

import re
from collections.abc import Mapping
from datetime import time
from typing import Annotated, Any, Final

import typer
from sqlalchemy.orm import Session

from activation.eligibility.quiet import is_zone
from activation.eligibility.rules import Rules, change_rules, read_rules
from core.clock import SystemClock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.models import Shop as ShopRow
from core.shops import business_clock
from ops import shops
from ops.commands import world_of
from ops.progress import Progress
from ops.shopify_cli import AsJson, Shop, environ, print_json

OFF: Final = "off"
CAP: Final = re.compile(r"(\d{1,4})/(\d{1,4})")
CLOCK: Final = r"([01]?\d|2[0-3]):([0-5]\d)"
HOURS: Final = re.compile(f"{CLOCK}-{CLOCK}")

limits_app = typer.Typer(
    help="How often and when flows may write to one address.", no_args_is_help=True
)


@limits_app.command("show")
def limits_show(*, shop: Shop = None, as_json: AsJson = False) -> None:
    """Show each shop's caps and quiet hours."""
    with shops.database(world_of(environ()).settings) as factory:
        report = limits_of(factory, shop)
    if as_json:
        print_json({"limits": report})
        return
    for each in report:
        print(limits_text(each))


@limits_app.command("set")
def limits_set(
    *,
    shop: Shop = None,
    short_cap: Annotated[
        str | None, typer.Option(help="Mails per hours, such as 1/20; off: no such cap.")
    ] = None,
    long_cap: Annotated[
        str | None, typer.Option(help="Mails per days, such as 4/7; off: no such cap.")
    ] = None,
    quiet_hours: Annotated[
        str | None, typer.Option(help="Such as 21:00-08:00, over midnight too; off: none.")
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="Such as Europe/Berlin; shop: the shop's own.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change what is named, for one shop or all; the rest stays as it is."""
    changes = changes_from(
        short_cap=short_cap, long_cap=long_cap, quiet_hours=quiet_hours, time_zone=time_zone
    )
    with shops.database(world_of(environ()).settings) as factory:
        report = set_limits(factory, shop, changes)
    if as_json:
        print_json({"limits": report})
        return
    for each in report:
        Progress().say(limits_text(each))


def changes_from(
    *,
    short_cap: str | None = None,
    long_cap: str | None = None,
    quiet_hours: str | None = None,
    time_zone: str | None = None,
) -> dict[str, Any]:
    """What the options ask for. PermanentError for what cannot be read, or if they ask nothing."""
    changes: dict[str, Any] = {}
    if short_cap is not None:
        changes |= _cap(short_cap, "short_cap_mails", "short_cap_hours")
    if long_cap is not None:
        changes |= _cap(long_cap, "long_cap_mails", "long_cap_days")
    if quiet_hours is not None:
        changes |= _quiet_hours(quiet_hours)
    if time_zone is not None:
        changes["time_zone"] = None if time_zone == "shop" else time_zone
    if not changes:
        raise PermanentError("Say what to change: ecomcrm limits set --help.")
    return changes


def limits_of(factory: SessionFactory, shop: str | None) -> list[dict[str, Any]]:
    known = shops.connected_shops(factory, shop)
    with session_scope(factory) as session:
        return [
            _report(session.get_one(ShopRow, shop_id), read_rules(session, shop_id))
            for shop_id in known.values()
        ]


def set_limits(
    factory: SessionFactory, shop: str | None, changes: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Of one shop or all, or of none if one of them cannot have them. PermanentError says why."""
    known = shops.connected_shops(factory, shop)
    with session_scope(factory) as session:
        return [
            _changed(session, session.get_one(ShopRow, shop_id), changes)
            for shop_id in known.values()
        ]


def _changed(session: Session, shop: ShopRow, changes: Mapping[str, Any]) -> dict[str, Any]:
    now = business_clock(shop, SystemClock()).now()
    return _report(shop, change_rules(session, shop.shop_id, changes, now=now))


def limits_text(report: Mapping[str, Any]) -> str:
    short, long, quiet = report["short_cap"], report["long_cap"], report["quiet_hours"]
    lines = [
        str(report["shop"]),
        f"    short cap    {_words(short, 'hours')}",
        f"    long cap     {_words(long, 'days')}",
        f"    quiet hours  {quiet or OFF}",
        f"    time zone    {report['time_zone']}",
    ]
    if not report["time_zone_is_known"]:
        lines.append("    This machine does not know that zone and takes it for UTC.")
    return "\n".join(lines)


def _words(cap: Mapping[str, int] | None, unit: str) -> str:
    return OFF if cap is None else f"{cap['mails']} in {cap[unit]} {unit}"


def _report(shop: ShopRow, rules: Rules) -> dict[str, Any]:
    zone = rules.time_zone or shop.time_zone
    quiet = rules.quiet_hours(shop.time_zone)
    return {
        "shop": shop.domain,
        "short_cap": rules.short_cap_mails
        and {"mails": rules.short_cap_mails, "hours": rules.short_cap_hours},
        "long_cap": rules.long_cap_mails
        and {"mails": rules.long_cap_mails, "days": rules.long_cap_days},
        "quiet_hours": quiet and f"{quiet.starts:%H:%M}-{quiet.ends:%H:%M}",
        "time_zone": zone,
        "time_zone_is_known": is_zone(zone),
    }


def _cap(wanted: str, mails: str, window: str) -> dict[str, int | None]:
    if wanted == OFF:
        return {mails: None}
    found = CAP.fullmatch(wanted)
    if found is None:
        unit = window.rpartition("_")[2]
        raise PermanentError(f"{wanted!r} is not a cap; write mails/{unit}, or {OFF}.")
    return {mails: int(found[1]), window: int(found[2])}


def _quiet_hours(wanted: str) -> dict[str, time | None]:
    if wanted == OFF:
        return {"quiet_from": None, "quiet_until": None}
    found = HOURS.fullmatch(wanted)
    if found is None:
        raise PermanentError(f"{wanted!r} are no quiet hours; write them as 21:00-08:00, or {OFF}.")
    from_hour, from_minute, until_hour, until_minute = map(int, found.groups())
    return {
        "quiet_from": time(from_hour, from_minute),
        "quiet_until": time(until_hour, until_minute),
    }


def add_to(app: typer.Typer) -> None:
    """Make these part of the `ecomcrm` command."""
    app.add_typer(limits_app, name="limits")
