"""A provider in memory that keeps its promises about idempotency keys, with faults on demand."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import orjson

from activation.provider import (
    Accepted,
    BadSignature,
    DeliveredMail,
    KeyConflict,
    MailRequest,
    ProviderAnswer,
    ProviderEvent,
    RefusalKind,
    Refused,
    SentPage,
    Unknown,
    Unreachable,
)

Fault = Callable[["FakeProvider", bytes, str], ProviderAnswer]


@dataclass
class FakeProvider:
    """`faults` are used up one per call; without one a request is accepted."""

    name: str = "resend"
    team: str = "resend/fake"
    batch_limit: int = 100
    replays_safely: bool = True
    remembers: bool = True
    faults: list[Fault] = field(default_factory=list)
    accepted: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[str, bytes]] = field(default_factory=list)
    by_key: dict[str, tuple[bytes, Accepted]] = field(default_factory=dict)
    bad_addresses: set[str] = field(default_factory=set)
    before_call: Callable[[], None] = lambda: None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def serialise(self, mails: Sequence[MailRequest]) -> bytes:
        return orjson.dumps(mails)

    def send_batch(self, body: bytes, idempotency_key: str) -> ProviderAnswer:
        self.before_call()
        with self.lock:
            self.calls.append((idempotency_key, body))
            if self.faults:
                return self.faults.pop(0)(self, body, idempotency_key)
            return self.take(body, idempotency_key)

    def take(self, body: bytes, key: str) -> ProviderAnswer:
        """What a provider does on a good day."""
        if key in self.by_key:
            known, answer = self.by_key[key]
            return answer if known == body else KeyConflict("409 invalid_idempotent_request")
        batch = orjson.loads(body)
        bad = [mail for mail in batch if mail["to"][0] in self.bad_addresses]
        if bad:
            return Refused(RefusalKind.MAIL, 422, f"Invalid `to` field: {bad[0]['to'][0]}")
        ids = tuple(f"mail-{len(self.accepted) + number}" for number in range(len(batch)))
        self.accepted += [mail | {"id": id_} for mail, id_ in zip(batch, ids, strict=True)]
        self.by_key[key] = (body, Accepted(ids))
        return Accepted(ids)

    def addresses(self) -> list[str]:
        return [mail["to"][0] for mail in self.accepted]

    def verify_webhook(self, *, headers: Mapping[str, str], body: bytes) -> ProviderEvent:  # noqa: ARG002
        raise BadSignature("the fake signs nothing")

    def look_up(self, message_id: str) -> DeliveredMail | None:  # noqa: ARG002
        return None

    def list_sent(self, *, after: str | None = None) -> SentPage:  # noqa: ARG002
        return SentPage((), None)


def accept_then_drop(provider: FakeProvider, body: bytes, key: str) -> ProviderAnswer:
    provider.take(body, key)
    return Unknown("ReadTimeout")


def drop(provider: FakeProvider, body: bytes, key: str) -> ProviderAnswer:
    return Unknown("502", 502)


def unreachable(provider: FakeProvider, body: bytes, key: str) -> ProviderAnswer:
    return Unreachable("ConnectError: refused")


def too_fast(provider: FakeProvider, body: bytes, key: str) -> ProviderAnswer:
    return Refused(RefusalKind.RATE, 429, "429 rate_limit_exceeded", timedelta(seconds=1))


def over_quota(provider: FakeProvider, body: bytes, key: str) -> ProviderAnswer:
    return Refused(RefusalKind.DAILY_QUOTA, 429, "429 daily_quota_exceeded: limit reached")


def over_month(provider: FakeProvider, body: bytes, key: str) -> ProviderAnswer:
    return Refused(RefusalKind.MONTHLY_QUOTA, 429, "429 monthly_quota_exceeded: limit reached")


def bad_key(provider: FakeProvider, body: bytes, key: str) -> ProviderAnswer:
    return Refused(RefusalKind.SHOP, 403, "403 invalid_api_key: API key is invalid")


def conflict(provider: FakeProvider, body: bytes, key: str) -> ProviderAnswer:
    return KeyConflict("409 invalid_idempotent_request: used with another body")


def one_id_short(provider: FakeProvider, body: bytes, key: str) -> ProviderAnswer:
    answer = provider.take(body, key)
    assert isinstance(answer, Accepted)
    return Accepted(answer.message_ids[:-1])
