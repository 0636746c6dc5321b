"""The subcommands about which orders are credited to a mail."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from activation.attribution import change_window, read_window
from core.clock import SystemClock
from core.database import SessionFactory, session_scope
from core.models import Shop as ShopRow
from core.shops import business_clock
from ops import shops
from ops.commands import world_of
from ops.progress import Progress
from ops.shopify_cli import AsJson, Shop, environ, print_json

attribution_app = typer.Typer(
    help="For how long after a click an order is credited to the mail.", no_args_is_help=True
)


@attribution_app.command("show")
def attribution_show(*, shop: Shop = None, as_json: AsJson = False) -> None:
    """Show each shop's window."""
    with shops.database(world_of(environ()).settings) as factory:
        report = windows_of(factory, shop)
    if as_json:
        print_json({"attribution": report})
        return
    for each in report:
        print(window_text(each))


@attribution_app.command("set")
def attribution_set(
    *,
    shop: Shop = None,
    days: Annotated[int, typer.Option(help="Days of 24 hours after the click, 1 to 30.")],
    as_json: AsJson = False,
) -> None:
    """Change it, for one shop or all. Past days follow when the reports are built next."""
    with shops.database(world_of(environ()).settings) as factory:
        report = set_windows(factory, shop, days)
    if as_json:
        print_json({"attribution": report})
        return
    for each in report:
        Progress().say(window_text(each))


def windows_of(factory: SessionFactory, shop: str | None) -> list[dict[str, Any]]:
    known = shops.connected_shops(factory, shop)
    with session_scope(factory) as session:
        return [
            {"shop": domain, "days": read_window(session, shop_id)}
            for domain, shop_id in known.items()
        ]


def set_windows(factory: SessionFactory, shop: str | None, days: int) -> list[dict[str, Any]]:
    """Of one shop or all, or of none if they cannot be had. PermanentError says why."""
    known = shops.connected_shops(factory, shop)
    with session_scope(factory) as session:
        for shop_id in known.values():
            row = session.get_one(ShopRow, shop_id)
            change_window(session, shop_id, days, clock=business_clock(row, SystemClock()))
    return windows_of(factory, shop)


def window_text(report: Mapping[str, Any]) -> str:
    days = report["days"]
    return f"{report['shop']}\n    credited  orders within {days} {'day' if days == 1 else 'days'}"


def add_to(app: typer.Typer) -> None:
    """Make these part of the `ecomcrm` command."""
    app.add_typer(attribution_app, name="attribution")
