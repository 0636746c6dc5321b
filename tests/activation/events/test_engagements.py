"""Opens and clicks: all kept, machines marked, and the same whatever order they come in."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from activation.clicks import Link
from activation.events import own
from activation.events.engagements import MOST_PER_MESSAGE, Seen, classify, store
from core.database import session_scope
from core.models import Engagement, Message
from core.models.enums import BotReason, EngagementKind, EngagementSource
from tests.activation.test_events import tell
from tests.activation.world import World

PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15"
DESKTOP = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/131.0 Safari/537.36"
NUMBERS = itertools.count(1)


@pytest.fixture
def sent(world: World) -> Message:
    world.buyers([1])
    world.run_cleanly()
    return world.message()


def click(
    message: Message,
    at: datetime,
    url: str = "https://shop.example/a",
    *,
    ip: str | None = "192.0.2.1",
    agent: str | None = PHONE,
    is_trap: bool = False,
) -> Seen:
    return Seen(
        message.shop_id,
        message.message_id,
        f"click-{next(NUMBERS)}",
        EngagementKind.CLICK,
        EngagementSource.OWN,
        at,
        url=None if is_trap else url,
        is_trap=is_trap,
        ip_address=ip,
        user_agent=agent,
    )


def told(world: World, seen: Sequence[Seen]) -> dict[str, BotReason | None]:
    """Store and judge; the reasons by key."""
    with session_scope(world.factory) as session:
        store(session, seen)
        classify(session, {(each.shop_id, each.message_id) for each in seen})
    return reasons(world)


def reasons(world: World) -> dict[str, BotReason | None]:
    with session_scope(world.factory) as session:
        rows = session.scalars(select(Engagement)).all()
        assert all(row.is_bot == (row.bot_reason is not None) for row in rows)
        return {row.engagement_key: row.bot_reason for row in rows}


def delivered(world: World, at: datetime) -> None:
    world.execute("UPDATE crm.messages SET delivered_at = :at", at=at)


@pytest.mark.requirement("AUTO-06")
def test_a_person_s_click_counts_and_each_rule_marks_a_machine_s(
    world: World, sent: Message
) -> None:
    """Each case on its own hour, so that no visit reaches into the next."""
    delivered(world, world.now)
    hours = [world.now + timedelta(hours=number) for number in range(1, 8)]
    second = timedelta(seconds=1)
    person = [click(sent, hours[0])]
    two_links = [click(sent, hours[1]), click(sent, hours[1] + second, "https://shop.example/b")]
    program = [click(sent, hours[2], agent="SafeLinksScanner/1.0")]
    trap = [click(sent, hours[3], is_trap=True)]
    burst = [
        click(sent, hours[4] + second * number, f"https://shop.example/{number}")
        for number in range(3)
    ]
    leaving = [
        click(sent, hours[5]),
        click(sent, hours[5] + second, "https://crm.example/unsubscribe/token"),
    ]
    soon = [click(sent, world.now + 9 * second, ip="198.51.100.1", agent=DESKTOP)]
    found = told(world, [*person, *two_links, *program, *trap, *burst, *leaving, *soon])

    def why(seen: Sequence[Seen]) -> set[BotReason | None]:
        return {found[each.key] for each in seen}

    assert why([*person, *two_links]) == {None}
    assert why(program) == {BotReason.USER_AGENT}
    assert why(trap) == {BotReason.TRAP}
    assert why(burst) == {BotReason.MANY_LINKS}
    assert why(leaving) == {BotReason.WITH_UNSUBSCRIBE}
    assert why(soon) == {BotReason.TOO_SOON}
    assert world.message().first_clicked_at == hours[0]


@pytest.mark.requirement("AUTO-06")
def test_what_the_same_visitor_does_within_a_quarter_of_an_hour_is_the_machine_s_too(
    world: World, sent: Message
) -> None:
    start = world.now + timedelta(hours=1)
    machine = click(sent, start, is_trap=True)
    soon_after = click(sent, start + timedelta(minutes=15))
    later = click(sent, start + timedelta(minutes=16))
    somebody_else = click(sent, start + timedelta(minutes=1), ip="192.0.2.2")
    found = told(world, [machine, soon_after, later, somebody_else])
    assert found[soon_after.key] is BotReason.SAME_VISITOR
    assert found[later.key] is found[somebody_else.key] is None


AGENTS = {
    PHONE: False,
    DESKTOP: False,
    "Mozilla/5.0 (Linux; Android 13; CUBOT P80) AppleWebKit/537.36": False,
    "": False,
    "Googlebot/2.1 (+http://www.google.com/bot.html)": True,
    "Mozilla/5.0 (compatible; SomeBot)": True,
    "python-requests/2.32": True,
    "Go-http-client/2.0": True,
    "Barracuda Sentinel (EE)": True,
    "Mozilla/5.0 HeadlessChrome/120": True,
}


@pytest.mark.requirement("AUTO-06")
def test_programs_name_themselves(world: World, sent: Message) -> None:
    seen = {
        agent: click(sent, world.now + timedelta(hours=number), agent=agent or None)
        for number, agent in enumerate(AGENTS, start=1)
    }
    found = told(world, list(seen.values()))
    assert {
        agent: found[each.key] is BotReason.USER_AGENT for agent, each in seen.items()
    } == AGENTS


@pytest.mark.requirement("AUTO-06")
def test_in_whatever_order_they_come_the_same_is_concluded(world: World, sent: Message) -> None:
    """A delivery told late, and clicks one by one or together."""
    begin = world.now + timedelta(hours=1)
    seen = [
        click(
            sent, begin + timedelta(seconds=5 * number % 23), f"https://shop.example/{number % 4}"
        )
        for number in range(8)
    ]
    seen += [replace(click(sent, begin + timedelta(minutes=9)), user_agent=DESKTOP)]
    results = []
    for seed in range(4):
        world.execute("DELETE FROM crm.engagements")
        world.execute("UPDATE crm.messages SET delivered_at = NULL, first_clicked_at = NULL")
        order = random.Random(seed).sample(seen, len(seen))  # noqa: S311
        for each in order[:5]:
            told(world, [each])
        delivered(world, begin)
        told(world, order[5:])
        results.append((reasons(world), world.message().first_clicked_at))
    assert all(each == results[0] for each in results)
    assert set(results[0][0].values()) >= {None, BotReason.TOO_SOON}


@pytest.mark.requirement("AUTO-06")
def test_a_delivery_that_is_told_after_the_click_shows_that_it_came_too_soon(
    world: World, sent: Message
) -> None:
    link = {"click": {"link": "https://shop.example/a", "timestamp": "2026-11-20T12:00:07.000Z"}}
    tell(world, "email.clicked", link, message=sent)
    assert world.message().first_clicked_at is not None
    tell(world, "email.delivered", message=sent)  # at 12:00:05
    assert world.message().first_clicked_at is None
    assert list(reasons(world).values()) == [BotReason.TOO_SOON]


@pytest.mark.requirement("AUTO-06")
def test_an_open_is_kept_and_is_never_more_than_a_time(world: World, sent: Message) -> None:
    tell(world, "email.opened", message=sent)
    message = world.message()
    assert message.first_opened_at is not None
    assert message.first_clicked_at is None
    assert len(reasons(world)) == 1


@pytest.mark.requirement("AUTO-06")
def test_a_judgement_outlives_what_it_rested_on(world: World, sent: Message) -> None:
    """Networks and programs are cleared after a month; a machine must not become a person by it."""
    begin = world.now + timedelta(hours=1)
    program = click(sent, begin, agent="curl/8.0")
    visitor = click(sent, begin + timedelta(minutes=5), agent="curl/8.0", ip="192.0.2.1")
    told(world, [program, visitor])
    before = reasons(world)
    world.execute("UPDATE crm.engagements SET ip_address = NULL, user_agent = NULL")
    told(world, [click(sent, begin + timedelta(days=40))])
    after = reasons(world)
    assert {key: after[key] for key in before} == before


@pytest.mark.requirement("AUTO-06")
def test_a_loop_over_one_link_fills_no_disk_and_strangers_texts_are_cut(
    world: World, sent: Message
) -> None:
    link = Link(sent.shop_id, sent.message_id, "https://shop.example/a")
    visit = own.Visit(link, world.now, "9" * 500, "a\x00" + "ü\ud800" * 900)
    own.record(world.factory, [own.seen(visit) for _ in range(MOST_PER_MESSAGE)])
    own.record(world.factory, [own.seen(visit)])
    assert len(reasons(world)) == MOST_PER_MESSAGE


@pytest.mark.requirement("AUTO-06", "SHOP-07")
def test_of_somebody_erased_no_click_is_stored(world: World, sent: Message) -> None:
    world.execute("UPDATE crm.messages SET dedupe_key = 'erased/' || message_id, email = NULL")
    assert told(world, [click(sent, world.now)]) == {}
    link = {"click": {"link": "https://shop.example/?for=ann", "ipAddress": "192.0.2.1"}}
    tell(world, "email.clicked", link, message=sent)
    with session_scope(world.factory) as session:
        row = session.scalars(select(Engagement)).one()
        assert (row.url, row.ip_address, row.user_agent) == (None, None, None)


def test_a_click_on_a_mail_that_is_not_there_is_dropped(world: World, sent: Message) -> None:
    own.record(
        world.factory,
        [own.seen(own.Visit(Link(sent.shop_id, 10**15, "https://x.example/"), world.now, "", ""))],
    )
    assert reasons(world) == {}
