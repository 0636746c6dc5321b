"""What Shopify and httpx say, mapped to the two errors callers branch on.

Messages carry codes and Shopify's own words, never a token, a body or a signed address.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import httpx

from core.errors import EcomCRMError, PermanentError, TransientError

WORDS: Final = 300  # of a message of Shopify's; the rest is advice or our own variables
TOO_MANY_REQUESTS: Final = 429
SERVER_ERROR: Final = 500


class ThrottledError(TransientError):
    """Out of points or requests: wait `retry_after`, then the same call succeeds."""


class UnauthorizedError(PermanentError):
    """The access token is not valid (any more)."""


class AccessDeniedError(PermanentError):
    """The app lacks a scope or the access to protected customer data for what was asked."""


class QueryTooDearError(PermanentError):
    """The query costs more than any query may: ask for less at once."""


_HTTPX: Final[Mapping[type[Exception], type[EcomCRMError]]] = {
    httpx.HTTPError: TransientError,
    httpx.RequestError: TransientError,
    httpx.TransportError: TransientError,
    httpx.TimeoutException: TransientError,
    httpx.ConnectTimeout: TransientError,
    httpx.ReadTimeout: TransientError,
    httpx.WriteTimeout: TransientError,
    httpx.PoolTimeout: TransientError,
    httpx.NetworkError: TransientError,
    httpx.ConnectError: TransientError,
    httpx.ReadError: TransientError,
    httpx.WriteError: TransientError,
    httpx.CloseError: TransientError,
    httpx.ProtocolError: TransientError,
    httpx.RemoteProtocolError: TransientError,
    httpx.DecodingError: TransientError,
    httpx.ProxyError: TransientError,
    httpx.LocalProtocolError: PermanentError,
    httpx.UnsupportedProtocol: PermanentError,
    httpx.TooManyRedirects: PermanentError,
    httpx.HTTPStatusError: PermanentError,
    httpx.InvalidURL: PermanentError,
    httpx.CookieConflict: PermanentError,
    httpx.StreamError: PermanentError,
    httpx.StreamConsumed: PermanentError,
    httpx.StreamClosed: PermanentError,
    httpx.ResponseNotRead: PermanentError,
    httpx.RequestNotRead: PermanentError,
}
HTTPX_ERRORS: Final = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    httpx.CookieConflict,
)

STATUS_WORDS: Final = {
    400: "it did not understand the request",
    402: "the shop is frozen until its Shopify bill is paid",
    403: "the app may not do this: check its scopes, and that it is installed in this shop",
    404: "the shop or this address does not exist: check SHOPIFY_SHOP and the API version",
    423: "the shop is locked by Shopify; its owner must contact Shopify",
}


def from_httpx(error: Exception) -> EcomCRMError:
    """The error for one of httpx's own; only its class is told, an address may be signed."""
    kind = _HTTPX.get(type(error), TransientError)
    return kind(f"No answer from Shopify ({type(error).__name__}).")


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    try:
        return timedelta(seconds=min(float(headers.get("Retry-After", "")), 3600))
    except (ValueError, OverflowError):
        return None


def from_status(response: httpx.Response) -> EcomCRMError | None:
    """The error for an HTTP status, None where the body decides."""
    status = response.status_code
    if status == TOO_MANY_REQUESTS:
        wait = retry_after(response.headers) or timedelta(seconds=2)
        return ThrottledError("Shopify answers 429: too many requests.", retry_after=wait)
    if status == httpx.codes.UNAUTHORIZED:
        return UnauthorizedError("Shopify does not accept the access token (401).")
    if status >= SERVER_ERROR:
        wait_for = retry_after(response.headers)
        return TransientError(f"Shopify has a problem of its own ({status}).", retry_after=wait_for)
    if status != httpx.codes.OK:
        reason = STATUS_WORDS.get(status, "an answer we do not expect")
        return PermanentError(f"Shopify answers {status}: {reason}.{_said(response)}")
    return None


def _said(response: httpx.Response) -> str:
    """Shopify's own words where the body is its JSON; HTML pages are left out."""
    try:
        said = response.json().get("errors")
    except (ValueError, AttributeError):
        return ""
    return f" Shopify: {said[:WORDS]}" if isinstance(said, str) else ""


def from_graphql(answer: Mapping[str, Any]) -> EcomCRMError | None:
    """The error in a GraphQL answer; None for one that can be used whole.

    A warning of the search (an unknown key matches everything) is an error: it would read, or
    miss, the wrong objects.
    """
    errors = answer.get("errors")
    if isinstance(errors, str):
        return PermanentError(f"Shopify refuses: {errors[:WORDS]}")
    if errors:
        return _from_codes(errors, answer)
    warnings = [
        f"{warning.get('code')}: {warning.get('message')}"
        for search in (answer.get("extensions") or {}).get("search") or []
        for warning in search.get("warnings") or []
    ]
    if warnings:
        return PermanentError(f"Shopify misread a search: {'; '.join(warnings)[:WORDS]}")
    if not isinstance(answer.get("data"), dict):
        return TransientError("Shopify answered without data.")
    return None


def _from_codes(errors: list[dict[str, Any]], answer: Mapping[str, Any]) -> EcomCRMError:
    by_code = {str((error.get("extensions") or {}).get("code")): error for error in errors}
    said = "; ".join(str(error.get("message")) for error in errors)[:WORDS]
    if "THROTTLED" in by_code:
        return ThrottledError("Shopify's cost bucket is empty.", retry_after=_refill(answer))
    if "INTERNAL_SERVER_ERROR" in by_code:
        return TransientError(f"Shopify has a problem of its own: {said}")
    if "MAX_COST_EXCEEDED" in by_code:
        return QueryTooDearError(said)
    if "ACCESS_DENIED" in by_code:
        needed = (by_code["ACCESS_DENIED"].get("extensions") or {}).get("requiredAccess") or ""
        return AccessDeniedError(
            f"The app may not read this: {said} Add the scope to the app and install it anew. "
            f"{needed}".strip()
        )
    if "SHOP_INACTIVE" in by_code:
        return PermanentError("The shop is closed or not yet open at Shopify (SHOP_INACTIVE).")
    return PermanentError(f"Shopify refuses the query ({', '.join(by_code)}): {said}")


def _refill(answer: Mapping[str, Any]) -> timedelta:
    """Until the bucket holds what the query asked for."""
    try:
        cost = answer["extensions"]["cost"]
        status = cost["throttleStatus"]
        missing = float(cost["requestedQueryCost"]) - float(status["currentlyAvailable"])
        seconds = missing / float(status["restoreRate"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        seconds = 1.0
    return timedelta(seconds=min(max(seconds, 0.1), 60.0))
