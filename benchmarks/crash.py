"""`python -m benchmarks.crash`: kill sending workers until it must show, and count at the provider.

Several processes run the product's own send loop against the sandbox's Resend. Each is killed by
SIGKILL, at every step in turn or at any moment, and replaced. Meanwhile the stand-in refuses, fails
and takes requests without saying so; its events come twice and out of order; customers unsubscribe.
Ends when every message is settled, prints one JSON line, and exits with 1 if a message was sent
twice, lost, or sent to somebody who had left before the first attempt at its batch.
"""

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx
from sqlalchemy.engine import make_url

from benchmarks.crash_nursery import Nursery
from benchmarks.crash_oracle import judge, on_their_way
from benchmarks.crash_stand_in import API_KEY
from benchmarks.crash_trouble import FAULTS, Trouble
from benchmarks.crash_worker import SABOTAGES, STEPS, Job
from benchmarks.delivery_world import a_shop_that_owes
from benchmarks.ingest import _database as database
from core.database import SessionFactory, make_engine, make_session_factory
from core.paths import PROJECT_ROOT
from ops.ports import pick_free
from ops.progress import Progress

ANY_MOMENT: Final = "any moment"
LONGEST_LIFE: Final = 1.0  # seconds until a worker dies that has not come to its step
START_SECONDS: Final = 20.0
TICK: Final = 0.01
SLOWER: Final = 0.9  # our pace, of what the stand-in takes


@dataclass(frozen=True)
class Plan:
    """How much is sent and killed. `per_second`: requests that the stand-in takes in a second;
    `steps` are died at in turn, `faults` happen in turn, and every `leaves_every` seconds somebody
    unsubscribes.
    """

    messages: int = 20_000
    kills: int = 300
    workers: int = 4
    batch_size: int = 20
    per_second: int = 20
    seed: int = 1
    sabotage: str | None = None
    longest_seconds: float = 600.0
    steps: tuple[str, ...] = (*STEPS, ANY_MOMENT, ANY_MOMENT)
    faults: tuple[str, ...] = tuple(FAULTS)
    leaves_every: float = 0.3


def main() -> int:
    plan = _asked()
    with database() as (url, _):
        said = run(plan, url, progress=Progress())
    print(json.dumps({"bench": "crash", **said}), flush=True)
    return 0 if holds(said) else 1


def holds(said: dict[str, Any]) -> bool:
    """Whether the run kept every promise, and was long enough to tell."""
    broken = ("duplicates", "lost", "forbidden", "misjudged", "unknown", "unsettled")
    return not any(said[name] for name in broken) and said["kills"] >= said["kills_wanted"]


def run(plan: Plan, database_url: str, *, progress: Progress | None = None) -> dict[str, Any]:
    """The figures of one run on a migrated database, to which it adds a shop."""
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    text = url.render_as_string(hide_password=False)
    engine = make_engine(text, pool_size=10)
    factory = make_session_factory(engine)
    folder = Path(tempfile.mkdtemp(prefix="ecomcrm-crash-"))
    try:
        shop_id = a_shop_that_owes(factory, plan.messages, number=plan.seed)
        with _stand_in(folder, plan) as address:
            job = Job(
                database_url=text,
                provider_url=f"{address}/resend",
                api_key=API_KEY,
                shop_id=shop_id,
                batch_size=plan.batch_size,
                per_second=plan.per_second * SLOWER,
                sabotage=plan.sabotage,
            )
            store = folder / "sandbox.sqlite3"
            began = time.monotonic()
            with Trouble(
                factory,
                shop_id,
                address,
                store,
                seed=plan.seed,
                faults=plan.faults,
                leaves_every=plan.leaves_every,
            ) as trouble:
                killed = _Killing(plan, job, factory, progress).until_settled(trouble)
            seconds = time.monotonic() - began
            pace = httpx.get(f"{address}/_sandbox/resend/pace").json()
            verdict = judge(factory, shop_id, store, trouble.unsubscribed)
    finally:
        engine.dispose()
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "kills": sum(killed.steps.values()),
        "messages": plan.messages,
        **asdict(verdict),
        "over_limit_seconds": sum(came > pace["limit"] for _, came in pace["seconds"]),
        "requests": sum(came for _, came in pace["seconds"]),
        "unsubscribed": len(trouble.unsubscribed),
        "events": trouble.events,
        "faults": dict(trouble.faults),
        "kills_wanted": plan.kills,
        "kills_by_step": dict(killed.steps),
        "unsettled": killed.unsettled,
        "seconds": round(seconds, 1),
        "seed": plan.seed,
        "sabotage": plan.sabotage,
    }


