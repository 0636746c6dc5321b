"""What each subcommand does, given the environment and where progress goes."""

import fcntl
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from core.errors import PermanentError
from ops import shops
from ops.dagster_api import DagsterApi
from ops.demo import new_owner_password, open_demo_world, play_orders, ready_text, start_demo
from ops.foreground import hold, stoppable
from ops.home import Home, HomeKind, home_path, known_kind
from ops.manifest import ensure_manifest
from ops.orphans import find_orphans, stop_orphans
from ops.owners import ensure_owner, new_password
from ops.ports import Service
from ops.production import open_production_world, start_production
from ops.programs import programs_of
from ops.progress import Progress
from ops.sandbox_api import SandboxApi, shop_domain
from ops.schema_file import FILE_NAME, ensure_schema_files
from ops.smoke import run_smoke
from ops.stack import Stack
from ops.supervision import Supervisor
from ops.world import World, running_world

Environ = Mapping[str, str]
_DOWN_SECONDS: Final = 40.0


def demo(
    environ: Environ,
    progress: Progress,
    *,
    data: Path | None,
    detach: bool,
    new_password: bool,
    orders_per_hour: float | None,
) -> None:
    home = made_home(environ)
    with home.lock(), stoppable():
        stack = Stack(open_demo_world(home, environ, progress), progress)

        def start() -> None:
            result = start_demo(stack, data=data, progress=progress)
            if new_password and not result.password:
                result = new_owner_password(result)
            result = play_orders(result, per_hour=orders_per_hour)
            progress.plain(ready_text(result, seconds=progress.elapsed()))

        _run(stack, progress, start, detach=detach)


def up(environ: Environ, progress: Progress, *, detach: bool) -> None:
    home = made_home(environ)
    with home.lock(), stoppable():
        world = open_production_world(home, environ, progress)
        stack = Stack(world, progress)

        def start() -> None:
            start_production(stack, progress)
            progress.say(f"Ready: {world.address(Service.WEB)}")

        _run(stack, progress, start, detach=detach)


def down(environ: Environ, progress: Progress) -> None:
    home = Home(home_path(environ))
    if not home.run.exists():
        progress.say(f"Nothing runs: {home.path} is not there")
        return
    holder = _lock_holder(home)
    if holder:
        os.kill(holder, signal.SIGTERM)
        deadline = time.monotonic() + _DOWN_SECONDS
        while _lock_holder(home) == holder and time.monotonic() < deadline:
            time.sleep(0.1)
    with home.lock():
        kind = known_kind(home)
        if kind and (Supervisor(home).is_up() or find_orphans(home.path)):
            Stack(_running(home, environ), progress).stop()
        stop_orphans(home.path)
    progress.say("Stopped")


def status(environ: Environ) -> dict[str, Any]:
    """`running` is true when every process of the installation is up and does its work."""
    home = Home(home_path(environ))
    if not home.config_file.exists() or known_kind(home) is None:
        return {"home": str(home.path), "kind": None, "running": False, "processes": []}
    world = _running(home, environ)
    states = Supervisor(home).states()
    processes = []
    for name, program in programs_of(world).items():
        info = states.get(name)
        pid = info["pid"] if info else 0
        processes.append(
            {
                "name": name,
                "state": info["statename"].lower() if info else "stopped",
                "pid": pid or None,
                "seconds_up": info["now"] - info["start"] if info and pid else None,
                "works": pid > 0 and program.works(pid),
            }
        )
    return {
        "home": str(home.path),
        "kind": world.kind.value,
        "running": all(process["works"] for process in processes),
        "web": world.address(Service.WEB),
        "dagster": world.address(Service.DAGSTER),
        "sandbox": world.address(Service.SANDBOX) if world.kind is HomeKind.DEMO else None,
        "processes": processes,
    }


def status_text(report: Mapping[str, Any]) -> str:
    lines = [f"{report['home']}  ({report['kind'] or 'never started'})"]
    lines += [
        f"  {process['name']:<18} {process['state']:<9} "
        f"{'works' if process['works'] else '-':<6} pid {process['pid'] or '-'}"
        for process in report["processes"]
    ]
    return "\n".join(lines)


def smoke(
    environ: Environ, progress: Progress, *, data: Path | None
) -> tuple[dict[str, Any], list[str]]:
    return run_smoke(environ, progress, data=data)


