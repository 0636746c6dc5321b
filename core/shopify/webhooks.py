"""Webhooks as they come in: headers, and the signature over the raw body."""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

MAX_BODY: Final = 5 * 2**20
PREFIX: Final = "x-shopify-"


@dataclass(frozen=True)
class Delivery:
    """The headers of one delivery. None of them is under the signature."""

    domain: str
    topic: str
    signature: str
    webhook_id: str
    event_id: str | None
    triggered_at: datetime | None
    api_version: str | None


def read_headers(headers: Mapping[str, str], body: bytes) -> Delivery:
    """Names in any case. A delivery without an id gets one from its body: it still counts once."""
    given = {name.lower().removeprefix(PREFIX): value.strip() for name, value in headers.items()}
    topic = given.get("topic", "")
    return Delivery(
        domain=given.get("shop-domain", "").lower(),
        topic=topic,
        signature=given.get("hmac-sha256", ""),
        webhook_id=given.get("webhook-id") or _id_of(topic, body),
        event_id=given.get("event-id"),
        triggered_at=_moment(given.get("triggered-at")),
        api_version=given.get("api-version"),
    )


def _id_of(topic: str, body: bytes) -> str:
    digest = hashlib.sha256(topic.encode() + b"\n" + body).hexdigest()
    return f"body-{digest}"


def sign(body: bytes, secret: str) -> str:
    return base64.b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()


def is_signed(body: bytes, signature: str, secrets: Sequence[str]) -> bool:
    """Whether one of the secrets signed the body; two are valid during a rotation."""
    given = signature.encode()
    matches = [hmac.compare_digest(sign(body, secret).encode(), given) for secret in secrets]
    return any(matches) and bool(body)


def _moment(text: str | None) -> datetime | None:
    """Shopify writes nanoseconds; Python reads micro and leaves the rest, as PostgreSQL would."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
