"""Questions to a Resend account through the vendor's SDK: what became of a mail, what was sent.

All of them are look-ups that may be repeated; nothing here sends a mail.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar, cast

import resend
from pydantic import SecretStr
from resend.exceptions import ResendError

from activation.provider import DeliveredMail, SentMail, SentPage
from activation.provider.errors import MAY_HAVE_BEEN_ACCEPTED, SERVER_ERRORS
from core.errors import PermanentError, TransientError

PAGE: Final = 100  # the most Resend gives at once
NOT_FOUND: Final = "not_found"
MOST_AT_ONCE: Final = 100  # addresses of one call
T = TypeVar("T")

# The SDK keeps key and address in module globals; two accounts in one process must not mix them.
_sdk_lock = threading.Lock()


@dataclass(frozen=True)
class Suppressed:
    """One line of the account's list. `origin` is bounce, complaint or manual."""

    email: str
    origin: str
    created_at: datetime


@dataclass(frozen=True)
class SuppressedPage:
    """`next_after` None: that was the last page."""

    lines: tuple[Suppressed, ...]
    next_after: str | None


class ResendAccount:
    """Every method raises TransientError or PermanentError."""

    def __init__(self, *, api_key: SecretStr | None, base_url: str) -> None:
        self._api_key = api_key
        self._base_url = base_url

    def look_up(self, message_id: str) -> DeliveredMail | None:
        """None when Resend does not know the mail."""
        found = self._ask("look the mail up", lambda: resend.Emails.get(message_id), missing=None)
        if found is None:
            return None
        mail = cast("Mapping[str, Any]", found)
        return DeliveredMail(
            message_id=mail["id"],
            last_event=mail.get("last_event") or "",
            tags={tag["name"]: tag["value"] for tag in mail.get("tags") or ()},
        )

    def list_sent(self, *, after: str | None = None) -> SentPage:
        params: resend.Emails.ListParams = {"limit": PAGE}
        if after is not None:
            params["after"] = after
        page = cast(
            "Mapping[str, Any]", self._ask("list mails", lambda: resend.Emails.list(params))
        )
        mails = tuple(_sent(each) for each in page["data"])
        return SentPage(mails, mails[-1].message_id if mails and page.get("has_more") else None)

    # ------------------------------------------------------------------ the account's list

    def list_suppressed(self, *, after: str | None = None) -> SuppressedPage:
        """One page of the addresses this account does not mail, whoever put them there."""
        params: resend.Suppressions.ListParams = {"limit": PAGE}
        if after is not None:
            params["after"] = after
        page = cast(
            "Mapping[str, Any]",
            self._ask("list suppressions", lambda: resend.Suppressions.list(params)),
        )
        lines = tuple(
            Suppressed(line["email"], line.get("origin") or "", instant(line["created_at"]))
            for line in page["data"]
        )
        last = page["data"][-1]["id"] if lines and page.get("has_more") else None
        return SuppressedPage(lines, last)

    def suppress(self, emails: Sequence[str]) -> None:
        """At most 100. Those that are on the list already stay as they are."""
        wanted: resend.Suppressions.Batch.AddParams = {"emails": list(emails)}
        self._ask("add suppressions", lambda: resend.Suppressions.Batch.add(wanted))

    def unsuppress(self, emails: Sequence[str]) -> None:
        """At most 100. Those that are not on the list are passed over."""
        wanted: resend.Suppressions.Batch.RemoveParams = {"emails": list(emails)}
        self._ask(
            "remove suppressions", lambda: resend.Suppressions.Batch.remove(wanted), missing=None
        )

    # ------------------------------------------------------------------ how it is set up

    def domains(self) -> list[Mapping[str, Any]]:
        """Name, status and records of each domain, as Resend tells of them."""
        found = self._ask("list domains", resend.Domains.list)
        return [
            cast("Mapping[str, Any]", self._ask("read a domain", _getting(each["id"])))
            for each in cast("Mapping[str, Any]", found)["data"]
        ]

    def webhooks(self) -> list[Mapping[str, Any]]:
        """Endpoint, status and events of each webhook."""
        found = cast("Mapping[str, Any]", self._ask("list webhooks", resend.Webhooks.list))
        return list(found["data"])

    def _ask(self, what: str, call: Callable[[], T], *, missing: Any = ...) -> T | Any:
        """What the SDK returns; `missing` instead of an error where Resend knows no such thing."""
        if self._api_key is None:
            raise PermanentError("RESEND_API_KEY is not set.")
        with _sdk_lock:
            resend.api_key = self._api_key.get_secret_value()
            resend.api_url = self._base_url
            try:
                return call()
            except ResendError as error:
                if error.error_type == NOT_FOUND and missing is not ...:
                    return missing
                raise _error(what, error) from error


def _getting(domain_id: str) -> Callable[[], object]:
    return lambda: resend.Domains.get(domain_id)


def _sent(line: Mapping[str, Any]) -> SentMail:
    return SentMail(
        message_id=line["id"],
        to=tuple(line.get("to") or ()),
        subject=line.get("subject") or "",
        created_at=instant(line["created_at"]),
        last_event=line.get("last_event") or "",
    )


def instant(text: str) -> datetime:
    """REST answers write times as Postgres does: `2026-04-03 22:13:42.674981+00`."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise PermanentError(f"Resend told a time that cannot be read: {text[:40]!r}.") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _error(what: str, error: ResendError) -> TransientError | PermanentError:
    code = int(error.code) if str(error.code).isdigit() else SERVER_ERRORS
    words = f"Resend could not {what}: {error.error_type}: {error.message}"
    if (
        code >= SERVER_ERRORS
        or error.error_type in MAY_HAVE_BEEN_ACCEPTED
        or error.error_type == "rate_limit_exceeded"
    ):
        return TransientError(words)
    return PermanentError(words)
