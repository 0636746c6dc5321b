"""The subcommand `consent`: double opt-in on and off, and the ledger for whoever asks for proof."""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from activation.consent.exporting import as_csv, as_json, read_events
from activation.consent.policy import read_policy, require_confirmation, require_no_confirmation
from core.clock import SystemClock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.models import Shop as ShopRow
from core.shops import business_clock
from ops import shops
from ops.commands import world_of
from ops.progress import Progress
from ops.shopify_cli import AsJson, Shop, environ, print_json

consent_app = typer.Typer(
    help="Who agreed to marketing mail: double opt-in, and the ledger.", no_args_is_help=True
)

Reason = Annotated[str, typer.Option(help="Why; kept with the decision.")]


class Format(StrEnum):
    CSV = "csv"
    JSON = "json"


@consent_app.command("status")
def consent_status(*, shop: Shop = None, as_json_: AsJson = False) -> None:
    """Show which shops want subscriptions confirmed."""
    with shops.database(world_of(environ()).settings) as factory:
        report = policies(factory, shop)
    if as_json_:
        print_json({"shops": report})
        return
    for each in report:
        print(f"{each['shop']}  double opt-in: {_words(each)}")


@consent_app.command("double-opt-in")
def consent_double_opt_in(
    *,
    reason: Reason,
    on: Annotated[bool, typer.Option("--on/--off", help="Whether a click has to confirm.")],
    shop: Shop = None,
    everybody: Annotated[
        bool,
        typer.Option("--everybody", help="Also who subscribed before, a thousand an hour."),
    ] = False,
) -> None:
    """Have new subscriptions confirmed by a click in a mail, or not any more."""
    with shops.database(world_of(environ()).settings) as factory:
        domain = set_double_opt_in(factory, shop, on=on, everybody=everybody, reason=reason)
    state = "on" if on else "off"
    Progress().say(f"{domain}: double opt-in is {state}")


@consent_app.command("export")
def consent_export(
    *,
    shop: Shop = None,
    email: Annotated[str | None, typer.Option(help="Of one address; default: all.")] = None,
    form: Annotated[
        Format, typer.Option("--format", help="csv, or json with one object a line.")
    ] = Format.CSV,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A new file, for you alone; default: stdout."),
    ] = None,
) -> None:
    """Give out the ledger of consent of a shop, in the order it was written."""
    with shops.database(world_of(environ()).settings) as factory:
        if output is None:
            export(factory, shop, sys.stdout, email=email, form=form)
            return
        with _new_file(output) as file:
            export(factory, shop, file, email=email, form=form)


def policies(factory: SessionFactory, shop: str | None) -> list[dict[str, Any]]:
    known = shops.connected_shops(factory, shop)
    with session_scope(factory) as session:
        found = {domain: read_policy(session, shop_id) for domain, shop_id in known.items()}
        return [
            {
                "shop": domain,
                "double_opt_in": policy is not None and policy.double_opt_in,
                "since": policy.double_opt_in_since.isoformat()
                if policy is not None and policy.double_opt_in_since is not None
                else None,
            }
            for domain, policy in found.items()
        ]


def set_double_opt_in(
    factory: SessionFactory, shop: str | None, *, on: bool, everybody: bool, reason: str
) -> str:
    """Of one shop at a time; returns its domain. Raises PermanentError."""
    if not reason.strip():
        raise PermanentError("Say why; the reason is kept with the decision.")
    if everybody and not on:
        raise PermanentError("--everybody goes with --on.")
    domain, shop_id = _one_shop(factory, shop)
    with session_scope(factory) as session:
        now = business_clock(session.get_one(ShopRow, shop_id), SystemClock()).now()
        if on:
            require_confirmation(session, shop_id, reason=reason, now=now, everybody=everybody)
        else:
            require_no_confirmation(session, shop_id, reason=reason, now=now)
    return domain


def export(
    factory: SessionFactory,
    shop: str | None,
    file: IO[str],
    *,
    email: str | None = None,
    form: Format = Format.CSV,
) -> None:
    """Write the ledger to `file`, a chunk at a time. Raises PermanentError."""
    _, shop_id = _one_shop(factory, shop)
    with session_scope(factory) as session:
        rows = read_events(session, shop_id, email=email)
        for line in as_csv(rows) if form is Format.CSV else as_json(rows):
            file.write(line)


def _one_shop(factory: SessionFactory, shop: str | None) -> tuple[str, int]:
    known = shops.connected_shops(factory, shop)
    if len(known) != 1:
        names = ", ".join(known) or "none"
        raise PermanentError(f"Say which shop with --shop; connected: {names}.")
    [found] = known.items()
    return found


def _new_file(path: Path) -> IO[str]:
    """Nobody else may read it. Raises PermanentError when there is one already."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise PermanentError(f"{path} exists already.") from None
    return os.fdopen(handle, "w", encoding="utf-8", newline="")


def _words(policy: dict[str, Any]) -> str:
    if not policy["double_opt_in"]:
        return "off"
    return f"on, for consents since {policy['since']}" if policy["since"] else "on, for everybody"


def add_to(app: typer.Typer) -> None:
    """Make these part of the `ecomcrm` command."""
    app.add_typer(consent_app, name="consent")
