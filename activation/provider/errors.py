"""Everything that can go wrong with a call to Resend, and what it means for the batch.

    connection never made                         Unreachable   same bytes again, nothing was sent
    no answer, 5xx, HTML, concurrent use of key   Unknown       same bytes again
    key used with other bytes                     KeyConflict   never again
    parsed 4xx                                    Refused       by name, else by status

Tests list httpx's exceptions and Resend's error names and fail on one that is missing here.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import httpx

from activation.provider import (
    KeyConflict,
    ProviderAnswer,
    RefusalKind,
    Refused,
    Unknown,
    Unreachable,
)

# No byte of the request left this machine. Every other httpx error may follow an acceptance.
NEVER_LEFT: Final[tuple[type[Exception], ...]] = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.InvalidURL,
)

REFUSALS: Final[Mapping[str, RefusalKind]] = {
    "rate_limit_exceeded": RefusalKind.RATE,
    "daily_quota_exceeded": RefusalKind.DAILY_QUOTA,
    "monthly_quota_exceeded": RefusalKind.MONTHLY_QUOTA,
    "missing_api_key": RefusalKind.SHOP,
    "invalid_api_key": RefusalKind.SHOP,
    "restricted_api_key": RefusalKind.SHOP,
    "suspended_api_key": RefusalKind.SHOP,
    "invalid_permission": RefusalKind.SHOP,
    "invalid_access": RefusalKind.SHOP,
    "invalid_from_address": RefusalKind.SHOP,
    "invalid_idempotency_key": RefusalKind.SHOP,
    "not_found": RefusalKind.SHOP,
    "method_not_allowed": RefusalKind.SHOP,
    "invalid_region": RefusalKind.SHOP,
    "security_error": RefusalKind.SHOP,
    "validation_error": RefusalKind.MAIL,
    "missing_required_field": RefusalKind.MAIL,
    "missing_required_fields": RefusalKind.MAIL,
    "invalid_parameter": RefusalKind.MAIL,
    "invalid_attachment": RefusalKind.MAIL,
}
MAY_HAVE_BEEN_ACCEPTED: Final = frozenset(
    {
        "concurrent_idempotent_requests",
        "resource_locked",
        "application_error",
        "internal_server_error",
        "service_unavailable",
    }
)
KEY_CONFLICT: Final = "invalid_idempotent_request"

# A whole request is refused for its size as for a bad mail: smaller ones may pass.
MAIL_STATUSES: Final = frozenset({400, 413, 422})
RATE_STATUS: Final = 429
SERVER_ERRORS: Final = 500
ALL_MAILS_STATUSES: Final = frozenset({401, 403})


# The batch is taken apart and its mails are frozen anew, in the form of the provider in use.
FREEZE_ANEW_AFTER: Final = timedelta(seconds=1)


def frozen_otherwise(name: str) -> Refused:
    """The answer to bytes of another provider: the installation changed its provider meanwhile."""
    words = f"This batch was frozen for another provider than {name}."
    return Refused(RefusalKind.RATE, RATE_STATUS, words, FREEZE_ANEW_AFTER)


def answer_for_exception(error: httpx.HTTPError | httpx.InvalidURL) -> ProviderAnswer:
    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Unreachable(words) if isinstance(error, NEVER_LEFT) else Unknown(words)


def answer_for_error(
    *, status: int, name: str | None, message: str, headers: Mapping[str, str]
) -> ProviderAnswer:
    """The answer for a response that is no success. `name` None: the body was not Resend's JSON."""
    retry_after = _retry_after(headers)
    words = f"{status} {name}: {message}" if name else f"{status}: {message}"
    if name == KEY_CONFLICT:
        return KeyConflict(words)
    if name is None or status >= SERVER_ERRORS or name in MAY_HAVE_BEEN_ACCEPTED:
        return Unknown(words, status, retry_after)
    return Refused(_refusal_kind(status, name), status, words, retry_after)


def _refusal_kind(status: int, name: str) -> RefusalKind:
    """The status outranks the name where it speaks of the sender: Resend answers an unverified
    domain with 403 `validation_error`, which no splitting of the batch would cure.
    """
    if status in ALL_MAILS_STATUSES:
        return RefusalKind.SHOP
    if name in REFUSALS:
        return REFUSALS[name]
    if status == RATE_STATUS:
        return RefusalKind.RATE
    return RefusalKind.MAIL if status in MAIL_STATUSES else RefusalKind.SHOP


def _retry_after(headers: Mapping[str, str]) -> timedelta | None:
    value = headers.get("retry-after", "")
    return timedelta(seconds=int(value)) if value.isdigit() else None
