"""The processes of the delivery benchmarks: senders that begin together, and the stand-in."""

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx
from sqlalchemy.engine import make_url

from benchmarks.delivery_worker import tally
from core.database import SessionFactory, make_engine, make_session_factory
from core.paths import PROJECT_ROOT
from ops.ports import pick_free

START_SECONDS: Final = 20.0


def together(
    work: Callable[[Any], tuple[Callable[..., None], tuple[Any, ...]]], count: int
) -> list[dict[str, Any]]:
    """Run it in `count` processes that begin at the same time; what each of them tells."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(count):
        ours, theirs = context.Pipe()
        target, arguments = work(theirs)
        process = context.Process(target=target, args=arguments, daemon=True)
        process.start()
        pipes.append(ours)
        processes.append(process)
    for pipe in pipes:
        pipe.recv()
    for pipe in pipes:
        pipe.send("go")
    told = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join()
    return told


@contextmanager
def connected(url: str) -> Iterator[tuple[str, SessionFactory]]:
    full = make_url(url).set(drivername="postgresql+psycopg")
    text_url = full.render_as_string(hide_password=False)
    engine = make_engine(text_url)
    try:
        yield text_url, make_session_factory(engine)
    finally:
        engine.dispose()


@contextmanager
def stand_in(*, latency: float = 0.0) -> Iterator[str]:
    """The address of a provider that takes everything, `latency` seconds after it came."""
    port = pick_free()
    command = [sys.executable, "-m", "benchmarks.delivery_stand_in", str(port), str(latency)]
    process = subprocess.Popen(command, cwd=PROJECT_ROOT)
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + START_SECONDS
    try:
        while True:
            try:
                tally(address)
                break
            except httpx.HTTPError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("the stand-in did not start") from None
                time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait()
