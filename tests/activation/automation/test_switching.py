from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from activation.automation.definition import read_definition
from activation.automation.presets import seed_presets
from activation.automation.switching import (
    LoadedAutomation,
    load_automations,
    set_delay,
    switch_off,
    switch_on,
)
from core.database import session_scope
from core.errors import PermanentError
from core.models import AutomationVersion
from tests.activation.world import World


def welcome_of(session: Session, shop_id: int) -> LoadedAutomation:
    return {each.key: each for each in load_automations(session, shop_id)}["welcome"]


@pytest.mark.requirement("FLOW-01", "FLOW-02", "FLOW-03", "FLOW-04", "FLOW-05")
def test_presets_are_seeded_once_and_switched_off(world: World) -> None:
    shop_id = world.add_shop()
    with session_scope(world.factory) as session:
        assert seed_presets(session, shop_id, now=world.now) == 0
        flows = {each.key: each for each in load_automations(session, shop_id)}
    assert not any(flow.is_active for flow in flows.values())
    welcome = flows["welcome"]
    assert (welcome.key, welcome.is_active, welcome.switched_on_at) == ("welcome", False, None)
    assert welcome.definition.first_delay == timedelta(hours=1)


def test_switching_on_what_is_on_keeps_the_instant(world: World) -> None:
    before = world.now
    world.clock.advance(timedelta(hours=1))
    with session_scope(world.factory) as session:
        assert switch_on(session, world.shop_id, "welcome", now=world.now).switched_on_at == before


def test_switching_on_again_starts_anew(world: World) -> None:
    with session_scope(world.factory) as session:
        assert not switch_off(session, world.shop_id, "welcome", now=world.now).is_active
        world.clock.advance(timedelta(hours=1))
        again = switch_on(session, world.shop_id, "welcome", now=world.now)
        assert again.switched_on_at == world.now


def test_an_edit_adds_a_version_and_changes_none(world: World) -> None:
    with session_scope(world.factory) as session:
        before = welcome_of(session, world.shop_id)
        delay = timedelta(minutes=5)
        version = set_delay(session, world.shop_id, "welcome", "delay", delay, now=world.now)
        after = welcome_of(session, world.shop_id)
        old = session.get_one(
            AutomationVersion, (world.shop_id, before.automation_id, before.version)
        )
    assert (version, after.version) == (before.version + 1, before.version + 1)
    assert after.definition.first_delay == timedelta(minutes=5)
    assert read_definition(old.definition).first_delay == timedelta()


@pytest.mark.parametrize(
    ("key", "step", "delay"),
    [
        ("absent", "delay", timedelta()),
        ("welcome", "absent", timedelta()),
        ("welcome", "welcome_email", timedelta()),
        ("welcome", "delay", timedelta(seconds=-1)),
    ],
)
def test_an_edit_of_what_is_not_there_is_refused(
    world: World, key: str, step: str, delay: timedelta
) -> None:
    with session_scope(world.factory) as session, pytest.raises(PermanentError):
        set_delay(session, world.shop_id, key, step, delay, now=world.now)
