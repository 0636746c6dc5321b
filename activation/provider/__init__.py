"""What the outbox needs from whoever delivers mail, and the answers it can act on.

An answer says one thing above all: can these mails have been accepted? Everything else follows
from that (activation/outbox).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NotRequired, Protocol, TypeAlias, TypedDict

from pydantic import SecretStr

from core.errors import PermanentError


class MailTag(TypedDict):
    """ASCII letters, digits, `_` and `-` only."""

    name: str
    value: str


# Functional, because `from` is a word of Python.
MailRequest = TypedDict(
    "MailRequest",
    {
        "from": str,
        "to": list[str],
        "subject": str,
        "html": str,
        "text": str,
        "headers": dict[str, str],
        "tags": list[MailTag],
        "reply_to": NotRequired[str],
    },
)
"""One mail, rendered, before a provider makes bytes of it. Addresses may carry a display name."""


class RefusalKind(StrEnum):
    """What to do after a definite no."""

    RATE = "rate"  # too fast: go on after retry_after
    DAILY_QUOTA = "daily_quota"  # nothing more until midnight, UTC
    MONTHLY_QUOTA = "monthly_quota"  # nothing more until the month of the bill, or its plan, ends
    SHOP = "shop"  # key, domain or request is wrong for every mail: pause until someone acts
    MAIL = "mail"  # at least one mail of the request is wrong: find it
    LATER = "later"  # this mail not now, as greylisting has it: the same again, nobody else waits


@dataclass(frozen=True)
class Accepted:
    """The provider's ids, in the order of the request."""

    message_ids: tuple[str, ...]


@dataclass(frozen=True)
class Refused:
    """A definite no: nothing of this request was accepted."""

    kind: RefusalKind
    status: int
    message: str
    retry_after: timedelta | None = None


@dataclass(frozen=True)
class Unreachable:
    """Nothing was accepted, and the same may be sent again: no connection was made, or a relay said
    "not now".
    """

    message: str


@dataclass(frozen=True)
class Unknown:
    """It may have been accepted: no answer, or one that does not say."""

    message: str
    status: int | None = None
    retry_after: timedelta | None = None


@dataclass(frozen=True)
class KeyConflict:
    """The key was used with other bytes: its first use may have been accepted. Never again."""

    message: str


ProviderAnswer: TypeAlias = Accepted | Refused | Unreachable | Unknown | KeyConflict


@dataclass(frozen=True)
class ProviderEvent:
    """One verified event. `body` is the whole parsed payload."""

    event_id: str
    event_type: str
    occurred_at: datetime | None
    body: dict[str, Any]


@dataclass(frozen=True)
class DeliveredMail:
    """What the provider knows of one mail it took."""

    message_id: str
    last_event: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class SentMail:
    """One line of the provider's list of what it took. Who else uses the account is in it too."""

    message_id: str
    to: tuple[str, ...]
    subject: str
    created_at: datetime
    last_event: str


@dataclass(frozen=True)
class SentPage:
    """Newest first. `next_after` None: there is nothing older."""

    mails: tuple[SentMail, ...]
    next_after: str | None


def team_of(provider: str, secret: SecretStr | None) -> str:
    """A name for the account that `secret` opens, from which the secret cannot be got back."""
    key = secret.get_secret_value() if secret else ""
    return f"{provider}/{hashlib.sha256(f'team/{provider}/{key}'.encode()).hexdigest()[:16]}"


class BadSignature(PermanentError):  # noqa: N818 - said of a request, not of our code
    """An event whose signature does not hold: nothing of it is stored."""


class UnreadableEvent(PermanentError):  # noqa: N818 - said of a request, not of our code
    """A rightly signed event that is not what the provider's documents promise."""

    def __init__(self, message: str, *, event_id: str) -> None:
        super().__init__(message)
        self.event_id = event_id


class Provider(Protocol):
    """Delivers frozen batches and vouches for events."""

    @property
    def name(self) -> str: ...

    @property
    def team(self) -> str:
        """Names the account whose limits count, without its secret: the same for the same key."""
        ...

    @property
    def batch_limit(self) -> int:
        """Mails of one request, at most."""
        ...

    @property
    def replays_safely(self) -> bool:
        """Whether the same bytes under the same key within 24 hours are sent once.

        Where they are not, an outcome that was never learned is `unknown` at once and for good.
        """
        ...

    @property
    def remembers(self) -> bool:
        """Whether `look_up` and `list_sent` can tell what became of a mail."""
        ...

    def serialise(self, mails: Sequence[MailRequest]) -> bytes:
        """The bytes of one request, to be frozen. At most `batch_limit` mails."""
        ...

    def send_batch(self, body: bytes, idempotency_key: str) -> ProviderAnswer:
        """Send exactly these bytes. Never raises for what the network or the provider does."""
        ...

    def verify_webhook(self, *, headers: Mapping[str, str], body: bytes) -> ProviderEvent:
        """Raises BadSignature or UnreadableEvent."""
        ...

    def look_up(self, message_id: str) -> DeliveredMail | None:
        """None when the provider does not know it. Raises TransientError or PermanentError."""
        ...

    def list_sent(self, *, after: str | None = None) -> SentPage:
        """One page of what was sent, from behind `after` (a message id) towards older ones.

        The lines carry no tags: `look_up` has them. Raises TransientError or PermanentError.
        """
        ...
