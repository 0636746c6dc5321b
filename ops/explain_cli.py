"""The subcommand `explain`: why a mail was sent, and why somebody did not get one."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from sqlalchemy.orm import Session

from activation.explain import (
    CustomerExplained,
    MessageExplained,
    as_json,
    explain_customer,
    explain_message,
)
from activation.explain.shapes import BatchPart, EntryPart
from core.clock import SystemClock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.models import Shop as ShopRow
from core.settings import Settings
from core.shops import business_clock
from ops import shops
from ops.commands import world_of
from ops.shopify_cli import AsJson, Shop, environ, print_json

MARKS = {True: "yes", False: "no ", None: "?  "}

explain_app = typer.Typer(
    help="Why a mail was sent, and why somebody did not get one.", no_args_is_help=True
)


@explain_app.command("message")
def explain_message_command(
    message_id: Annotated[int, typer.Argument(help="Its number, as `ecomcrm mails` shows it.")],
    *,
    shop: Shop = None,
    as_json_: AsJson = False,
) -> None:
    """Show one mail from what started it to what came of it."""
    settings = world_of(environ()).settings
    with shops.database(settings) as factory:
        explained = message(factory, settings, shop, message_id)
    if as_json_:
        print_json(as_json(explained))
        return
    for line in message_lines(explained):
        print(line)


@explain_app.command("customer")
def explain_customer_command(
    customer: Annotated[str, typer.Argument(help="Shopify's number or id, or an address.")],
    *,
    flow: Annotated[str, typer.Option(help="Key of the flow, such as win_back.")],
    shop: Shop = None,
    as_json_: AsJson = False,
) -> None:
    """Show whether somebody got the mail of a flow, and if not, what stands in the way."""
    settings = world_of(environ()).settings
    with shops.database(settings) as factory:
        explained = customer_of(factory, settings, shop, customer, flow)
    if as_json_:
        print_json(as_json(explained))
        return
    for line in customer_lines(explained):
        print(line)


def message(
    factory: SessionFactory, settings: Settings, shop: str | None, message_id: int
) -> MessageExplained:
    """Of the shop that has it. Raises PermanentError."""
    with session_scope(factory) as session:
        shop_id, now = one_shop(session, factory, shop)
        return explain_message(
            session, shop_id, message_id, secret_key=settings.secret_key, now=now
        )


def customer_of(
    factory: SessionFactory, settings: Settings, shop: str | None, customer: str, flow: str
) -> CustomerExplained:
    """Raises PermanentError."""
    with session_scope(factory) as session:
        shop_id, now = one_shop(session, factory, shop)
        return explain_customer(
            session, shop_id, customer, flow, secret_key=settings.secret_key, now=now
        )


def one_shop(session: Session, factory: SessionFactory, shop: str | None) -> tuple[int, datetime]:
    """The shop that is meant, and its business time. Raises PermanentError for none or several."""
    known = shops.connected_shops(factory, shop)
    if len(known) != 1:
        names = ", ".join(known) or "none"
        raise PermanentError(f"Say which shop with --shop; connected: {names}.")
    [shop_id] = known.values()
    now = business_clock(session.get_one(ShopRow, shop_id), SystemClock()).now()
    return shop_id, now


def message_lines(said: MessageExplained) -> Iterator[str]:
    """For a terminal."""
    flow = said.flow
    yield said.words
    yield f"  flow      {flow.name} ({flow.key}), version {flow.version}, step {flow.step_key}"
    if said.entry is not None:
        yield from _entry_lines(said.entry)
    for title, standing in (("then", said.at_moment), ("at mail", said.at_mail)):
        if standing is not None:
            by = standing.rfm_run_id or "no boundaries"
            since = _at(standing.entered_at)
            yield f"  {title:<9} {standing.segment} {standing.rfm_score} since {since}, by {by}"
    yield f"  timing    {said.timing.words}"
    if said.holdout is not None:
        yield f"  holdout   {said.holdout.words}"
    yield f"  checks    {said.checks_are}"
    for check in said.checks:
        yield f"    {check.result:<11} {check.check:<22} {check.words}"
    if said.own_code is not None:
        yield f"  own code  {said.own_code.code}, good until {_at(said.own_code.ends_at)}"
    if said.batch is not None:
        yield from _batch_lines(said.batch)
    yield from _after_lines(said)


def _entry_lines(entry: EntryPart) -> Iterator[str]:
    yield f"  entered   {_at(entry.enrolled_at)} for {entry.event} at {_at(entry.moment_at)}"
    for order in entry.orders:
        mark = "  <- started it" if order.started_it else ""
        counts = "" if order.is_counted else " (does not count)"
        price = f"{order.total} {order.currency}"
        yield f"    order   {order.name} {_at(order.processed_at)} {price}{counts}{mark}"


def _batch_lines(batch: BatchPart) -> Iterator[str]:
    yield f"  batch     {batch.batch_id}, {batch.state}, {batch.message_count} mails"
    for attempt in batch.attempts:
        came = attempt.outcome or "no answer"
        run = attempt.run_id or "-"
        yield f"    attempt {attempt.attempt} {_at(attempt.started_at)} {came} run {run}"


def _after_lines(said: MessageExplained) -> Iterator[str]:
    for event in said.events:
        yield f"  event     {_at(event.occurred_at)} {event.event_type}"
    for seen in said.engagements:
        yield f"  {seen.kind:<9} {_at(seen.engaged_at)} by a {seen.by} {seen.url or ''}".rstrip()
    for credit in said.credited or ():
        yield f"  credited  order {credit.order_id}, {credit.revenue} {credit.currency or ''}"
    runs = said.runs
    attempted = ", ".join(runs.attempted) or "-"
    enrolled, queued = runs.enrolled or "-", runs.queued or "-"
    yield f"  runs      enrolled {enrolled}, queued {queued}, attempted {attempted}"


def customer_lines(said: CustomerExplained) -> Iterator[str]:
    """For a terminal."""
    yield f"{said.words}  [{said.code}]"
    if said.merged_from is not None:
        yield f"  {said.merged_from} was merged into {said.customer_id}, whom this is about"
    for finding in said.conditions:
        yield f"  {MARKS[finding.holds]} {finding.code:<21} {finding.words}"
    for entry in said.enrolments:
        yield f"  entry {entry.entry_key}: {entry.words}"
    for check in said.checks:
        if check.result != "passed":
            until = f" until {_at(check.until)}" if check.until else ""
            yield f"  {check.result} {check.check}: {check.words}{until}"
    for mail in said.counted_mails:
        yield f"  counts for the limit: mail {mail.message_id}, {mail.words}"


def _at(at: Any) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if at else "-"


def add_to(app: typer.Typer) -> None:
    """Make these part of the `ecomcrm` command."""
    app.add_typer(explain_app, name="explain")
