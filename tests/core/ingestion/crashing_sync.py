"""One sync in a process of its own that kills itself (kill -9) at a given step.

    python -m tests.core.ingestion.crashing_sync SHOP_ID ADDRESS MODULE:NAME WHEN NUMBER

Settings come from the environment. The step is the NUMBERth call of MODULE:NAME: just `before` it,
`after` it, or `during` it, after the first piece that a generator gives.
"""

import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

from core.clock import SystemClock
from core.database import make_engine, make_session_factory
from core.ingestion import staging
from core.ingestion.sync import run_sync
from core.models.enums import SyncKind
from core.settings import load_settings
from core.shopify.client import ShopifyClient
from tests.fixtures.shopify import CLIENT_SECRET, DOMAIN


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying(call: Callable[..., Any], when: str, number: int) -> Callable[..., Any]:
    calls = [0]

    def wrapped(*args: Any, **options: Any) -> Any:
        calls[0] += 1
        is_due = calls[0] == number
        if is_due and when == "before":
            die()
        result = call(*args, **options)
        if is_due and when == "after":
            die()
        return first_piece(result) if is_due and when == "during" else result

    return wrapped


def first_piece(pieces: Iterator[Any]) -> Iterator[Any]:
    yield next(pieces)
    die()


def main() -> None:
    shop_id, address, step, when, number = sys.argv[1:]
    module, _, path = step.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    setattr(owner, name, dying(getattr(owner, name), when, int(number)))
    staging.ALONE = 0  # helpers, where there are any, are at work from the first block on
    settings = load_settings()
    with ShopifyClient(
        domain=DOMAIN,
        client_id="client",
        client_secret=CLIENT_SECRET,
        base_url=address,
        api_version="2026-07",
    ) as client:
        run_sync(
            make_session_factory(make_engine(settings.database_url.get_secret_value())),
            client,
            shop_id=int(shop_id),
            kind=SyncKind.FULL,
            clock=SystemClock(),
            run_id="crashing",
            settings=settings,
        )


if __name__ == "__main__":
    main()
