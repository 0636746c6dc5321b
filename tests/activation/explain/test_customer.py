"""Why somebody did not get a mail: the condition that was broken is the one that is named."""

from datetime import timedelta
from typing import Any

import orjson
import pytest

from activation.automation.definition import (
    AbandonedCheckout,
    Again,
    Definition,
    EnteredSegment,
    SendEmail,
    Silence,
    TagAdded,
    Wait,
    write_definition,
)
from activation.automation.switching import switch_off
from activation.explain import CustomerExplained, as_json, explain_customer
from core.database import session_scope
from core.errors import PermanentError
from core.models import Automation, AutomationVersion, Checkout, CustomerMerge, SegmentMembership
from core.models.enums import ConsentState, MembershipCause, Segment
from tests.activation.privacy.people import ADA, EMAIL, STRINGS, traces
from tests.activation.privacy.test_erasure import erase
from tests.activation.world import World

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WEEK = timedelta(days=7)
WIN_BACK = Silence(days=90, segments=(Segment.AT_RISK, Segment.HIBERNATING))


def why(world: World, customer: int | str, key: str = "welcome") -> CustomerExplained:
    with session_scope(world.factory) as session:
        return explain_customer(
            session,
            world.shop_id,
            customer,
            key,
            secret_key=world.settings.secret_key,
            now=world.now,
        )


def add_flow(world: World, key: str, trigger: Any, **more: Any) -> None:
    definition = Definition(
        trigger=trigger,
        steps=more.pop("steps", (SendEmail(step_key="mail", template="welcome"),)),
        late_after_seconds=int(WEEK.total_seconds()),
        **more,
    )
    with session_scope(world.factory) as session:
        flow = Automation(
            shop_id=world.shop_id,
            key=key,
            name=key,
            is_active=True,
            switched_on_at=world.now,
            created_at=world.now,
        )
        session.add(flow)
        session.flush()
        session.add(
            AutomationVersion(
                shop_id=world.shop_id,
                automation_id=flow.automation_id,
                version=1,
                definition=write_definition(definition),
                created_at=world.now,
            )
        )


def stay(world: World, customer_id: int, segment: Segment, *, since: Any, before: Any) -> None:
    with session_scope(world.factory) as session:
        session.add(
            SegmentMembership(
                shop_id=world.shop_id,
                customer_id=customer_id,
                segment=segment,
                previous_segment=before,
                entered_at=since,
                cause=MembershipCause.FULL_RUN,
                r_score=1,
                f_score=1,
                m_score=1,
            )
        )


def findings(explained: CustomerExplained) -> dict[str, bool | None]:
    return {each.code: each.holds for each in explained.conditions}


@pytest.mark.requirement("AUTO-06", "FLOW-01")
def test_from_no_order_to_a_mail_that_was_sent_each_state_has_its_answer(world: World) -> None:
    world.switch_welcome_on(delay=HOUR)
    world.add_customer(1)
    assert why(world, 1).code == "has_ordered"
    world.place_order(1)
    assert why(world, 1).code == "enters_next"
    world.run_cleanly()
    waiting = why(world, 1)
    assert waiting.code == "on_the_way"
    assert waiting.enrolments[0].due_at == world.now + HOUR
    assert "the next step is due on 20 November 2026, 14:00" in waiting.words
    world.clock.advance(HOUR)
    world.run_cleanly()
    got = why(world, "C1@Example.com ")
    assert got.code == "mail_sent"
    assert got.customer_id == 1
    assert got.enrolments[0].mails[0].message_id == world.message().message_id
    assert [each.message_id for each in got.counted_mails] == [world.message().message_id]
    assert as_json(got) == orjson.loads(orjson.dumps(as_json(got)))


@pytest.mark.requirement("AUTO-02", "EMAIL-02", "FLOW-01")
def test_the_condition_that_is_broken_is_the_one_that_is_named(world: World) -> None:
    world.add_customer(1, consent_state=ConsentState.NOT_SUBSCRIBED)
    world.place_order(1)
    assert why(world, 1).code == "is_subscribed"  # they would enter, and get nothing
    assert "no mail would go: they are not subscribed" in why(world, 1).words
    world.add_customer(2)
    world.place_order(2, processed_at=world.now - 3 * HOUR)  # the first sync began 2 hours ago
    assert why(world, 2).code == "not_historical"
    world.add_customer(3)
    world.place_order(3, processed_at=world.now - HOUR)
    assert why(world, 3).code == "after_switch_on"
    with session_scope(world.factory) as session:
        switch_off(session, world.shop_id, "welcome", now=world.now)
    assert why(world, 1).code == "flow_is_on"
    world.set_shop(baseline_at=None)
    assert why(world, 1).code == "shop_is_ready"


