"""The subcommands about flows: `ecomcrm flows …`."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from core.errors import PermanentError
from ops import flows, shops
from ops.commands import world_of
from ops.home import HomeKind
from ops.progress import Progress
from ops.shopify_cli import AsJson, Shop, environ, print_json

flows_app = typer.Typer(help="Flows of the connected shops.", no_args_is_help=True)

Key = Annotated[str, typer.Argument(help="Its key, such as welcome.")]
Files = Annotated[Path, typer.Argument(help="A YAML file, or a folder of them.", exists=True)]


@flows_app.command("list")
def flows_list(*, shop: Shop = None, as_json: AsJson = False) -> None:
    """Show the flows and whether they are on."""
    with shops.database(world_of(environ()).settings) as factory:
        report = [flow.as_json() for flow in flows.flows_of(factory, shop)]
    if as_json:
        print_json({"flows": report})
        return
    for flow in report:
        state = "on " if flow["is_on"] else "off"
        line = f"{state}  {flow['key']}  {flow['shop']}  delay {flow['delay_seconds']} s"
        print(f"{line}  broken: {flow['problem']}" if flow["problem"] else line)
        if flow["blocked"]:
            print(f"     {flow['blocked']}")


@flows_app.command("show")
def flows_show(*, flow: Key, shop: Shop = None, as_json: AsJson = False) -> None:
    """Show one flow: whether it is on, and its definition."""
    with shops.database(world_of(environ()).settings) as factory:
        report = flows.show(factory, flow, shop=shop)
    if as_json:
        print_json(report)
        return
    print(f"{'on' if report['is_on'] else 'off'}, version {report['version']}")
    print(report["problem"] or report["yaml"], end="\n" if report["problem"] else "")


@flows_app.command("on")
def flows_on(
    *,
    flow: Key,
    shop: Shop = None,
    delay_minutes: Annotated[
        float | None, typer.Option(min=0, help="Wait before its first mail; default: as it is.")
    ] = None,
    leave_out_silent: Annotated[
        bool, typer.Option("--leave-out-silent", help="Not for who is silent long enough already.")
    ] = False,
) -> None:
    """Switch a flow on: what happens from now on starts it."""
    world = world_of(environ())
    delay = None if delay_minutes is None else timedelta(minutes=delay_minutes)
    if delay is not None and world.kind is not HomeKind.DEMO:
        flows.refuse_delay(delay)  # a demo may show a mail at once
    with shops.database(world.settings) as factory:
        flows.turn_on(factory, flow, shop=shop, delay=delay, include_silent=not leave_out_silent)


@flows_app.command("off")
def flows_off(*, flow: Key, shop: Shop = None) -> None:
    """Switch a flow off: nothing of it is sent from now on."""
    with shops.database(world_of(environ()).settings) as factory:
        flows.turn_off(factory, flow, shop=shop)


@flows_app.command("export")
def flows_export(
    *,
    flow: Annotated[str | None, typer.Argument(help="Its key; default: all.")] = None,
    to: Annotated[Path | None, typer.Option(help="A folder; default: print it.")] = None,
    shop: Shop = None,
    as_json: AsJson = False,
) -> None:
    """Write flows as YAML, one file each: the same flow always gives the same text."""
    with shops.database(world_of(environ()).settings) as factory:
        files = flows.export(factory, flow, shop=shop)
    if to is not None:
        to.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (to / name).write_text(text, encoding="utf-8")
    if as_json:
        print_json({"files": files if to is None else sorted(files)})
    elif to is None:
        print("---\n".join(files.values()), end="")
    else:
        Progress().say(f"{len(files)} flows in {to}")


@flows_app.command("diff")
def flows_diff(*, files: Files, shop: Shop = None, as_json: AsJson = False) -> None:
    """Show what an import would change; exit code 1 if anything."""
    with shops.database(world_of(environ()).settings) as factory:
        report = flows.load(factory, files, shop=shop, writes=False)
    _print_plan(report, as_json=as_json)
    if any(_changes(each) for each in report):
        raise typer.Exit(1)


@flows_app.command("import")
def flows_import(*, files: Files, shop: Shop = None, as_json: AsJson = False) -> None:
    """Take flows from YAML, all or none; what is new is off, nothing is switched."""
    with shops.database(world_of(environ()).settings) as factory:
        report = flows.load(factory, files, shop=shop, writes=True)
    _print_plan(report, as_json=as_json)


@flows_app.command("history")
def flows_history(*, flow: Key, shop: Shop = None, as_json: AsJson = False) -> None:
    """Show the versions of a flow, the newest first."""
    with shops.database(world_of(environ()).settings) as factory:
        report = flows.history(factory, flow, shop=shop)
    if as_json:
        print_json({"versions": report})
        return
    for each in report:
        changed = ", ".join(each["changed"]) or "-"
        again = f"  (version {each['restored_from']} again)" if each["restored_from"] else ""
        print(f"{each['version']:>4}  {each['created_at']}  {changed}{again}")


@flows_app.command("restore")
def flows_restore(
    *,
    flow: Key,
    version: Annotated[int, typer.Argument(min=1, help="As `flows history` has it.")],
    shop: Shop = None,
    as_json: AsJson = False,
) -> None:
    """Make an earlier version the current one again, as a new one."""
    with shops.database(world_of(environ()).settings) as factory:
        report = flows.restore(factory, flow, version, shop=shop)
    if as_json:
        print_json(report)
    else:
        Progress().say(f"{flow} is at version {report['version']}")


@flows_app.command("statistics")
def flows_statistics(
    *,
    flow: Key,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Of the last so many days.")] = 30,
    shop: Shop = None,
    as_json: AsJson = False,
) -> None:
    """Show what a flow and each of its steps did."""
    with shops.database(world_of(environ()).settings) as factory:
        report = flows.statistics(factory, flow, days=days, shop=shop)
    if as_json:
        print_json(report)
        return
    print(f"{flow}, {report['since']} to {report['until']}")
    for name in ("enrolled", "waiting", "held_out", "too_late", "completed", "exited"):
        print(f"    {name.replace('_', ' '):<12} {report[name]:>9,}")
    for step in report["steps"]:
        print(statistics_line(step))
    earned = report["earned"]
    if earned:
        print(f"    {earned['orders']} orders, {earned['revenue']} {earned['currency']}")
        print(f"    by {earned['rule']}; as of {earned['as_of']}")


@flows_app.command("test")
def flows_test(
    *,
    flow: Key,
    to: Annotated[str, typer.Option(help="The address the mail goes to.")],
    step: Annotated[str | None, typer.Option(help="Which mail; default: the first.")] = None,
    customer: Annotated[
        int | None, typer.Option(help="Show this customer's data instead of a sample's.")
    ] = None,
    shop: Shop = None,
    as_json: AsJson = False,
) -> None:
    """Send one mail of a flow now, marked as a test and outside all statistics."""
    world = world_of(environ())
    with shops.database(world.settings) as factory:
        report = flows.test(
            factory, world.settings, flow, to=to, step_key=step, customer_id=customer, shop=shop
        )
    if as_json:
        print_json(report)
    else:
        Progress().say(f"{report['state']}: {report['subject']}")
    if report["state"] == "failed":
        raise PermanentError(report["failure"] or "The provider did not take it.")


def statistics_line(step: Mapping[str, Any]) -> str:
    skipped = ", ".join(f"{reason} {count:,}" for reason, count in step["skipped"].items())
    return (
        f"  {step['step_key']:<20} {step['type']:<10} waiting {step['waiting']:,}  "
        f"sent {step['sent']:,}  delivered {step['delivered']:,}  opened {step['opened']:,}  "
        f"clicked {step['clicked']:,}  failed {step['failed']:,}  skipped {skipped or 0}"
    )


def _print_plan(report: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json({"flows": report})
        return
    for each in report:
        if each["is_new"]:
            print(f"{each['key']}: new, off")
        elif not _changes(each):
            print(f"{each['key']}: the same")
        else:
            print(f"{each['key']}:")
            if each["renamed_from"]:
                print(f"    name: {each['renamed_from']!r} -> {each['name']!r}")
            for change in each["differences"]:
                print(f"    {change['place']}: {change['before']!r} -> {change['after']!r}")


def _changes(planned: Mapping[str, Any]) -> bool:
    return bool(planned["differences"] or planned["renamed_from"] or planned["is_new"])
