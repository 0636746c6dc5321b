"""Resend. Batches go by one persistent httpx client with the stored bytes; the SDK verifies events,
and answers questions about the account (resend_account.py).
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Final, Self, cast

import httpx
import orjson
import resend
from pydantic import SecretStr

from activation.provider import (
    Accepted,
    BadSignature,
    DeliveredMail,
    MailRequest,
    ProviderAnswer,
    ProviderEvent,
    RefusalKind,
    Refused,
    SentPage,
    Unknown,
    UnreadableEvent,
    team_of,
)
from activation.provider.errors import answer_for_error, answer_for_exception, frozen_otherwise
from activation.provider.resend_account import ResendAccount
from core.settings import Settings

NAME: Final = "resend"
USER_AGENT: Final = "ecomcrm/0.1"  # Resend answers 403 to a request without one
# One call takes at most their sum, which is under half of a batch's lease (outbox/batches.py).
TIMEOUT: Final = httpx.Timeout(connect=5, write=5, read=15, pool=2)
NO_KEY_STATUS: Final = 401
LOOPBACK: Final = ("http://127.0.0.1", "http://localhost")


class ResendProvider:
    """Implements `activation.provider.Provider`."""

    name: Final = NAME
    batch_limit: Final = 100
    replays_safely: Final = True
    remembers: Final = True

    def __init__(
        self,
        *,
        api_key: SecretStr | None,
        base_url: str,
        webhook_secret: SecretStr | None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._api_key = api_key
        self._base_url = base_url
        self._webhook_secret = webhook_secret
        self.team = team_of(NAME, api_key)
        self.account = ResendAccount(api_key=api_key, base_url=base_url)
        self._client = httpx.Client(
            timeout=TIMEOUT,
            transport=transport,
            trust_env=not base_url.startswith(LOOPBACK),  # a proxy cannot reach the sandbox
            headers={"User-Agent": USER_AGENT, "Content-Type": "application/json"},
        )

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(
            api_key=settings.resend_api_key,
            base_url=settings.resend_base_url,
            webhook_secret=settings.resend_webhook_secret,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def serialise(self, mails: Sequence[MailRequest]) -> bytes:
        return orjson.dumps(mails)

    def send_batch(self, body: bytes, idempotency_key: str) -> ProviderAnswer:
        if self._api_key is None:
            return Refused(RefusalKind.SHOP, NO_KEY_STATUS, "RESEND_API_KEY is not set.")
        if not body.startswith(b"["):
            return frozen_otherwise(NAME)
        try:
            response = self._client.post(
                f"{self._base_url}/emails/batch",
                content=body,
                headers={
                    "Authorization": f"Bearer {self._api_key.get_secret_value()}",
                    "Idempotency-Key": idempotency_key,
                },
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return answer_for_exception(error)
        return _answer(response)

    def verify_webhook(self, *, headers: Mapping[str, str], body: bytes) -> ProviderEvent:
        """Raises BadSignature or UnreadableEvent."""
        lowered = {key.lower(): value for key, value in headers.items()}
        event_id = lowered.get("svix-id", "")
        try:
            payload = resend.Webhooks.verify(
                {
                    "payload": body.decode(),
                    "headers": {
                        "id": event_id,
                        "timestamp": lowered.get("svix-timestamp", ""),
                        "signature": lowered.get("svix-signature", ""),
                    },
                    "webhook_secret": self._secret(),
                }
            )
        except ValueError as error:
            # The SDK raises the same class for a bad signature and, after a good one, for bad JSON.
            if isinstance(error.__cause__, json.JSONDecodeError):
                raise UnreadableEvent("This event is not JSON.", event_id=event_id) from error
            raise BadSignature(f"This event is not from Resend: {error}") from error
        return _event(event_id, cast("object", payload))

    def _secret(self) -> str:
        if self._webhook_secret is None:
            raise BadSignature(
                "ECOMCRM_RESEND_WEBHOOK_SECRET is not set: no event can be verified."
            )
        return self._webhook_secret.get_secret_value()

    def look_up(self, message_id: str) -> DeliveredMail | None:
        """Raises TransientError or PermanentError."""
        return self.account.look_up(message_id)

    def list_sent(self, *, after: str | None = None) -> SentPage:
        """Raises TransientError or PermanentError."""
        return self.account.list_sent(after=after)


def _answer(response: httpx.Response) -> ProviderAnswer:
    parsed = _json(response.content)
    if response.is_success:
        ids = _accepted_ids(parsed)
        if ids is None:
            return Unknown("the answer holds no message ids", response.status_code)
        return Accepted(ids)
    name = parsed.get("name") if isinstance(parsed, dict) else None
    message = parsed.get("message") if isinstance(parsed, dict) else None
    return answer_for_error(
        status=response.status_code,
        name=name if isinstance(name, str) else None,
        message=message if isinstance(message, str) else "no explanation",
        headers=response.headers,
    )


def _json(content: bytes) -> object:
    try:
        parsed: object = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return parsed


def _accepted_ids(parsed: object) -> tuple[str, ...] | None:
    data = parsed.get("data") if isinstance(parsed, dict) else None
    if not isinstance(data, list):
        return None
    ids = [item.get("id") for item in data if isinstance(item, dict)]
    texts = tuple(each for each in ids if isinstance(each, str))
    return texts if len(texts) == len(data) else None


def _event(event_id: str, payload: object) -> ProviderEvent:
    if not isinstance(payload, dict) or not isinstance(payload.get("type"), str):
        raise UnreadableEvent("This event has no type.", event_id=event_id)
    return ProviderEvent(
        event_id=event_id,
        event_type=payload["type"],
        occurred_at=_instant(payload.get("created_at")),
        body=payload,
    )


def _instant(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        return None
    return instant if instant.tzinfo else None
