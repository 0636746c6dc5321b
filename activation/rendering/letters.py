"""Letters for the messages of one shop: what they are made from is read for all of them at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol, TypeAlias

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from activation.automation.actions import walk
from activation.automation.definition import SendEmail, read_definition
from activation.clicks import tracked, trap
from activation.consent.confirming import confirm_url
from activation.provider import MailRequest
from activation.rendering.brand import Brand, brand_of
from activation.rendering.checks import MailError
from activation.rendering.compile import TemplateError
from activation.rendering.context import CustomerFacts, MailFacts, PurchaseFacts, untracked
from activation.rendering.facts import load_carts, load_customers, load_orders
from activation.rendering.templates import RenderedMail, Shows, load_template, render_mail
from activation.unsubscribe import one_click_headers, unsubscribe_url
from core.models import Automation, AutomationVersion, Shop
from core.settings import Settings

NOBODY: Final = CustomerFacts()
NOTHING: Final = PurchaseFacts()
StepKey: TypeAlias = tuple[int, int, str]
"""Automation, version and step key."""


class Owed(Protocol):
    """A message as far as its letter needs it."""

    @property
    def message_id(self) -> int: ...
    @property
    def automation_id(self) -> int: ...
    @property
    def version(self) -> int: ...
    @property
    def step_key(self) -> str: ...
    @property
    def customer_id(self) -> int | None: ...
    @property
    def order_id(self) -> int | None: ...


@dataclass(frozen=True)
class Material:
    """What all letters of one batch are made from, read in a handful of queries.

    Orders are by order id, carts and codes of customers' own by message id.
    """

    shop_id: int
    brand: Brand
    tracks_clicks: bool
    customers: Mapping[int, CustomerFacts]
    orders: Mapping[int, PurchaseFacts]
    carts: Mapping[int, PurchaseFacts]
    steps: Mapping[StepKey, tuple[str, SendEmail]]
    settings: Settings
    codes: Mapping[int, str] = field(default_factory=dict)


def read_material(
    session: Session, shop_id: int, messages: Sequence[Owed], *, settings: Settings
) -> Material:
    shop = session.get_one(Shop, shop_id)
    steps = _load_steps(session, shop_id, messages)
    customer_ids = {each.customer_id for each in messages if each.customer_id is not None}
    order_ids = {each.order_id for each in messages if each.order_id is not None}
    of_carts = [each.message_id for each in messages if _shows_cart(steps.get(_key(each)))]
    return Material(
        shop_id=shop_id,
        brand=brand_of(shop),
        tracks_clicks=shop.tracks_clicks,
        customers=load_customers(session, shop_id, sorted(customer_ids)),
        orders=load_orders(session, shop_id, sorted(order_ids)),
        carts=load_carts(session, shop_id, of_carts),
        steps=steps,
        settings=settings,
    )


def compose(material: Material, message: Owed, address: str) -> tuple[RenderedMail, MailRequest]:
    """One mail, and the request that the provider takes for it.

    Raises MailError or TemplateError for this one message; others are not affected. The same
    message and material always give the same bytes.
    """
    key, step = _step(material, message)
    template = load_template(step.template)
    facts = _facts(material, message, template.shows)
    mail = render_mail(template, step.words, material.brand, facts)
    return mail, request_of(
        mail,
        material.brand,
        to=address,
        unsubscribe_url=facts.unsubscribe_url,
        tags={
            "shop_id": str(material.shop_id),
            "send_id": str(message.message_id),
            "automation": key,
        },
    )


def request_of(
    mail: RenderedMail, brand: Brand, *, to: str, unsubscribe_url: str, tags: Mapping[str, str]
) -> MailRequest:
    """The tags lead the provider's events back to the message."""
    if not brand.sender:
        raise MailError("The shop has no address to send from: set one in its mail settings.")
    request = MailRequest(
        {
            "from": brand.sender,
            "to": [to],
            "subject": mail.subject,
            "html": mail.html,
            "text": mail.text,
            "headers": one_click_headers(
                unsubscribe_url, shop_domain=brand.url.removeprefix("https://")
            ),
            "tags": [{"name": name, "value": value} for name, value in tags.items()],
        }
    )
    if brand.reply_to:
        request["reply_to"] = brand.reply_to
    return request


def _facts(material: Material, message: Owed, shows: Shows) -> MailFacts:
    settings, shop_id, message_id = material.settings, material.shop_id, message.message_id
    link = unsubscribe_url(settings, shop_id=shop_id, message_id=message_id)
    counts = material.tracks_clicks
    return MailFacts(
        unsubscribe_url=link,
        preferences_url=f"{link}#preferences",
        customer=material.customers.get(message.customer_id or 0, NOBODY),
        purchase=(
            material.carts.get(message_id, NOTHING)
            if shows is Shows.CART
            else material.orders.get(message.order_id or 0, NOTHING)
        ),
        discount_code=material.codes.get(message_id, ""),
        confirm_url=(
            confirm_url(settings, shop_id=shop_id, message_id=message_id)
            if shows is Shows.CONFIRMATION
            else ""
        ),
        track=partial(tracked, settings, shop_id, message_id) if counts else untracked,
        trap_url=trap(settings, shop_id, message_id) if counts else "",
    )


def _shows_cart(found: tuple[str, SendEmail] | None) -> bool:
    try:
        return found is not None and load_template(found[1].template).shows is Shows.CART
    except TemplateError:  # said again, to the message itself, when its letter is composed
        return False


def _load_steps(
    session: Session, shop_id: int, messages: Sequence[Owed]
) -> dict[StepKey, tuple[str, SendEmail]]:
    """The automation's key and the step, by automation, version and step key."""
    versions = {(each.automation_id, each.version) for each in messages}
    rows = session.execute(
        select(
            Automation.key,
            AutomationVersion.automation_id,
            AutomationVersion.version,
            AutomationVersion.definition,
        )
        .join(
            Automation,
            (Automation.shop_id == AutomationVersion.shop_id)
            & (Automation.automation_id == AutomationVersion.automation_id),
        )
        .where(
            AutomationVersion.shop_id == shop_id,
            tuple_(AutomationVersion.automation_id, AutomationVersion.version).in_(versions),
        )
    )
    return {
        (row.automation_id, row.version, step.step_key): (row.key, step)
        for row in rows
        for step in walk(read_definition(row.definition).steps)
        if isinstance(step, SendEmail)
    }


def _key(message: Owed) -> StepKey:
    return message.automation_id, message.version, message.step_key


def _step(material: Material, message: Owed) -> tuple[str, SendEmail]:
    try:
        return material.steps[_key(message)]
    except KeyError:
        raise TemplateError(
            f"The automation's version {message.version} has no mail {message.step_key!r}."
        ) from None
