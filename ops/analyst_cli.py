"""The subcommands for those who read the marts: `analyst` and `docs`."""

from datetime import timedelta
from typing import Annotated, Any

import typer
from psycopg.conninfo import make_conninfo
from sqlalchemy.engine import make_url

from core.dbt import generate_docs
from ops.analysts import (
    STATEMENT_TIMEOUT,
    Analyst,
    Database,
    add_analyst,
    list_analysts,
    remove_analyst,
)
from ops.commands import world_of
from ops.databases import APPLICATION_DATABASE, OWNER
from ops.progress import Progress
from ops.shopify_cli import AsJson, environ, print_json
from ops.world import World

analyst_app = typer.Typer(
    help="People who read the marts with SQL, a notebook or Metabase.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="Of the person or tool, such as metabase.")]


@analyst_app.command("add")
def analyst_add(
    name: Name,
    *,
    staging: Annotated[
        bool,
        typer.Option("--staging", help="Also what Shopify told us, phone numbers included."),
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds after which a statement of theirs is ended.")
    ] = STATEMENT_TIMEOUT.total_seconds(),
    new_password: Annotated[
        bool, typer.Option("--new-password", help="Replace the password that was lost.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a login of the database that may read the marts and nothing else."""
    world = world_of(environ())
    analyst = add_analyst(
        database_of(world),
        name,
        staging=staging,
        timeout=timedelta(seconds=timeout),
        new_password=new_password,
    )
    report = _address(world, analyst)
    if as_json:
        print_json(report)
        return
    print(f"{report['role']} on {report['host']}:{report['port']}, database {report['database']}")
    if analyst.password:
        print(f"password: {analyst.password}   (shown this once)")
    else:
        print("The password is as it was; --new-password makes another.")


@analyst_app.command("list")
def analyst_list(*, as_json: AsJson = False) -> None:
    """Show who may read."""
    analysts = list_analysts(database_of(world_of(environ())))
    if as_json:
        print_json({"analysts": [_as_json(analyst) for analyst in analysts]})
        return
    for analyst in analysts:
        print(f"{analyst.name}  {analyst.role}{'  and staging' if analyst.reads_staging else ''}")


@analyst_app.command("remove")
def analyst_remove(name: Name, *, as_json: AsJson = False) -> None:
    """Take the login away at once; sessions that are open end."""
    ended = remove_analyst(database_of(world_of(environ())), name)
    if as_json:
        print_json({"removed": name, "sessions_ended": ended})
    else:
        print(f"{name} is gone; {ended} open sessions were ended.")


def docs() -> None:
    """Make the page about tables and columns that the web app shows to who is logged in."""
    world = world_of(environ())
    progress = Progress()
    page = generate_docs(world.settings.listen_url, world.home.path)
    progress.say(f"Written: {page}; see it at {world.settings.public_url}/data-docs")


def add_to(app: typer.Typer) -> None:
    """Make these part of the `ecomcrm` command."""
    app.add_typer(analyst_app, name="analyst")
    app.command("docs")(docs)


def database_of(world: World) -> Database:
    """Where roles are made: as superuser in a cluster of ours, as the one role of a given URL."""
    if world.is_embedded:
        conninfo = make_conninfo(world.cluster.conninfo(), dbname=APPLICATION_DATABASE)
        return Database(conninfo, builder=OWNER)
    url = make_url(world.settings.listen_url)
    conninfo = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return Database(conninfo, builder=url.username or "")


def _address(world: World, analyst: Analyst) -> dict[str, Any]:
    url = make_url(world.settings.listen_url)
    return _as_json(analyst) | {
        "password": analyst.password,
        "host": url.host,
        "port": url.port or 5432,
        "database": url.database,
    }


def _as_json(analyst: Analyst) -> dict[str, Any]:
    return {
        "name": analyst.name,
        "role": analyst.role,
        "reads_staging": analyst.reads_staging,
    }
