"""Why a mail was sent: one explanation, against what was done to make it so."""

from datetime import timedelta
from typing import Any

import orjson
import pytest
from sqlalchemy import update

from activation.automation.switching import switch_off
from activation.eligibility import Check, Skip
from activation.eligibility.checks import CHECKS
from activation.events import match_stored
from activation.explain import MessageExplained, as_json, explain_message, words
from activation.explain.checks import GIVES, refused
from activation.explain.shapes import CheckResult
from core.database import session_scope
from core.errors import PermanentError
from core.models import Enrollment, Message
from core.models.enums import ConsentState, DeferReason, SkipReason
from tests.activation.events.test_engagements import click, told
from tests.activation.privacy.people import ADA, STRINGS, traces
from tests.activation.privacy.test_erasure import erase
from tests.activation.scores import DAY, people, score
from tests.activation.test_events import tell
from tests.activation.world import World
from tests.fixtures.marts import Marts

HOUR = timedelta(hours=1)
ANNA = 99
PASSED, REFUSED, NOT_ASKED = CheckResult.PASSED, CheckResult.REFUSED, CheckResult.NOT_ASKED


def explain(world: World, message_id: int | None = None) -> MessageExplained:
    with session_scope(world.factory) as session:
        return explain_message(
            session,
            world.shop_id,
            message_id or world.message().message_id,
            secret_key=world.settings.secret_key,
            now=world.now,
        )


def results(explained: MessageExplained) -> dict[str, CheckResult]:
    return {each.check: each.result for each in explained.checks}


@pytest.mark.requirement("AUTO-06", "FLOW-01")
def test_a_mail_is_explained_from_its_order_to_its_click(world: World, marts: Marts) -> None:
    people(world, 10)
    score(world, marts, "rfm-1")
    world.switch_welcome_on(delay=HOUR)
    world.add_customer(ANNA)
    world.clock.advance(HOUR)
    order_id = world.place_order(ANNA)
    world.run_cleanly(run_id="run-enrols")
    world.clock.advance(HOUR)
    world.run_cleanly(run_id="run-sends")
    [message] = [each for each in world.messages() if each.customer_id == ANNA]
    tell(world, "email.delivered", message=message)
    match_stored(world.factory, clock=world.clock)
    machine = click(message, world.now + DAY, ip="198.51.100.7", agent="curl/8.0")
    told(world, [click(message, world.now + HOUR), machine])

    said = explain(world, message.message_id)

    assert said.state == "delivered"
    assert said.entry is not None
    assert said.entry.event == "first_order"
    assert said.entry.moment_at == world.now - HOUR
    assert [(each.order_id, each.started_it) for each in said.entry.orders] == [(order_id, True)]
    assert said.flow.is_current_version
    assert said.flow.step_key == "welcome_email"
    assert said.flow.step is not None
    assert said.flow.step["template"] == "welcome"
    assert [(each.step_key, each.seconds) for each in said.timing.waits] == [("delay", 3600)]
    assert said.timing.first_due_at == world.now
    assert "1 hour after their first order" in said.timing.words
    assert said.at_moment is not None
    assert said.at_moment.rfm_run_id == "rfm-1"
    assert said.at_moment.entered_at == world.now - HOUR
    assert len(said.at_moment.rfm_score) == 3
    assert {each.dimension for each in said.at_moment.boundaries} >= {"recency", "monetary"}
    assert said.holdout is not None
    assert not said.holdout.is_held_out
    assert set(results(said).values()) == {PASSED}
    assert said.checks_are == "as decided"
    assert said.batch is not None
    assert [(each.outcome, each.run_id) for each in said.batch.attempts] == [
        ("accepted", "run-sends")
    ]
    assert [each.event_type for each in said.events] == ["email.delivered"]
    assert [(each.kind, each.by, each.bot_reason) for each in said.engagements] == [
        ("click", "person", None),
        ("click", "machine", "user_agent"),
    ]
    assert (said.runs.enrolled, said.runs.queued) == ("run-enrols", "run-sends")
    assert said.runs.attempted == ("run-sends",)
    assert said.runs.entered_segment == "run-enrols"
    assert said.credited == ()  # the mart is there, and was not built since
    assert as_json(said) == orjson.loads(orjson.dumps(as_json(said)))


@pytest.mark.requirement("EMAIL-02")
@pytest.mark.parametrize(
    ("columns", "check"),
    [
        ({"consent_state": ConsentState.UNSUBSCRIBED}, Check.IS_SUBSCRIBED),
        ({"consent_state": ConsentState.NOT_SUBSCRIBED}, Check.IS_SUBSCRIBED),
        ({"has_valid_email": False}, Check.ADDRESS_IS_VALID),
        ({"email": None}, Check.HAS_ADDRESS),
    ],
)
def test_of_a_mail_that_was_skipped_it_says_which_check_refused_and_which_were_not_asked(
    world: World, columns: dict[str, Any], check: Check
) -> None:
    world.buyers([1], **columns)
    world.run_cleanly()
    world.set_customer(1, consent_state=ConsentState.SUBSCRIBED)  # what is so now does not matter

    said = explain(world)

    found = results(said)
    place = list(found).index(check)
    assert said.checks[place].reason == said.skip_reason
    assert found[check] in (REFUSED, CheckResult.UNCLEAR)
    if check is not Check.HAS_ADDRESS:  # nobody kept whether Shopify had been asked
        assert found[check] is REFUSED
        assert set(list(found.values())[:place]) == {PASSED}
    assert set(list(found.values())[place + 1 :]) == {NOT_ASKED}
    assert said.words.endswith(f"was not sent: {words.skipped(said.skip_reason or '')}.")


