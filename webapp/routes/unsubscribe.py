"""/unsubscribe/{token}, for mail clients (RFC 8058) and for people.

No login, no cookie, no CSRF token: the signed token in the address is all there is. GET changes
nothing, because scanners follow every link of a mail. Every POST commits before it answers.
"""

from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from activation import unsubscribe
from activation.unsubscribe import Recipient, Subscriber
from core.database import session_scope
from core.models import Shop
from core.shops import business_clock
from webapp import words
from webapp.contexts import UnsubscribePage
from webapp.errors import BrokenLinkError
from webapp.rendering import render
from webapp.services import Services
from webapp.sessions import ServicesOf

router = APIRouter(prefix="/unsubscribe/{token}")

PAGE_FORM: Final = b"from_page=1"

TITLES: Final = {
    "ask": "Unsubscribe",
    "done": "You are unsubscribed",
    "undone": "You stay subscribed",
}


async def is_from_page(request: Request) -> bool:
    """Whether our own page posts. Anything else is a mail client, in whatever encoding."""
    return await request.body() == PAGE_FORM


def read_recipient(token: str, services: ServicesOf) -> Recipient:
    recipient = unsubscribe.read_token(services.settings, token)
    if recipient is None:
        raise BrokenLinkError
    return recipient


RecipientOf = Annotated[Recipient, Depends(read_recipient)]


@router.api_route("", methods=["GET", "HEAD"])
def ask(request: Request, services: ServicesOf, token: str, recipient: RecipientOf) -> Response:
    with session_scope(services.session_factory) as session:
        subscriber = _subscriber(session, recipient)
    state = "done" if subscriber.is_unsubscribed else "ask"
    return _page(request, token, subscriber, state)


@router.post("")
def confirm(
    request: Request,
    services: ServicesOf,
    token: str,
    recipient: RecipientOf,
    from_page: Annotated[bool, Depends(is_from_page)],
) -> Response:
    """200 and nothing else for a mail client; a page with Undo for a person."""
    with session_scope(services.session_factory) as session:
        subscriber = _subscriber(session, recipient)
        unsubscribe.unsubscribe(session, recipient, now=_now(session, services, recipient))
    if not from_page:
        return Response(status_code=200)
    return _page(request, token, subscriber, "done")


@router.post("/undo")
def undo(request: Request, services: ServicesOf, token: str, recipient: RecipientOf) -> Response:
    with session_scope(services.session_factory) as session:
        subscriber = _subscriber(session, recipient)
        unsubscribe.undo(session, recipient, now=_now(session, services, recipient))
    return _page(request, token, subscriber, "undone")


def _subscriber(session: Session, recipient: Recipient) -> Subscriber:
    subscriber = unsubscribe.find_subscriber(session, recipient)
    if subscriber is None:
        raise BrokenLinkError
    return subscriber


def _now(session: Session, services: Services, recipient: Recipient) -> datetime:
    shop = session.get_one(Shop, recipient.shop_id)
    return business_clock(shop, services.clock).now()


def _page(request: Request, token: str, subscriber: Subscriber, state: str) -> Response:
    page = UnsubscribePage(
        title=TITLES[state],
        state=state,
        shop_name=subscriber.shop_name,
        address=words.masked(subscriber.email),
        action=f"/unsubscribe/{token}",
        undo_action=f"/unsubscribe/{token}/undo",
    )
    return render(request, page)
