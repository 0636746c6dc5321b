"""TCP ports on the loopback address: which are free, and which service has which."""

import socket
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Final

from core.errors import PermanentError

LOOPBACK: Final = "127.0.0.1"
_SEARCHED: Final = 100
_TCP_LISTEN: Final = "0A"
# gRPC listens on 127.0.0.1 by a socket of the second kind.
_SOCKET_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


class Service(StrEnum):
    """What listens. Each has the setting ECOMCRM_PORT_<NAME>."""

    POSTGRES = "postgres"
    WEB = "web"
    DAGSTER = "dagster"
    SANDBOX = "sandbox"
    CODE_PLATFORM = "code_platform"
    CODE_ACTIVATION = "code_activation"

    @property
    def variable(self) -> str:
        return f"ECOMCRM_PORT_{self.name}"


DEFAULT_PORTS: Final = {
    Service.POSTGRES: 54329,
    Service.WEB: 8400,
    Service.DAGSTER: 3400,
    Service.SANDBOX: 8500,
    Service.CODE_PLATFORM: 4400,
    Service.CODE_ACTIVATION: 4401,
}

PORT_VARIABLES: Final = tuple(service.variable for service in Service)

Ports = Mapping[Service, int]


def choose_ports(environ: Mapping[str, str], saved: Mapping[str, str]) -> dict[Service, int]:
    """A free port per service: the one set, else the one used last time, else the default.

    A port that nobody asked for moves to the next free one when a stranger has it. Raises
    PermanentError naming every set port that is taken or is no port.
    """
    chosen: dict[Service, int] = {}
    problems: list[str] = []
    for service in Service:
        if given := environ.get(service.variable):
            problem = _problem(given, taken=set(chosen.values()))
            if problem:
                problems.append(f"  {service.variable}={given} {problem}")
            else:
                chosen[service] = int(given)
    if problems:
        raise PermanentError("Ports cannot be used:\n" + "\n".join(problems))
    for service in Service:
        if service not in chosen:
            wanted = int(saved.get(service.variable) or DEFAULT_PORTS[service])
            chosen[service] = _next_free(wanted, taken=set(chosen.values()))
    return chosen


def free_ports() -> dict[str, str]:
    """Settings that give every service a port of its own that is free now."""
    probes = [socket.create_server((LOOPBACK, 0)) for _ in Service]
    ports = [str(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return {service.variable: port for service, port in zip(Service, ports, strict=True)}


def is_free(port: int) -> bool:
    """True when a server could bind the port on the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def accepts(port: int, *, timeout: float = 0.5) -> bool:
    """True when something accepts connections on the port."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=timeout):
            return True
    except OSError:
        return False


def is_listening(pid: int, port: int) -> bool:
    """Whether this very process listens on the port; where there is no /proc, whether any does."""
    tables = [table for table in _SOCKET_TABLES if table.exists()]
    if not tables:
        return accepts(port)
    wanted = {f"socket:[{inode}]" for table in tables for inode in _listening(table, port)}
    return not wanted.isdisjoint(_open_files(pid))


def _listening(table: Path, port: int) -> set[str]:
    """The inodes of the sockets that listen on the port."""
    rows = [line.split() for line in table.read_text().splitlines()[1:]]
    return {
        row[9]
        for row in rows
        if row[3] == _TCP_LISTEN and row[1].rpartition(":")[2] == f"{port:04X}"
    }


def _open_files(pid: int) -> set[str]:
    found = set()
    with suppress(OSError):  # the process is gone
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # that file is closed meanwhile
                found.add(str(entry.readlink()))
    return found


def pick_free() -> int:
    """A port the kernel says is free; another process may still take it first."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _problem(given: str, *, taken: set[int]) -> str | None:
    if not given.isdigit() or not 1 <= int(given) <= 65535:  # noqa: PLR2004 - TCP's own limit
        return "is not a port (1 to 65535)"
    if int(given) in taken:
        return "is set for two services"
    if not is_free(int(given)):
        return "is taken by another program or not allowed; choose another or unset it"
    return None


def _next_free(wanted: int, *, taken: set[int]) -> int:
    for port in range(wanted, wanted + _SEARCHED):
        if port not in taken and is_free(port):
            return port
    return pick_free()
