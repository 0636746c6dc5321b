"""The processes of an installation: how each is started and how we know that it works."""

import json
import sys
from pathlib import Path
from typing import Final

import httpx

from core.errors import EcomCRMError
from ops.dagster_api import DagsterApi
from ops.home import HomeKind
from ops.ports import LOOPBACK, Service, accepts
from ops.schema_file import FILE_NAME
from ops.supervision import Program
from ops.world import World

POSTGRES: Final = "postgres"
SANDBOX: Final = "sandbox"
WEB: Final = "web"
CODE_PLATFORM: Final = "code_platform"
CODE_ACTIVATION: Final = "code_activation"
DAGSTER_WEBSERVER: Final = "dagster_webserver"
DAGSTER_DAEMON: Final = "dagster_daemon"

# The order of a start, once PostgreSQL is up; Dagster looks for its code locations when it starts.
START_ORDER: Final = (
    (SANDBOX, WEB, CODE_PLATFORM, CODE_ACTIVATION),
    (DAGSTER_WEBSERVER, DAGSTER_DAEMON),
)
# The order of a stop: first what asks for work, then what does it, then what it is done with.
STOP_ORDER: Final = (
    (DAGSTER_DAEMON,),
    (CODE_ACTIVATION, CODE_PLATFORM),
    (DAGSTER_WEBSERVER, WEB, SANDBOX),
    (POSTGRES,),
)


def programs_of(world: World) -> dict[str, Program]:
    """All programs of the installation by name, in the order of a start."""
    programs = [
        _web(world),
        _code_location(world, Service.CODE_PLATFORM, "platform"),
        _code_location(world, Service.CODE_ACTIVATION, "activation"),
        _dagster_webserver(world),
        _dagster_daemon(world),
    ]
    if world.kind is HomeKind.DEMO:
        programs.insert(0, _sandbox(world))
    if world.is_embedded:
        programs.insert(0, _postgres(world))
    return {program.name: program for program in programs}


def write_workspace(world: World) -> Path:
    """Dagster's workspace: the two code locations, each served by a process of its own.

    JSON, which is YAML too.
    """
    locations = {
        "platform": world.ports[Service.CODE_PLATFORM],
        "activation": world.ports[Service.CODE_ACTIVATION],
    }
    servers = [
        {"grpc_server": {"host": LOOPBACK, "port": port, "location_name": name}}
        for name, port in locations.items()
    ]
    path = world.home.dagster / "workspace.yaml"
    path.write_text(json.dumps({"load_from": servers}, indent=2))
    return path


def _postgres(world: World) -> Program:
    cluster = world.cluster
    return Program(
        name=POSTGRES,
        command=cluster.command(),
        environment=world.postgres_environment(),
        directory=cluster.folder,
        user=cluster.account.name if cluster.account else None,
        ready=cluster.accepts_connections,
        port=cluster.port,
        stop_signal="INT",  # fast shutdown: open transactions are rolled back, nothing is lost
    )


def _sandbox(world: World) -> Program:
    port = world.ports[Service.SANDBOX]
    return Program(
        name=SANDBOX,
        command=[
            *(sys.executable, "-m", "sandbox", "serve", "--port", str(port)),
            *("--state", str(world.home.sandbox)),
            *("--schema", str(world.home.shopify / FILE_NAME)),
        ],
        environment=world.sandbox_environment(),
        ready=lambda: _answers(f"{world.address(Service.SANDBOX)}/healthz"),
        port=port,
    )


def _web(world: World) -> Program:
    return Program(
        name=WEB,
        command=[
            *(sys.executable, "-m", "webapp", "--host", LOOPBACK),
            *("--port", str(world.ports[Service.WEB])),
        ],
        environment=world.application_environment(),
        ready=lambda: _answers(f"{world.address(Service.WEB)}/healthz"),
        port=world.ports[Service.WEB],
    )


def _code_location(world: World, service: Service, name: str) -> Program:
    port = world.ports[service]
    return Program(
        name=service.value,
        command=[
            *(_script("dagster"), "api", "grpc", "--module-name"),
            *(f"orchestration.{name}.definitions", "--attribute", "defs"),
            *("--location-name", name, "--host", LOOPBACK, "--port", str(port)),
            # Runs are started by this very environment, whatever PATH says.
            "--use-python-environment-entry-point",
        ],
        environment=world.code_location_environment(),
        ready=lambda: accepts(port),
        port=port,
    )


def _dagster_webserver(world: World) -> Program:
    address = world.address(Service.DAGSTER)
    return Program(
        name=DAGSTER_WEBSERVER,
        command=[
            *(_script("dagster-webserver"), "--host", LOOPBACK),
            *("--port", str(world.ports[Service.DAGSTER])),
            *("--workspace", str(world.home.dagster / "workspace.yaml")),
        ],
        environment=world.dagster_environment(),
        ready=lambda: _answers(f"{address}/server_info"),
        port=world.ports[Service.DAGSTER],
    )


def _dagster_daemon(world: World) -> Program:
    return Program(
        name=DAGSTER_DAEMON,
        command=[
            # A line per sensor and tick, every five seconds, would hide what matters.
            *(_script("dagster-daemon"), "run", "--log-level", "warning"),
            *("--workspace", str(world.home.dagster / "workspace.yaml")),
        ],
        environment=world.dagster_environment(),
        ready=lambda: _sensors_tick(world.address(Service.DAGSTER)),
    )


def dagster_migration() -> list[str]:
    """The command that makes Dagster's tables, or brings them to the installed version."""
    return [_script("dagster"), "instance", "migrate"]


def _script(name: str) -> str:
    """A command of the environment we run in."""
    return str(Path(sys.executable).parent / name)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _sensors_tick(address: str) -> bool:
    try:
        with DagsterApi(address, timeout=5.0) as dagster:
            return dagster.sensors_tick()
    except EcomCRMError:
        return False
