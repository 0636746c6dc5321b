"""The subcommands about segments: what the data gate holds, accepting it or putting it right, sizes
at a date.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from activation.acceptance import accept_held
from activation.history import sizes_as_of
from activation.holds import Hold, read_hold
from activation.repair import repair_statistics
from core.clock import SystemClock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.models import Shop as ShopRow
from core.shops import business_clock
from ops import shops
from ops.commands import world_of
from ops.progress import Progress
from ops.shopify_cli import AsJson, Shop, environ, print_json

segments_app = typer.Typer(
    help="Segments: what is held, what to do about it, and sizes at any date.", no_args_is_help=True
)


@segments_app.command("held")
def segments_held(*, shop: Shop = None, as_json: AsJson = False) -> None:
    """Show the shops whose segments the data gate holds, and why."""
    with shops.database(world_of(environ()).settings) as factory:
        report = held_shops(factory, shop)
    if as_json:
        print_json({"held": report})
        return
    for each in report:
        print(
            f"{each['shop']}  since {each['held_at']}\n    {each['reason']}\n    {each['advice']}"
        )
    if not report:
        print("Nothing is held.")


@segments_app.command("accept")
def segments_accept(
    *,
    reason: Annotated[str, typer.Option(help="Why the data is right; kept with the decision.")],
    shop: Shop = None,
    as_json: AsJson = False,
) -> None:
    """Let what is held take effect: the data is as it should be."""
    with shops.database(world_of(environ()).settings) as factory:
        report = accept(factory, shop, reason=reason)
    if as_json:
        print_json(report)
        return
    Progress().say(
        f"{report['shop']}: accepted; {report['entered']} customers entered a segment, "
        f"{report['exited']} left one"
    )


@segments_app.command("repair")
def segments_repair(
    *,
    reason: Annotated[str, typer.Option(help="Why; kept with what was changed.")] = "",
    shop: Shop = None,
    as_json: AsJson = False,
) -> None:
    """Compute every customer's order statistics anew from the orders, and say what was wrong."""
    with shops.database(world_of(environ()).settings) as factory:
        report = repair(factory, shop, reason=reason)
    if as_json:
        print_json({"repaired": report})
        return
    for each in report:
        Progress().say(repair_text(each))


@segments_app.command("sizes")
def segments_sizes(
    at: Annotated[
        datetime, typer.Argument(help="Instant, UTC, such as 2026-11-20 or 2026-11-20T18:00:00.")
    ],
    *,
    shop: Shop = None,
    as_json: AsJson = False,
) -> None:
    """Show how many customers were in each segment at any past instant."""
    with shops.database(world_of(environ()).settings) as factory:
        report = sizes(factory, shop, at.replace(tzinfo=UTC))
    if as_json:
        print_json({"at": at.replace(tzinfo=UTC).isoformat(), "sizes": report})
        return
    for domain, found in report.items():
        print(domain)
        for segment, members in found.items():
            print(f"    {segment:<12} {members:>9,}")


def held_shops(factory: SessionFactory, shop: str | None) -> list[dict[str, Any]]:
    return [
        {
            "shop": domain,
            "held_at": hold.held_at.isoformat(),
            "check": hold.check.value if hold.check else None,
            "reason": hold.reason,
            "advice": hold.advice,
            "rfm_run_id": hold.rfm_run_id,
        }
        for domain, _, hold in _holds(factory, shop)
    ]


def accept(factory: SessionFactory, shop: str | None, *, reason: str) -> dict[str, Any]:
    """Of one shop at a time: a reason is about one shop's data."""
    held = _holds(factory, shop)
    if not held:
        raise PermanentError("Nothing is held.")
    if len(held) > 1:
        names = ", ".join(domain for domain, _, _ in held)
        raise PermanentError(f"Several shops are held: {names}. Say which with --shop.")
    [(domain, shop_id, hold)] = held
    with session_scope(factory) as session:
        now = business_clock(session.get_one(ShopRow, shop_id), SystemClock()).now()
    done = accept_held(factory, shop_id=shop_id, reason=reason, now=now, seen=hold.held_at)
    return {
        "shop": domain,
        "reason": done.held.reason,
        "entered": done.entered,
        "exited": done.exited,
    }


def repair(factory: SessionFactory, shop: str | None, *, reason: str) -> list[dict[str, Any]]:
    """Shop by shop: one that fails leaves those before it repaired."""
    report = []
    for domain, shop_id in shops.connected_shops(factory, shop).items():
        with session_scope(factory) as session:
            now = business_clock(session.get_one(ShopRow, shop_id), SystemClock()).now()
        done = repair_statistics(factory, shop_id=shop_id, now=now, reason=reason)
        with session_scope(factory) as session:
            is_held = read_hold(session, shop_id) is not None
        report.append(
            {
                "shop": domain,
                "customers": done.customers,
                "orders_before": done.before.orders,
                "orders_after": done.after.orders,
                "spent_before": str(done.before.spent),
                "spent_after": str(done.after.spent),
                "is_held": is_held,
            }
        )
    return report


def repair_text(done: dict[str, Any]) -> str:
    if not done["customers"]:
        return f"{done['shop']}: the statistics of all customers equal their orders"
    said = (
        f"{done['shop']}: the statistics of {done['customers']:,} customers were wrong and are "
        f"right now; all orders {done['orders_before']:,} -> {done['orders_after']:,}, all spent "
        f"{done['spent_before']} -> {done['spent_after']}"
    )
    return (
        f"{said}; run `ecomcrm rfm`: a full run that passes ends the hold"
        if done["is_held"]
        else said
    )


def sizes(factory: SessionFactory, shop: str | None, at: datetime) -> dict[str, dict[str, int]]:
    known = shops.connected_shops(factory, shop)
    with session_scope(factory) as session:
        return {
            domain: {
                segment.value: members
                for segment, members in sizes_as_of(session, shop_id, at).items()
            }
            for domain, shop_id in known.items()
        }


def _holds(factory: SessionFactory, shop: str | None) -> list[tuple[str, int, Hold]]:
    known = shops.connected_shops(factory, shop)
    with session_scope(factory) as session:
        found = {domain: read_hold(session, shop_id) for domain, shop_id in known.items()}
    return [(domain, known[domain], hold) for domain, hold in found.items() if hold]


def add_to(app: typer.Typer) -> None:
    """Make these part of the `ecomcrm` command."""
    app.add_typer(segments_app, name="segments")
