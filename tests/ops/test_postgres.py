import os
import secrets
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from core.errors import PermanentError
from core.paths import PROJECT_ROOT
from ops.accounts import Account, closed_parent
from ops.databases import prepare_databases
from ops.ports import pick_free
from ops.postgres import Cluster, run_cluster, throwaway_postgres

AS_ORDINARY_USER = Path(__file__).with_name("as_ordinary_user.py")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the user of PostgreSQL may enter, which pytest's own is not for root."""
    with tempfile.TemporaryDirectory(prefix="ecomcrm-test-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def cluster(folder: Path) -> Cluster:
    made = Cluster(folder / "postgres", pick_free(), secrets.token_hex(8))
    made.create(sync=False)
    return made


@pytest.fixture
def lock(folder: Path) -> Path:
    """Where a server's lock would be, in a data directory without one."""
    data = folder / "postgres" / "data"
    data.mkdir(parents=True)
    return data / "postmaster.pid"


def cluster_of(lock: Path) -> Cluster:
    return Cluster(lock.parent.parent, pick_free(), "x" * 8)


def owner_of(cluster: Cluster) -> psycopg.Connection[tuple[object, ...]]:
    prepare_databases(cluster.conninfo(), owner_password="o" * 8, reader_password="r" * 8)
    return psycopg.connect(
        cluster.conninfo(), user="ecomcrm", password="o" * 8, dbname="ecomcrm", autocommit=True
    )


def postmaster_pid(cluster: Cluster) -> int:
    return int((cluster.data / "postmaster.pid").read_text().splitlines()[0])


def test_data_survives_the_killing_of_the_postmaster(cluster: Cluster, folder: Path) -> None:
    with run_cluster(cluster, log=folder / "log"):
        with owner_of(cluster) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        os.kill(postmaster_pid(cluster), signal.SIGKILL)
    cluster.drop_stale_lock()
    with run_cluster(cluster, log=folder / "log"), owner_of(cluster) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_the_server_is_reached_by_password_on_the_loopback_address_only(
    cluster: Cluster, folder: Path
) -> None:
    with run_cluster(cluster, log=folder / "log"), psycopg.connect(cluster.conninfo()) as server:
        shown = [
            server.execute(f"SHOW {name}").fetchone()
            for name in ("listen_addresses", "unix_socket_directories", "data_checksums")
        ]
        assert shown == [("127.0.0.1",), ("",), ("on",)]
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(cluster.conninfo(), password="wrong")


def test_the_reader_sees_marts_and_nothing_else(cluster: Cluster, folder: Path) -> None:
    with run_cluster(cluster, log=folder / "log"), owner_of(cluster) as owner:
        owner.execute("CREATE VIEW marts.customers AS SELECT 1 AS customer_id")
        owner.execute("CREATE SCHEMA crm CREATE TABLE secret (hidden int)")
        reader = psycopg.connect(
            cluster.conninfo(), user="ecomcrm_reader", password="r" * 8, dbname="ecomcrm"
        )
        with reader:
            assert reader.execute("SELECT * FROM marts.customers").fetchall() == [(1,)]
            for forbidden, refusal in [
                ("SELECT * FROM crm.secret", psycopg.errors.InsufficientPrivilege),
                ("CREATE TABLE marts.mine (x int)", psycopg.errors.ReadOnlySqlTransaction),
            ]:
                with pytest.raises(refusal), reader.transaction():
                    reader.execute(forbidden)


def test_a_set_up_that_was_cut_short_is_made_anew(folder: Path) -> None:
    cluster = Cluster(folder / "postgres", pick_free(), secrets.token_hex(8))
    unfinished = cluster.folder / "data.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18")
    cluster.create(sync=False)
    with run_cluster(cluster, log=folder / "log"):
        assert cluster.accepts_connections()


@pytest.mark.parametrize(
    "pid",
    ["0", str(2**22 + 1), str(os.getpid()), "not a number"],
    ids=["none", "gone", "a stranger", "unreadable"],
)
def test_the_lock_of_a_dead_server_is_dropped(lock: Path, pid: str) -> None:
    # A killed postmaster's pid may be a stranger's by now, or a zombie that nobody reaps.
    lock.write_text(f"{pid}\n")
    cluster_of(lock).drop_stale_lock()
    assert not lock.exists()


def test_the_lock_of_a_zombie_is_dropped(lock: Path) -> None:
    zombie = subprocess.Popen(["true"])
    while "Z" not in Path(f"/proc/{zombie.pid}/stat").read_text().rpartition(")")[2]:
        pass
    lock.write_text(f"{zombie.pid}\n")
    cluster_of(lock).drop_stale_lock()
    assert not lock.exists()
    zombie.wait()


def test_the_lock_of_a_living_server_stays(cluster: Cluster, folder: Path) -> None:
    with run_cluster(cluster, log=folder / "log"):
        cluster.drop_stale_lock()
        assert postmaster_pid(cluster) > 0


def test_parent_folders_keep_their_permissions(folder: Path) -> None:
    parent = folder / "parent"
    parent.mkdir(mode=0o751)
    parent.chmod(0o751)
    Cluster(parent / "postgres", pick_free(), "x" * 8).create(sync=False)
    assert stat.S_IMODE(parent.stat().st_mode) == 0o751
    assert parent.stat().st_uid == os.geteuid()


def test_a_folder_that_the_system_user_cannot_reach_is_named(folder: Path) -> None:
    stranger = Account("nobody", uid=65534, gid=65534)
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    assert closed_parent(closed / "postgres" / "data", stranger) == closed.resolve()
    assert closed_parent(folder / "data", stranger) is None


def test_root_is_told_when_the_system_user_cannot_reach_its_folder(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    cluster = Cluster(closed / "postgres", pick_free(), "x" * 8)
    if cluster.account is None:  # who runs it owns the folder
        cluster.create(sync=False)
        assert (cluster.data / "PG_VERSION").exists()
    else:
        with pytest.raises(PermanentError, match=r"may not enter .*closed\. Set ECOMCRM_HOME"):
            cluster.create(sync=False)


def test_the_tests_own_role_may_make_databases_but_is_no_superuser() -> None:
    with throwaway_postgres() as url:
        libpq = url.replace("postgresql+psycopg://", "postgresql://")
        with psycopg.connect(libpq, autocommit=True) as connection:
            connection.execute("CREATE DATABASE made_by_a_test")
            row = connection.execute(
                "SELECT rolsuper, current_setting('server_version') FROM pg_roles"
                " WHERE rolname = current_user"
            ).fetchone()
    assert row is not None
    assert row[0] is False
    assert str(row[1]).startswith("18.")


def test_an_ordinary_user_runs_it_with_no_system_user(folder: Path) -> None:
    result = subprocess.run(
        [sys.executable, str(AS_ORDINARY_USER), str(folder)],
        cwd=PROJECT_ROOT,
        env=os.environ | {"PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "served as an ordinary user"
