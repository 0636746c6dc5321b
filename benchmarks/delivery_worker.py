"""One sending process of the delivery benchmarks: the product's own loop, until nothing is due."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import httpx
from pydantic import SecretStr

from activation.outbox.crew import send_by_many
from activation.outbox.pacing import Pace
from activation.outbox.worker import Outbox
from activation.provider.resend import ResendProvider
from core.clock import SystemClock
from core.database import make_engine, make_session_factory
from core.settings import Settings

KEY: Final = "0123456789abcdef0123456789abcdef"
API_KEY: Final = "re_bench"


@dataclass(frozen=True)
class Task:
    """`threads` send in one process. `per_second`: requests, over all processes."""

    database_url: str
    provider_url: str
    shop_id: int
    per_second: float
    threads: int = 1


def settings_for(task: Task) -> Settings:
    return Settings.model_validate(
        {
            "DATABASE_URL": task.database_url,
            "ECOMCRM_SECRET_KEY": KEY,
            "ECOMCRM_HOME": str(Path.cwd()),
            "ECOMCRM_SEND_REQUESTS_PER_SECOND": str(task.per_second),
        }
    )


def provider_for(task: Task) -> ResendProvider:
    return ResendProvider(
        api_key=SecretStr(API_KEY), base_url=task.provider_url, webhook_secret=None
    )


def send(task: Task, pipe: Connection) -> None:
    """Says when it is ready, waits for the word, sends all, and tells how."""
    settings = settings_for(task)
    engine = make_engine(
        settings.database_url.get_secret_value(), pool_size=task.threads, is_pinged=False
    )
    factory = make_session_factory(engine)
    with provider_for(task) as provider:
        outbox = Outbox(
            factory=factory,
            settings=settings,
            provider=provider,
            clock=SystemClock(),
            run_id="bench",
            stop=lambda: False,
            sleep=time.sleep,
            at_once=Pace("", task.per_second).batches_at_once,
        )
        _when_told(pipe, lambda: send_by_many(outbox, task.shop_id, workers=task.threads).accepted)
    engine.dispose()


def post(task: Task, pipe: Connection, body: bytes, times: int) -> None:
    """The floor: the same bytes, ready made, `times` over; no database, nothing rendered."""
    with provider_for(task) as provider:

        def work() -> int:
            for number in range(times):
                provider.send_batch(body, f"floor/{number}")
            return times

        _when_told(pipe, work)


def _when_told(pipe: Connection, work: Callable[[], int]) -> None:
    pipe.send("ready")
    pipe.recv()
    began, cpu = time.time(), time.process_time()
    done = work()
    pipe.send(
        {
            "done": done,
            "began": began,
            "ended": time.time(),
            "cpu": time.process_time() - cpu,
            "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    )


def tally(address: str) -> dict[str, Any]:
    """What the stand-in has counted; it forgets it."""
    said: dict[str, Any] = httpx.get(address).json()
    return said
