"""A worker may die anywhere: nothing is sent twice and nothing is lost, counted at the provider."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pytest

from activation.provider import Accepted
from core.paths import PROJECT_ROOT
from tests.activation import fake_provider as fake
from tests.activation.world import World

STEPS = (
    *("enrolled", "message_queued", "freezing", "frozen", "beginning", "attempt_committed"),
    *("calling", "answered", "completing", "completed"),
)
CHILD = Path(__file__).with_name("child.py")


class Crash(BaseException):
    """Nothing may catch this: the process is gone."""


def crash_at(step: str, *, visit: int = 1) -> "object":
    left = [visit]

    def checkpoint(name: str) -> None:
        if name == step:
            left[0] -= 1
            if left[0] == 0:
                raise Crash(step)

    return checkpoint


@pytest.mark.requirement("AUTO-05")
@pytest.mark.parametrize("fault", [None, fake.accept_then_drop, fake.too_fast])
@pytest.mark.parametrize("visit", [1, 2])
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_step_neither_doubles_nor_loses_a_mail(
    world: World, step: str, visit: int, fault: fake.Fault | None
) -> None:
    world.provider.faults = [fault] if fault else []
    customers = range(1, 6)
    world.buyers(customers)
    try:
        world.run(checkpoint=crash_at(step, visit=visit), batch_size=3, at_once=visit)
    except Crash:
        pass
    else:
        assert visit == 2  # this step is reached once only
    for _ in range(4):
        world.end_leases()
        world.end_pauses()
        world.run_cleanly(batch_size=3, at_once=visit)
    world.assert_each_sent_once(customers)


@pytest.mark.requirement("AUTO-05")
def test_an_attempt_whose_worker_died_counts_as_unknown(world: World) -> None:
    """Found by taking it apart: the request of the dead worker had been accepted."""
    world.buyers([1])
    with pytest.raises(Crash):
        world.run(checkpoint=crash_at("answered"))
    world.set_customer(1, consent_state="UNSUBSCRIBED")
    world.end_leases()
    world.run_cleanly()
    assert len(world.provider.calls) == 2
    assert len(set(world.provider.calls)) == 1
    world.assert_each_sent_once([1])


@pytest.mark.requirement("AUTO-05")
def test_a_slow_worker_does_not_overwrite_who_took_over(world: World) -> None:
    world.buyers([1])

    def slow() -> None:
        world.provider.before_call = lambda: None
        world.end_leases()
        world.run_cleanly()

    world.provider.before_call = slow
    world.run_cleanly()
    assert len(world.provider.calls) == 2
    assert len(set(world.provider.calls)) == 1
    world.assert_each_sent_once([1])
    [batch] = world.batches()
    assert batch.attempt == 2


@pytest.mark.requirement("AUTO-05")
def test_two_workers_at_once_never_freeze_a_message_twice(world: World) -> None:
    customers = range(1, 61)
    world.buyers(customers)
    start = threading.Barrier(3)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            start.wait()
            world.run_cleanly(batch_size=5)
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.run_cleanly()
    assert failures == []
    world.assert_each_sent_once(customers)
    assert len({m.batch_id for m in world.messages()}) == len(world.batches())


@contextmanager
def served(provider: fake.FakeProvider) -> Iterator[str]:
    """The fake behind HTTP, so that it outlives the process that calls it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = provider.send_batch(body, self.headers["Idempotency-Key"])
            assert isinstance(answer, Accepted)
            payload = orjson.dumps({"data": [{"id": each} for each in answer.message_ids]})
            self.send_response(200)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *arguments: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.requirement("AUTO-05")
@pytest.mark.processes
@pytest.mark.parametrize("step", ["frozen", "attempt_committed", "answered", "completed"])
def test_a_killed_process_neither_doubles_nor_loses_a_mail(world: World, step: str) -> None:
    customers = range(1, 131)
    world.buyers(customers)
    url = world.settings.database_url.get_secret_value()
    with served(world.provider) as address:
        killed = subprocess.run(
            [sys.executable, str(CHILD), url, address, world.now.isoformat(), step],
            cwd=PROJECT_ROOT,
            env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
            check=False,
        )
    assert killed.returncode == -signal.SIGKILL
    world.end_leases()
    world.run_cleanly()
    world.assert_each_sent_once(customers)
