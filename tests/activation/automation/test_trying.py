from datetime import timedelta
from typing import Any

import orjson
import pytest

from activation.automation import library
from activation.automation.definition import Branch, OrderCount, SendEmail
from activation.automation.presets import PRESETS, WELCOME
from activation.automation.steps import run_due_steps
from activation.automation.trying import MOST_IN_WINDOW, Trial, Tried, send_trial
from activation.automation.validation import InvalidDefinition
from activation.outbox.sending import send_due
from activation.outbox.worker import Outbox
from activation.provider import RefusalKind, Refused, Unknown
from activation.rendering.content import MailContent
from core.database import session_scope
from core.errors import PermanentError, TransientError
from core.models.enums import MessageState
from tests.activation.automation.flow import Flow, definition
from tests.activation.world import World

TO = "owner@example.com"


def outbox(world: World, **options: Any) -> Outbox:
    return Outbox(
        **{
            "factory": world.factory,
            "settings": world.settings,
            "provider": world.provider,
            "clock": world.clock,
            "run_id": None,
            "stop": lambda: False,
            "sleep": world.naps.append,
            **options,
        }
    )


def try_out(world: World, key: str = WELCOME, to: str = TO, **rest: Any) -> Tried:
    return send_trial(outbox(world), world.shop_id, Trial(key, to, **rest))


@pytest.mark.requirement("PIPE-02")
@pytest.mark.parametrize("preset", PRESETS, ids=lambda each: each.key)
def test_every_flow_can_be_tried_while_it_is_off(world: World, preset: Any) -> None:
    with session_scope(world.factory) as session:
        library.toggle(session, world.shop_id, preset.key, on=False, now=world.now)
    tried = try_out(world, preset.key)
    [mail] = world.provider.accepted
    assert (tried.state, mail["to"], mail["subject"]) == ("sent", [TO], tried.subject)
    assert tried.subject.startswith("[Test] ")
    tags = {tag["name"]: tag["value"] for tag in mail["tags"]}
    assert (tags["automation"], tags["test"]) == (preset.key, "true")
    assert tags["send_id"] == str(tried.message_id)
    [message] = world.messages()
    assert (message.is_test, message.customer_id, message.state) == (True, None, MessageState.SENT)
    assert message.dedupe_key.startswith(f"test/{preset.key}/")
    assert world.enrollments() == []


@pytest.mark.requirement("TSEND-01")
@pytest.mark.requirement("TSEND-02")
def test_words_that_are_not_saved_can_be_tried(world: World) -> None:
    try_out(world, content=MailContent(subject="Draft for {{ customer.first_name }}"))
    [mail] = world.provider.accepted
    assert mail["subject"] == "[Test] Draft for Anna"
    assert "Fjord mug" in mail["html"]
    with pytest.raises(InvalidDefinition, match=r"^content\.subject: "):
        try_out(world, content=MailContent(subject="{{ customer.nope }}"))
    assert len(world.messages()) == 1


def test_a_customers_own_data_is_shown_on_request_and_their_name_not_kept(world: World) -> None:
    world.add_customer(1, first_name="Bertha")
    world.place_order(1)
    tried = try_out(world, customer_id=1, content=MailContent(subject="{{ customer.first_name }}"))
    [mail] = world.provider.accepted
    assert (tried.subject, mail["to"]) == ("[Test] Bertha", [TO])
    assert "Becher Fjord" in mail["html"]
    assert world.message().subject == "[Test] welcome"
    with pytest.raises(PermanentError, match="no such customer"):
        try_out(world, customer_id=99)


@pytest.mark.parametrize("reason", ["complaint", "hard_bounce", "unsubscribed"])
def test_nobody_who_said_no_gets_even_a_test(world: World, reason: str) -> None:
    world.execute(
        "INSERT INTO crm.suppressions (shop_id, email_normalized, reason, suppressed_at)"
        " VALUES (:shop, :email, :reason, :now)",
        shop=world.shop_id,
        email=TO,
        reason=reason,
        now=world.now,
    )
    with pytest.raises(PermanentError, match=reason):
        try_out(world, to=" Owner@Example.com ")
    with pytest.raises(PermanentError, match="not an address"):
        try_out(world, to="owner@")
    assert world.provider.calls == []
    assert world.messages() == []


def test_tests_count_for_no_cap_and_are_bounded_themselves(world: World) -> None:
    for _ in range(MOST_IN_WINDOW):
        try_out(world, to="c1@example.com")
    with pytest.raises(TransientError, match="are enough"):
        try_out(world)
    world.buyers([1])
    world.run_cleanly()
    assert world.provider.addresses().count("c1@example.com") == MOST_IN_WINDOW + 1
    world.clock.advance(timedelta(minutes=11))
    assert try_out(world).state == "sent"


@pytest.mark.parametrize("kind", [RefusalKind.MAIL, RefusalKind.RATE, RefusalKind.SHOP])
def test_what_the_provider_refuses_is_over_and_never_leaves_later(
    world: World, kind: RefusalKind
) -> None:
    world.provider.faults.append(lambda *_: Refused(kind, 429, "Not now."))
    tried = try_out(world)
    assert tried.state == "failed"
    assert tried.failure
    world.end_leases()
    world.end_pauses()
    world.run_cleanly()
    assert world.provider.accepted == []


def test_a_test_whose_answer_never_came_is_repeated_as_the_same_request(world: World) -> None:
    def takes_and_says_nothing(provider: Any, body: bytes, key: str) -> Unknown:
        provider.take(body, key)
        return Unknown("timeout")

    world.provider.faults.append(takes_and_says_nothing)
    assert try_out(world).state == "frozen"
    world.end_leases()
    world.run_cleanly()
    assert world.message().state is MessageState.SENT
    assert len(world.provider.accepted) == 1


def test_a_test_whose_process_died_at_the_call_arrives_once_by_the_next_worker(
    world: World,
) -> None:
    """Nobody knows whether the call was made, so the very same request is repeated."""

    def die(step: str) -> None:
        if step == "attempt_committed":
            raise SystemExit

    with pytest.raises(SystemExit):
        send_trial(outbox(world, checkpoint=die), world.shop_id, Trial(WELCOME, TO))
    world.end_leases()
    world.run_cleanly()
    assert world.message().state is MessageState.SENT
    assert world.provider.addresses() == [TO]


def test_the_bytes_of_a_test_are_those_of_a_mail_but_for_its_mark(world: World) -> None:
    """One renderer: what a test shows is what customers get."""
    world.add_customer(1)
    world.place_order(1)
    world.run_cleanly()
    try_out(world, customer_id=1)
    real, trial = (orjson.loads(body)[0] for _, body in world.provider.calls)
    assert trial["subject"] == f"[Test] {real['subject']}"
    assert trial["from"] == real["from"]
    assert len(trial["text"]) == pytest.approx(len(real["text"]), abs=40)  # links have lengths


def test_a_mail_within_a_branch_leaves_as_any_other(world: World) -> None:
    """Letters were looked for among the outer steps only: it failed, as no mail of that version."""
    mail = SendEmail(step_key="inner", template="welcome")
    branch = Branch(step_key="if", condition=OrderCount(1), otherwise=(mail,))
    flow = Flow.add(world, definition(branch))
    world.add_customer(1)
    flow.enter(1)
    with session_scope(world.factory) as session:
        run_due_steps(
            session, world.shop_id, secret_key=world.settings.secret_key, now=world.now, run_id=None
        )
    send_due(outbox(world), world.shop_id)
    assert world.message().state is MessageState.SENT
    assert try_out(world, "flow").state == "sent"
