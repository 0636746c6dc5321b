"""Nothing a call can end with is left to chance (S24)."""

import inspect
from datetime import timedelta

import httpx
import pytest
from resend.exceptions import ERRORS

from activation.provider import KeyConflict, RefusalKind, Refused, Unknown, Unreachable
from activation.provider.errors import (
    KEY_CONFLICT,
    MAY_HAVE_BEEN_ACCEPTED,
    REFUSALS,
    answer_for_error,
    answer_for_exception,
)

# By name, so that a new exception of httpx fails here until someone decides.
UNREACHABLE = {
    "ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol",
    "LocalProtocolError", "InvalidURL",
}  # fmt: skip
UNKNOWN = {
    "HTTPError", "RequestError", "TransportError", "TimeoutException", "ReadTimeout",
    "WriteTimeout", "NetworkError", "ReadError", "WriteError", "CloseError", "ProtocolError",
    "RemoteProtocolError", "DecodingError", "TooManyRedirects", "HTTPStatusError",
}  # fmt: skip
# Misuse of a response or a cookie jar by our own code: a bug, not an outcome.
NOT_OF_A_CALL = {
    "CookieConflict", "StreamError", "StreamConsumed", "StreamClosed", "ResponseNotRead",
    "RequestNotRead",
}  # fmt: skip

# reference of the vendor (errors page, October 2026) and of the SDK
DOCUMENTED = {
    "invalid_idempotency_key": 400, "validation_error": 422, "missing_api_key": 401,
    "restricted_api_key": 401, "invalid_api_key": 403, "suspended_api_key": 403,
    "invalid_permission": 403, "not_found": 404, "method_not_allowed": 405,
    "invalid_idempotent_request": 409, "concurrent_idempotent_requests": 409,
    "resource_locked": 409, "missing_required_field": 422, "invalid_parameter": 422,
    "invalid_attachment": 422, "rate_limit_exceeded": 429, "daily_quota_exceeded": 429,
    "monthly_quota_exceeded": 429, "application_error": 500, "service_unavailable": 503,
}  # fmt: skip


def httpx_exceptions() -> dict[str, type[Exception]]:
    return {
        name: each
        for name, each in vars(httpx).items()
        if inspect.isclass(each) and issubclass(each, Exception) and not name.startswith("_")
    }


def build(kind: type[Exception]) -> Exception:
    request = httpx.Request("POST", "http://127.0.0.1")
    if kind is httpx.HTTPStatusError:
        return kind("x", request=request, response=httpx.Response(500))  # type: ignore[call-arg]
    return kind("x")


@pytest.mark.requirement("AUTO-05")
def test_every_exception_of_httpx_has_its_place() -> None:
    assert set(httpx_exceptions()) == UNREACHABLE | UNKNOWN | NOT_OF_A_CALL


@pytest.mark.requirement("AUTO-05")
@pytest.mark.parametrize("name", sorted(UNREACHABLE | UNKNOWN))
def test_only_what_never_left_this_machine_is_certain_not_to_have_arrived(name: str) -> None:
    error = build(httpx_exceptions()[name])
    assert isinstance(error, httpx.HTTPError | httpx.InvalidURL)
    expected = Unreachable if name in UNREACHABLE else Unknown
    assert isinstance(answer_for_exception(error), expected)


@pytest.mark.requirement("AUTO-05")
def test_every_error_name_of_resend_has_its_place() -> None:
    named = {name for by_type in ERRORS.values() for name in by_type} | set(DOCUMENTED)
    assert named <= set(REFUSALS) | MAY_HAVE_BEEN_ACCEPTED | {KEY_CONFLICT}


@pytest.mark.requirement("AUTO-05")
@pytest.mark.parametrize(
    ("status", "name", "expected"),
    [
        (422, "validation_error", RefusalKind.MAIL),
        (400, "validation_error", RefusalKind.MAIL),
        (403, "validation_error", RefusalKind.SHOP),
        (401, "restricted_api_key", RefusalKind.SHOP),
        (403, "invalid_api_key", RefusalKind.SHOP),
        (404, "not_found", RefusalKind.SHOP),
        (400, "invalid_idempotency_key", RefusalKind.SHOP),
        (429, "rate_limit_exceeded", RefusalKind.RATE),
        (429, "daily_quota_exceeded", RefusalKind.DAILY_QUOTA),
        (429, "something_new", RefusalKind.RATE),
        (413, "something_new", RefusalKind.MAIL),
        (422, "something_new", RefusalKind.MAIL),
        (418, "something_new", RefusalKind.SHOP),
    ],
)
def test_what_a_definite_refusal_calls_for(status: int, name: str, expected: RefusalKind) -> None:
    answer = answer_for_error(status=status, name=name, message="m", headers={"retry-after": "7"})
    assert isinstance(answer, Refused)
    assert (answer.kind, answer.status) == (expected, status)
    assert answer.retry_after == timedelta(seconds=7)
    assert answer.message == f"{status} {name}: m"


@pytest.mark.requirement("AUTO-05")
@pytest.mark.parametrize(
    ("status", "name"),
    [
        (500, "application_error"),
        (503, "service_unavailable"),
        (500, "validation_error"),
        (409, "concurrent_idempotent_requests"),
        (409, "resource_locked"),
        (502, None),
        (404, None),
        (429, None),
    ],
)
def test_what_may_have_been_accepted(status: int, name: str | None) -> None:
    answer = answer_for_error(status=status, name=name, message="m", headers={})
    assert isinstance(answer, Unknown)
    assert (answer.status, answer.retry_after) == (status, None)


@pytest.mark.requirement("AUTO-05")
def test_a_key_used_with_other_bytes_is_a_conflict() -> None:
    answer = answer_for_error(status=409, name=KEY_CONFLICT, message="m", headers={})
    assert isinstance(answer, KeyConflict)
