"""Our lists and the provider's, each told what the other has.

The provider keeps one list for its whole account, which several shops may share, and puts addresses
on it itself after bounces and complaints. So:

    off    what a person lifted here is taken off there first, or it would come straight back
    on     what people and files put on a shop's list is put there, unless another shop of this
           installation may still write to that address
    in     what is there and concerns a customer of ours is put on that shop's list

Unsubscribes are not told: they are from one shop's mail, and the list would silence all.
Every step is a call of its own under the pace of the account, kept before the next one: whoever
stops in the middle goes on from there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from activation.events.lists import Listed, take_over
from activation.outbox.pacing import Pace, wait_for_single
from activation.provider import team_of
from activation.provider.resend import NAME
from activation.provider.resend_account import MOST_AT_ONCE, ResendAccount
from core.clock import Clock
from core.database import SessionFactory, session_scope
from core.errors import EcomCRMError, TransientError
from core.models import SuppressionMirror
from core.settings import Settings
from core.shops import all_shops

PAUSED: Final = "A quota is used up: the list is read on when it is over."

NEXT_OFF = text("""
-- Returns addresses that were lifted and may still be on the provider's list, and that no shop has
-- on its own any more. Changes nothing. Index ix_suppressions__pushed.
SELECT DISTINCT lifted.email_normalized
FROM crm.suppressions AS lifted
WHERE
    lifted.pushed_at IS NOT NULL
    AND lifted.lifted_at IS NOT NULL
    AND NOT EXISTS (
        SELECT 1
        FROM crm.shops
        INNER JOIN crm.suppressions AS held
            ON
                shops.shop_id = held.shop_id
                AND held.email_normalized = lifted.email_normalized
                AND held.reason IN ('manual', 'hard_bounce', 'complaint')
                AND held.lifted_at IS NULL
    )
LIMIT :limit
""")

DONE_OFF = text("""
-- Changes crm.suppressions: the provider has these no more from us. Index ix_suppressions__pushed.
UPDATE crm.suppressions
SET pushed_at = NULL
WHERE
    pushed_at IS NOT NULL
    AND lifted_at IS NOT NULL
    AND email_normalized = ANY(CAST(:emails AS text []))
""")

NEXT_ON = text("""
-- Returns addresses that people and files put on a list and the provider was not told of, unless
-- another shop has a customer with that address whom it may still write to. Changes nothing.
-- Reads the lists from an address on; index ix_customers__email.
SELECT DISTINCT held.email_normalized
FROM crm.suppressions AS held
WHERE
    held.reason IN ('manual', 'hard_bounce', 'complaint')
    AND held.source IN ('person', 'file')
    AND held.lifted_at IS NULL
    AND held.pushed_at IS NULL
    AND held.email_normalized > :after
    AND NOT EXISTS (
        SELECT 1
        FROM crm.shops AS others
        INNER JOIN raw_shopify.customers
            ON
                others.shop_id = customers.shop_id
                AND customers.email_normalized = held.email_normalized
                AND customers.deleted_at IS NULL
        WHERE
            others.shop_id <> held.shop_id
            AND others.uninstalled_at IS NULL
            AND NOT EXISTS (
                SELECT 1
                FROM crm.suppressions AS theirs
                WHERE
                    theirs.shop_id = others.shop_id
                    AND theirs.email_normalized = held.email_normalized
                    AND theirs.reason IN ('manual', 'hard_bounce', 'complaint')
                    AND theirs.lifted_at IS NULL
            )
    )
ORDER BY held.email_normalized
LIMIT :limit
""")

DONE_ON = text("""
-- Changes crm.suppressions: the provider has these from us. Primary key, once per shop.
UPDATE crm.suppressions
SET pushed_at = clock_timestamp()
FROM crm.shops
WHERE
    suppressions.shop_id = shops.shop_id
    AND suppressions.email_normalized = ANY(CAST(:emails AS text []))
    AND suppressions.reason IN ('manual', 'hard_bounce', 'complaint')
    AND suppressions.source IN ('person', 'file')
    AND suppressions.lifted_at IS NULL
""")


@dataclass
class Mirrored:
    """Addresses by what was done; `finished`: the provider's list was read to its end."""

    taken_off: int = 0
    put_on: int = 0
    read: int = 0
    taken_over: int = 0
    finished: bool = False


