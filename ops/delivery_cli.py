"""The subcommands `suppressions` and `sending`: addresses not written to, shops that stopped."""

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from activation.events.health import read_health
from activation.events.resuming import resume_sending
from activation.outbox.pacing import paused_for
from activation.suppressions.adding import Entry, add, normalized
from activation.suppressions.files import export_file, import_file
from activation.suppressions.lifting import lift
from activation.suppressions.mirror import mirror_account
from core.clock import SystemClock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.models import Shop as ShopRow
from core.models import Suppression
from core.models.enums import SuppressionReason, SuppressionSource
from core.shops import business_clock
from ops import shops
from ops.commands import world_of
from ops.privacy import open_private
from ops.progress import Progress
from ops.shopify_cli import AsJson, Shop, environ, print_json

suppressions_app = typer.Typer(help="Addresses that are not written to.", no_args_is_help=True)
sending_app = typer.Typer(
    help="Whether mail leaves, and letting it leave again.", no_args_is_help=True
)
Why = Annotated[str, typer.Option("--reason", help="Why; kept with your decision.")]


@suppressions_app.command("list")
def suppressions_list(
    *,
    shop: Shop = None,
    limit: Annotated[int, typer.Option(min=1, help="Newest so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show the newest addresses on the lists, and why they are there."""
    with shops.database(world_of(environ()).settings) as factory:
        report = newest(factory, shop, limit=limit)
    if as_json:
        print_json({"suppressions": report})
        return
    for each in report:
        print(f"{each['suppressed_at'][:19]}  {each['reason']:<12} {each['email']}  {each['shop']}")


@suppressions_app.command("add")
def suppressions_add(
    email: Annotated[str, typer.Argument(help="The address.")], *, shop: Shop = None
) -> None:
    """Put an address on the list: no mail of any flow goes to it."""
    with shops.database(world_of(environ()).settings) as factory:
        domain, shop_id = one_shop(factory, shop)
        with session_scope(factory) as session:
            now = business_clock(session.get_one(ShopRow, shop_id), SystemClock()).now()
            entry = Entry(shop_id, checked(email), SuppressionReason.MANUAL, now)
            added = add(session, [entry], source=SuppressionSource.PERSON)
    Progress().say(f"{domain}: {'added' if added else 'it was on the list already'}")


@suppressions_app.command("lift")
def suppressions_lift(
    email: Annotated[str, typer.Argument(help="The address.")], *, reason: Why, shop: Shop = None
) -> None:
    """Take an address off the list, also after a bounce or complaint; you must say why."""
    world = world_of(environ())
    with shops.database(world.settings) as factory:
        domain, shop_id = one_shop(factory, shop)
        with session_scope(factory) as session:
            now = business_clock(session.get_one(ShopRow, shop_id), SystemClock()).now()
        done = lift(
            factory,
            shop_id=shop_id,
            email=email,
            reason=reason,
            now=now,
            secret_key=world.settings.secret_key,
        )
    words = ", ".join(each.value for each in done.reasons)
    kept = "; it stays unsubscribed" if done.is_unsubscribed else ""
    Progress().say(f"{domain}: lifted ({words}){kept}")


@suppressions_app.command("import")
def suppressions_import(
    file: Annotated[Path, typer.Argument(help="CSV, UTF-8; - for stdin.", allow_dash=True)],
    *,
    shop: Shop = None,
    as_json: AsJson = False,
) -> None:
    """Put every address of a CSV file on the list; exit code 1 if lines were left out."""
    world = world_of(environ())
    with ExitStack() as stack:
        factory = stack.enter_context(shops.database(world.settings))
        domain, shop_id = one_shop(factory, shop)
        with session_scope(factory) as session:
            now = business_clock(session.get_one(ShopRow, shop_id), SystemClock()).now()
        lines = sys.stdin if str(file) == "-" else stack.enter_context(_opened(file))
        done = import_file(
            factory, lines, shop_id=shop_id, secret_key=world.settings.secret_key, now=now
        )
    report = {
        "shop": domain,
        **{name: getattr(done, name) for name in ("lines", "added", "known", "erased", "bad")},
        "bad_lines": [{"line": each.number, "problem": each.problem} for each in done.bad_lines],
    }
    if as_json:
        print_json(report)
    else:
        for each in done.bad_lines:
            print(f"line {each.number}: {each.problem}")
        Progress().say(
            f"{domain}: {done.lines:,} lines, {done.added:,} added, {done.known:,} on the list "
            f"already, {done.erased:,} of people who were erased, {done.bad:,} left out"
        )
    if done.bad:
        raise typer.Exit(1)


@suppressions_app.command("export")
def suppressions_export(
    *,
    shop: Shop = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A new file, for you alone; default: stdout."),
    ] = None,
) -> None:
    """Write the list as CSV, safe to open in a spreadsheet; import reads it back."""
    with ExitStack() as stack:
        factory = stack.enter_context(shops.database(world_of(environ()).settings))
        _, shop_id = one_shop(factory, shop)
        file = stack.enter_context(open_private(output)) if output else sys.stdout
        with session_scope(factory) as session:
            export_file(session, file, shop_id=shop_id)


@suppressions_app.command("mirror")
def suppressions_mirror(*, as_json: AsJson = False) -> None:
    """Bring our lists and Resend's up to date with each other; goes on where it stopped."""
    world = world_of(environ())
    with shops.database(world.settings) as factory:
        done = mirror_account(factory, world.settings, clock=SystemClock(), sleep=time.sleep)
    if done is None:
        raise PermanentError(
            "There is no list to mirror: it takes Resend, its key and a connected shop."
        )
    if as_json:
        print_json(done.__dict__)
    else:
        Progress().say(
            f"{done.read:,} addresses read, {done.taken_over:,} of them of our customers; "
            f"{done.put_on:,} told to the provider, {done.taken_off:,} taken off there"
        )


@sending_app.command("status")
def sending_status(*, shop: Shop = None, as_json: AsJson = False) -> None:
    """Show how mails of the last 7 days fared, and which shops do not send."""
    with shops.database(world_of(environ()).settings) as factory:
        report = standings(factory, shop)
    if as_json:
        print_json({"shops": report})
        return
    for each in report:
        state = f"paused: {each['reason']}" if each["is_paused"] else "sends"
        print(f"{each['shop']}  {state}")
        print(
            f"    sent {each['sent']:,}, delivered {each['delivered']:,}, "
            f"bounced {each['bounced']:,}, reported as spam {each['complained']:,}"
        )


@sending_app.command("resume")
def sending_resume(*, reason: Why, shop: Shop = None) -> None:
    """Let mail leave again; mails of before do not count against the shop any more."""
    with shops.database(world_of(environ()).settings) as factory:
        domain, shop_id = one_shop(factory, shop)
        with session_scope(factory) as session:
            now = business_clock(session.get_one(ShopRow, shop_id), SystemClock()).now()
        said = resume_sending(factory, shop_id=shop_id, reason=reason, now=now)
    Progress().say(f"{domain}: sending goes on. It was paused: {said}")


def newest(factory: SessionFactory, shop: str | None, *, limit: int) -> list[dict[str, Any]]:
    known = {number: domain for domain, number in shops.connected_shops(factory, shop).items()}
    with session_scope(factory) as session:
        rows = (
            session.query(Suppression)
            .where(
                Suppression.shop_id.in_(known),
                Suppression.lifted_at.is_(None),
                Suppression.reason != SuppressionReason.ERASED,
            )
            .order_by(Suppression.suppressed_at.desc(), Suppression.email_normalized)
            .limit(limit)
        )
        return [
            {
                "shop": known[row.shop_id],
                "email": row.email_normalized,
                "reason": row.reason.value,
                "source": row.source.value if row.source else None,
                "suppressed_at": row.suppressed_at.isoformat(),
            }
            for row in rows
        ]


def standings(factory: SessionFactory, shop: str | None) -> list[dict[str, Any]]:
    found = []
    for domain, shop_id in shops.connected_shops(factory, shop).items():
        with session_scope(factory) as session:
            now = business_clock(session.get_one(ShopRow, shop_id), SystemClock()).now()
            health = read_health(session, shop_id, now=now)
            is_paused = paused_for(session, shop_id) is not None
        found.append(
            {
                "shop": domain,
                "is_paused": is_paused,
                "reason": health.reason or ("the provider" if is_paused else None),
                "held_at": health.held_at.isoformat() if health.held_at else None,
                **health.figures.__dict__,
            }
        )
    return found


def one_shop(factory: SessionFactory, shop: str | None) -> tuple[str, int]:
    """A list is one shop's: with several, it must be said which."""
    known = shops.connected_shops(factory, shop)
    if len(known) > 1:
        raise PermanentError(f"There are several shops: {', '.join(known)}. Say which with --shop.")
    [(domain, shop_id)] = known.items()
    return domain, shop_id


def checked(email: str) -> str:
    address = normalized(email)
    if address.count("@") != 1 or any(each.isspace() for each in address):
        raise PermanentError(f"{email!r} is not an email address.")
    return address


def _opened(file: Path) -> Any:
    try:
        return file.open(encoding="utf-8", newline="")
    except OSError as error:
        raise PermanentError(f"{file} cannot be read: {error.strerror}.") from None


def add_to(app: typer.Typer) -> None:
    """Make these part of the `ecomcrm` command."""
    app.add_typer(suppressions_app, name="suppressions")
    app.add_typer(sending_app, name="sending")
