"""One sending worker of the crash run: the product's own loop, in a process that is killed.

It dies by SIGKILL at a given step, or whenever its parent chooses. `sabotage` breaks one promise
on purpose, so that the run is seen to notice.
"""

import gc
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import httpx
from pydantic import SecretStr
from sqlalchemy.orm import Session

from activation.events import match_stored
from activation.outbox import answers, recovery, sending
from activation.outbox.batches import Held, new_key
from activation.outbox.sending import send_due
from activation.outbox.worker import Outbox
from activation.provider import Accepted, ProviderAnswer, Unknown, resend
from activation.provider.resend import ResendProvider
from activation.rendering.templates import load_template
from core.clock import SystemClock
from core.database import make_engine, make_session_factory
from core.settings import Settings

# All times are about a twentieth of the product's, in the same order: call < half a lease.
LEASE = timedelta(seconds=2)
TIMEOUT = httpx.Timeout(connect=0.3, write=0.3, read=0.6, pool=0.3)
FIRST_RETRY = timedelta(seconds=0.2)
LONGEST_RETRY = timedelta(seconds=2)
SLOW_DOWN = timedelta(seconds=0.2)
IDLE_SECONDS = 0.05

STEPS = (
    "claiming",
    "claimed",
    "freezing",
    "frozen",
    "beginning",
    "attempt_committed",
    "calling",
    "answered",
    "completing",
    "completed",
)
SABOTAGES = ("new_key", "late_eligibility", "forgets")


@dataclass(frozen=True)
class Job:
    """What one worker works with. It dies at the `visit`-th time it comes to `step`."""

    database_url: str
    provider_url: str
    api_key: str
    shop_id: int
    batch_size: int
    per_second: float
    step: str | None = None
    visit: int = 1
    sabotage: str | None = None
    at_once: int = 1


def warm_up() -> None:
    """What every worker would otherwise do anew, and may do before the fork."""
    load_template("welcome")
    gc.freeze()


def work(job: Job) -> None:
    """Send until the parent ends it; returns only by being killed or at SIGTERM."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    settings = Settings.model_validate(
        {
            "DATABASE_URL": job.database_url,
            "ECOMCRM_SECRET_KEY": "0123456789abcdef0123456789abcdef",
            "ECOMCRM_HOME": str(Path.cwd()),
            "ECOMCRM_SEND_REQUESTS_PER_SECOND": str(job.per_second),
        }
    )
    engine = make_engine(settings.database_url.get_secret_value(), pool_size=1)
    factory = make_session_factory(engine)
    _hurry()
    _sabotage(job.sabotage)
    with ResendProvider(
        api_key=SecretStr(job.api_key),
        base_url=job.provider_url,
        webhook_secret=None,
        transport=httpx.HTTPTransport(verify=False),
    ) as provider:
        outbox = Outbox(
            factory=factory,
            settings=settings,
            provider=provider,
            clock=SystemClock(),
            run_id=f"worker {os.getpid()}",
            stop=lambda: bool(stopped),
            sleep=time.sleep,
            checkpoint=_killer(job.step, job.visit),
            lease=LEASE,
            batch_size=job.batch_size,
            at_once=job.at_once,
        )
        while not stopped:
            send_due(outbox, job.shop_id)
            match_stored(factory, clock=outbox.clock)
            time.sleep(IDLE_SECONDS)
    engine.dispose()


def _killer(step: str | None, visit: int) -> Callable[[str], None]:
    left = [visit]

    def checkpoint(name: str) -> None:
        if name == step:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return checkpoint


def _hurry() -> None:
    """The process is ours alone, so its constants may be."""
    _replace(resend, "TIMEOUT", TIMEOUT)
    _replace(answers, "FIRST_RETRY", FIRST_RETRY)
    _replace(answers, "LONGEST_RETRY", LONGEST_RETRY)
    _replace(answers, "SLOW_DOWN_DEFAULT", SLOW_DOWN)


def _sabotage(kind: str | None) -> None:
    match kind:
        case None:
            return
        case "new_key":
            _replace(sending, "claim_expired", _claim_with_a_new_key)
        case "late_eligibility":
            _replace(sending, "_who_may_go", _all_may_go)
        case "forgets":
            _replace(ResendProvider, "send_batch", _believe_the_best(ResendProvider.send_batch))
        case _:
            raise ValueError(f"no such sabotage: {kind}")


def _replace(owner: object, name: str, value: object) -> None:
    """Only what is there: a promise under another name would not be broken."""
    if not hasattr(owner, name):
        raise AttributeError(name)
    setattr(owner, name, value)


def _all_may_go(
    _session: object, _outbox: object, _shop_id: int, held: Sequence[Held], *_: object, **__: object
) -> list[Held]:
    """Who left since the freeze is mailed all the same."""
    return list(held)


def _claim_with_a_new_key(session: Session, shop_id: int, *, lease: timedelta) -> Held | None:
    """The mistake of most senders: each retry is a request of its own."""
    held = recovery.claim_expired(session, shop_id, lease=lease)
    return held and replace(held, idempotency_key=new_key([held.batch_id], b""))


def _believe_the_best(
    send: Callable[[ResendProvider, bytes, str], ProviderAnswer],
) -> Callable[[ResendProvider, bytes, str], ProviderAnswer]:
    """Takes silence for consent: an answer that never came counts as accepted."""

    def send_batch(self: ResendProvider, body: bytes, key: str) -> ProviderAnswer:
        answer = send(self, body, key)
        if isinstance(answer, Unknown):
            return Accepted(tuple(f"guess-{n}" for n in range(body.count(b'"send_id"'))))
        return answer

    return send_batch
