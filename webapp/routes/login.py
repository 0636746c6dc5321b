"""/login and /logout."""

import math
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from core import accounts
from core.accounts import OpenedSession
from core.database import session_scope
from webapp import words
from webapp.contexts import LoginPage
from webapp.rendering import render
from webapp.services import Services
from webapp.sessions import (
    CheckedViewer,
    FormText,
    ServicesOf,
    clear_session_cookie,
    is_login_form,
    login_form_cookie,
    login_form_token,
    session_cookie,
    set_login_form_cookie,
    set_session_cookie,
)

router = APIRouter()

WRONG = "This address and password do not belong together."
EXPIRED = "This page was open too long. Please try again."


@router.get("/login")
def show_login(request: Request, services: ServicesOf) -> Response:
    return _login_page(request, services)


@router.post("/login")
def log_in(
    request: Request,
    services: ServicesOf,
    email: Annotated[FormText, Form(max_length=320)] = "",
    password: Annotated[FormText, Form(max_length=1024)] = "",
    csrf_token: FormText = "",
) -> Response:
    """303 to the overview; 401 for wrong credentials; 429 with Retry-After for too many."""
    if not is_login_form(request, services, csrf_token):
        return _login_page(request, services, email=email, problem=EXPIRED, status=403)
    network = request.client.host if request.client else "unknown"
    with session_scope(services.session_factory) as session:
        wait = accounts.count_login_attempt(
            session, email=email, network=network, clock=services.clock
        )
    if wait:
        problem = f"Too many attempts. Try again in {words.duration(wait)}."
        return _login_page(
            request,
            services,
            email=email,
            problem=problem,
            status=429,
            headers={"retry-after": str(math.ceil(wait.total_seconds()))},
        )
    opened = _open(services, email=email, password=password, network=network)
    if opened is None:
        return _login_page(request, services, email=email, problem=WRONG, status=401)
    response = RedirectResponse("/", status_code=303)
    set_session_cookie(response, services, opened)
    return response


@router.post("/logout")
def log_out(request: Request, services: ServicesOf, _viewer: CheckedViewer) -> Response:
    with session_scope(services.session_factory) as session:
        accounts.close_session(session, request.cookies[session_cookie(services)])
    response = RedirectResponse("/login", status_code=303)
    clear_session_cookie(response, services)
    return response


def _open(services: Services, *, email: str, password: str, network: str) -> OpenedSession | None:
    with session_scope(services.session_factory) as session:
        user = accounts.authenticate(session, email=email, password=password)
        if user is None:
            return None
        accounts.forget_login_attempts(session, email=email, network=network, clock=services.clock)
        return accounts.open_session(session, user.user_id, clock=services.clock)


def _login_page(
    request: Request,
    services: Services,
    *,
    email: str = "",
    problem: str | None = None,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Response:
    cookie = login_form_cookie(request)
    page = LoginPage(email=email, problem=problem, csrf_token=login_form_token(services, cookie))
    response = render(request, page, status=status, headers=headers)
    set_login_form_cookie(response, services, cookie)
    return response
