"""The oracle of the five flows held against stories told by hand, most with a fault in them."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from sandbox import flow_facts as told
from sandbox.flow_facts import Fact, Mail, Story
from sandbox.flow_replay import Replay
from sandbox.flow_rules import FLOWS, days_later, is_held_out, quiet_is_over, spread
from sandbox.flow_scores import Buyer, cuts_of
from sandbox.flow_verdict import FlowVerdict, flow_verdict

HOUR, DAY = 3600.0, 86_400.0
BEGIN = datetime(2026, 10, 5, 2, tzinfo=UTC).timestamp()  # four in the morning in Berlin
DOMAIN = "try.myshopify.com"
# Nobody of these is held out of anything, so that each test is about one thing.
FREE = [n for n in range(1, 400) if not any(is_held_out(DOMAIN, flow.key, n) for flow in FLOWS)]
ANNA, *OTHERS = FREE[:12]


@dataclass
class Tale:
    """A shop whose eleven others bought long ago; told hour by hour for `days`."""

    days: int = 10
    facts: list[Fact] = field(default_factory=list)
    mails: list[Mail] = field(default_factory=list)
    addresses: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for place, number in enumerate(OTHERS):
            self.joins(number, at=-400 * DAY)
            self.buys(number, at=-(300 - place) * DAY, spent=20 + place)

    def tell(self, at: float, what: str, who: int, key: str = "") -> None:
        self.facts.append(Fact(BEGIN + at, what, who, key))

    def joins(self, who: int, *, at: float, consent: str = "SUBSCRIBED") -> None:
        self.tell(at, told.JOINED, who)
        self.tell(at, told.CONSENT, who, consent)

    def buys(self, who: int, *, at: float, spent: float = 50) -> str:
        key = str(len(self.facts))
        when = BEGIN + at
        self.facts.append(Fact(when, told.ORDERED, who, key, when, Decimal(str(spent))))
        return key

    def gets(self, flow: str, *, at: float, who: int = ANNA) -> None:
        name = f"mail-{len(self.mails)}"
        self.mails.append(Mail(name, flow, who, BEGIN + at, reached=True))

    def story(self) -> Story:
        facts = tuple(sorted(self.facts, key=lambda fact: fact.at))
        mails = tuple(self.mails)
        return Story(DOMAIN, "Europe/Berlin", facts, mails, addresses=self.addresses)

    def verdict(self, on: tuple[str, ...] = ("welcome", "abandoned_cart", "vip")) -> FlowVerdict:
        hours = range(self.days * 24 + 1)
        return flow_verdict(
            self.story(),
            on=dict.fromkeys(on, BEGIN + 1),  # whom the first night finds somewhere entered nothing
            looks=[BEGIN + hour * HOUR for hour in hours],
            nights=[BEGIN + day * DAY for day in range(self.days)],
        )


@pytest.fixture
def tale() -> Tale:
    """Anna buys for the first time ten and a half hours after the beginning."""
    tale = Tale()
    tale.joins(ANNA, at=10 * HOUR)
    tale.buys(ANNA, at=10.5 * HOUR)
    return tale


def counts(verdict: FlowVerdict) -> tuple[int, ...]:
    """expected, accepted, twice, missed, forbidden"""
    return (
        verdict.expected,
        verdict.accepted,
        verdict.twice,
        verdict.missed,
        verdict.forbidden,
    )


@pytest.mark.requirement("FLOW-01")
def test_an_owed_mail_in_time_is_right(tale: Tale) -> None:
    tale.gets("welcome", at=12 * HOUR + 2)
    assert counts(tale.verdict()) == (1, 1, 0, 0, 0)


def test_a_dropped_mail_is_missed(tale: Tale) -> None:
    assert counts(tale.verdict()) == (1, 0, 0, 1, 0)


def test_a_doubled_mail_is_twice(tale: Tale) -> None:
    tale.gets("welcome", at=12 * HOUR)
    tale.gets("welcome", at=12 * HOUR + DAY)
    assert counts(tale.verdict()) == (1, 2, 1, 0, 0)


def test_a_doubled_mail_at_once_is_seen_even_if_caps_forbid_it_besides(tale: Tale) -> None:
    tale.gets("welcome", at=12 * HOUR)
    tale.gets("welcome", at=12 * HOUR + 1)
    assert tale.verdict().forbidden == 1


def test_a_mail_that_comes_hours_late_is_missed_and_not_owed_then(tale: Tale) -> None:
    tale.gets("welcome", at=15 * HOUR)
    assert counts(tale.verdict()) == (1, 1, 0, 1, 1)


def test_a_mail_to_who_has_unsubscribed_is_forbidden(tale: Tale) -> None:
    tale.tell(11 * HOUR, told.CONSENT, ANNA, "UNSUBSCRIBED")
    assert counts(tale.verdict()) == (0, 0, 0, 0, 0)
    tale.gets("welcome", at=12 * HOUR)
    verdict = tale.verdict()
    assert counts(verdict) == (0, 1, 0, 0, 1)
    assert verdict.details[0]["reason"] == "consent was UNSUBSCRIBED"


@pytest.mark.parametrize("flow", ["repurchase", "vip", "made_up"])
def test_a_mail_of_a_flow_that_nobody_entered_is_forbidden(tale: Tale, flow: str) -> None:
    tale.gets("welcome", at=12 * HOUR)
    tale.gets(flow, at=2 * DAY + 12 * HOUR)
    assert counts(tale.verdict()) == (1, 2, 0, 0, 1)


def test_nothing_is_owed_to_who_is_gone_or_took_the_order_back(tale: Tale) -> None:
    order = tale.facts[-1].key
    tale.tell(11 * HOUR, told.UNCOUNTED, ANNA, order)
    assert counts(tale.verdict()) == (0, 0, 0, 0, 0)
    tale.facts[-1] = Fact(BEGIN + 11 * HOUR, told.GONE, ANNA)
    assert counts(tale.verdict()) == (0, 0, 0, 0, 0)


@pytest.mark.requirement("FLOW-02")
def test_a_cart_is_owed_a_mail_two_hours_after_its_last_change(tale: Tale) -> None:
    tale.gets("welcome", at=12 * HOUR)
    tale.tell(3 * DAY, told.CHECKOUT, ANNA, "cart")
    tale.tell(3 * DAY + HOUR, told.CHECKOUT, ANNA, "cart")
    tale.gets("abandoned_cart", at=3 * DAY + 3 * HOUR)
    assert counts(tale.verdict()) == (2, 2, 0, 0, 0)


@pytest.mark.parametrize("end", [told.ORDERED, told.CHECKOUT_OVER])
def test_an_order_or_the_end_of_the_cart_in_between_cancels_it(tale: Tale, end: str) -> None:
    tale.gets("welcome", at=12 * HOUR)
    tale.tell(3 * DAY, told.CHECKOUT, ANNA, "cart")
    if end == told.ORDERED:
        tale.buys(ANNA, at=3 * DAY + HOUR)
    else:
        tale.tell(3 * DAY + HOUR, told.CHECKOUT_OVER, ANNA, "cart")
    assert counts(tale.verdict(on=("welcome", "abandoned_cart"))) == (1, 1, 0, 0, 0)


def test_a_second_cart_within_a_week_is_owed_nothing(tale: Tale) -> None:
    tale.gets("welcome", at=12 * HOUR)
    tale.gets("abandoned_cart", at=3 * DAY + 2 * HOUR)
    tale.tell(3 * DAY, told.CHECKOUT, ANNA, "cart")
    tale.tell(5 * DAY, told.CHECKOUT, ANNA, "other")
    assert counts(tale.verdict()) == (2, 2, 0, 0, 0)


@pytest.mark.requirement("AUTO-05")
def test_a_cap_makes_the_second_mail_wait_twenty_hours(tale: Tale) -> None:
    tale.gets("welcome", at=12 * HOUR)
    tale.tell(12 * HOUR, told.CHECKOUT, ANNA, "cart")
    tale.gets("abandoned_cart", at=32 * HOUR)
    assert counts(tale.verdict()) == (2, 2, 0, 0, 0)
    tale.mails[-1] = tale.mails[-1]._replace(at=BEGIN + 14 * HOUR)
    assert counts(tale.verdict()) == (2, 2, 0, 1, 1)


@pytest.mark.requirement("FLOW-05")
def test_who_becomes_a_champion_in_the_evening_is_owed_a_mail_at_eight(tale: Tale) -> None:
    tale.gets("welcome", at=12 * HOUR)
    for hour in (18, 18.2, 18.4):  # eight in the evening, and the look after it is at nine
        tale.buys(ANNA, at=2 * DAY + hour * HOUR, spent=500)
    tale.gets("vip", at=3 * DAY + 4 * HOUR)
    assert counts(tale.verdict()) == (2, 2, 0, 0, 0)
    tale.mails[-1] = tale.mails[-1]._replace(at=BEGIN + 2 * DAY + 19 * HOUR)
    assert tale.verdict().details[0]["reason"] == "it was in the quiet hours"


def test_what_waited_for_the_morning_is_owed_at_the_turn_of_its_address(tale: Tale) -> None:
    """The oracle once owed all of it at the first look of the morning: the product spreads it."""
    address = next(
        name for name in (f"a{n}@example.com" for n in range(99)) if 1200 < spread(name) < 1500
    )
    tale.addresses[ANNA] = address
    tale.gets("welcome", at=12 * HOUR)
    for hour in (18, 18.2, 18.4):
        tale.buys(ANNA, at=2 * DAY + hour * HOUR, spent=500)
    tale.gets("vip", at=3 * DAY + 5 * HOUR)
    assert counts(tale.verdict()) == (2, 2, 0, 0, 0)
    tale.mails[-1] = tale.mails[-1]._replace(at=BEGIN + 3 * DAY + 4 * HOUR)
    assert counts(tale.verdict()) == (2, 2, 0, 1, 1)


@pytest.mark.requirement("FLOW-03")
def test_a_silence_of_thirty_days_is_told_by_the_wall_clock_over_a_change_of_it(tale: Tale) -> None:
    """Thirty days over the end of summer time are thirty days and an hour."""
    tale.days = 34
    tale.gets("welcome", at=12 * HOUR)
    bought = 10.5 * HOUR
    wall = days_later(BEGIN + bought, 30, ZoneInfo("Europe/Berlin"))
    assert wall - BEGIN - bought == 30 * DAY + HOUR
    tale.gets("repurchase", at=30 * DAY + 12 * HOUR)
    assert counts(tale.verdict(on=("welcome", "repurchase"))) == (2, 2, 0, 0, 0)
    tale.mails[-1] = tale.mails[-1]._replace(at=BEGIN + 30 * DAY + 11 * HOUR)
    assert counts(tale.verdict(on=("welcome", "repurchase"))) == (2, 2, 0, 1, 1)


def test_the_morning_is_at_eight_on_the_day_the_clock_is_moved_too() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    for month, day in ((3, 29), (10, 25)):
        midnight = datetime(2026, month, day, 0, 30, tzinfo=berlin).timestamp()
        assert (
            quiet_is_over(midnight, berlin)
            == datetime(2026, month, day, 8, tzinfo=berlin).timestamp()
        )


def test_equal_values_share_the_lowest_score_and_a_tie_moves_nobody() -> None:
    buyers = [Buyer(1, Decimal(5), float(n)) for n in range(10)]
    cuts = cuts_of(buyers)
    assert cuts is not None
    assert (cuts.frequency, cuts.money) == ([], [])
    assert cuts.recency == [2.0, 4.0, 6.0, 8.0]
    assert cuts.segment(buyers[9]) == "new"
    assert cuts_of(buyers[:4]) is None


def test_who_is_merged_brings_their_orders_along(tale: Tale) -> None:
    """The oracle once lost the orders of those who left, and so had other boundaries."""
    other = OTHERS[0]
    tale.tell(11 * HOUR, told.MERGED_INTO, ANNA, str(other))
    tale.tell(11 * HOUR, told.GONE, ANNA)
    replay = Replay(tale.story(), on={}, nights=[BEGIN, BEGIN + DAY])
    assert list(replay.owed([BEGIN, BEGIN + DAY])) == []
    buyer = replay.buyer(other)
    assert buyer is not None
    assert (buyer.orders, replay.buyer(ANNA)) == (2, None)
