"""Run a cluster as someone who is not root; the test starts this as a process of its own.

As root it first does everything once, so that every module is loaded, because the other user may
have no access to this environment, and then gives up being root for good.
"""

import os
import secrets
import sys
from pathlib import Path
from unittest.mock import patch

from ops import postgres
from ops.accounts import service_account
from ops.ports import pick_free
from ops.postgres import Cluster, run_cluster


def main(folder: Path) -> None:
    account = service_account()
    binaries = postgres.packaged_binaries()
    if account:
        first = Cluster(folder / "by-root", pick_free(), secrets.token_hex(8))
        first.create(sync=False)
        with run_cluster(first, log=folder / "log", durable=False):
            binaries = first.distribution
        (folder / "mine").mkdir()
        os.chown(folder / "mine", account.uid, account.gid)
        os.setgroups([])
        os.setgid(account.gid)
        os.setuid(account.uid)
    else:
        (folder / "mine").mkdir()
    with patch.object(postgres, "packaged_binaries", lambda: binaries):
        cluster = Cluster(folder / "mine" / "postgres", pick_free(), secrets.token_hex(8))
        cluster.create(sync=False)
        with run_cluster(cluster, log=folder / "mine" / "log", durable=False):
            served = cluster.account is None and cluster.accepts_connections()
    print("served as an ordinary user" if served else "not served")  # noqa: T201 - the answer


if __name__ == "__main__":
    main(Path(sys.argv[1]))
