from decimal import Decimal
from typing import Any

import pytest

from activation.automation.definition import (
    AddTag,
    Branch,
    HasTag,
    OrderCount,
    SendEmail,
    TagAdded,
    Wait,
    write_definition,
)
from activation.automation.loops import loop_through
from activation.automation.presets import PRESETS
from activation.automation.validation import InvalidDefinition, valid_definition
from activation.rendering.content import MailContent
from tests.activation.automation.flow import definition

MAIL = SendEmail(step_key="mail", template="welcome")
GOOD = write_definition(definition(Wait(step_key="delay", seconds=3600), MAIL))


def faults(given: Any, **rest: Any) -> dict[str, str]:
    """What is wrong, by place."""
    with pytest.raises(InvalidDefinition) as refused:
        valid_definition(given, **rest)
    return {each.place: each.words for each in refused.value.problems}


def with_steps(*steps: dict[str, Any]) -> dict[str, Any]:
    return GOOD | {"steps": list(steps)}


@pytest.mark.parametrize("preset", PRESETS, ids=lambda each: each.key)
def test_what_comes_with_the_product_is_valid(preset: Any) -> None:
    assert valid_definition(write_definition(preset.definition)) == preset.definition


MAIL_JSON = {"type": "send_email", "step_key": "mail", "template": "welcome"}
TAG_JSON = {"type": "add_tag", "step_key": "tag", "tag": "vip"}


@pytest.mark.parametrize(
    ("change", "place", "words"),
    [
        ({"steps": []}, "steps", "at least one step"),
        ({"steps": [MAIL_JSON | {"template": "gone"}]}, "steps[0].template", "no mail template"),
        (
            {"steps": [MAIL_JSON | {"content": {"subject": "Hi {{ customer.shoe_size }}"}}]},
            "steps[0].content.subject",
            "shoe_size",
        ),
        (
            {"steps": [MAIL_JSON | {"content": {"button_link": "javascript:alert(1)"}}]},
            "steps[0].content.button_link",
            "https://",
        ),
        ({"steps": [MAIL_JSON | {"content": {"subjekt": "Hi"}}]}, "steps[0].content", "subjekt"),
        ({"steps": [{"type": "wait", "step_key": "w"}]}, "steps[0]", "from 1 minute"),
        ({"steps": [{"type": "wait", "step_key": "w", "days": 3650}]}, "steps[0]", "365 days"),
        ({"steps": [MAIL_JSON, MAIL_JSON]}, "steps[1].step_key", "another step"),
        ({"steps": [MAIL_JSON | {"step_key": "Mail!"}]}, "steps[0].step_key", "a-z"),
        ({"steps": [TAG_JSON | {"tag": "a,b"}]}, "steps[0].tag", "comma"),
        ({"steps": [TAG_JSON | {"tag": "x" * 41}]}, "steps[0].tag", "at most 40"),
        ({"steps": [TAG_JSON | {"tag": " "}]}, "steps[0].tag", "empty"),
        ({"trigger": {"type": "entered_segment", "segments": []}}, "trigger.segments", "one"),
        (
            {"trigger": {"type": "entered_segment", "segments": ["vip"]}},
            "trigger.segments[0]",
            "vip",
        ),
        ({"trigger": {"type": "full_moon"}}, "trigger.type", "full_moon"),
        ({"trigger": {"type": "silence", "days": 0}}, "trigger.days", "1"),
        ({"holdout_percent": 51}, "holdout_percent", "50"),
        ({"late_after_seconds": 10**9}, "late_after_seconds", "60 days"),
        ({"exit_on": ["left_segments"]}, "exit_on", "segments"),
        ({"reentry": {"type": "again", "after_days": -1}}, "reentry.after_days", "0"),
        (
            {"steps": [MAIL_JSON | {"unique_code": {"percent": 10, "prefix": "ä b"}}]},
            "steps[0].unique_code.prefix",
            "letters",
        ),
        (
            {"steps": [MAIL_JSON | {"unique_code": {"percent": 10, "amount": "5"}}]},
            "steps[0].unique_code",
            "either",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_place(
    change: dict[str, Any], place: str, words: str
) -> None:
    found = faults(GOOD | change)
    assert list(found) == [place]
    assert words in found[place]


def test_all_faults_are_named_at_once_also_within_branches() -> None:
    inner = {
        "type": "branch",
        "step_key": "if",
        "condition": {"type": "has_tag", "tag": "a,b"},
        "then": [MAIL_JSON | {"content": {"body": "{{ nope.nope }}", "headline": "x" * 200}}],
    }
    assert set(faults(with_steps({"type": "wait", "step_key": "w"}, inner))) == {
        "steps[0]",
        "steps[1].condition.tag",
        "steps[1].then[0].content.body",
        "steps[1].then[0].content.headline",
    }


def test_branches_go_three_deep_and_no_further() -> None:
    step: Any = MAIL
    for depth in range(4):
        step = Branch(step_key=f"if_{depth}", condition=HasTag("vip"), then=(step,))
    assert "3 deep" in faults(definition(step))["steps[0].then[0].then[0].then[0]"]
    assert valid_definition(definition(*step.then)) == definition(*step.then)


def test_an_old_fault_keeps_nobody_from_mending_something_else() -> None:
    """A demo has a wait of 0; whoever edited its subject was told about the wait."""
    before = definition(Wait(step_key="delay"), MAIL)
    after = definition(
        Wait(step_key="delay"),
        SendEmail(step_key="mail", template="welcome", content=MailContent(subject="Hello")),
    )
    assert valid_definition(after, before=before) == after
    assert "steps[0]" in faults(after)


def test_words_are_kept_clean_and_an_old_subject_becomes_content() -> None:
    old = SendEmail(step_key="mail", template="welcome", subject="  Hello\n there ")
    [mail] = valid_definition(definition(old)).steps
    assert isinstance(mail, SendEmail)
    assert (mail.subject, mail.content.subject) == (None, "Hello there")


def test_numbers_are_read_from_yaml_and_json_alike() -> None:
    branch = {
        "type": "branch",
        "step_key": "if",
        "condition": {"type": "total_spent", "at_least": 49.9},
        "then": [MAIL_JSON],
    }
    [made] = valid_definition(with_steps(branch)).steps
    assert isinstance(made, Branch)
    assert made.condition.at_least == Decimal("49.9")  # type: ignore[union-attr]
    branch["condition"] = {"type": "order_count", "at_least": 2}
    [made] = valid_definition(with_steps(branch)).steps
    assert isinstance(made, Branch)
    assert made.condition == OrderCount(2)


def test_a_flow_that_comes_back_to_itself_is_found_however_long_the_way() -> None:
    def on(tag: str, adds: str) -> Any:
        inside = Branch(step_key="if", condition=HasTag("x"), otherwise=(AddTag("t", adds),))
        return definition(inside, trigger=TagAdded(tag))

    alone = {"a": on("one", "ONE")}
    assert loop_through("a", alone) == ("a", "a")
    chain = {"a": on("one", "two"), "b": on("two", "three"), "c": on("three", "four")}
    assert loop_through("a", chain) is None
    assert loop_through("c", chain | {"c": on("three", "One")}) == ("c", "a", "b", "c")
    # One that others' loop leads to is in none itself.
    assert loop_through("d", alone | {"d": on("four", "one")}) is None
