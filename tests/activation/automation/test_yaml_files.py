from pathlib import Path

import pytest

from activation.automation import library
from activation.automation.definition import (
    AddTag,
    Branch,
    OrderCount,
    SendEmail,
    TotalSpent,
    UniqueCode,
    Wait,
)
from activation.automation.presets import WELCOME
from activation.automation.validation import InvalidDefinition
from activation.automation.yaml_files import (
    Planned,
    import_flows,
    read_path,
    read_text,
    write_flow,
    write_flows,
)
from activation.rendering.content import MailContent
from core.database import session_scope
from core.errors import PermanentError
from tests.activation.automation.flow import definition
from tests.activation.world import World

RICH = definition(
    Wait(step_key="delay", days=2),
    Branch(
        step_key="big",
        condition=TotalSpent(at_least=49),  # type: ignore[arg-type]
        then=(
            SendEmail(
                step_key="mail",
                template="welcome",
                content=MailContent(subject="no", body="<p>Grüße: yes</p>\n<p>seconds: 3600</p>"),
                unique_code=UniqueCode(percent=10, prefix="HI"),
            ),
        ),
        otherwise=(AddTag("tag", "2024-01-01"),),
    ),
    Branch(step_key="few", condition=OrderCount(2), then=(AddTag("tag_2", "on"),)),
)


def export(world: World) -> dict[str, str]:
    with session_scope(world.factory) as session:
        return write_flows(library.flows_of(session, world.shop_id))


def load(world: World, text: str) -> tuple[Planned, ...]:
    with session_scope(world.factory) as session:
        documents = read_text(text, source="a.yaml")
        return import_flows(session, world.shop_id, documents, now=world.now)


def test_what_is_exported_comes_back_as_it_was_and_makes_no_new_version(
    world: World, tmp_path: Path
) -> None:
    with session_scope(world.factory) as session:
        library.create(session, world.shop_id, name="Rich", definition=RICH, now=world.now)
        before = library.flows_of(session, world.shop_id)
    files = export(world)
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with session_scope(world.factory) as session:
        planned = import_flows(session, world.shop_id, read_path(tmp_path), now=world.now)
        after = library.flows_of(session, world.shop_id)
    assert len(planned) == len(files) == len(before)
    assert not any(each.changes for each in planned)
    assert after == before
    assert export(world) == files


def test_an_import_makes_new_flows_switched_off_and_versions_of_those_there_are(
    world: World,
) -> None:
    text = export(world)["welcome.yaml"]
    edited = text.replace("template: welcome", "template: welcome\n    content: {subject: Hello}")
    new = text.replace("flow: welcome", "flow: other").replace("seconds: 0", "seconds: 60")
    new = new.replace("name: Welcome", "name: Other").replace(
        "step_key: delay", "step_key: delay\n    seconds: 60"
    )
    planned = load(world, f"{edited}---\n{new}")
    assert [(each.key, each.is_new) for each in planned] == [(WELCOME, False), ("other", True)]
    assert [each.place for each in planned[0].differences] == [
        "steps[welcome_email].content.subject"
    ] or [each.place for each in planned[0].differences] == ["steps[welcome_email].content"]
    with session_scope(world.factory) as session:
        welcome = library.flow_of(session, world.shop_id, WELCOME)
        other = library.flow_of(session, world.shop_id, "other")
    assert (welcome.is_on, welcome.version) == (True, 3)
    assert (other.is_on, other.name, other.version) == (False, "Other", 1)


def test_one_fault_keeps_all_of_an_import_out_and_every_fault_is_named(world: World) -> None:
    text = export(world)["welcome.yaml"]
    good = text.replace("late_after_seconds: 259200", "late_after_seconds: 3600")
    assert good != text
    bad = text.replace("flow: welcome", "flow: other").replace(
        "template: welcome", "template: gone"
    )
    with pytest.raises(InvalidDefinition) as refused:
        load(world, f"{good}---\n{bad}")
    places = [each.place for each in refused.value.problems]
    assert "a.yaml (other) steps[1].template" in places
    assert export(world)["welcome.yaml"] == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("flow: a\nflow: b\n", "'flow' comes twice"),
        ("flow: &x a\nname: *x\n", "references"),
        ("flow: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
        ("- a\n", "begins with `flow:`"),
        ("flow: [\n", "a.yaml"),
        ("[" * 5000, "a.yaml"),
        ("flow: A B\n", "is no key"),
    ],
)
def test_a_file_that_is_none_is_refused_with_its_name(text: str, words: str) -> None:
    with pytest.raises(PermanentError, match=words) as refused:
        read_text(text, source="a.yaml")
    assert str(refused.value).startswith("a.yaml")


def test_words_that_yaml_takes_for_something_else_are_kept(world: World) -> None:
    with session_scope(world.factory) as session:
        library.create(session, world.shop_id, name="Rich", definition=RICH, now=world.now)
        flow = library.flow_of(session, world.shop_id, "rich")
    [document] = read_text(write_flow(flow), source="rich.yaml")
    tags = [step for step in document.definition["steps"] if step["type"] == "branch"]
    assert tags[0]["otherwise"][0]["tag"] == "2024-01-01"
    assert tags[1]["then"][0]["tag"] == "on"
    assert tags[0]["then"][0]["content"]["subject"] == "no"