@pytest.mark.requirement("EMAIL-01", "EMAIL-02")
def test_an_unsubscribe_by_our_link_is_told_from_one_at_shopify(world: World) -> None:
    world.add_customer(1)
    world.execute(
        "INSERT INTO crm.suppressions (shop_id, email_normalized, reason, suppressed_at)"
        " VALUES (:shop_id, 'c1@example.com', 'unsubscribed', :now)",
        shop_id=world.shop_id,
        now=world.now - HOUR,
    )
    world.set_customer(1, consent_updated_at=world.now - 2 * HOUR)
    world.place_order(1)
    world.run_cleanly()
    found = results(explain(world))
    assert found[Check.NOT_UNSUBSCRIBED_HERE] is REFUSED
    assert found[Check.IS_SUBSCRIBED] is NOT_ASKED


@pytest.mark.requirement("EMAIL-02", "EMAIL-05")
def test_a_mail_that_waits_is_examined_now_and_afterwards_it_is_known_what_it_waited_for(
    world: World,
) -> None:
    world.set_shop(postal_address=None)
    world.buyers([1])
    world.run_cleanly()
    waiting = explain(world)
    assert (waiting.state, waiting.checks_are) == ("queued", "as of now")
    assert results(waiting)[Check.HAS_POSTAL_ADDRESS] is CheckResult.WAITS
    assert results(waiting)[Check.WITHIN_CAPS] is PASSED  # asked too, whatever comes before it
    assert "waits for the shop's postal address" in waiting.timing.words

    world.set_shop(postal_address="Lange Reihe 12")
    assert set(results(explain(world)).values()) == {PASSED}
    world.clock.advance(HOUR)
    world.run_cleanly()
    sent = explain(world)
    assert (sent.state, sent.timing.waited_for) == ("sent", DeferReason.NO_POSTAL_ADDRESS)
    assert "then it waited for the shop's postal address" in sent.timing.words


@pytest.mark.requirement("EMAIL-02")
def test_too_late_is_told_by_what_made_it_so(world: World) -> None:
    world.switch_welcome_on(delay=HOUR)
    world.buyers([1])
    world.run_cleanly()
    world.clock.advance(timedelta(days=4))
    world.run_cleanly()
    assert results(explain(world))[Check.IN_TIME] is REFUSED
    with session_scope(world.factory) as session:  # as a cap would have left it
        session.execute(
            update(Message).values(
                defer_reason=DeferReason.FREQUENCY_CAP, finished_at=Message.queued_at - 3 * HOUR
            )
        )
        session.execute(update(Message).values(expires_at=world.now))
    assert results(explain(world))[Check.WITHIN_CAPS] is REFUSED


@pytest.mark.requirement("AUTO-06")
def test_a_withheld_mail_and_one_of_a_flow_that_is_off_say_so(world: World) -> None:
    world.switch_welcome_on(delay=HOUR)
    world.buyers([1, 2])
    world.run_cleanly()
    with session_scope(world.factory) as session:
        session.execute(
            update(Enrollment).where(Enrollment.customer_id == 1).values(is_held_out=True)
        )
        switch_off(session, world.shop_id, "welcome", now=world.now)
    world.clock.advance(HOUR)
    world.run_cleanly()
    of = {each.customer_id: explain(world, each.message_id) for each in world.messages()}
    assert of[1].holdout is not None
    assert of[1].holdout.is_held_out
    assert {each.result for each in of[1].checks} == {CheckResult.NOT_KEPT}
    assert results(of[2])[Check.AUTOMATION_IS_ON] is REFUSED


@pytest.mark.requirement("SHOP-07")
def test_nothing_of_an_erased_person_comes_back(world: World) -> None:
    order = traces(world)
    [hers] = [each for each in world.messages() if each.customer_id == ADA]
    before = orjson.dumps(as_json(explain(world, hers.message_id))).decode()
    assert str(ADA) in before  # the control: it would be found

    erase(world, order)

    said = explain(world, hers.message_id)
    text = orjson.dumps(as_json(said)).decode().casefold()
    assert not [string for string in STRINGS if string.casefold() in text]
    assert said.is_erased
    assert (said.entry, said.at_moment, said.at_mail, said.credited) == (None, None, None, None)
    assert [each.by for each in said.engagements]  # that it was clicked stays, for the counts


@pytest.mark.requirement("AUTO-06")
def test_every_reason_has_a_check_and_words(world: World) -> None:
    assert set(GIVES) == set(SkipReason) == set(words.SKIPPED)
    assert set(words.WAITING) == set(DeferReason)
    assert set(words.CHECKS) == set(Check) == {check for check, _ in CHECKS}
    for reason in SkipReason:
        parts = refused(reason)
        assert [each.check for each in parts] == list(Check)
        assert {each.check for each in parts if each.reason} == set(GIVES[reason])
    assert Skip(SkipReason.EXITED).reason in GIVES
    with pytest.raises(PermanentError, match="no mail 99"):
        explain(world, 99)
