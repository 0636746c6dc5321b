"""A made-up month of a shop of a dozen customers, lived through by the real engine."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select, text

from activation.automation.definition import Silence
from activation.automation.switching import load_automations
from activation.gate import Gate
from core.database import session_scope
from core.errors import PermanentError
from core.models import Checkout, Enrollment, Message, Refund
from core.models.enums import ConsentState, EnrollmentState, MessageState
from tests.activation.scores import score
from tests.activation.world import World
from tests.fixtures.marts import Marts

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
PEOPLE: Final = 12

NEXT_DUE = text("""
SELECT min(due_at) FROM (
    SELECT due_at FROM crm.enrollments WHERE state = 'active'
    UNION ALL
    SELECT due_at FROM crm.messages WHERE state = 'queued'
) AS due
""")


def unreachable(shop_id: int) -> Any:
    """Tags are not written anywhere: no mail waits for them."""
    raise PermanentError(f"Nobody answers for shop {shop_id}.")


@dataclass
class Life:
    """What happens when. The clock stops at each event, each due step and each possible silence, so
    that what the engine does at an instant is done at that instant.
    """

    world: World
    marts: Marts
    days: int
    seed: int
    events: list[tuple[datetime, int, Callable[[], None]]] = field(default_factory=list)
    orders: list[tuple[int, int]] = field(default_factory=list)
    nights: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)  # noqa: S311 - a life that can be lived again
        self.start = self.world.now
        self.end = self.start + self.days * DAY

    def people(self) -> None:
        """A dozen who are busy, and buyers of old of whom some fall silent in the month."""
        long_ago = self.start - 400 * DAY
        for number in range(1, 33):
            state = ConsentState.SUBSCRIBED if number % 6 else ConsentState.NOT_SUBSCRIBED
            self.world.add_customer(number, consent_state=state, consent_updated_at=long_ago)
        for number in range(1, PEOPLE - 3):
            self._ordered(number, days=self.random.randint(3, 60), times=self.random.randint(1, 3))
        for number in range(PEOPLE + 1, 18):  # good ones, for whom 30 days end in the month
            self._ordered(number, days=5 + 5 * (number - PEOPLE), times=3)
        for number in range(18, 23):  # and 90
            self._ordered(number, days=60 + 5 * (number - 17), times=2)
        for number in range(23, 33):  # so long ago that the others are recent beside them
            self._ordered(number, days=200 + number, times=1)

    def _ordered(self, number: int, *, days: int, times: int) -> None:
        for time in range(times):
            at = self.start - timedelta(days=days + 9 * time, hours=self.random.randint(0, 12))
            self.world.place_order(number, processed_at=at, current_total=40 * times)

    def plan(self) -> None:
        for day in range(self.days):
            self._at(self.start + day * DAY + timedelta(hours=15), self._night)
            for _ in range(2):
                at = self.start + day * DAY + timedelta(minutes=self.random.randint(0, 23 * 60))
                self._at(at, self.random.choice(self._acts()))

    def _acts(self) -> list[Callable[[], None]]:
        often = [self._order] * 4 + [self._begin_checkout] * 4
        return [*often, self._cancel, self._refund, self._leave, self._subscribe, self._unsubscribe]

    def _at(self, at: datetime, act: Callable[[], None]) -> None:
        if at < self.end:
            self.events.append((at, len(self.events), act))

    def live(self) -> None:
        self.world.client_of = unreachable
        self.events.sort()
        # Moments of the very instant of the switch-on are looked at then, not at the next event.
        self.world.run_cleanly(gate=Gate(is_on=False))
        while True:
            stops = self._next_event(), self._next_due(), self._next_silence(), self._next_cart()
            at = min(each for each in stops if each is not None)
            if at >= self.end:
                break
            self.world.clock.current = at
            while self.events and self.events[0][0] <= at:
                self.events.pop(0)[2]()
            self.world.execute(
                "UPDATE crm.consent_policies SET compare_at = now() - interval '2 hours'"
            )
            self.world.run_cleanly(gate=Gate(is_on=False))
        self.world.clock.current = self.end

    def _next_event(self) -> datetime:
        return self.events[0][0] if self.events else self.end

    def _next_due(self) -> datetime | None:
        with session_scope(self.world.factory) as session:
            due: datetime | None = session.execute(NEXT_DUE).scalar_one()
        return max(due, self.world.now + timedelta(seconds=1)) if due else None

    def _next_silence(self) -> datetime | None:
        with session_scope(self.world.factory) as session:
            flows = load_automations(session, self.world.shop_id)
            days = [
                flow.definition.trigger.days
                for flow in flows
                if isinstance(flow.definition.trigger, Silence)
            ]
            found = session.execute(
                text("""
                    SELECT min(silent_at)
                    FROM raw_shopify.orders
                    CROSS JOIN unnest(CAST(:days AS integer [])) AS n (days)
                    CROSS JOIN LATERAL (
                        SELECT (
                            orders.processed_at AT TIME ZONE 'Europe/Berlin'
                            + make_interval(days => n.days)
                        ) AT TIME ZONE 'Europe/Berlin' AS silent_at
                    ) AS silence
                    WHERE silent_at > :now
                """),
                {"days": days, "now": self.world.now},
            )
            return found.scalar_one()

    def _next_cart(self) -> datetime | None:
        """When the next checkout has been left for two hours."""
        left = text("""
            SELECT min(updated_at) + interval '2 hours' FROM raw_shopify.checkouts
            WHERE updated_at > CAST(:now AS timestamptz) - interval '2 hours'
        """)
        with session_scope(self.world.factory) as session:
            at: datetime | None = session.execute(left, {"now": self.world.now}).scalar_one()
        return at

    def _who(self) -> int:
        return self.random.randint(1, PEOPLE)

    def _order(self) -> None:
        who, amount = self._who(), self.random.randint(10, 200)
        self.orders.append((who, self.world.place_order(who, current_total=amount)))

    def _cancel(self) -> None:
        if self.orders:
            _, order_id = self.orders.pop(self.random.randrange(len(self.orders)))
            self.world.change_order(order_id, cancelled_at=self.world.now)

    def _refund(self) -> None:
        if not self.orders:
            return
        _, order_id = self.orders.pop(self.random.randrange(len(self.orders)))
        with session_scope(self.world.factory) as session:
            session.add(
                Refund(
                    shop_id=self.world.shop_id,
                    refund_id=order_id,
                    order_id=order_id,
                    processed_at=self.world.now,
                    amount=100,
                    currency="EUR",
                )
            )
        self.world.change_order(order_id, financial_status="REFUNDED")

    def _begin_checkout(self) -> None:
        who, now = self._who(), self.world.now
        with session_scope(self.world.factory) as session:
            key = f"key-{len(self.events)}-{who}"
            session.add(
                Checkout(
                    shop_id=self.world.shop_id,
                    checkout_key=key,
                    token=f"token-{key}",
                    customer_id=who if who % 2 else None,
                    email=f"c{who}@example.com",
                    recovery_url="https://shop.example/recover",
                    created_at=now,
                    updated_at=now,
                    currency="EUR",
                    total=40,
                )
            )
        if self.random.random() < 0.4:  # they come back, in time or not
            back = timedelta(minutes=self.random.randint(10, 300))
            self._at(now + back, lambda: self._complete(key, who))
            self.events.sort()

    def _complete(self, key: str, who: int) -> None:
        self.world.place_order(who, checkout_token=f"token-{key}")

    def _consents(self, state: ConsentState) -> None:
        self.world.set_customer(self._who(), consent_state=state, consent_updated_at=self.world.now)

    def _leave(self) -> None:
        self._consents(ConsentState.UNSUBSCRIBED)

    def _subscribe(self) -> None:
        self._consents(ConsentState.SUBSCRIBED)

    def _unsubscribe(self) -> None:
        self.world.execute(
            "INSERT INTO crm.suppressions (shop_id, email_normalized, reason, suppressed_at)"
            " VALUES (:shop_id, :email, 'unsubscribed', :now) ON CONFLICT DO NOTHING",
            shop_id=self.world.shop_id,
            email=f"c{self._who()}@example.com",
            now=self.world.now,
        )

    def _night(self) -> None:
        self.world.set_shop(first_sync_completed_at=self.world.now)
        self.nights += 1
        if self.nights % 3 == 1:
            gate = Gate(is_on=False)  # a dozen customers swing; when it held is not kept
            score(self.world, self.marts, f"rfm-{self.nights}", gate=gate)


def what_became(world: World, key: str) -> dict[tuple[int, str], tuple[str, Any]]:
    """Of each who entered the flow: sent and when, or why not."""
    with session_scope(world.factory) as session:
        [flow] = [f for f in load_automations(session, world.shop_id) if f.key == key]
        entries = session.scalars(
            select(Enrollment).where(Enrollment.automation_id == flow.automation_id)
        ).all()
        mails = {
            each.enrollment_id: each
            for each in session.scalars(
                select(Message).where(Message.automation_id == flow.automation_id)
            )
        }
    return {
        (each.customer_id, each.entry_key): _became(each, mails.get(each.enrollment_id))
        for each in entries
    }


def _became(entry: Enrollment, mail: Message | None) -> tuple[str, Any]:
    if mail is None:
        return ("open" if entry.state is EnrollmentState.ACTIVE else entry.state.value), None
    if mail.state is MessageState.QUEUED:
        return "open", None
    if mail.state is MessageState.SKIPPED and mail.skip_reason is not None:
        return mail.skip_reason.value, None
    return "sent", mail.sent_at