@pytest.mark.requirement("FLOW-04")
def test_a_silence_that_is_too_short_says_when_it_will_be_long_enough(world: World) -> None:
    add_flow(world, "silent", WIN_BACK)
    world.add_customer(1)
    world.place_order(1, processed_at=world.now - 63 * DAY)
    stay(world, 1, Segment.AT_RISK, since=world.now - DAY, before=Segment.LOYAL)
    said = why(world, 1, "silent")
    # The same time of day in Berlin, where summer has ended meanwhile.
    assert (said.code, said.expected_at) == ("silent_long_enough", world.now + 27 * DAY + HOUR)
    assert "63 days ago; it takes 90, which will be so on 17 December 2026, 14:00" in said.words
    world.execute("UPDATE crm.segment_memberships SET segment = 'new'")
    both = why(world, 1, "silent")
    assert findings(both)["silent_long_enough"] is findings(both)["in_segment"] is False
    assert both.expected_at is None  # time alone changes no segment
    [in_segment] = [each for each in both.conditions if each.code == "in_segment"]
    assert in_segment.words == (
        "they are in the segment new since 19 November 2026, 13:00, not in at risk or hibernating"
    )


@pytest.mark.requirement("FLOW-05")
def test_whoever_was_a_champion_from_the_start_never_entered(world: World) -> None:
    add_flow(world, "champions", EnteredSegment((Segment.CHAMPION,)))
    world.add_customers([1, 2])
    stay(world, 1, Segment.CHAMPION, since=world.now - DAY, before=None)
    stay(world, 2, Segment.CHAMPION, since=world.now, before=Segment.LOYAL)
    assert why(world, 1, "champions").code == "moved_there"
    assert findings(why(world, 2, "champions"))["after_switch_on"] is True


@pytest.mark.requirement("FLOW-02")
def test_a_checkout_waits_for_its_customer_to_come_back_and_ends_with_an_order(
    world: World,
) -> None:
    steps = (Wait("delay", seconds=7200), SendEmail(step_key="mail", template="welcome"))
    add_flow(world, "left_cart", AbandonedCheckout(), steps=steps)
    world.add_customer(1)
    assert why(world, 1, "left_cart").code == "has_checkout"
    with session_scope(world.factory) as session:
        session.add(
            Checkout(
                shop_id=world.shop_id,
                checkout_key="key-1",
                token="token-1",
                email=" C1@example.com",
                created_at=world.now,
                updated_at=world.now,
                currency="EUR",
                total=10,
            )
        )
    left = why(world, 1, "left_cart")
    assert (left.code, left.expected_at) == ("left_for_long_enough", world.now + 2 * HOUR)
    world.clock.advance(HOUR)
    world.place_order(None, checkout_token="token-1", email="else@example.com")
    assert why(world, 1, "left_cart").code == "not_ordered_since"


@pytest.mark.requirement("AUTO-01")
def test_a_tag_is_looked_for_in_any_case(world: World) -> None:
    add_flow(world, "tagged", TagAdded("VIP"), reentry=Again(after_days=30))
    world.add_customer(1, tags=["other"])
    assert why(world, 1, "tagged").code == "has_tag"
    world.set_customer(1, tags=["other", "vip"])
    assert findings(why(world, 1, "tagged"))["has_tag"] is True


@pytest.mark.requirement("SHOP-07")
def test_whoever_is_unknown_deleted_merged_or_erased_has_a_clear_answer(world: World) -> None:
    assert why(world, 404).code == "unknown_customer"
    assert why(world, "nobody@example.com").code == "unknown_customer"
    with pytest.raises(PermanentError, match="by Shopify's number"):
        why(world, "Anna")
    with pytest.raises(PermanentError, match="no automation 'other'"):
        why(world, 1, "other")
    world.buyers([1, 2])
    world.set_customer(1, deleted_at=world.now)
    assert why(world, 1).code == "customer_exists"
    with session_scope(world.factory) as session:
        session.add(
            CustomerMerge(
                shop_id=world.shop_id,
                deleted_customer_id=1,
                kept_customer_id=2,
                merged_at=world.now,
            )
        )
    merging = why(world, "gid://shopify/Customer/1")
    assert (merging.code, merging.customer_id, merging.merged_from) == ("not_merging", 2, 1)
    world.run_cleanly()
    merged = why(world, 1)
    assert (merged.code, merged.customer_id, merged.merged_from) == ("mail_sent", 2, 1)


@pytest.mark.requirement("SHOP-07")
def test_nothing_of_an_erased_customer_comes_back(world: World) -> None:
    order = traces(world)
    assert why(world, EMAIL).customer_id == ADA  # the control: she would be found
    erase(world, order)
    for asked in (ADA, f"gid://shopify/Customer/{ADA}", EMAIL, EMAIL.upper()):
        said = why(world, asked)
        assert said.code == "erased"
        text = orjson.dumps(as_json(said)).decode().casefold()
        assert not [string for string in STRINGS if string.casefold() in text]
