"""The stock of codes is kept: a stage of the activation run, with no transaction open over a call.

Whatever is asked of Shopify is written down first. After a crash a discount is found again by its
first code; of codes whose job is not known none is ever mailed, and others are made.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row

from activation.discounts.pools import Again, Pools
from activation.discounts.shopify import (
    MOST_CODES,
    DiscountGoneError,
    Made,
    add_codes,
    create_discount,
    find_discount,
    is_alive,
    read_made,
)
from activation.discounts.terms import AHEAD, discount_input, read_terms
from activation.discounts.wanted import ANYTHING_DUE, Stocked, by_step, read_wanted
from core.clock import Clock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError, TransientError
from core.shopify.client import ShopifyClient
from core.shopify.errors import AccessDeniedError

NO_SCOPE: Final = (
    "The app may not make discounts: give it the scope write_discounts and install it anew."
)
NOT_DONE: Final = Made({})
REQUESTS: Final = 20  # of 250 codes, for one step in one pass
LOOKS: Final = 200  # at one job, three hours


@dataclass(frozen=True)
class TopUpReport:
    """`made`: codes that Shopify confirmed. `problem`: why it could not be reached."""

    discounts: int = 0
    asked: int = 0
    made: int = 0
    problem: str | None = None

    @property
    def progress(self) -> int:
        return self.discounts + self.asked + self.made


def top_up(
    factory: SessionFactory,
    client_of: Callable[[int], ShopifyClient],
    shop_id: int,
    *,
    clock: Clock,
    stop: Callable[[], bool] = lambda: False,
    checkpoint: Callable[[str], None] = lambda _: None,
) -> TopUpReport:
    """Look at jobs that are due, and ask for codes where there are too few. `clock` is the shop's
    business clock. Several workers may run at once. A shop without such flows costs one query.
    """
    now = clock.now()
    with session_scope(factory) as session:
        is_due: bool = session.execute(ANYTHING_DUE, {"shop_id": shop_id}).scalar_one()
        if not is_due:
            return TopUpReport()
        wanted = read_wanted(session, shop_id, now=now)
        pools = Pools(session, shop_id, now)
        for each in wanted:
            pools.ensure(each, at=now + AHEAD)
    with session_scope(factory) as session:
        claimed = Pools(session, shop_id, now).claim()
    worker = _Worker(factory, client_of, shop_id, now, by_step(wanted), stop, checkpoint)
    return worker.work(claimed)


class _Worker:
    """The pools of one claim. Once Shopify cannot be reached the rest is left for later."""

    def __init__(  # noqa: PLR0917
        self,
        factory: SessionFactory,
        client_of: Callable[[int], ShopifyClient],
        shop_id: int,
        now: datetime,
        wanted: Mapping[tuple[int, str, str], Stocked],
        stop: Callable[[], bool],
        checkpoint: Callable[[str], None],
    ) -> None:
        self._factory, self._client_of, self._shop_id = factory, client_of, shop_id
        self._now, self._wanted = now, wanted
        self._stop, self._checkpoint = stop, checkpoint
        self._discounts = self._asked = self._made = 0
        self._problem: str | None = None

    def work(self, claimed: Sequence[Row[Any]]) -> TopUpReport:
        for pool in claimed:
            self._pool(pool)
        return TopUpReport(self._discounts, self._asked, self._made, self._problem)

    def _do(self, work: Callable[[Pools], Any]) -> Any:
        """In a transaction of its own."""
        with session_scope(self._factory) as session:
            return work(Pools(session, self._shop_id, self._now))

    def _pool(self, pool: Row[Any]) -> None:
        error, again = pool.error, Again.SOON
        try:
            if self._problem is None and not self._stop():
                lacks = self._look_after(pool, self._client_of(self._shop_id))
                error, again = None, Again.NOW if lacks else Again.LATER
        except DiscountGoneError as gone:
            words = str(gone)
            self._do(lambda pools: pools.close(pool, words))
            return
        except AccessDeniedError:
            error, again = NO_SCOPE, Again.LATER
        except TransientError as failed:
            self._problem = str(failed)
        except PermanentError as refused:
            error, again = str(refused), Again.LATER
        self._do(lambda pools: pools.settle(pool, error=error, again=again))

    def _look_after(self, pool: Row[Any], client: ShopifyClient) -> bool:
        """Returns whether there is more to ask for."""
        discount_id = pool.discount_id
        if discount_id is None:
            discount_id = self._discount(pool, client)
        elif pool.is_routine and not is_alive(client, discount_id):
            raise DiscountGoneError("The discount was deleted or ended at Shopify.")
        for creation in self._do(lambda pools: pools.due_creations(pool.pool_id)):
            self._look_at(pool, client, creation)
        return self._ask(pool, client, discount_id)

    def _discount(self, pool: Row[Any], client: ShopifyClient) -> str:
        """Made once: if we asked before a crash, it has our first code."""
        discount_id = find_discount(client, pool.first_code)
        if discount_id is None:
            terms = read_terms(pool.terms)
            wanted = self._wanted.get((pool.automation_id, pool.step_key, pool.terms))
            discount_id = create_discount(
                client,
                discount_input(
                    terms,
                    flow=wanted.flow if wanted else pool.step_key,
                    first_code=pool.first_code,
                    starts_at=pool.opened_at,
                    ends_at=pool.ends_at,
                ),
            )
        self._checkpoint("discount_created")
        kept = discount_id
        self._do(lambda pools: pools.keep_discount(pool.pool_id, kept))
        self._discounts += 1
        return discount_id

    def _look_at(self, pool: Row[Any], client: ShopifyClient, creation: Row[Any]) -> None:
        number = creation.creation_id
        if creation.shopify_id is None or creation.attempts >= LOOKS:
            self._do(lambda pools: pools.finish(number, NOT_DONE, is_lost=True))
            return
        self._do(lambda pools: pools.look_again(number, creation.attempts))
        made = read_made(client, creation.shopify_id)
        if made is None:
            return

        def keep(pools: Pools) -> int:
            free = pools.finish(number, made)
            if free:
                pools.wake(pool)
            return free

        self._made += self._do(keep)

    def _ask(self, pool: Row[Any], client: ShopifyClient, discount_id: str) -> bool:
        wanted = self._wanted.get((pool.automation_id, pool.step_key, pool.terms))
        if wanted is None or pool.assign_until <= self._now:
            return False
        missing: int = wanted.needed - self._do(lambda pools: pools.stock(pool.pool_id))
        for _ in range(REQUESTS):
            if missing <= 0 or self._stop():
                break
            count = min(missing, MOST_CODES)
            self._request(pool, client, discount_id, count)
            missing -= count
        return missing > 0

    def _request(self, pool: Row[Any], client: ShopifyClient, discount_id: str, count: int) -> None:
        request = self._do(lambda pools: pools.request(pool, count))
        self._checkpoint("codes_requested")
        try:
            job_id = add_codes(client, discount_id, request.codes)
        except (PermanentError, TransientError):
            self._do(lambda pools: pools.finish(request.creation_id, NOT_DONE, is_lost=True))
            raise
        self._checkpoint("codes_asked")
        self._do(lambda pools: pools.keep_job(request.creation_id, job_id))
        self._asked += len(request.codes)
