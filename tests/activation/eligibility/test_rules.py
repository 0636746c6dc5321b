"""What a shop allows: kept, shown, and refused with reasons where it makes no sense."""

from datetime import UTC, time, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from activation.eligibility.caps import Cap
from activation.eligibility.quiet import QuietHours
from activation.eligibility.rules import DEFAULTS, Rules, change_rules, read_rules
from core.database import session_scope
from core.errors import PermanentError
from core.models import AuditEntry
from core.models.enums import AuditAction
from tests.activation.world import World


def change(world: World, **changes: Any) -> Rules:
    with session_scope(world.factory) as session:
        return change_rules(session, world.shop_id, changes, now=world.now)


def stored(world: World, shop_id: int = 0) -> Rules:
    with session_scope(world.factory) as session:
        return read_rules(session, shop_id or world.shop_id)


@pytest.mark.requirement("EMAIL-02")
def test_without_settings_the_defaults_hold(world: World) -> None:
    assert stored(world) == DEFAULTS
    assert DEFAULTS.caps == (Cap(1, timedelta(hours=20)), Cap(4, timedelta(days=7)))
    assert DEFAULTS.quiet_hours("Europe/Berlin") == QuietHours(time(21), time(8), "Europe/Berlin")


@pytest.mark.requirement("EMAIL-02")
def test_what_is_changed_is_kept_and_the_rest_stays(world: World) -> None:
    other = world.add_shop()
    change(world, long_cap_mails=2, time_zone="America/New_York")
    changed = change(world, short_cap_mails=None, quiet_from=None, quiet_until=None)
    assert changed == stored(world)
    assert changed.caps == (Cap(2, timedelta(days=7)),)
    assert changed.quiet_hours("Europe/Berlin") is None
    assert changed.time_zone == "America/New_York"
    assert stored(world, other) == DEFAULTS


@pytest.mark.requirement("EMAIL-02")
def test_who_changed_what_is_kept_and_nothing_of_what_changed_nothing(world: World) -> None:
    change(world, short_cap_hours=10, quiet_from=time(22))
    change(world, short_cap_hours=10)
    with session_scope(world.factory) as session:
        [entry] = session.scalars(select(AuditEntry))
        assert (entry.action, entry.acted_at) == (AuditAction.CHANGE_LIMITS, world.now)
        before, after = entry.figures["before"], entry.figures["after"]
    assert {name for name in after if after[name] != before[name]} == {
        "short_cap_hours",
        "quiet_from",
    }
    assert (before["quiet_from"], after["quiet_from"]) == ("21:00:00", "22:00:00")


@pytest.mark.requirement("EMAIL-02")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"short_cap_mails": 0}, "between 1 and 1000 mails, not 0"),
        ({"long_cap_mails": -1}, "The long cap must allow"),
        ({"short_cap_hours": 0}, "between 1 hour and 90 days"),
        ({"long_cap_days": 91}, "between 1 hour and 90 days"),
        ({"short_cap_hours": 168}, "fewer hours than the long cap"),
        ({"short_cap_mails": 5}, "it has no effect"),
        ({"quiet_from": None}, "both a beginning and an end"),
        ({"quiet_from": time(8)}, "begin and end at the same time"),
        ({"quiet_from": time(21, tzinfo=UTC)}, "without an offset"),
        ({"time_zone": "Berlin"}, "no time zone 'Berlin'"),
        ({"time_zone": "../etc/passwd"}, "no time zone"),
        ({"time_zone": ""}, "no time zone ''"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    world: World, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(PermanentError, match=words):
        change(world, **changes)
    assert stored(world) == DEFAULTS


@pytest.mark.requirement("EMAIL-02")
def test_all_that_is_wrong_is_said_at_once(world: World) -> None:
    with pytest.raises(PermanentError) as refused:
        change(world, short_cap_mails=0, quiet_from=time(8), time_zone="Nowhere")
    assert str(refused.value).count(".") >= 3
