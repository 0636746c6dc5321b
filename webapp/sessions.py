"""Who is asking: the session cookie, and the token that every form must bring back."""

import hmac
import secrets
from hashlib import sha256
from typing import Annotated, Final

from fastapi import Depends, Form, HTTPException, Request
from pydantic import AfterValidator
from starlette.responses import Response

from core import accounts
from core.accounts import OpenedSession, Viewer
from core.database import session_scope
from core.secrets import derived_key
from webapp.errors import LoginRequiredError
from webapp.services import Services, services_of

LOGIN_FORM_COOKIE: Final = "ecomcrm_login"
LOGIN_FORM_SECONDS: Final = 3600

ServicesOf = Annotated[Services, Depends(services_of)]


def _stored_text(value: str) -> str:
    # PostgreSQL holds no NUL; half a surrogate pair, which a form in an odd charset can bring, can
    # be written neither into a page nor into a hash.
    if "\x00" in value or value != value.encode(errors="replace").decode():
        raise ValueError("not text")
    return value


# A field of a form: text that can be stored and shown, or 422.
FormText = Annotated[str, Form(), AfterValidator(_stored_text)]


def session_cookie(services: Services) -> str:
    """`__Host-` makes browsers refuse the cookie from another subdomain or over plain HTTP."""
    return "__Host-ecomcrm" if services.is_https else "ecomcrm_session"


def current_viewer(request: Request, services: ServicesOf) -> Viewer:
    """FastAPI dependency. Raises LoginRequiredError. Polls of an open tab are no activity."""
    token = request.cookies.get(session_cookie(services))
    if not token:
        raise LoginRequiredError
    with session_scope(services.session_factory) as session:
        viewer = accounts.find_session(
            session,
            token,
            clock=services.clock,
            is_activity="hx-request" not in request.headers,
        )
    if viewer is None:
        raise LoginRequiredError
    return viewer


CurrentViewer = Annotated[Viewer, Depends(current_viewer)]


def checked_viewer(viewer: CurrentViewer, csrf_token: FormText = "") -> Viewer:
    """FastAPI dependency of everything that changes something: a form of our own, or 403."""
    if not hmac.compare_digest(csrf_token.encode(), viewer.csrf_token.encode()):
        raise HTTPException(403)
    return viewer


CheckedViewer = Annotated[Viewer, Depends(checked_viewer)]


def set_session_cookie(response: Response, services: Services, opened: OpenedSession) -> None:
    response.set_cookie(
        session_cookie(services),
        opened.token,
        expires=opened.expires_at,
        httponly=True,
        samesite="lax",
        secure=services.is_https,
        path="/",
    )


def clear_session_cookie(response: Response, services: Services) -> None:
    response.delete_cookie(
        session_cookie(services),
        httponly=True,
        samesite="lax",
        secure=services.is_https,
        path="/",
    )


# Before anyone is logged in there is no session to hold a token: the form carries a keyed hash of
# a cookie instead, so that no other site can log a visitor in as somebody else.


def login_form_cookie(request: Request) -> str:
    return request.cookies.get(LOGIN_FORM_COOKIE) or secrets.token_urlsafe(24)


def login_form_token(services: Services, cookie: str) -> str:
    key = derived_key(services.settings.secret_key, "login-form")
    return hmac.new(key, cookie.encode(), sha256).hexdigest()


def is_login_form(request: Request, services: Services, token: str) -> bool:
    cookie = request.cookies.get(LOGIN_FORM_COOKIE, "")
    expected = login_form_token(services, cookie)
    return bool(cookie) and hmac.compare_digest(expected.encode(), token.encode())


def set_login_form_cookie(response: Response, services: Services, cookie: str) -> None:
    response.set_cookie(
        LOGIN_FORM_COOKIE,
        cookie,
        max_age=LOGIN_FORM_SECONDS,
        httponly=True,
        samesite="lax",
        secure=services.is_https,
        path="/login",
    )
