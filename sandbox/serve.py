"""Runs the sandbox under uvicorn until it is told to stop."""

import logging
from pathlib import Path

import uvicorn

from sandbox.app import build_app, open_world
from sandbox.config import Config
from sandbox.http import Protocol
from sandbox.shopify.schema import load_schema, version_of


class ServeError(Exception):
    """The sandbox cannot start; the text says why."""


def serve(
    config: Config,
    *,
    host: str,
    port: int,
    state: Path,
    schema: Path,
    smtp_port: int | None = None,
) -> None:
    """Returns after SIGINT or SIGTERM. Raises ServeError when the schema file is not there."""
    if not schema.is_file():
        raise ServeError(f"no Shopify schema at {schema}; the set-up step puts it there")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    world = open_world(
        config, state=state, schema=load_schema(schema), api_version=version_of(schema)
    )
    app = build_app(world, smtp_port=smtp_port)
    uvicorn.Server(server_config(app, host=host, port=port)).run()


def server_config(app: object, *, host: str, port: int) -> uvicorn.Config:
    """Uvicorn with our protocol, which lets a fault cut a connection."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # Starlette is an ASGI application
        host=host,
        port=port,
        http=Protocol,
        log_level="info",
        access_log=False,
        server_header=False,
        # Longer than clients keep idle connections (httpx: 5 s): with uvicorn's own 5 s both sides
        # let go at once, and now and then a request is lost on a connection just closed.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=3,
    )
