from datetime import timedelta

import orjson
import pytest

from activation.automation.definition import (
    Definition,
    FirstOrder,
    SendEmail,
    Wait,
    read_definition,
    write_definition,
)
from activation.automation.presets import PRESETS
from core.errors import PermanentError

MAIL = SendEmail(step_key="mail", template="welcome")


def definition(*steps: Wait | SendEmail, late: int = 60) -> Definition:
    return Definition(trigger=FirstOrder(), steps=steps, late_after_seconds=late)


def test_a_definition_survives_being_stored() -> None:
    for preset in PRESETS:
        assert read_definition(write_definition(preset.definition)) == preset.definition


def test_the_stored_form_of_the_welcome_flow_is_exactly_this() -> None:
    [welcome] = [preset for preset in PRESETS if preset.key == "welcome"]
    assert orjson.loads(orjson.dumps(write_definition(welcome.definition))) == {
        "trigger": {"type": "first_order"},
        "steps": [
            {"type": "wait", "step_key": "delay", "seconds": 3600},
            {
                "type": "send_email",
                "step_key": "welcome_email",
                "template": "welcome",
            },
        ],
        "late_after_seconds": 259200,
        "holdout_percent": 5,
    }


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"trigger": {"type": "moon"}, "steps": [], "late_after_seconds": 1},
        {"trigger": {"type": "first_order"}, "steps": [{"type": "fax"}], "late_after_seconds": 1},
        {
            "trigger": {"type": "first_order"},
            "steps": [{"type": "wait", "step_key": "a", "seconds": -1}],
            "late_after_seconds": 1,
        },
        {
            "trigger": {"type": "first_order"},
            "steps": [
                {"type": "wait", "step_key": "a", "seconds": 1},
                {"type": "wait", "step_key": "a", "seconds": 1},
            ],
            "late_after_seconds": 1,
        },
    ],
)
def test_what_is_not_a_definition_is_refused(stored: dict[str, object]) -> None:
    with pytest.raises(PermanentError, match="cannot be read"):
        read_definition(stored)


def test_the_first_delay_ends_at_the_first_step_that_does_something() -> None:
    waits = (Wait(step_key="a", seconds=60), Wait(step_key="b", seconds=30))
    assert definition(*waits, MAIL).first_delay == timedelta(seconds=90)
    assert definition(MAIL, *waits).first_delay == timedelta()
