import threading
from datetime import timedelta
from typing import Any

import pytest

from activation.automation import library, versions
from activation.automation.definition import (
    AddTag,
    Silence,
    TagAdded,
    Wait,
    write_definition,
)
from activation.automation.fields import fields_of
from activation.automation.presets import WELCOME
from activation.automation.validation import InvalidDefinition
from core.database import session_scope
from core.errors import PermanentError
from core.models import Automation, AutomationVersion
from core.models.enums import Segment
from tests.activation.automation.flow import Flow, definition
from tests.activation.automation.test_validation import MAIL
from tests.activation.world import World

SILENT = definition(MAIL, trigger=Silence(90, (Segment.AT_RISK,)))


def flow(world: World, key: str = WELCOME) -> library.Flow:
    with session_scope(world.factory) as session:
        return library.flow_of(session, world.shop_id, key)


def make(world: World, name: str, made: Any) -> str:
    with session_scope(world.factory) as session:
        return library.create(session, world.shop_id, name=name, definition=made, now=world.now).key


def edit(world: World, given: dict[str, Any], *, based_on: int, key: str = WELCOME) -> Any:
    with session_scope(world.factory) as session:
        return versions.save_fields(
            session, world.shop_id, key, given, based_on=based_on, now=world.now, user_id=7
        )


def toggle(world: World, key: str, *, on: bool) -> library.Flow:
    with session_scope(world.factory) as session:
        return library.toggle(session, world.shop_id, key, on=on, now=world.now)


@pytest.mark.requirement("AUTO-07")
@pytest.mark.requirement("PIPE-03")
@pytest.mark.requirement("PIPE-04")
def test_a_toggle_stays_as_it_was_left(world: World) -> None:
    key = make(world, "Silent", SILENT)
    assert not flow(world, key).is_on
    assert toggle(world, key, on=True).on_since == world.now
    before = world.now
    world.clock.advance(timedelta(hours=1))
    assert toggle(world, key, on=True).on_since == before
    assert flow(world, key).is_on
    assert not toggle(world, key, on=False).is_on
    assert flow(world, key).on_since is None
    with session_scope(world.factory) as session:
        listed = library.flows_of(session, world.shop_id)
    assert (listed[0].kind, listed[-1].key) == (library.FlowKind.PRESET, key)
    assert flow(world, key).as_json()["definition"] == write_definition(SILENT)


def test_a_form_changes_what_it_names_and_nothing_else(world: World) -> None:
    key = make(world, "Silent", SILENT)
    saved = edit(
        world,
        {
            "delay_value": 2,
            "delay_unit": "days",
            "threshold_days": 60,
            "segments": ["at_risk", "lost"],
            "subject": "We miss you",
            "unique_code": {"percent": 15, "prefix": "BACK"},
            "holdout_percent": 10,
            "is_capped": False,
            "priority": 3,
        },
        based_on=1,
        key=key,
    )
    after = flow(world, key).definition
    assert after is not None
    assert after.steps[0] == Wait(step_key="delay", days=2)
    assert "steps[mail].content" in {each.place for each in saved.differences}
    shown = fields_of(after)
    assert (shown["delay_value"], shown["delay_unit"]) == (2, "days")
    assert (shown["threshold_days"], shown["segments"]) == (60, ["at_risk", "lost"])
    assert (shown["subject"], shown["headline"]) == ("We miss you", None)
    assert (shown["holdout_percent"], shown["is_capped"], shown["priority"]) == (10, False, 3)
    edit(world, {"discount_code": "ALL10"}, based_on=2, key=key)
    after = flow(world, key).definition
    assert after is not None
    shown = fields_of(after)
    assert (shown["discount_code"], shown["unique_code"]) == ("ALL10", None)
    assert edit(world, {"discount_code": "ALL10"}, based_on=3, key=key).differences == ()
    assert flow(world, key).version == 3


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"delay_value": 0, "delay_unit": "hours"}, "delay_value"),
        ({"delay_value": 10, "delay_unit": "years"}, "delay_unit"),
        ({"delay_value": 3650, "delay_unit": "days"}, "delay_value"),
        ({"threshold_days": 30}, "threshold_days"),
        ({"segments": ["loyal"]}, "segments"),
        ({"subject": "{{ customer.nope }}"}, "steps[1].content.subject"),
        ({"holdout_percent": 90}, ""),
        ({"step_key": "nope"}, "step_key"),
        ({"subjekt": "x"}, ""),
    ],
)
def test_a_form_field_that_cannot_be_is_refused_and_nothing_is_saved(
    world: World, given: dict[str, Any], place: str
) -> None:
    before = flow(world)
    with pytest.raises(InvalidDefinition) as refused:
        edit(world, given, based_on=before.version)
    assert [each.place for each in refused.value.problems] == [place]
    assert flow(world) == before


def test_of_two_tabs_that_save_at_once_one_wins_and_the_other_is_asked(world: World) -> None:
    """Both began from the same version; the second waits for the first's commit, then is stale."""
    based_on = flow(world).version
    has_saved, may_commit = threading.Event(), threading.Event()

    def first_tab() -> None:
        with session_scope(world.factory) as session:
            versions.save_fields(
                session,
                world.shop_id,
                WELCOME,
                {"subject": "First"},
                based_on=based_on,
                now=world.now,
            )
            has_saved.set()
            may_commit.wait(10)

    first = threading.Thread(target=first_tab)
    first.start()
    assert has_saved.wait(10)
    threading.Timer(0.05, may_commit.set).start()
    with pytest.raises(versions.Conflict) as conflict:
        edit(world, {"subject": "Second", "preheader": "P"}, based_on=based_on)
    first.join()
    told = conflict.value.as_json()
    assert (told["based_on"], told["current_version"]) == (based_on, based_on + 1)
    assert told["current"]["steps"][1]["content"]["subject"] == "First"
    assert told["given"]["steps"][1]["content"]["subject"] == "Second"
    assert [each["place"] for each in told["differences"]] == [
        "steps[welcome_email].content.subject",
        "steps[welcome_email].content.preheader",
    ]
    assert flow(world).version == based_on + 1


