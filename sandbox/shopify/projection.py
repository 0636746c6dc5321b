"""A bulk query, compiled to plain functions: much faster than executing it row by row."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from graphql import EnumValueNode, FieldNode, IntValueNode, SelectionSetNode, StringValueNode, parse
from graphql.language import BooleanValueNode, ValueNode

from sandbox.http import NotInSandboxError
from sandbox.shapes import Shape
from sandbox.shopify.bulk_query import Fragments, fields_of, fragments_of, operation_of
from sandbox.shopify.roots import ROOTS, Children, RootList
from sandbox.shopify.scopes import scopes_for
from sandbox.shopify.search import Condition, condition_of

Project = Callable[[dict[str, Any]], dict[str, Any]]
UNHEARD = {"first", "last", "after", "before"}  # Shopify ignores them in bulk queries


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What becomes of a stored body in a line.

    `is_verbatim`: everything that is stored, in its order, is selected, so that the stored text
    is the line.
    """

    project: Project
    is_verbatim: bool


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to write the lines of `root` and those of its children, if they are selected.

    `is_whole`: whether the bodies need what the root's `whole` adds to them. `scopes`: what the
    app must be allowed to read.
    """

    root: RootList
    selection: Selection
    child: Selection | None
    condition: Condition
    order_by: str
    is_whole: bool
    scopes: frozenset[str]


def compile_plan(text: str) -> Plan:
    """The plan of a query that passed `refusals`. Raises NotInSandboxError."""
    document = parse(text)
    operation, fragments = operation_of(document), fragments_of(document)
    roots = list(fields_of(operation.selection_set, fragments)) if operation else []
    if len(roots) != 1 or roots[0].name.value not in ROOTS:
        names = ", ".join(root.name.value for root in roots)
        raise NotInSandboxError(f"a bulk query over {names}")
    root = ROOTS[roots[0].name.value]
    fields = list(fields_of(_node_of(roots[0], fragments), fragments))
    below = root.children
    connections = [f for f in fields if below and f.name.value == below.field]
    scalars = [f for f in fields if f not in connections]
    condition, order_by = _arguments(roots[0], root)
    inner = [f for c in connections for f in fields_of(_node_of(c, fragments), fragments)]
    return Plan(
        root=root,
        selection=_selection(scalars, root.shape, root.type_name, fragments),
        child=_child(connections, below, fragments) if below else None,
        condition=condition,
        order_by=order_by,
        is_whole=any(f.name.value in root.needs for f in scalars),
        scopes=scopes_for(root.type_name, scalars)
        | (scopes_for(below.type_name, inner) if below and connections else frozenset()),
    )


def _child(connections: list[FieldNode], below: Children, fragments: Fragments) -> Selection | None:
    if not connections:
        return None
    if len(connections) > 1:
        raise NotInSandboxError(f"{below.field} twice in one bulk query")
    for argument in connections[0].arguments:
        if argument.name.value not in UNHEARD:
            raise NotInSandboxError(f"{below.field}({argument.name.value}:) in a bulk query")
    fields = list(fields_of(_node_of(connections[0], fragments), fragments))
    return _selection(fields, below.shape, below.type_name, fragments)


def _selection(
    fields: list[FieldNode], shape: Shape, type_name: str, fragments: Fragments
) -> Selection:
    return Selection(
        project=_projection(fields, shape, type_name, fragments),
        is_verbatim=_is_verbatim(fields, shape, fragments),
    )


def _is_verbatim(fields: list[FieldNode], shape: Shape, fragments: Fragments) -> bool:
    """Whether the selection is the shape itself: same names, same order, no aliases."""
    if [(f.alias or f.name).value for f in fields] != list(shape):
        return False
    return all(
        f.name.value == name
        and (below is None or _is_verbatim(list(fields_of(_inner(f), fragments)), below, fragments))
        for f, (name, below) in zip(fields, shape.items(), strict=True)
    )


def _node_of(connection: FieldNode, fragments: Fragments) -> SelectionSetNode:
    for edges in fields_of(_inner(connection), fragments):
        for node in fields_of(_inner(edges), fragments):
            if edges.name.value == "edges" and node.name.value == "node":
                return _inner(node)
    raise NotInSandboxError(f"{connection.name.value} without edges and node")


def _inner(field: FieldNode) -> SelectionSetNode:
    return field.selection_set or SelectionSetNode(selections=())


def _projection(
    fields: list[FieldNode], shape: Shape, type_name: str, fragments: Fragments
) -> Project:
    """Picks the selected fields in selection order; what the shape lacks is refused."""
    outs: list[str] = []
    names: list[str] = []
    inner: list[tuple[str, Project]] = []
    constants: dict[str, str] = {}
    for node in fields:
        name, out = node.name.value, (node.alias or node.name).value
        if out in outs:
            raise NotInSandboxError(f"{type_name}.{out} selected twice in a bulk query")
        outs.append(out)
        if name == "__typename":
            if "." in type_name:
                raise NotInSandboxError(f"{type_name}.__typename in a bulk query")
            constants[out] = type_name
            names.append("id")
            continue
        if name not in shape:
            raise NotInSandboxError(f"{type_name}.{name}")
        names.append(name)
        below = shape[name]
        if below is not None:
            wanted = list(fields_of(_inner(node), fragments))
            nested = _projection(wanted, below, f"{type_name}.{name}", fragments)
            inner.append((out, nested))
    return _projector(tuple(outs), tuple(names), inner, constants)


def _projector(
    outs: tuple[str, ...],
    names: tuple[str, ...],
    inner: list[tuple[str, Project]],
    constants: dict[str, str],
) -> Project:
    if names == ():
        return lambda _: {}
    get: Callable[[dict[str, Any]], Any] = itemgetter(*names)
    if len(names) == 1 and not inner and not constants:
        out = outs[0]
        return lambda row: {out: get(row)}

    def project(row: dict[str, Any]) -> dict[str, Any]:
        picked = get(row) if len(names) > 1 else (get(row),)
        line = dict(zip(outs, picked, strict=True))
        for out, nested in inner:
            value = line[out]
            if type(value) is list:
                line[out] = [nested(each) for each in value]
            elif value is not None:
                line[out] = nested(value)
        line.update(constants)
        return line

    return project


def _arguments(field: FieldNode, root: RootList) -> tuple[Condition, str]:
    name = field.name.value
    given = {a.name.value: _literal(a.value) for a in field.arguments}
    for argument in given.keys() - UNHEARD - {"query", "sortKey", "reverse"}:
        raise NotInSandboxError(f"{name}({argument}:) in a bulk query")
    condition = condition_of(given.get("query") or "", root.keys)
    sort = given.get("sortKey") or root.default_sort
    if sort not in root.sorts:
        raise NotInSandboxError(f"{name}(sortKey: {sort})")
    way = "desc" if given.get("reverse") else "asc"
    return condition, f"{root.sorts[sort]} {way}, t.num {way}"


def _literal(value: ValueNode) -> Any:
    match value:
        case StringValueNode() | EnumValueNode() | BooleanValueNode():
            return value.value
        case IntValueNode():
            return int(value.value)
    raise NotInSandboxError("anything but literal arguments in a bulk query")
