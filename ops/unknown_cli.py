"""`ecomcrm sending unknown` and `again`: messages of which nobody knows whether they were sent."""

import time
from typing import Annotated, Any

import typer

from activation.outbox.again import send_again, unknown_messages
from activation.outbox.reconcile import ask_now, reconcile_due
from activation.outbox.worker import Outbox
from activation.provider.choice import provider_of
from core.clock import Clock, SystemClock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.models import Shop as ShopRow
from core.settings import Settings
from core.shops import business_clock
from ops import shops
from ops.commands import world_of
from ops.delivery_cli import Why, one_shop
from ops.progress import Progress
from ops.shopify_cli import AsJson, Shop, environ, print_json


def sending_unknown(*, shop: Shop = None, as_json: AsJson = False) -> None:
    """Ask the provider about messages whose sending is unknown, and show what stays so."""
    settings = world_of(environ()).settings
    with shops.database(settings) as factory:
        report = [
            {"shop": domain, **asked(factory, settings, shop_id)}
            for domain, shop_id in shops.connected_shops(factory, shop).items()
        ]
    if as_json:
        print_json({"shops": report})
        return
    for each in report:
        print(f"{each['shop']}  found sent: {each['found']}, unknown: {len(each['messages'])}")
        for message in each["messages"]:
            print(f"    {message['message_id']}  {message['first_attempt_at']}")
            print(f"        {message['failure']}")


def sending_again(
    message_ids: Annotated[
        list[int] | None, typer.Argument(help="Which ones; default: all that are unknown.")
    ] = None,
    *,
    reason: Why,
    shop: Shop = None,
) -> None:
    """Send unknown messages again. Whoever got the first one may get a second."""
    settings = world_of(environ()).settings
    with shops.database(settings) as factory:
        domain, shop_id = one_shop(factory, shop)
        found = asked(factory, settings, shop_id)["found"]
        queued = send_again(
            factory,
            shop_id=shop_id,
            reason=reason,
            now=_clock(factory, shop_id).now(),
            message_ids=message_ids,
        )
    Progress().say(f"{domain}: {found} were found sent, {len(queued)} are sent again")


def asked(factory: SessionFactory, settings: Settings, shop_id: int) -> dict[str, Any]:
    """What the provider says now, and the messages that are unknown all the same."""
    with session_scope(factory) as session:
        ask_now(session, shop_id)
    with provider_of(settings) as provider:
        done = reconcile_due(
            Outbox(
                factory=factory,
                settings=settings,
                provider=provider,
                clock=_clock(factory, shop_id),
                run_id=None,
                stop=lambda: False,
                sleep=time.sleep,
            ),
            shop_id,
        )
    return {
        "found": done.found,
        "messages": [
            {
                "message_id": each.message_id,
                "failure": each.failure,
                "first_attempt_at": (
                    each.first_attempt_at.isoformat() if each.first_attempt_at else None
                ),
                "was_asked_for": each.was_asked_for,
            }
            for each in unknown_messages(factory, shop_id)
        ],
    }


def _clock(factory: SessionFactory, shop_id: int) -> Clock:
    with session_scope(factory) as session:
        shop = session.get(ShopRow, shop_id)
        if shop is None:
            raise PermanentError("This shop is gone.")
        return business_clock(shop, SystemClock())


def add_to(sending: typer.Typer) -> None:
    """Make these part of `ecomcrm sending`."""
    sending.command("unknown")(sending_unknown)
    sending.command("again")(sending_again)
