"""A shop whose mails bounce or annoy stops sending; just below the limit it does not."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from activation.events.health import hold_if_unhealthy, read_health
from activation.events.resuming import resume_sending
from activation.outbox.pacing import paused_for
from core.database import session_scope
from core.errors import PermanentError
from core.models import AuditEntry, SendingHold
from core.models.enums import AuditAction, HoldCause
from tests.activation.test_events import tell
from tests.activation.world import World


def mails(
    world: World,
    count: int,
    *,
    state: str = "delivered",
    days_ago: float = 1,
    kind: str | None = None,
) -> None:
    """So many mails of the shop in the ledger, written at once."""
    world.execute(
        """
        INSERT INTO crm.messages (
            shop_id, dedupe_key, automation_id, version, step_key, state, due_at, expires_at,
            queued_at, sent_at, delivered_at, bounce_kind
        )
        SELECT
            :shop_id, 'x/' || clock_timestamp() || '/' || number, 1, 1, 's', CAST(:state AS text),
            :at, :at, :at, :at,
            CASE WHEN CAST(:state AS text) <> 'bounced' THEN CAST(:at AS timestamptz) END,
            CAST(:kind AS text)
        FROM generate_series(1, :count) AS number
        """,
        shop_id=world.shop_id,
        state=state,
        at=world.now - timedelta(days=days_ago),
        kind=kind if kind or state != "bounced" else "permanent",
        count=count,
    )


def is_held(world: World) -> bool:
    with session_scope(world.factory) as session:
        hold_if_unhealthy(session, world.shop_id, now=world.now)
        hold = session.get(SendingHold, world.shop_id)
        held = hold is not None and hold.resumed_at is None
        assert held == (paused_for(session, world.shop_id) is not None)
        return held


def held_with(world: World, good: int, bad: int, state: str) -> bool:
    """Of a shop with just these mails, as if it never had others."""
    for table in ("sending_holds", "send_paces", "messages"):
        world.execute(f"DELETE FROM crm.{table}")
    mails(world, good)
    mails(world, bad, state=state)
    return is_held(world)


@pytest.mark.requirement("EMAIL-03")
def test_four_in_a_hundred_bounces_stop_a_shop_once_there_are_a_hundred(world: World) -> None:
    cases = {(96, 4): True, (97, 3): False, (95, 4): False, (2401, 100): False, (2400, 100): True}
    assert {case: held_with(world, *case, "bounced") for case in cases} == cases


@pytest.mark.requirement("EMAIL-03")
def test_eight_complaints_in_ten_thousand_stop_a_shop_once_there_are_two(world: World) -> None:
    cases = {(2498, 2): True, (2499, 2): False, (1249, 1): False, (998, 2): True, (997, 2): False}
    assert {case: held_with(world, *case, "complained") for case in cases} == cases


@pytest.mark.requirement("EMAIL-03")
def test_old_mails_test_mails_and_those_the_provider_did_not_try_do_not_count(world: World) -> None:
    mails(world, 96)
    mails(world, 4, state="bounced", kind="suppressed")
    mails(world, 50, state="bounced", days_ago=8)
    assert not is_held(world)
    mails(world, 50, state="bounced")
    world.execute("UPDATE crm.messages SET is_test = true WHERE state = 'bounced'")
    assert not is_held(world)


@pytest.mark.requirement("EMAIL-03")
def test_a_bounce_that_is_too_many_stops_the_next_mail_with_words(world: World) -> None:
    mails(world, 96)
    mails(world, 3, state="bounced")
    world.buyers([1])
    world.run_cleanly()
    [mine] = [each for each in world.messages() if each.email == "c1@example.com"]
    tell(world, "email.bounced", {"bounce": {"type": "Permanent"}}, message=mine)
    with session_scope(world.factory) as session:
        hold = session.get_one(SendingHold, world.shop_id)
        assert hold.cause is HoldCause.BOUNCES
        assert hold.reason.startswith("4 of the 100 mails of the last 7 days bounced (4.0 %")
    world.buyers([2])
    world.run_cleanly()
    assert world.provider.addresses() == ["c1@example.com"]


@pytest.mark.requirement("EMAIL-03")
def test_a_person_resumes_with_a_reason_and_what_was_before_counts_no_more(world: World) -> None:
    mails(world, 96)
    mails(world, 4, state="bounced")
    assert is_held(world)
    world.buyers([2])
    world.run_cleanly()
    assert world.provider.accepted == []
    with pytest.raises(PermanentError):
        resume_sending(world.factory, shop_id=world.shop_id, reason=" ", now=world.now)
    words = resume_sending(
        world.factory, shop_id=world.shop_id, reason="The list is cleaned.", now=world.now
    )
    assert "bounced" in words
    with session_scope(world.factory) as session:
        entry = session.scalars(select(AuditEntry)).one()
        assert (entry.action, entry.reason) == (AuditAction.RESUME_SENDING, "The list is cleaned.")
        assert entry.figures["bounced"] == 4
        assert read_health(session, world.shop_id, now=world.now).figures.sent == 0
    assert not is_held(world)
    world.run_cleanly()
    assert world.provider.addresses() == ["c2@example.com"]
    with pytest.raises(PermanentError, match="not paused"):
        resume_sending(world.factory, shop_id=world.shop_id, reason="again", now=world.now)
    mails(world, 96, days_ago=-0.01)
    mails(world, 5, state="bounced", days_ago=-0.01)  # with the one that left
    assert is_held(world)
