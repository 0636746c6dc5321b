"""Starting and stopping an installation, in order."""

import hashlib
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Final

import psycopg

from activation.liveness import ask_to_stop
from core.errors import EcomCRMError, TransientError
from core.migrate import upgrade
from core.paths import PROJECT_ROOT
from ops.dagster_api import DagsterApi
from ops.databases import open_engine, prepare_databases
from ops.home import Home, known_kind
from ops.orphans import stop_orphans
from ops.ports import Service, accepts
from ops.programs import (
    POSTGRES,
    START_ORDER,
    STOP_ORDER,
    dagster_migration,
    programs_of,
    write_workspace,
)
from ops.progress import Progress
from ops.supervision import Program, Supervisor
from ops.world import World, running_world

START_SECONDS: Final = 90.0
_RUNS_END_SECONDS: Final = 3.0
_LOG_LINES: Final = 25
# A program that keeps failing this long at its first start will not get better by itself.
_HOPELESS_SECONDS: Final = 15.0


class Stack:
    """The processes of one world. The caller holds the home's lock."""

    def __init__(self, world: World, progress: Progress) -> None:
        self.world = world
        self.programs = programs_of(world)
        self.supervisor = Supervisor(world.home)
        self.process: subprocess.Popen[bytes] | None = None
        self._progress = progress

    def open(self) -> None:
        """Make what the processes need on disk and start the supervisor; no program runs yet."""
        world = self.world
        if world.is_embedded:
            self._progress.say(f"PostgreSQL: preparing {world.cluster.data}")
            world.cluster.create()
            world.cluster.drop_stale_lock()
        shutil.copyfile(PROJECT_ROOT / "dagster.yaml", world.home.dagster / "dagster.yaml")
        write_workspace(world)
        self.process = self.supervisor.launch(self.programs.values(), world.base_environment())

    def bring_up(self, *names: str) -> None:
        """Start programs together and wait until each does its work.

        Raises TransientError with the end of the log of the first that does not.
        """
        wanted = [self.programs[name] for name in names]
        for program in wanted:
            self.supervisor.start(program.name)
        self._wait_until_ready(wanted)

    def prepare_databases(self) -> None:
        """Roles, databases and migrations, ours and Dagster's, once PostgreSQL is up."""
        world = self.world
        if world.is_embedded:
            prepare_databases(
                world.cluster.conninfo(),
                owner_password=world.secrets.owner_password,
                reader_password=world.secrets.reader_password,
            )
        with open_engine(world.settings.listen_url) as engine:
            upgrade(engine)
        self._progress.say("Database: migrated")
        self._migrate_dagster()

    def start_all(self) -> None:
        """Everything, as after a reboot."""
        self.open()
        if POSTGRES in self.programs:
            self.bring_up(POSTGRES)
        self.prepare_databases()
        self.bring_up_rest()

    def bring_up_rest(self) -> None:
        """Every program but PostgreSQL."""
        for stage in START_ORDER:
            self.bring_up(*(name for name in stage if name in self.programs))

    def stop(self) -> None:
        """Everything, in order, within seconds; also what a dead supervisor left behind."""
        if self.supervisor.is_up():
            first, *rest = STOP_ORDER
            self.supervisor.stop(first)
            self._end_runs()
            for stage in rest:
                self.supervisor.stop(stage)
            self.supervisor.shut_down()
        if self.process:
            _reap(self.process)
        stop_orphans(self.world.home.path)

    def log_tail(self, name: str, *, lines: int = _LOG_LINES) -> str:
        return tail(self.world.home.logs / f"{name}.log", lines=lines)

    def _migrate_dagster(self) -> None:
        """Once per version of Dagster: its processes would make the tables against each other."""
        stamp = self.world.home.dagster / "migrated"
        wanted = f"{version('dagster')} {self.world.dagster_database_url}"
        digest = hashlib.sha256(wanted.encode()).hexdigest()
        if stamp.exists() and stamp.read_text() == digest:
            return
        result = subprocess.run(
            dagster_migration(),
            env=self.world.base_environment() | self.world.dagster_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            said = "\n".join((result.stdout + result.stderr).splitlines()[-_LOG_LINES:])
            raise TransientError(f"Dagster's tables could not be made:\n{said}")
        stamp.write_text(digest)
        self._progress.say("Dagster's tables: made")

    def _end_runs(self) -> None:
        """Ask for the end of all runs, so that they stop between two transactions.

        The activation run is told directly, too: with steady traffic it would go on for minutes,
        and one whose code server died is out of Dagster's reach.
        """
        with suppress(psycopg.Error):
            ask_to_stop(self.world.settings.listen_url)
        try:
            with DagsterApi(self.world.address(Service.DAGSTER), timeout=2.0) as dagster:
                dagster.terminate(dagster.unfinished_runs())
                deadline = time.monotonic() + _RUNS_END_SECONDS
                while dagster.unfinished_runs() and time.monotonic() < deadline:
                    time.sleep(0.1)
        except EcomCRMError:
            return  # no webserver: the runs get their signal with the code locations

    def _wait_until_ready(self, programs: Sequence[Program]) -> None:
        waiting = {program.name: program for program in programs}
        started = time.monotonic()
        while waiting:
            states = self.supervisor.states()
            for name, program in list(waiting.items()):
                info = states.get(name)
                state = info["statename"] if info else "GONE"
                self._give_up_if_hopeless(program, state, time.monotonic() - started)
                if info and state in {"STARTING", "RUNNING"} and program.works(info["pid"]):
                    del waiting[name]
                    self._progress.say(f"{name}: ready")
            time.sleep(0.1)

    def _give_up_if_hopeless(self, program: Program, state: str, seconds: float) -> None:
        is_down = state in {"BACKOFF", "EXITED", "FATAL", "UNKNOWN", "GONE"}
        if is_down and program.port and accepts(program.port):
            raise TransientError(
                f"{program.name}: another program took port {program.port} meanwhile. Start again."
            )
        failing = is_down and seconds > _HOPELESS_SECONDS
        if state == "FATAL" or failing or seconds > START_SECONDS:
            log = self.world.home.logs / f"{program.name}.log"
            raise TransientError(
                f"{program.name} did not come up within {seconds:.0f} s ({state.lower()}). The end "
                f"of {log}:\n{self.log_tail(program.name)}"
            )


def clear_leftovers(home: Home, environ: Mapping[str, str], progress: Progress) -> None:
    """Stop what an earlier start left running: its terminal was killed, or it was detached."""
    kind = known_kind(home)
    if kind and Supervisor(home).is_up():
        progress.say("An earlier start is still running here; stopping it first")
        Stack(running_world(home, kind, environ=environ), progress).stop()
    left = stop_orphans(home.path)
    if left:
        progress.say(f"Stopped {len(left)} processes of an earlier start")


def tail(path: Path, *, lines: int) -> str:
    """The last lines of a file; empty when there is none."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64 * 1024))
        text = file.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-lines:])


def _reap(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
