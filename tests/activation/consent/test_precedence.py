"""Erasure, complaint and bounce before our unsubscribe, that before Shopify's state: in whatever
order they come, at whatever times, through deletion, re-creation and merge (DESIGN §4).
"""

import itertools
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activation.consent.standing import Standing, read_standing
from activation.eligibility import Send, Skip
from activation.privacy.erase import keep_hashes
from activation.suppressions.adding import Entry, add
from activation.suppressions.lifting import lift
from activation.tokens import Recipient
from activation.unsubscribe import undo, unsubscribe
from core.database import session_scope
from core.ingestion.screen import ErasureHasher
from core.models import ConsentEvent
from core.models.enums import ConsentState, SkipReason, SuppressionReason, SuppressionSource
from tests.activation.consent.shop import S, decision_on, ledger, mail_to
from tests.activation.world import World

NUMBERS = itertools.count(1_000)
HOURS = st.integers(-30, 20)


@dataclass(frozen=True)
class Told:
    """What Shopify says of the customer; hours since the beginning."""

    state: ConsentState = ConsentState.SUBSCRIBED
    at: int = -24


@dataclass
class Expected:
    """The order of authority, in plain words."""

    told: Told | None = field(default_factory=Told)
    left_at: int | None = None
    is_suppressed: bool = False
    is_erased: bool = False

    def refusal(self) -> SkipReason | None:
        if self.told is None:
            return SkipReason.CUSTOMER_DELETED
        if self.is_suppressed or self.is_erased:
            return SkipReason.SUPPRESSED
        is_back = self.told.state is ConsentState.SUBSCRIBED and (
            self.left_at is not None and self.told.at > self.left_at
        )
        if self.left_at is not None and not is_back:
            return SkipReason.UNSUBSCRIBED
        return None if self.told.state is ConsentState.SUBSCRIBED else SkipReason.UNSUBSCRIBED


@dataclass
class Play:
    """One address of its own in a shop; every step at a later hour."""

    world: World
    start: datetime
    customer: int = field(default_factory=lambda: next(NUMBERS))
    hour: int = 0
    expected: Expected = field(default_factory=Expected)

    def __post_init__(self) -> None:
        self.email = f"p{self.customer}@example.com"
        self._add_customer()
        self.link = mail_to(self.world, self.customer, email=self.email.upper())

    def at(self, hour: int) -> datetime:
        return self.start + timedelta(hours=hour)

    def step(self, name: str, hours: int) -> None:
        self.hour += 1
        getattr(self, name)(hours)

    def leave(self, _: int) -> None:
        with session_scope(self.world.factory) as session:
            unsubscribe(session, self.link, now=self.at(self.hour))
        told = self.expected.told
        is_told = told is not None and told.state is ConsentState.SUBSCRIBED
        # Shopify's clock may be ahead: what was told before they left is behind them.
        self.expected.left_at = max(self.hour, told.at if told and is_told else self.hour)

    def come_back(self, _: int) -> None:
        with session_scope(self.world.factory) as session:
            undo(session, self.link, now=self.at(self.hour))
        self.expected.left_at = None

    def subscribe_at_shop(self, hours: int) -> None:
        self._tell(ConsentState.SUBSCRIBED, self.hour + hours)

    def unsubscribe_at_shop(self, hours: int) -> None:
        self._tell(ConsentState.UNSUBSCRIBED, self.hour + hours)

    def complain(self, _: int) -> None:
        self._suppress(SuppressionReason.COMPLAINT)

    def bounce(self, _: int) -> None:
        self._suppress(SuppressionReason.HARD_BOUNCE)

    def lift(self, _: int) -> None:
        """The owner takes the address off the list; of their own unsubscribe nobody can."""
        if self.expected.is_suppressed:
            lift(
                self.world.factory,
                shop_id=self.world.shop_id,
                email=self.email,
                reason="They asked for it.",
                now=self.at(self.hour),
                secret_key=self.world.settings.secret_key,
            )
            self.expected.is_suppressed = False

    def erase(self, _: int) -> None:
        hasher = ErasureHasher(self.world.settings.secret_key, self.world.shop_id)
        with session_scope(self.world.factory) as session:
            keep_hashes(
                session, self.world.shop_id, hasher, [], [self.email], now=self.at(self.hour)
            )
        self.expected.is_erased = True

    def delete(self, _: int) -> None:
        self.world.set_customer(self.customer, deleted_at=self.at(self.hour))
        self.expected.told = None

    def create_again(self, _: int) -> None:
        """A new customer with the address, subscribed long ago as imports say."""
        if self.expected.told is None:
            self.customer = next(NUMBERS)
            self._add_customer()
            self.expected.told = Told()

    def merge(self, _: int) -> None:
        """Another customer with the address stays; what Shopify says of both is the same."""
        told = self.expected.told
        if told is None:
            return
        former, self.customer = self.customer, next(NUMBERS)
        self._add_customer(told)
        self.world.set_customer(former, deleted_at=self.at(self.hour), merged_into=self.customer)

    def _add_customer(self, told: Told = Told()) -> None:
        self.world.add_customer(
            self.customer,
            email=self.email,
            consent_state=told.state,
            consent_updated_at=self.at(told.at),
        )

    def _tell(self, state: ConsentState, at: int) -> None:
        """Shopify's later word counts, as the receiver has it."""
        told = self.expected.told
        if told is None or at <= told.at:
            return
        self.world.set_customer(self.customer, consent_state=state, consent_updated_at=self.at(at))
        self.expected.told = replace(told, state=state, at=at)

    def _suppress(self, reason: SuppressionReason) -> None:
        entry = Entry(self.world.shop_id, self.email, reason, self.at(self.hour))
        with session_scope(self.world.factory) as session:
            add(session, [entry], source=SuppressionSource.EVENT)
        self.expected.is_suppressed = True


