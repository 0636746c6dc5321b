"""Due messages of one shop become one batch of exact bytes, in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from activation.automation.definition import SendEmail, read_definition
from activation.eligibility import Decision, Defer, Send, Skip
from activation.outbox.batches import BATCH_SIZE, LEASE, Held, Letter, store_batch
from activation.outbox.members import Failed, Member, claim_queued, judge, settle
from activation.rendering.checks import MailError
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


@dataclass(frozen=True)
class Frozen:
    """How many messages were looked at, and what became of those that are not in the batch."""

    claimed: int
    batch: Held | None = None
    skipped: int = 0
    deferred: int = 0
    failed: int = 0


@dataclass(frozen=True)
class _Source:
    """What all letters of one freeze are made from, read in a handful of queries."""

    shop: Shop
    facts: ShopFacts
    customers: Mapping[int, CustomerFacts]
    orders: Mapping[int, OrderFacts]
    steps: Mapping[tuple[int, int, str], tuple[str, SendEmail]]
    settings: Settings


def freeze_due(
    session: Session,
    shop_id: int,
    *,
    now: datetime,
    settings: Settings,
    limit: int = BATCH_SIZE,
    lease: timedelta = LEASE,
) -> Frozen:
    """Freeze up to `limit` due messages of the shop; the caller's commit makes the batch real."""
    members = claim_queued(session, shop_id, now=now, limit=limit)
    if not members:
        return Frozen(claimed=0)
    return freeze_members(session, shop_id, members, now=now, settings=settings, lease=lease)


def freeze_members(
    session: Session,
    shop_id: int,
    members: Sequence[Member],
    *,
    now: datetime,
    settings: Settings,
    lease: timedelta = LEASE,
) -> Frozen:
    """Freeze queued messages that this transaction has locked."""
    outcomes: dict[int, Decision | Failed] = {
        **judge(session, shop_id, members, secret_key=settings.secret_key, now=now)
    }
    source = _read_source(session, shop_id, members, settings=settings)
    letters: list[Letter] = []
    mails: list[dict[str, Any]] = []
    for member in members:
        decision = outcomes[member.message_id]
        if not isinstance(decision, Send):
            continue
        try:
            mail = _render(source, member)
        except (MailError, TemplateError) as error:
            outcomes[member.message_id] = Failed(str(error))
            continue
        letters.append(Letter(member, decision.email, mail.subject))
        mails.append(_request(source, member, decision.email, mail))
    rest = [m for m in members if not isinstance(outcomes[m.message_id], Send)]
    settle(session, shop_id, rest, outcomes, now=now)
    batch = None
    if letters:
        batch = store_batch(session, shop_id, letters, orjson.dumps(mails), now=now, lease=lease)
    return Frozen(
        claimed=len(members),
        batch=batch,
        skipped=sum(isinstance(each, Skip) for each in outcomes.values()),
        deferred=sum(isinstance(each, Defer) for each in outcomes.values()),
        failed=sum(isinstance(each, Failed) for each in outcomes.values()),
    )


def _read_source(
    session: Session, shop_id: int, members: Sequence[Member], *, settings: Settings
) -> _Source:
    shop = session.get_one(Shop, shop_id)
    customer_ids = [each.customer_id for each in members if each.customer_id is not None]
    order_ids = [each.order_id for each in members if each.order_id is not None]
    return _Source(
        shop=shop,
        facts=shop_facts(shop),
        customers=load_customers(session, shop_id, customer_ids),
        orders=load_orders(session, shop_id, order_ids),
        steps=_load_steps(session, shop_id, members),
        settings=settings,
    )


def _load_steps(
    session: Session, shop_id: int, members: Sequence[Member]
) -> dict[tuple[int, int, str], tuple[str, SendEmail]]:
    """The automation's key and the step, by automation, version and step key."""
    versions = {(member.automation_id, member.version) for member in members}
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


def _render(source: _Source, member: Member) -> RenderedMail:
    _, step = _step(source, member)
    context = mail_context(
        source.facts,
        source.customers.get(member.customer_id or 0, CustomerFacts()),
        source.orders.get(member.order_id or 0, OrderFacts()),
        unsubscribe_url=_unsubscribe_url(source, member),
    )
    return load_template(step.template).render(context, subject=step.subject)


def _step(source: _Source, member: Member) -> tuple[str, SendEmail]:
    try:
        return source.steps[member.automation_id, member.version, member.step_key]
    except KeyError:
        raise TemplateError(
            f"The automation's version {member.version} has no mail {member.step_key!r}."
        ) from None


def _request(source: _Source, member: Member, address: str, mail: RenderedMail) -> dict[str, Any]:
    """One mail as the provider takes it. The tags lead its events back to the message."""
    shop = source.shop
    key, _ = _step(source, member)
    request = {
        "from": mailbox(shop.sender_name or shop.name, (shop.sender_address or "").strip()),
        "to": [address],
        "subject": mail.subject,
        "html": mail.html,
        "text": mail.text,
        "headers": one_click_headers(_unsubscribe_url(source, member)),
        "tags": [
            {"name": "shop_id", "value": str(shop.shop_id)},
            {"name": "send_id", "value": str(member.message_id)},
            {"name": "automation", "value": key},
        ],
    }
    return request | ({"reply_to": shop.reply_to} if shop.reply_to else {})


def _unsubscribe_url(source: _Source, member: Member) -> str:
    return unsubscribe_url(
        source.settings, shop_id=source.shop.shop_id, message_id=member.message_id
    )
