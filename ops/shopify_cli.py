"""The subcommands about connected shops: `shop`, `inbox`, `reconcile`, `log`."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from core.paths import PROJECT_ROOT
from ops import shopify_commands as commands
from ops.config_file import read_env_file
from ops.progress import Progress

shop_app = typer.Typer(help="Connected shops.", no_args_is_help=True)
inbox_app = typer.Typer(help="Webhooks that could not be applied.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON line on stdout.")]
Shop = Annotated[str | None, typer.Option(help="Domain; default: every shop.")]


@shop_app.command("add")
def shop_add(
    domain: Annotated[str, typer.Argument(help="name.myshopify.com")],
    *,
    client_id: Annotated[
        str | None, typer.Option(help="Of the shop's own app; default: SHOPIFY_CLIENT_ID.")
    ] = None,
    client_secret_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the app's client secret, - for stdin. Without it: "
            "SHOPIFY_CLIENT_SECRET, else a prompt.",
            allow_dash=True,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Connect a shop, or give a connected one its new secret."""
    report = commands.add_shop(
        environ(), Progress(), domain=domain, client_id=client_id, secret_file=client_secret_file
    )
    if as_json:
        print_json(report)


@shop_app.command("list")
def shop_list(*, as_json: AsJson = False) -> None:
    """Show the shops: state, last sync, missing scopes, failed webhooks."""
    report = commands.list_shops(environ())
    if as_json:
        print_json({"shops": report})
        return
    for shop in report:
        print(commands.shop_line(shop))


@inbox_app.command("list")
def inbox_list(*, shop: Shop = None, as_json: AsJson = False) -> None:
    """Show the latest webhooks that could not be applied, and why."""
    report = commands.failed_webhooks(environ(), shop=shop)
    if as_json:
        print_json({"webhooks": report})
        return
    for each in report:
        when = each["next_attempt_at"] or "given up"
        print(f"{each['received_at']}  {each['topic']}  {each['webhook_id']}  {each['shop']}")
        print(f"    {each['error']}  (attempts: {each['attempts']}, next: {when})")


@inbox_app.command("retry")
def inbox_retry(
    webhook_ids: Annotated[
        list[str] | None, typer.Argument(help="Which ones; default: all that failed.")
    ] = None,
    *,
    shop: Shop = None,
    as_json: AsJson = False,
) -> None:
    """Try failed webhooks again now, also those that were given up."""
    count = commands.retry_webhooks(environ(), Progress(), shop=shop, webhook_ids=webhook_ids or [])
    if as_json:
        print_json({"retried": count})


def reconcile(*, shop: Shop = None, as_json: AsJson = False) -> None:
    """Compare customers and orders with Shopify's, through Dagster; ask for what differs."""
    report = commands.reconcile(environ(), Progress(), shop=shop)
    if as_json:
        print_json(report)


def log(
    *,
    shop: Shop = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show the sync log, newest last."""
    entries = commands.sync_log(environ(), shop=shop, lines=lines)
    if as_json:
        print_json({"log": entries})
        return
    for entry in entries:
        print(
            f"{entry['at'][:19]}  {entry['level']:<7} {entry['shop']} "
            f"#{entry['sync_run']} {entry['kind']}: {entry['message']}"
        )


def add_to(app: typer.Typer) -> None:
    """Make these part of the `ecomcrm` command."""
    app.add_typer(shop_app, name="shop")
    app.add_typer(inbox_app, name="inbox")
    app.command("reconcile")(reconcile)
    app.command("log")(log)


def environ() -> Mapping[str, str]:
    """The environment, over the project's .env."""
    return read_env_file(PROJECT_ROOT / ".env") | dict(os.environ)


def print_json(report: Mapping[str, Any]) -> None:
    print(json.dumps(report))
