"""Letters for the messages of one shop: what they are made from is read for all of them at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from activation.automation.definition import SendEmail, read_definition
from activation.rendering.compile import TemplateError
from activation.rendering.context import (
    CustomerFacts,
    OrderFacts,
    ShopFacts,
    load_customers,
    load_orders,
    mail_context,
    shop_facts,
)
from activation.rendering.templates import RenderedMail, load_template
from activation.rendering.text import mailbox
from activation.unsubscribe import one_click_headers, unsubscribe_url
from core.models import Automation, AutomationVersion, Shop
from core.settings import Settings


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
    """What all letters of one batch are made from, read in a handful of queries."""

    shop: Shop
    facts: ShopFacts
    customers: Mapping[int, CustomerFacts]
    orders: Mapping[int, OrderFacts]
    steps: Mapping[tuple[int, int, str], tuple[str, SendEmail]]
    settings: Settings


def read_material(
    session: Session, shop_id: int, messages: Sequence[Owed], *, settings: Settings
) -> Material:
    shop = session.get_one(Shop, shop_id)
    customer_ids = [each.customer_id for each in messages if each.customer_id is not None]
    order_ids = [each.order_id for each in messages if each.order_id is not None]
    return Material(
        shop=shop,
        facts=shop_facts(shop),
        customers=load_customers(session, shop_id, customer_ids),
        orders=load_orders(session, shop_id, order_ids),
        steps=_load_steps(session, shop_id, messages),
        settings=settings,
    )


def compose(material: Material, message: Owed, address: str) -> tuple[RenderedMail, dict[str, Any]]:
    """One mail, and the request that the provider takes for it.

    Raises MailError or TemplateError for this one message; others are not affected. The tags lead
    the provider's events back to the message.
    """
    shop = material.shop
    key, step = _step(material, message)
    link = unsubscribe_url(material.settings, shop_id=shop.shop_id, message_id=message.message_id)
    context = mail_context(
        material.facts,
        material.customers.get(message.customer_id or 0, CustomerFacts()),
        material.orders.get(message.order_id or 0, OrderFacts()),
        unsubscribe_url=link,
    )
    mail = load_template(step.template).render(context, subject=step.subject)
    request = {
        "from": mailbox(shop.sender_name or shop.name, (shop.sender_address or "").strip()),
        "to": [address],
        "subject": mail.subject,
        "html": mail.html,
        "text": mail.text,
        "headers": one_click_headers(link),
        "tags": [
            {"name": "shop_id", "value": str(shop.shop_id)},
            {"name": "send_id", "value": str(message.message_id)},
            {"name": "automation", "value": key},
        ],
    }
    return mail, request | ({"reply_to": shop.reply_to} if shop.reply_to else {})


def _load_steps(
    session: Session, shop_id: int, messages: Sequence[Owed]
) -> dict[tuple[int, int, str], tuple[str, SendEmail]]:
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
        for step in read_definition(row.definition).steps
        if isinstance(step, SendEmail)
    }


def _step(material: Material, message: Owed) -> tuple[str, SendEmail]:
    try:
        return material.steps[message.automation_id, message.version, message.step_key]
    except KeyError:
        raise TemplateError(
            f"The automation's version {message.version} has no mail {message.step_key!r}."
        ) from None
