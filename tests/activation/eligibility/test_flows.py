"""What each kind of flow is held to, and how a version may differ."""

from typing import Any

import pytest

from activation.automation.definition import Definition, FirstOrder, read_definition
from activation.automation.definition import write_definition as written
from activation.automation.presets import PRESETS, WELCOME
from activation.eligibility.flows import STRICTEST, FlowRules, Priority, rules_by_trigger
from core.errors import PermanentError

pytestmark = pytest.mark.requirement("EMAIL-02")


def test_a_cart_goes_before_a_welcome_before_vip_before_win_back_before_repurchase() -> None:
    order = [Priority.CART, Priority.WELCOME, Priority.VIP, Priority.WIN_BACK, Priority.REPURCHASE]
    assert order == sorted(order)
    [welcome] = [preset.definition for preset in PRESETS if preset.key == WELCOME]
    assert welcome.rules == FlowRules(Priority.WELCOME, is_capped=True, keeps_quiet_hours=False)


def test_only_what_a_person_just_did_is_written_about_at_night() -> None:
    at_night = {"abandoned_checkout", "first_order"}
    kinds = ("abandoned_checkout", "first_order", "entered_segment", "silence", "tag_added")
    assert {kind for kind in kinds if not rules_by_trigger(kind).keeps_quiet_hours} == at_night
    assert all(rules_by_trigger(kind).is_capped for kind in kinds)
    assert rules_by_trigger("tag_added") == STRICTEST


def test_a_version_may_differ_and_one_that_does_not_stores_nothing_of_it() -> None:
    usual = Definition(trigger=FirstOrder(), steps=(), late_after_seconds=0)
    assert set(written(usual)) == {"trigger", "steps", "late_after_seconds"}
    own = Definition(
        trigger=FirstOrder(),
        steps=(),
        late_after_seconds=0,
        priority=7,
        is_capped=False,
        keeps_quiet_hours=True,
    )
    assert read_definition(written(own)).rules == FlowRules(
        7, is_capped=False, keeps_quiet_hours=True
    )


@pytest.mark.parametrize("change", [{"priority": 0}, {"priority": 100}, {"is_capped": "yes"}])
def test_a_version_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    stored = {"trigger": {"type": "first_order"}, "steps": [], "late_after_seconds": 0}
    with pytest.raises(PermanentError, match="cannot be read"):
        read_definition(stored | change)
