"""One activation run in a process of its own, killed at a step.

Arguments: database URL, provider URL, business time, step.
"""

import os
import signal
import sys
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import SecretStr

from activation.cycle import Cycle, run_due
from activation.provider.resend import ResendProvider
from core.clock import MovableClock
from core.database import make_engine, make_session_factory
from core.settings import Settings
from core.shopify.client import ShopifyClient


def no_shopify(shop_id: int) -> ShopifyClient:
    raise AssertionError(f"shop {shop_id} asked for Shopify")


def main(database_url: str, provider_url: str, now: str, step: str) -> None:
    def checkpoint(name: str) -> None:
        if name == step:
            os.kill(os.getpid(), signal.SIGKILL)

    settings = Settings.model_validate(
        {
            "DATABASE_URL": database_url,
            "ECOMCRM_SECRET_KEY": "0123456789abcdef0123456789abcdef",
            "ECOMCRM_HOME": str(Path.cwd()),
        }
    )
    engine = make_engine(database_url)
    with ResendProvider(
        api_key=SecretStr("re_test"), base_url=provider_url, webhook_secret=None
    ) as provider:
        report = run_due(
            Cycle(
                factory=make_session_factory(engine),
                settings=settings,
                clock=MovableClock(datetime.fromisoformat(now)),
                provider=provider,
                client_of=no_shopify,
                run_id="child",
                stop=lambda: False,
                patience=timedelta(),
                checkpoint=checkpoint,
            )
        )
    engine.dispose()
    if report.failures:
        raise SystemExit(f"the run had failures: {report.failures}")


if __name__ == "__main__":
    main(*sys.argv[1:])
