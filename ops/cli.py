"""The `ecomcrm` command."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from core.errors import EcomCRMError, PermanentError
from core.paths import PROJECT_ROOT
from ops import (
    analyst_cli,
    attribution_cli,
    commands,
    consent_cli,
    delivery_cli,
    explain_cli,
    flows_cli,
    forecast_cli,
    limits_cli,
    mails_cli,
    privacy,
    segments_cli,
    shopify_cli,
    unknown_cli,
)
from ops.doctor import cli as doctor_cli
from ops.progress import Progress
from ops.shopify_cli import AsJson, Shop
from ops.shopify_cli import environ as _environ
from ops.shopify_cli import print_json as _print_json

app = typer.Typer(
    help="EcomCRM: Shopify in, RFM segments, flows, and mail that leaves exactly once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
db_app = typer.Typer(help="The database.", no_args_is_help=True)
sandbox_app = typer.Typer(help="The stand-in for Shopify and Resend.", no_args_is_help=True)
setup_app = typer.Typer(help="Single steps of the set-up; others run them.", no_args_is_help=True)
app.add_typer(db_app, name="db")
app.add_typer(sandbox_app, name="sandbox")
app.add_typer(flows_cli.flows_app, name="flows")
app.add_typer(setup_app, name="setup")

Detach = Annotated[bool, typer.Option("--detach", "-d", help="Return when all is up.")]
Data = Annotated[
    Path | None,
    typer.Option(help="A shop folder to play instead of the generated shop.", exists=True),
]


@app.command()
def demo(
    *,
    data: Data = None,
    detach: Detach = False,
    new_password: Annotated[
        bool, typer.Option("--new-password", help="Give the owner a new password.")
    ] = False,
    orders_per_hour: Annotated[
        float | None,
        typer.Option(min=0, help="Orders the sandbox plays, 0 for none; default: 60 at first."),
    ] = None,
) -> None:
    """Start a whole installation on a made-up shop, without keys; Ctrl-C stops it."""
    commands.demo(
        _environ(),
        Progress(),
        data=data,
        detach=detach,
        new_password=new_password,
        orders_per_hour=orders_per_hour,
    )


@app.command()
def up(*, detach: Detach = False) -> None:
    """Start the installation on real keys; Ctrl-C (or `ecomcrm down`) stops it."""
    commands.up(_environ(), Progress(), detach=detach)


@app.command()
def down() -> None:
    """Stop everything that runs for this ECOMCRM_HOME."""
    commands.down(_environ(), Progress())


@app.command()
def status(*, as_json: AsJson = False) -> None:
    """Show which processes run; exit code 3 unless all do."""
    report = commands.status(_environ())
    if as_json:
        _print_json(report)
    else:
        print(commands.status_text(report))
    if not report["running"]:
        raise typer.Exit(3)


@app.command()
def smoke(*, data: Data = None) -> None:
    """Play the whole loop in a temporary folder and print one JSON line of figures."""
    figures, broken = commands.smoke(_environ(), Progress(), data=data)
    _print_json(figures)
    if broken:
        raise PermanentError(f"The smoke test failed: {'; '.join(broken)}.")


@app.command()
def sync(
    *,
    shop: Shop = None,
    full: Annotated[bool, typer.Option("--full", help="Everything, not only changes.")] = False,
    incremental: Annotated[
        bool, typer.Option("--incremental", help="Only changes, even if nothing was read yet.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read customers and orders from Shopify, through Dagster."""
    if full and incremental:
        raise PermanentError("Either --full or --incremental.")
    kind: Literal["auto", "full", "incremental"] = "incremental" if incremental else "auto"
    report = commands.sync(_environ(), Progress(), shop=shop, kind="full" if full else kind)
    if as_json:
        _print_json(report)


@app.command()
def rfm(*, as_json: AsJson = False) -> None:
    """Score all customers and apply changes of segment, through Dagster."""
    report = commands.rfm(_environ(), Progress())
    if as_json:
        _print_json(report)


shopify_cli.add_to(app)
analyst_cli.add_to(app)
segments_cli.add_to(app)
limits_cli.add_to(app)
attribution_cli.add_to(app)
mails_cli.add_to(app)
delivery_cli.add_to(app)
unknown_cli.add_to(delivery_cli.sending_app)
doctor_cli.add_to(app)
consent_cli.add_to(app)
explain_cli.add_to(app)
forecast_cli.add_to(flows_cli.flows_app)
app.add_typer(privacy.privacy_app, name="privacy")


@db_app.command("url")
def db_url(
    *,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="As a role that may only read the marts.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the address of the database, password included."""
    url = commands.database_url(_environ(), read_only=read_only)
    if as_json:
        _print_json({"url": url, "read_only": read_only})
    else:
        print(url)


@sandbox_app.command("load")
def sandbox_load(
    *,
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    replace: Annotated[bool, typer.Option("--replace", help="Even if it is loaded.")] = False,
    as_json: AsJson = False,
) -> None:
    """Load a shop folder into the running sandbox and connect the shop."""
    report = commands.sandbox_load(_environ(), Progress(), folder=folder, replace=replace)
    if as_json:
        _print_json(report)


@sandbox_app.command(
    "generate", context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def sandbox_generate(context: typer.Context) -> None:
    """Write a made-up shop folder: FOLDER [--customers N --seed N --end DATE]."""
    _run_sandbox("generate", context.args)


@sandbox_app.command(
    "uci", context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def sandbox_uci(context: typer.Context) -> None:
    """Write the UCI Online Retail II set as a shop folder: PARQUET FOLDER [--shift-to DATE]."""
    _run_sandbox("uci", context.args)


@setup_app.command("schema")
def setup_schema() -> None:
    """Fetch Shopify's Admin schema into the state folder, once."""
    print(commands.fetch_schema(_environ()))


@setup_app.command("manifest")
def setup_manifest() -> None:
    """Parse the dbt project where it changed, so that Dagster's definitions load."""
    commands.parse_dbt(Progress())


@setup_app.command("owner")
def setup_owner(
    email: Annotated[str, typer.Argument(help="The address to log in with.")],
    *,
    shop: Shop = None,
    new_password: Annotated[
        bool, typer.Option("--new-password", help="Replace the password that was lost.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a login for the owner of a shop; the password is shown this once."""
    report = commands.owner(_environ(), email=email, shop=shop, replace=new_password)
    if as_json:
        _print_json(report)
    elif report["password"]:
        print(f"{report['email']}  {report['password']}")
    else:
        print(f"{report['email']} can log in already; --new-password gives them a new password.")


def _run_sandbox(command: str, arguments: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "sandbox", command, *arguments],
        env=os.environ | {"PYTHONPATH": str(PROJECT_ROOT)},
        check=False,
    )
    if result.returncode:
        raise typer.Exit(result.returncode)


def main() -> None:
    """Entry point: errors of ours are one message, never a stack trace."""
    os.umask(0o077)  # whatever we write is the user's own
    try:
        app()
    except PermanentError as error:
        sys.exit(f"ecomcrm: {error}")
    except EcomCRMError as error:
        sys.exit(f"ecomcrm: {error}\nThis may pass: try again.")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
