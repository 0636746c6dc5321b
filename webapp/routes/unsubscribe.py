"""/unsubscribe/{token}, for mail clients (RFC 8058) and for people.

No login, no cookie, no CSRF token: the signed token in the address is all there is. GET changes
nothing, because scanners follow every link of a mail. Every POST commits before it answers.
Leaving is never refused; whatever else a page offers is, once a link is used as by a machine.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Form, HTTPException, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from activation import unsubscribe
from activation.consent import ledger, reasons
from activation.consent.preferences import Flow, choose_flows, read_flows
from activation.tokens import Recipient
from activation.unsubscribe import ONE_CLICK, Subscriber
from core.database import session_scope
from core.models.enums import ConsentSource, LeavingReason
from core.shops import business_clock
from webapp import words
from webapp.contexts import Choice, UnsubscribePage
from webapp.customer_pages import (
    CHOOSE,
    KINDS,
    LEAVE,
    LEAVING,
    UNDO,
    act_of,
    look_of,
    reason_choices,
    render_branded,
    shop_of,
)
from webapp.errors import BrokenLinkError
from webapp.services import Services
from webapp.sessions import FormText, ServicesOf

router = APIRouter(prefix="/unsubscribe/{token}")

PAGE_FIELD: Final = ("from_page", "1")
MAX_FLOWS: Final = 200

TITLES: Final = {
    "ask": "Unsubscribe",
    "done": "You are unsubscribed",
    "undone": "You stay subscribed",
}
TEST_NOTE: Final = "This link came with a test mail, so it changes nothing."
SAVED_NOTE: Final = "Saved."
THANKS_NOTE: Final = "Thank you, that helps."
ENOUGH: Final = HTTPException(429, headers={"retry-after": "3600"})


async def is_from_page(request: Request) -> bool:
    """Whether our own page posts. Anything else is a mail client, in whatever encoding."""
    fields = parse_qsl((await request.body()).decode(errors="replace"))
    return fields == [PAGE_FIELD]


def read_recipient(token: str, services: ServicesOf) -> Recipient:
    recipient = unsubscribe.read_token(services.settings, token)
    if recipient is None:
        raise BrokenLinkError
    return recipient


RecipientOf = Annotated[Recipient, Depends(read_recipient)]


@dataclass(frozen=True)
class Said:
    """Why somebody left."""

    reason: LeavingReason
    words: str


def read_reason(
    reason: Annotated[LeavingReason, Form()],
    own_words: Annotated[FormText, Form(alias="words", max_length=ledger.MAX_REASON)] = "",
) -> Said:
    return Said(reason, own_words)


@router.api_route("", methods=["GET", "HEAD"])
def ask(request: Request, services: ServicesOf, token: str, recipient: RecipientOf) -> Response:
    with session_scope(services.session_factory) as session:
        subscriber = _subscriber(session, recipient)
        state = "done" if subscriber.is_unsubscribed else "ask"
        return _page(request, session, recipient, token=token, state=state)


@router.post("")
def confirm(
    request: Request,
    services: ServicesOf,
    token: str,
    recipient: RecipientOf,
    from_page: Annotated[bool, Depends(is_from_page)],
) -> Response:
    """200 and nothing else for a mail client; a page with Undo for a person."""
    source = ConsentSource.PAGE if from_page else ConsentSource.ONE_CLICK
    act = act_of(request, source, LEAVE if from_page else ONE_CLICK.wording)
    with session_scope(services.session_factory) as session:
        _subscriber(session, recipient)
        now = _now(session, services, recipient)
        unsubscribe.unsubscribe(session, recipient, now=now, act=act)
    if not from_page:
        return Response(status_code=200)
    with session_scope(services.session_factory) as session:
        return _page(request, session, recipient, token=token, state="done")


@router.post("/undo")
def undo(request: Request, services: ServicesOf, token: str, recipient: RecipientOf) -> Response:
    with session_scope(services.session_factory) as session:
        _refuse_machines(session, recipient, _subscriber(session, recipient))
        now = _now(session, services, recipient)
        act = act_of(request, ConsentSource.UNDO, UNDO)
        unsubscribe.undo(session, recipient, now=now, act=act)
    with session_scope(services.session_factory) as session:
        subscriber = _subscriber(session, recipient)
        state = "done" if subscriber.is_unsubscribed else "undone"
        return _page(request, session, recipient, token=token, state=state)


@router.post("/choices")
def choose(
    request: Request,
    services: ServicesOf,
    token: str,
    recipient: RecipientOf,
    keep: Annotated[list[int] | None, Form(max_length=MAX_FLOWS)] = None,
) -> Response:
    """What is ticked goes on, what is not does not; nothing ticked is no unsubscribe."""
    with session_scope(services.session_factory) as session:
        subscriber = _subscriber(session, recipient)
        _refuse_machines(session, recipient, subscriber)
        if subscriber.address is not None:
            choose_flows(
                session,
                recipient.shop_id,
                subscriber.address,
                set(keep or ()),
                message_id=recipient.message_id,
                automation_id=subscriber.automation_id,
                now=_now(session, services, recipient),
                act=act_of(request, ConsentSource.PAGE, CHOOSE),
            )
    with session_scope(services.session_factory) as session:
        state = "done" if _subscriber(session, recipient).is_unsubscribed else "ask"
        return _page(request, session, recipient, token=token, state=state, note=SAVED_NOTE)


@router.post("/reason")
def say_why(
    request: Request,
    services: ServicesOf,
    token: str,
    recipient: RecipientOf,
    said: Annotated[Said, Depends(read_reason)],
) -> Response:
    """Kept beside the unsubscribe; whoever is subscribed has none to give."""
    with session_scope(services.session_factory) as session:
        subscriber = _subscriber(session, recipient)
        _refuse_machines(session, recipient, subscriber)
        if subscriber.address is not None:
            act = act_of(request, ConsentSource.PAGE, None, reason=said.reason, words=said.words)
            now = _now(session, services, recipient)
            reasons.keep_reason(session, recipient, subscriber.address, now=now, act=act)
    with session_scope(services.session_factory) as session:
        state = "done" if _subscriber(session, recipient).is_unsubscribed else "ask"
        return _page(request, session, recipient, token=token, state=state, note=THANKS_NOTE)


def _subscriber(session: Session, recipient: Recipient) -> Subscriber:
    subscriber = unsubscribe.find_subscriber(session, recipient)
    if subscriber is None:
        raise BrokenLinkError
    return subscriber


def _refuse_machines(session: Session, recipient: Recipient, subscriber: Subscriber) -> None:
    """429 once an address has been changed back and forth all day."""
    address = subscriber.address
    if address is None:
        return
    if ledger.acts_today(session, recipient.shop_id, address) >= ledger.ACTS_A_DAY:
        raise ENOUGH


def _now(session: Session, services: Services, recipient: Recipient) -> datetime:
    return business_clock(shop_of(session, recipient.shop_id), services.clock).now()


def _page(
    request: Request,
    session: Session,
    recipient: Recipient,
    *,
    token: str,
    state: str,
    note: str | None = None,
) -> Response:
    subscriber = _subscriber(session, recipient)
    brand = look_of(shop_of(session, recipient.shop_id))
    address = subscriber.address
    flows: tuple[Flow, ...] = ()
    if address is not None and state != "done":
        flows = read_flows(
            session, recipient.shop_id, address, automation_id=subscriber.automation_id
        )
    link = f"/unsubscribe/{token}"
    page = UnsubscribePage(
        title=TITLES[state],
        state=state,
        brand=brand,
        address=words.masked(subscriber.email) if subscriber.email else None,
        note=TEST_NOTE if subscriber.is_test else note,
        can_undo=subscriber.is_ours and address is not None,
        is_at_shop=address is not None and not subscriber.is_ours,
        wordings=LEAVING,
        action=link,
        undo_action=f"{link}/undo",
        reason_action=f"{link}/reason",
        choices_action=f"{link}/choices",
        reasons=reason_choices(),
        flows=tuple(map(_choice, flows)),
        max_words=ledger.MAX_REASON,
    )
    return render_branded(request, page, brand)


def _choice(flow: Flow) -> Choice:
    return Choice(
        value=str(flow.automation_id),
        text=KINDS.get(flow.key, flow.name),
        is_wanted=flow.is_wanted,
        is_of_mail=flow.is_of_mail,
    )