def test_undo_is_an_earlier_version_as_a_new_one(world: World) -> None:
    first = flow(world)
    edit(world, {"subject": "Other"}, based_on=first.version)
    with session_scope(world.factory) as session:
        saved = versions.restore(
            session,
            world.shop_id,
            WELCOME,
            first.version,
            based_on=first.version + 1,
            now=world.now,
        )
        history = library.history_of(session, world.shop_id, WELCOME)
    assert saved.version == first.version + 2
    assert flow(world).definition == first.definition
    assert [each.version for each in history] == list(range(saved.version, 0, -1))
    assert (history[0].restored_from, history[1].created_by) == (first.version, 7)
    assert history[0].changed == ("steps[welcome_email].content",)


def test_only_own_flows_are_renamed_and_deleted_and_used_ones_are_kept_for_the_record(
    world: World,
) -> None:
    unused, used = make(world, "Über uns", SILENT), make(world, "Über uns", SILENT)
    assert (unused, used) == ("ber_uns", "ber_uns_2")
    with session_scope(world.factory) as session:
        assert library.rename(session, world.shop_id, used, name=" New  name ").name == "New name"
        automation = session.query(Automation).filter_by(key=used).one()
        automation_id = automation.automation_id
    world.add_customer(1)
    Flow(world, automation_id, used).enter(1)
    with session_scope(world.factory) as session:
        with pytest.raises(PermanentError, match="comes with the product"):
            library.delete(session, world.shop_id, WELCOME, now=world.now)
        assert library.delete(session, world.shop_id, unused, now=world.now)
        assert not library.delete(session, world.shop_id, used, now=world.now)
        listed = {each.key for each in library.flows_of(session, world.shop_id)}
    assert listed.isdisjoint({unused, used})
    with session_scope(world.factory) as session:
        kept = session.query(AutomationVersion).filter_by(automation_id=automation_id).count()
    assert kept == 1
    assert make(world, "New name", SILENT) == "new_name"


def test_switching_on_can_leave_out_who_is_silent_already(world: World) -> None:
    key = make(world, "Silent", SILENT)
    with session_scope(world.factory) as session:
        library.toggle(session, world.shop_id, key, on=True, now=world.now, include_silent=False)
        assert not session.query(Automation).filter_by(key=key).one().takes_silent


def test_a_flow_that_nobody_may_enter_says_why(world: World) -> None:
    assert flow(world).blocked is None
    world.set_shop(access_scopes=["read_orders", "read_customers"])
    assert "read_all_orders" in (flow(world).blocked or "")


def test_a_copy_is_a_flow_of_its_own_and_off(world: World) -> None:
    with session_scope(world.factory) as session:
        saved = library.duplicate(session, world.shop_id, WELCOME, name="Copy", now=world.now)
    copy = flow(world, saved.key)
    assert (copy.kind, copy.is_on, copy.version) == (library.FlowKind.OWN, False, 1)


def test_a_flow_that_would_trigger_itself_goes_neither_on_nor_that_way_while_on(
    world: World,
) -> None:
    one = make(world, "One", definition(AddTag("t", "b"), trigger=TagAdded("a")))
    other = make(world, "Other", definition(AddTag("t", "A"), trigger=TagAdded("b")))
    toggle(world, one, on=True)
    with pytest.raises(InvalidDefinition, match="'other', which starts 'one', which starts"):
        toggle(world, other, on=True)
    assert not flow(world, other).is_on
    with session_scope(world.factory) as session:
        harmless = definition(AddTag("t", "c"), trigger=TagAdded("b"))
        versions.save(session, world.shop_id, other, harmless, based_on=1, now=world.now)
    toggle(world, other, on=True)
    with session_scope(world.factory) as session, pytest.raises(InvalidDefinition):
        versions.save(
            session,
            world.shop_id,
            other,
            definition(AddTag("t", "a"), trigger=TagAdded("b")),
            based_on=2,
            now=world.now,
        )
    assert flow(world, other).version == 2


def test_a_stored_version_whose_template_is_gone_is_shown_broken_and_others_go_on(
    world: World,
) -> None:
    key = make(world, "Silent", SILENT)
    world.execute(
        "UPDATE crm.automation_versions"
        " SET definition = jsonb_set(definition, '{steps,0,template}', '\"gone\"')"
        " WHERE automation_id = (SELECT automation_id FROM crm.automations WHERE key = :key)",
        key=key,
    )
    assert "no mail template 'gone'" in (flow(world, key).problem or "")
    assert flow(world).problem is None
    with pytest.raises((InvalidDefinition, PermanentError), match="gone"):
        toggle(world, key, on=True)
    # Mended by choosing another one.
    with session_scope(world.factory) as session:
        versions.save(session, world.shop_id, key, SILENT, based_on=1, now=world.now)
    assert flow(world, key).problem is None
    # One that cannot be read at all.
    world.execute("UPDATE crm.automation_versions SET definition = '{}' WHERE version = 2")
    assert flow(world, key).definition is None
    assert "cannot be read" in (flow(world, key).problem or "")