@dataclass(frozen=True)
class Mirror:
    """Collaborators. `shop_id` is the shop under whose name the account's cursor is kept."""

    factory: SessionFactory
    account: ResendAccount
    pace: Pace
    shop_id: int
    clock: Clock
    sleep: Callable[[float], None]
    stop: Callable[[], bool] = lambda: False


def mirror_account(
    factory: SessionFactory,
    settings: Settings,
    *,
    clock: Clock,
    sleep: Callable[[float], None],
    stop: Callable[[], bool] = lambda: False,
) -> Mirrored | None:
    """Bring our lists and that of the installation's account up to date; None where there is none.

    Raises TransientError or PermanentError; what was done stays done.
    """
    if settings.mail_provider != "resend" or settings.resend_api_key is None:
        return None
    with session_scope(factory) as session:
        shops = [shop.shop_id for shop in all_shops(session)]
    if not shops:
        return None
    account = ResendAccount(api_key=settings.resend_api_key, base_url=settings.resend_base_url)
    pace = Pace(team_of(NAME, settings.resend_api_key), settings.send_requests_per_second)
    return run_mirror(Mirror(factory, account, pace, min(shops), clock, sleep, stop))


def run_mirror(mirror: Mirror) -> Mirrored:
    """Bring both up to date. Raises TransientError or PermanentError; what was done stays done."""
    done = Mirrored()
    try:
        _off(mirror, done)
        _on(mirror, done)
        _read_in(mirror, done)
    except EcomCRMError as error:
        with session_scope(mirror.factory) as session:
            _state(session, mirror.shop_id, now=mirror.clock.now()).error = str(error)
        raise
    return done


def _off(mirror: Mirror, done: Mirrored) -> None:
    while not mirror.stop():
        with session_scope(mirror.factory) as session:
            emails = list(session.scalars(NEXT_OFF, {"limit": MOST_AT_ONCE}))
        if not emails:
            return
        _wait(mirror)
        mirror.account.unsuppress(emails)
        with session_scope(mirror.factory) as session:
            session.execute(DONE_OFF, {"emails": emails})
        done.taken_off += len(emails)


def _on(mirror: Mirror, done: Mirrored) -> None:
    after = ""
    while not mirror.stop():
        with session_scope(mirror.factory) as session:
            emails = list(session.scalars(NEXT_ON, {"limit": MOST_AT_ONCE, "after": after}))
        if not emails:
            return
        after = emails[-1]
        _wait(mirror)
        mirror.account.suppress(emails)
        with session_scope(mirror.factory) as session:
            session.execute(DONE_ON, {"emails": emails})
        done.put_on += len(emails)


def _read_in(mirror: Mirror, done: Mirrored) -> None:
    """From where the last reading stopped; a reading that came to its end begins anew."""
    with session_scope(mirror.factory) as session:
        state = _state(session, mirror.shop_id, now=mirror.clock.now())
        if state.finished_at is not None:
            state.after, state.finished_at, state.entry_count = None, None, 0
            state.started_at = mirror.clock.now()
        after = state.after
    while not mirror.stop():
        _wait(mirror)
        page = mirror.account.list_suppressed(after=after)
        after = page.next_after
        lines = [Listed(each.email, each.origin, each.created_at) for each in page.lines]
        with session_scope(mirror.factory) as session:
            done.taken_over += take_over(session, lines)
            state = _state(session, mirror.shop_id, now=mirror.clock.now())
            state.after, state.error = after, None
            state.entry_count += len(lines)
            state.finished_at = mirror.clock.now() if after is None else None
        done.read += len(lines)
        if after is None:
            done.finished = True
            return


def _wait(mirror: Mirror) -> None:
    if not wait_for_single(mirror.factory, mirror.pace, sleep=mirror.sleep):
        raise TransientError(PAUSED)


def _state(session: Session, shop_id: int, *, now: datetime) -> SuppressionMirror:
    session.execute(
        insert(SuppressionMirror).values(shop_id=shop_id, started_at=now).on_conflict_do_nothing()
    )
    return session.get_one(SuppressionMirror, shop_id, populate_existing=True)