STEPS = (
    *("leave", "come_back", "subscribe_at_shop", "unsubscribe_at_shop", "complain", "bounce"),
    *("lift", "erase", "delete", "create_again", "merge"),
)
LIKELY = st.sampled_from((*STEPS, "leave", "come_back", "subscribe_at_shop", "leave"))


@pytest.mark.requirement("EMAIL-01", "EMAIL-02", "EMAIL-03")
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(LIKELY, HOURS), max_size=9))
def test_the_order_of_authority_holds_whatever_happens(
    shop: World, steps: list[tuple[str, int]]
) -> None:
    play = Play(shop, shop.now)
    for name, hours in steps:
        play.step(name, hours)
        refusal = play.expected.refusal()
        wanted = Send(play.email) if refusal is None else Skip(refusal)
        assert decision_on(shop, play.customer, now=play.at(100)) == wanted, (name, hours)


@pytest.mark.requirement("EMAIL-01")
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.tuples(st.sampled_from(["leave", "come_back", "subscribe_at_shop", "complain"]), HOURS),
        max_size=8,
    )
)
def test_each_row_of_the_ledger_begins_where_the_address_stood(
    shop: World, steps: list[tuple[str, int]]
) -> None:
    """No act is written that changed nothing, and none is missing."""
    play = Play(shop, shop.now)
    for name, hours in steps:
        known = len(of(shop, play.email))
        before = standing(shop, play)
        was_suppressed = play.expected.is_suppressed
        play.step(name, hours)
        after = standing(shop, play)
        new = of(shop, play.email)[known:]
        if name == "subscribe_at_shop" or (name == "complain" and was_suppressed):
            assert new == []
            continue
        if before.is_ours == after.is_ours and before.state == after.state:
            assert new == []
            continue
        [row] = new
        assert row.state_before == before.state
        wanted = S.UNSUBSCRIBED if name == "leave" else after.state
        assert row.state_after == wanted


def of(world: World, email: str) -> list[ConsentEvent]:
    return [each for each in ledger(world) if each.email_normalized == email]


def standing(world: World, play: Play) -> Standing:
    with session_scope(world.factory) as session:
        return read_standing(session, world.shop_id, play.email)


@pytest.mark.requirement("EMAIL-01")
def test_a_link_changes_no_other_address_and_no_other_shop(shop: World) -> None:
    shop.add_customers([1, 2])
    link = mail_to(shop, 1)
    other = shop.add_shop()
    shop.add_customers([1], shop_id=other)
    with session_scope(shop.factory) as session:
        unsubscribe(session, link, now=shop.now)
        # The same number under another shop is another message, which there is not.
        unsubscribe(session, Recipient(other, link.message_id), now=shop.now)
    assert decision_on(shop, 2) == Send("c2@example.com")
    shop.shop_id = other
    assert decision_on(shop, 1) == Skip(SkipReason.AUTOMATION_OFF)
    shop.switch_welcome_on()
    assert decision_on(shop, 1) == Send("c1@example.com")


@pytest.mark.requirement("EMAIL-01")
def test_an_old_link_is_about_the_address_it_went_to(shop: World) -> None:
    """They changed their address since; who reads the old mailbox cannot silence the new one."""
    shop.add_customer(1)
    link = mail_to(shop, 1)
    shop.set_customer(1, email="new@example.com")
    with session_scope(shop.factory) as session:
        unsubscribe(session, link, now=shop.now)
    assert decision_on(shop, 1) == Send("new@example.com")
    shop.set_customer(1, email="c1@example.com")
    assert decision_on(shop, 1) == Skip(SkipReason.UNSUBSCRIBED)


@pytest.mark.requirement("EMAIL-01")
def test_two_customers_with_one_address_leave_together(shop: World) -> None:
    shop.add_customer(1)
    shop.add_customer(2, email=" C1@EXAMPLE.com ")
    link = mail_to(shop, 1)
    with session_scope(shop.factory) as session:
        unsubscribe(session, link, now=shop.now)
    assert [decision_on(shop, each) for each in (1, 2)] == [Skip(SkipReason.UNSUBSCRIBED)] * 2
