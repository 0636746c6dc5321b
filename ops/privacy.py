"""The subcommand `privacy`: requests of customers and shops about their data, and answers."""

import os
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TextIO

import orjson
import typer

from activation.privacy.requests import export_of_request, list_requests
from core.clock import SystemClock
from core.database import session_scope
from core.errors import PermanentError
from ops import shops
from ops.commands import Environ, world_of
from ops.shopify_cli import AsJson, environ, print_json

privacy_app = typer.Typer(
    help="What customers asked of their data, and the answers.", no_args_is_help=True
)

KIND_WORDS = {
    "data_request": "wants their data",
    "customer_redact": "is to be erased",
    "shop_redact": "the whole shop is to be erased",
}


@privacy_app.command("list")
def privacy_list(*, as_json: AsJson = False) -> None:
    """Show requests, what is due first; each must be done within 30 days."""
    report = listed(environ())
    if as_json:
        print_json({"requests": report})
        return
    for request in report:
        print(line(request))


@privacy_app.command("export")
def privacy_export(
    request_id: Annotated[int, typer.Argument(help="As `privacy list` shows it.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A new file, for you alone; default: stdout."),
    ] = None,
) -> None:
    """Give the answer to a data request: everything we hold about the person, as JSON."""
    answer = exported(environ(), request_id)
    if output is None:
        print(answer.decode())
    else:
        write_private(output, answer)


def listed(environ: Environ) -> list[dict[str, Any]]:
    with shops.database(world_of(environ).settings) as factory, session_scope(factory) as session:
        return [
            {name: _plain(value) for name, value in asdict(request).items()}
            for request in list_requests(session, now=SystemClock().now())
        ]


def exported(environ: Environ, request_id: int) -> bytes:
    """Raises PermanentError when there is no such answer."""
    with shops.database(world_of(environ).settings) as factory, session_scope(factory) as session:
        answer = export_of_request(session, request_id)
    if answer is None:
        raise PermanentError(
            f"Request {request_id} has no answer: it is no data request, not done yet, or its "
            "answer has been removed 30 days after it was made. See: ecomcrm privacy list"
        )
    return orjson.dumps(answer, option=orjson.OPT_INDENT_2)


def write_private(path: Path, content: bytes) -> None:
    """A new file that nobody else may read. Raises PermanentError when there is one already."""
    with os.fdopen(_new_private(path), "wb") as file:
        file.write(content)


def open_private(path: Path) -> TextIO:
    """The same, to be written text by text."""
    return os.fdopen(_new_private(path), "w", encoding="utf-8", newline="")


def _new_private(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise PermanentError(f"{path} exists already.") from None


def line(request: dict[str, Any]) -> str:
    """One line of `privacy list`."""
    if request["finished_at"]:
        when = f"{request['state']} on {request['finished_at'][:10]}"
    else:
        when = f"due on {request['due_at'][:10]}, in {request['days_left']} days"
    words = f"  {request['error']}" if request["error"] else ""
    what = KIND_WORDS[request["kind"]]
    return f"{request['request_id']:>5}  {request['shop']}  {what}: {when}{words}"


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value
