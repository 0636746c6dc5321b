"""What goes wrong, in words for people and JSON for machines.

HTTPException (403, 404, 405, 413, 429 …) is raised where it is known. 422 is a payload of the
wrong shape and nothing else; TransientError and a database that does not answer are 503, try
again; PermanentError is 409, something must be changed first; 500 is a bug of ours.
"""

import logging
import math
from dataclasses import dataclass
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, RedirectResponse, Response

from core.errors import PermanentError, TransientError
from webapp.contexts import ErrorPage
from webapp.rendering import render

_log = logging.getLogger(__name__)


class LoginRequiredError(Exception):
    """Nobody is logged in."""


class BrokenLinkError(HTTPException):
    """404 for a shop's customer, who followed a link of ours: other words, no overview."""

    def __init__(self) -> None:
        super().__init__(404)


@dataclass(frozen=True)
class _Words:
    title: str
    what: str
    next: str


_WORDS: Final = {
    403: _Words(
        "Not allowed",
        "This form was open too long or came from another page.",
        "Go back, reload the page and try again. Nothing was changed.",
    ),
    404: _Words(
        "Not found",
        "There is nothing at this address, or you may not see it.",
        "Check the address, or go to the overview.",
    ),
    405: _Words(
        "Not possible here", "This address does not take that kind of request.", "Go back."
    ),
    413: _Words("Too large", "What was sent is larger than accepted here.", "Nothing was stored."),
    422: _Words(
        "Not understood", "Something in the form is missing or malformed.", "Go back and check it."
    ),
    429: _Words("Too many attempts", "There were too many attempts.", "Wait a moment."),
    500: _Words(
        "Something broke on our side",
        "This is a bug. Data and mail are safe: what was not finished was undone.",
        "Try again; if it stays, look for the number below in the log of the web process.",
    ),
    503: _Words(
        "Not available right now",
        "The database does not answer. Data and mail are safe; work goes on when it is back.",
        "Reload in a few seconds. If it stays, see `ecomcrm status`.",
    ),
}
_BROKEN_LINK: Final = _Words(
    "This link does not work",
    "It is not complete, or the mail it came with is gone. Nothing was changed.",
    "Copy the whole link from the mail, or answer the mail and ask to be unsubscribed.",
)
_OTHER: Final = _Words("Not possible", "This request could not be answered.", "Go back.")


def install_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(LoginRequiredError, _login_required)
    app.add_exception_handler(TransientError, _unavailable)
    app.add_exception_handler(OperationalError, _unavailable)
    app.add_exception_handler(PoolTimeoutError, _unavailable)
    app.add_exception_handler(PermanentError, _refused)
    app.add_exception_handler(ClientDisconnect, _gone)


def crash_response(request: Request) -> Response:
    """The answer to an error that nothing mapped."""
    return _answer(request, 500)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - narrows what Starlette types widely
    words = _BROKEN_LINK if isinstance(error, BrokenLinkError) else None
    return _answer(request, error.status_code, words=words, headers=dict(error.headers or {}))


def _malformed(request: Request, _error: Exception) -> Response:
    # The details would repeat what was sent, passwords included.
    return _answer(request, 422)


def _unavailable(request: Request, error: Exception) -> Response:
    _log.warning("unavailable: %s", type(error).__name__)
    wait = getattr(error, "retry_after", None)
    seconds = math.ceil(wait.total_seconds()) if wait else 5
    return _answer(request, 503, headers={"retry-after": str(seconds)})


def _refused(request: Request, error: Exception) -> Response:
    _log.warning("refused: %s", error)
    return _answer(request, 409, what=str(error))


def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it; the log says 400 rather than 500


def _login_required(request: Request, _error: Exception) -> Response:
    if "hx-request" in request.headers:
        return Response(status_code=401, headers={"hx-redirect": "/login"})
    if not _is_for_people(request):
        return _answer(request, 401)
    return RedirectResponse("/login", status_code=303)


def _answer(
    request: Request,
    status: int,
    *,
    words: _Words | None = None,
    what: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    said = words or _WORDS.get(status, _OTHER)
    if not _is_for_people(request):
        return JSONResponse({"error": said.title, "detail": what or said.what}, status, headers)
    page = ErrorPage(
        title=said.title,
        status=status,
        what=what or said.what,
        next=said.next,
        has_overview=words is not _BROKEN_LINK,
        request_id=request.scope["state"]["request_id"],
    )
    return render(request, page, status=status, headers=headers)


def _is_for_people(request: Request) -> bool:
    """Browsers name text/html; vendors' webhooks, monitors and scripts do not."""
    return "text/html" in request.headers.get("accept", "")
