"""Flows as YAML files: exported to live in git, imported all or none.

The fields are those of the stored definition, so faults have the places of the file. A file says
which flow, its name, and its definition; neither a version nor whether it is on: an import never
switches anything. The same file again makes no new version.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import yaml
from sqlalchemy.orm import Session

from activation.automation.definition import Definition, write_definition
from activation.automation.differing import Difference, differences
from activation.automation.library import (
    KEY,
    Flow,
    FlowKind,
    create,
    flows_of,
    rename,
)
from activation.automation.validation import InvalidDefinition, Problem, valid_definition
from activation.automation.versions import lock_flows, save
from core.errors import PermanentError

MOST_CHARACTERS: Final = 1_000_000
HEADER: Final = """\
# A flow of EcomCRM: `ecomcrm flows import` reads it. Waits are in seconds or days, texts that are
# left out are the template's own. It says nothing of whether the flow is on.
"""


@dataclass(frozen=True)
class Document:
    """One flow of a file. `source`: where it stands, for people."""

    source: str
    key: str
    name: str | None
    definition: Mapping[str, Any]


@dataclass(frozen=True)
class Planned:
    """What an import does to one flow. `differences` and `renamed_from` empty: nothing."""

    key: str
    name: str
    is_new: bool
    based_on: int
    definition: Definition
    differences: tuple[Difference, ...]
    renamed_from: str | None

    @property
    def changes(self) -> bool:
        return bool(self.differences) or self.renamed_from is not None

    def as_json(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "name": self.name,
            "is_new": self.is_new,
            "renamed_from": self.renamed_from,
            "differences": [each.as_json() for each in self.differences],
        }


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # no types
    """Lists are indented below their key, and nothing is said by reference."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # no types
    """Plain data only. A key that comes twice and references are refused: the one would be lost
    without a word, the other can be made to grow without end.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("references (*name) are not read")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                line = key.start_mark.line + 1
                raise yaml.YAMLError(f"line {line}: {key.value!r} comes twice")
            seen.add(key.value)
        made: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return made


def write_flow(flow: Flow) -> str:
    """The same flow always gives the same text. Raises PermanentError if it cannot be read."""
    if flow.definition is None:
        raise PermanentError(f"{flow.key}: {flow.problem}")
    said = {"flow": flow.key, "name": flow.name, **write_definition(flow.definition)}
    text: str = yaml.dump(
        said,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=100,
    )
    return HEADER + text


def write_flows(flows: Iterable[Flow]) -> dict[str, str]:
    """By file name. The system's own mail belongs to a setting and is in none."""
    return {
        f"{flow.key}.yaml": write_flow(flow) for flow in flows if flow.kind is not FlowKind.SYSTEM
    }


def read_path(path: Path) -> list[Document]:
    """A file, or all `*.yaml` of a folder. Raises PermanentError naming what cannot be read."""
    files = sorted([*path.glob("*.yaml"), *path.glob("*.yml")]) if path.is_dir() else [path]
    if not files:
        raise PermanentError(f"There is no YAML file in {path}.")
    documents: list[Document] = []
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PermanentError(f"{file} cannot be read: {error}") from error
        documents += read_text(text, source=file.name)
    return documents


def read_text(text: str, *, source: str) -> list[Document]:
    """Every document of the text. Raises PermanentError with the place in the file."""
    if len(text) > MOST_CHARACTERS:
        raise PermanentError(f"{source}: more than {MOST_CHARACTERS:,} characters.")
    try:
        found = [each for each in yaml.load_all(text, Loader=_Loader) if each is not None]
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise PermanentError(f"{source}: {' '.join(str(error).split())}") from error
    return [_document(each, source) for each in found]


def plan_import(
    session: Session, shop_id: int, documents: Sequence[Document]
) -> tuple[Planned, ...]:
    """What an import would do, all of it checked; changes nothing but holds off other editors.

    Raises InvalidDefinition naming every fault of every document.
    """
    lock_flows(session, shop_id)
    known = {flow.key: flow for flow in flows_of(session, shop_id)}
    problems: list[Problem] = []
    planned: list[Planned] = []
    for document in documents:
        if document.key in {each.key for each in planned}:
            problems.append(Problem(document.source, f"the flow {document.key!r} comes twice"))
            continue
        try:
            planned.append(_planned(document, known.get(document.key)))
        except InvalidDefinition as error:
            problems += [
                Problem(f"{document.source} ({document.key}) {each.place}".strip(), each.words)
                for each in error.problems
            ]
    if problems:
        raise InvalidDefinition(problems)
    return tuple(planned)


def import_flows(
    session: Session,
    shop_id: int,
    documents: Sequence[Document],
    *,
    now: datetime,
    user_id: int | None = None,
) -> tuple[Planned, ...]:
    """Do what plan_import says, in the caller's transaction: all of it, or none if it raises."""
    planned = plan_import(session, shop_id, documents)
    for each in planned:
        if each.is_new:
            create(
                session,
                shop_id,
                key=each.key,
                name=each.name,
                definition=each.definition,
                now=now,
                user_id=user_id,
            )
            continue
        if each.renamed_from is not None:
            rename(session, shop_id, each.key, name=each.name)
        if each.differences:
            save(
                session,
                shop_id,
                each.key,
                each.definition,
                based_on=each.based_on,
                now=now,
                user_id=user_id,
            )
    return planned


def _document(given: Any, source: str) -> Document:
    if not isinstance(given, Mapping) or not isinstance(given.get("flow"), str):
        raise PermanentError(f"{source}: a flow begins with `flow:` and its key.")
    rest = dict(given)
    key, name = rest.pop("flow"), rest.pop("name", None)
    if not KEY.fullmatch(key):
        raise PermanentError(f"{source}: flow: {key!r} is no key: a-z, 0-9, _ and -.")
    if name is not None and not isinstance(name, str):
        raise PermanentError(f"{source}: name: a text.")
    return Document(source, key, name, rest)


def _planned(document: Document, flow: Flow | None) -> Planned:
    before = flow.definition if flow else None
    if flow is not None and flow.kind is FlowKind.SYSTEM:
        raise InvalidDefinition([Problem("flow", "belongs to the shop's consent settings")])
    definition = valid_definition(document.definition, before=before)
    if before is not None and before.trigger_type != definition.trigger_type:
        raise InvalidDefinition([Problem("trigger.type", "a flow keeps its trigger")])
    name = document.name or (flow.name if flow else document.key)
    is_renamed = flow is not None and flow.name != name
    if is_renamed and flow is not None and flow.kind is not FlowKind.OWN:
        raise InvalidDefinition([Problem("name", f"this flow is called {flow.name!r}")])
    return Planned(
        key=document.key,
        name=name,
        is_new=flow is None,
        based_on=flow.version if flow else 0,
        definition=definition,
        differences=differences(before, definition),
        renamed_from=flow.name if flow is not None and is_renamed else None,
    )
