"""/confirm/{token}: the link in the mail that asks whether a subscription is wanted.

GET shows a button and changes nothing, because scanners follow every link of a mail. The click
commits before it is answered.
"""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from activation.consent import confirming
from activation.consent.confirming import Asked
from activation.tokens import Recipient
from core.database import session_scope
from core.models.enums import ConsentSource
from core.shops import business_clock
from webapp import words
from webapp.contexts import ConfirmPage
from webapp.customer_pages import act_of, confirming_words, look_of, render_branded, shop_of
from webapp.errors import BrokenLinkError
from webapp.sessions import ServicesOf

router = APIRouter(prefix="/confirm/{token}")

TITLES: Final = {
    "ask": "Confirm your subscription",
    "done": "You are subscribed",
    "closed": "Nothing to confirm",
}


def read_recipient(token: str, services: ServicesOf) -> Recipient:
    recipient = confirming.read_token(services.settings, token)
    if recipient is None:
        raise BrokenLinkError
    return recipient


RecipientOf = Annotated[Recipient, Depends(read_recipient)]


@router.api_route("", methods=["GET", "HEAD"])
def ask(request: Request, services: ServicesOf, token: str, recipient: RecipientOf) -> Response:
    with session_scope(services.session_factory) as session:
        return _page(request, session, recipient, token)


@router.post("")
def confirm(request: Request, services: ServicesOf, token: str, recipient: RecipientOf) -> Response:
    with session_scope(services.session_factory) as session:
        shop = shop_of(session, recipient.shop_id)
        agreement = confirming_words(look_of(shop))
        act = act_of(
            request, ConsentSource.DOUBLE_OPT_IN, f"{agreement.agreement} [{agreement.confirm}]"
        )
        now = business_clock(shop, services.clock).now()
        confirming.confirm(session, recipient, now=now, act=act)
    with session_scope(services.session_factory) as session:
        return _page(request, session, recipient, token)


def _asked(session: Session, recipient: Recipient) -> Asked:
    asked = confirming.find_asked(session, recipient)
    if asked is None:
        raise BrokenLinkError
    return asked


def _page(request: Request, session: Session, recipient: Recipient, token: str) -> Response:
    asked = _asked(session, recipient)
    brand = look_of(shop_of(session, recipient.shop_id))
    page = ConfirmPage(
        title=TITLES[asked.state],
        state=asked.state,
        brand=brand,
        address=words.masked(asked.email or "@"),
        wordings=confirming_words(brand),
        action=f"/confirm/{token}",
    )
    return render_branded(request, page, brand)
