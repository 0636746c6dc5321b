"""supervisord, which starts, restarts and reaps our processes; we speak to it by XML-RPC.

It is told to start nothing by itself: the order is ours (ops/stack.py). From then on it brings
back whatever dies.
"""

import os
import shlex
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypedDict, cast

from supervisor.xmlrpc import SupervisorTransport

from core.errors import PermanentError, TransientError
from core.paths import PROJECT_ROOT
from ops.home import Home
from ops.ports import is_listening

# The kernel allows 107 bytes for a socket's path; supervisord binds `<path>.<pid>` first.
_LONGEST_SOCKET: Final = 95
# Longest time a program may take to end before its whole process group is killed.
STOP_SECONDS: Final = 6
_GONE: Final = (OSError, xmlrpc.client.Error)


@dataclass(frozen=True)
class Program:
    """One process under supervision.

    `ready` tells whether it does its work yet, `port` where it listens.
    """

    name: str
    command: list[str]
    ready: Callable[[], bool]
    port: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path = PROJECT_ROOT
    user: str | None = None
    stop_signal: str = "TERM"
    stop_seconds: int = STOP_SECONDS

    def works(self, pid: int) -> bool:
        """Whether this process, and not a stranger on its port, does the work."""
        return (self.port is None or is_listening(pid, self.port)) and self.ready()


class ProcessInfo(TypedDict):
    """What supervisord says of a program (the part we use)."""

    name: str
    statename: str
    pid: int
    start: int
    now: int
    spawnerr: str


class Supervisor:
    """The supervisord of one home."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._socket = home.run / "supervisor.sock"
        if len(os.fsencode(self._socket)) > _LONGEST_SOCKET:
            raise PermanentError(f"ECOMCRM_HOME is too long a path for a socket: {home.path}")

    @property
    def config_file(self) -> Path:
        return self._home.run / "supervisord.conf"

    def launch(
        self, programs: Iterable[Program], environment: Mapping[str, str]
    ) -> "subprocess.Popen[bytes]":
        """Start supervisord as a child of ours, out of reach of the terminal's Ctrl-C."""
        self._socket.unlink(missing_ok=True)
        text = render_config(programs, home=self._home, socket=self._socket)
        self.config_file.unlink(missing_ok=True)
        self.config_file.touch(mode=0o600)
        self.config_file.write_text(text)
        with (self._home.run / "supervisord.err").open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.config_file)],
                env=dict(environment),
                cwd=PROJECT_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        self._wait_until_up(process)
        return process

    def is_up(self) -> bool:
        if not self._socket.exists():
            return False
        try:
            with self._connection() as server:
                server.supervisor.getState()
        except _GONE:
            return False
        return True

    def states(self) -> dict[str, ProcessInfo]:
        """Every program by name; empty when supervisord is not there."""
        try:
            with self._connection() as server:
                answer = cast("list[ProcessInfo]", server.supervisor.getAllProcessInfo())
        except _GONE:
            return {}
        return {info["name"]: info for info in answer}

    def start(self, name: str) -> None:
        """Ask for a start; readiness is the caller's to judge. TransientError when refused."""
        try:
            with self._connection() as server:
                server.supervisor.startProcess(name, False)
        except _GONE as error:
            raise TransientError(f"{name} cannot be started: {error}") from error

    def stop(self, names: Iterable[str]) -> None:
        """Stop programs together and wait until all of them are gone."""
        wanted = set(names)
        for name, info in self.states().items():
            if name in wanted and info["statename"] not in {"STOPPED", "EXITED", "FATAL"}:
                try:
                    with self._connection() as server:
                        server.supervisor.stopProcess(name, False)
                except _GONE:
                    return
        deadline = time.monotonic() + STOP_SECONDS + 2
        while time.monotonic() < deadline and any(
            info["statename"] == "STOPPING"
            for name, info in self.states().items()
            if name in wanted
        ):
            time.sleep(0.05)

    def shut_down(self) -> None:
        """End supervisord and wait until its socket is silent."""
        try:
            with self._connection() as server:
                server.supervisor.shutdown()
        except _GONE:
            return
        deadline = time.monotonic() + STOP_SECONDS + 2
        while self.is_up() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _connection(self) -> xmlrpc.client.ServerProxy:
        """A connection for one call: one that is kept does not survive a restart."""
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)

    def _wait_until_up(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + 20
        while not self.is_up():
            if process.poll() is not None or time.monotonic() > deadline:
                said = (self._home.run / "supervisord.err").read_text(errors="replace").strip()
                raise TransientError(f"supervisord did not start:\n{said}")
            time.sleep(0.05)


def render_config(programs: Iterable[Program], *, home: Home, socket: Path) -> str:
    """The supervisord.conf of a stack. It holds secrets: write it 0600."""
    sections = [
        f"""[unix_http_server]
file={_value(str(socket))}
chmod=0600

[supervisord]
nodaemon=true
silent=true
logfile={_value(str(home.logs / "supervisord.log"))}
logfile_maxbytes=5MB
logfile_backups=1
pidfile={_value(str(home.run / "supervisord.pid"))}
childlogdir={_value(str(home.logs))}
minfds=256
minprocs=50
umask=077
{"user=root" if os.geteuid() == 0 else ""}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""
    ]
    sections += [_section(program, home=home) for program in programs]
    return "\n".join(sections)


def _section(program: Program, *, home: Home) -> str:
    environment = ",".join(
        f'{name}="{_quotable(name, value)}"' for name, value in program.environment.items()
    )
    return f"""[program:{program.name}]
command={_value(shlex.join(program.command))}
directory={_value(str(program.directory))}
environment={environment}
autostart=false
autorestart=true
startsecs=1
startretries=30
stopsignal={program.stop_signal}
stopwaitsecs={program.stop_seconds}
stopasgroup={"false" if program.stop_signal == "INT" else "true"}
killasgroup=true
redirect_stderr=true
stdout_logfile={_value(str(home.logs / f"{program.name}.log"))}
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=2
{f"user={program.user}" if program.user else ""}
"""


def _value(text: str) -> str:
    """A value as supervisord's file wants it: % doubled, and nothing that starts a comment."""
    if " ;" in text or " #" in text or "\n" in text:
        raise PermanentError(f"supervisord cannot be told this: {text!r}")
    return text.replace("%", "%%")


def _quotable(name: str, value: str) -> str:
    if '"' in value or "\n" in value or value != value.strip("'"):
        raise PermanentError(f"{name} has a quote or a line break in it; supervisord allows none.")
    try:
        return _value(value)
    except PermanentError:
        raise PermanentError(
            f"{name} has ' ;' or ' #' in it; supervisord allows neither."
        ) from None
