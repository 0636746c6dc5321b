"""Faults built in on purpose, each of which a played shop must notice."""

import random
from collections.abc import Callable
from typing import Final

from activation.provider import Accepted, ProviderAnswer
from activation.provider.resend import ResendProvider

DROP, DOUBLE, UNSUBSCRIBED = "drop", "double", "unsubscribed"
SABOTAGES: Final = (DROP, DOUBLE, UNSUBSCRIBED)
SHARE: Final = 0.5
# What would tell the product that somebody has left. It learns it no other way, unless they buy.
CONSENT_TOPICS: Final = frozenset({"customers/update", "customers_email_marketing_consent/update"})


class BrokenProvider(ResendProvider):
    """Half of the requests are said to be taken and never sent, or are sent under two keys."""

    sabotage: str
    chance: Callable[[], float]

    def breaks(self, sabotage: str, *, seed: int) -> None:
        self.sabotage = sabotage
        self.chance = random.Random(seed).random  # noqa: S311 - chance, not secrets

    def send_batch(self, body: bytes, idempotency_key: str) -> ProviderAnswer:
        is_broken = self.chance() < SHARE
        if self.sabotage == DROP and is_broken:
            return Accepted(tuple(f"{idempotency_key}-{n}" for n in range(body.count(b'"to":'))))
        if self.sabotage == DOUBLE and is_broken:
            super().send_batch(body, f"{idempotency_key}-again")
        return super().send_batch(body, idempotency_key)