def sync(
    environ: Environ,
    progress: Progress,
    *,
    shop: str | None,
    kind: Literal["auto", "full", "incremental"],
) -> dict[str, Any]:
    world = world_of(environ)
    started = time.monotonic()
    with (
        shops.database(world.settings) as factory,
        DagsterApi(world.address(Service.DAGSTER)) as dagster,
    ):
        results = [
            shops.sync_shop(dagster, factory, domain, kind=kind, progress=progress)
            for domain in shops.connected_shops(factory, shop)
        ]
    for result in results:
        progress.say(
            f"{result.shop}: {result.customers:,} customers and {result.orders:,} orders read, "
            f"{result.rejected} lines rejected, {result.seconds:.1f} s"
        )
    return {
        "shops": [shops.as_json(result) for result in results],
        "seconds": round(time.monotonic() - started, 3),
    }


def rfm(environ: Environ, progress: Progress) -> dict[str, Any]:
    world = world_of(environ)
    with (
        shops.database(world.settings) as factory,
        DagsterApi(world.address(Service.DAGSTER)) as dagster,
    ):
        seconds = shops.score_customers(dagster, progress=progress)
        segments = shops.segment_counts(factory)
    scored = sum(segments.values())
    progress.say(f"RFM: {scored:,} customers scored in {seconds:.1f} s")
    return {"scored": scored, "segments": segments, "seconds": seconds}


def database_url(environ: Environ, *, read_only: bool) -> str:
    world = world_of(environ)
    return world.read_only_url if read_only else world.database_url


def sandbox_load(
    environ: Environ, progress: Progress, *, folder: Path, replace: bool
) -> dict[str, Any]:
    world = world_of(environ)
    if world.kind is not HomeKind.DEMO:
        raise PermanentError("Only a demo has a sandbox.")
    domain = shop_domain(folder)
    with SandboxApi(world.address(Service.SANDBOX)) as sandbox:
        sandbox.load(folder, replace=replace)
    with shops.database(world.settings) as factory:
        shop_id = shops.connect(factory, world.settings, domain, is_sandbox=True)
    progress.say(f"{domain} is loaded and connected; read it with: ecomcrm sync --shop {domain}")
    return {"shop": domain, "shop_id": shop_id}


def owner(environ: Environ, *, email: str, shop: str | None, replace: bool) -> dict[str, Any]:
    """Make a person owner of a shop, of all shops by default."""
    world = world_of(environ)
    with shops.database(world.settings) as factory:
        shop_ids = shops.connected_shops(factory, shop)
        made = [
            ensure_owner(factory, shop_id=shop_id, email=email) for shop_id in shop_ids.values()
        ]
        password = made[0] or (new_password(factory, email) if replace else None)
    return {"email": email, "shops": list(shop_ids), "password": password}


def fetch_schema(environ: Environ) -> Path:
    home = made_home(environ)
    ensure_schema_files(home.shopify)
    return home.shopify / FILE_NAME


def parse_dbt(progress: Progress) -> None:
    progress.say("dbt: parsed" if ensure_manifest() else "dbt: the manifest is up to date")


def _run(stack: Stack, progress: Progress, start: Callable[[], None], *, detach: bool) -> None:
    """Start, then stay until told to stop; whatever happens, leave no process behind."""
    stays = False
    try:
        start()
        if detach:
            stays = True
            progress.say("Running in the background; stop it with `ecomcrm down`")
        else:
            progress.plain(
                "Ctrl-C stops everything; the next start resumes with the data as it is."
            )
            hold(stack, progress)
    except KeyboardInterrupt:
        progress.say("Stopping")
    finally:
        if not stays:
            stack.stop()
    if not stays:
        progress.say("Stopped")


def made_home(environ: Environ) -> Home:
    home = Home(home_path(environ))
    try:
        home.create()
    except OSError as error:
        raise PermanentError(
            f"The state folder {home.path} cannot be made ({error.strerror}). Set ECOMCRM_HOME to "
            "a folder you may write."
        ) from None
    return home


def world_of(environ: Environ) -> World:
    home = Home(home_path(environ))
    if not home.config_file.exists() or known_kind(home) is None:
        raise PermanentError(
            f"{home.path} holds no installation: start one with `ecomcrm demo` or `ecomcrm up`."
        )
    return _running(home, environ)


def _running(home: Home, environ: Environ) -> World:
    return running_world(home, known_kind(home) or HomeKind.DEMO, environ=environ)


def _lock_holder(home: Home) -> int | None:
    """The pid of the command at work in this home; None when there is none."""
    path = home.run / "lock"
    if not path.exists():
        return None
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = file.read().strip()
            return int(text) if text.isdigit() else None
    return None