@dataclass
class _Worker:
    pid: int
    step: str | None
    dies_at: float | None


class _Killing:
    """Keeps the workers at work and kills them, until nothing is on its way any more."""

    def __init__(
        self, plan: Plan, job: Job, factory: SessionFactory, progress: Progress | None
    ) -> None:
        self._plan, self._job, self._factory = plan, job, factory
        self._say = progress.say if progress else lambda _: None
        self._random = random.Random(plan.seed)
        self._course = itertools.cycle(plan.steps)
        self._nursery = Nursery()
        self._workers: dict[int, _Worker] = {}
        self.steps: Counter[str] = Counter()
        self.unsettled = 0

    def until_settled(self, trouble: Trouble) -> "_Killing":
        deadline = time.monotonic() + self._plan.longest_seconds
        look_at = 0.0
        try:
            while True:
                self._tend()
                if time.monotonic() >= look_at:
                    look_at = time.monotonic() + 0.5
                    left = on_their_way(self._factory, self._job.shop_id)
                    if not left or time.monotonic() > deadline:
                        self.unsettled = left
                        return self
                    if left < self._plan.messages // 20:
                        trouble.calm()  # the rest may end in peace
                time.sleep(TICK)
        finally:
            self._end()

    def _is_enough(self) -> bool:
        return sum(self.steps.values()) >= self._plan.kills

    def _tend(self) -> None:
        """Bury the dead, kill whose time has come, fill the gaps."""
        for pid, code in self._nursery.ended():
            self._bury(self._workers.pop(pid), code)
        for worker in self._workers.values():
            if worker.dies_at is not None and time.monotonic() > worker.dies_at:
                worker.step, worker.dies_at = ANY_MOMENT, None
                os.kill(worker.pid, signal.SIGKILL)
        while len(self._workers) < self._plan.workers:
            worker = self._start()
            self._workers[worker.pid] = worker

    def _bury(self, worker: _Worker, code: int) -> None:
        if code != -signal.SIGKILL:
            raise SystemExit(f"a worker ended by itself with status {code}")
        self.steps[worker.step or ANY_MOMENT] += 1
        killed = sum(self.steps.values())
        if killed % 50 == 0:
            self._say(f"{killed} workers killed")

    def _start(self) -> _Worker:
        step, dies_at = None, None
        if not self._is_enough():
            step = next(self._course)
            life = self._random.uniform(0.05, LONGEST_LIFE)
            dies_at = time.monotonic() + (life if step == ANY_MOMENT else 3 * LONGEST_LIFE)
        job = replace(
            self._job,
            step=None if step == ANY_MOMENT else step,
            visit=self._random.choice((1, 1, 2, 3)),
            at_once=self._random.choice((1, 1, 2, 4)),
        )
        return _Worker(self._nursery.start(job), step, dies_at)

    def _end(self) -> None:
        """Those that are left may finish what they are at."""
        for pid in self._workers:
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + START_SECONDS
        while self._workers and time.monotonic() < deadline:
            for pid, _ in self._nursery.ended():
                self._workers.pop(pid, None)
            time.sleep(TICK)
        for pid in self._workers:
            os.kill(pid, signal.SIGKILL)
        self._nursery.close()


@contextmanager
def _stand_in(folder: Path, plan: Plan) -> Iterator[str]:
    port = pick_free()
    command = [sys.executable, "-m", "benchmarks.crash_stand_in", str(port), str(folder)]
    process = subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, process)
        knobs = {"resend_rate_per_second": plan.per_second, "resend_timeout_seconds": 1.0}
        httpx.post(f"{address}/_sandbox/faults", json=knobs).raise_for_status()
        yield address
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait_for(address: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            httpx.get(f"{address}/healthz").raise_for_status()
        except httpx.HTTPError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the stand-in did not start") from None
            time.sleep(0.05)
        else:
            return


def _asked() -> Plan:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crash", description=__doc__)
    parser.add_argument("--messages", type=int, default=Plan.messages)
    parser.add_argument("--kills", type=int, default=Plan.kills)
    parser.add_argument("--workers", type=int, default=Plan.workers)
    parser.add_argument("--batch-size", type=int, default=Plan.batch_size)
    parser.add_argument("--per-second", type=int, default=Plan.per_second)
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--sabotage", choices=SABOTAGES, help="break a promise on purpose")
    asked = parser.parse_args()
    return Plan(**vars(asked))


if __name__ == "__main__":
    raise SystemExit(main())
