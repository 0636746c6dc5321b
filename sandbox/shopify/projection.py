"""A bulk query, compiled to plain functions: much faster than executing it row by row."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from graphql import EnumValueNode, FieldNode, IntValueNode, SelectionSetNode, StringValueNode, parse
from graphql.language import BooleanValueNode, ValueNode

from sandbox import shapes
from sandbox.http import NotInSandboxError
from sandbox.shapes import Shape
from sandbox.shopify.bulk_query import Fragments, fields_of, fragments_of, operation_of
from sandbox.shopify.search import Condition, time_condition

Project = Callable[[dict[str, Any]], dict[str, Any]]
TIME_KEYS = {"updated_at": "updated_at", "created_at": "created_at"}
SORT_COLUMNS = {"UPDATED_AT": "updated_at", "CREATED_AT": "created_at", "ID": "num"}
ROOTS: dict[str, Shape] = {"customers": shapes.CUSTOMER, "orders": shapes.ORDER}
TYPE_NAMES = {"customers": "Customer", "orders": "Order", "lineItems": "LineItem"}
UNHEARD = {"first", "last", "after", "before"}  # Shopify ignores them in bulk queries


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`table` customers or orders; `child` projects an order's line items, None without them."""

    table: str
    project: Project
    child: Project | None
    condition: Condition
    order_by: str


def compile_plan(text: str) -> Plan:
    """The plan of a query that passed `refusals`. Raises NotInSandboxError."""
    document = parse(text)
    operation, fragments = operation_of(document), fragments_of(document)
    roots = list(fields_of(operation.selection_set, fragments)) if operation else []
    if len(roots) != 1 or roots[0].name.value not in ROOTS:
        names = ", ".join(root.name.value for root in roots)
        raise NotInSandboxError(f"a bulk query over {names}")
    root = roots[0]
    table = root.name.value
    node = _node_of(root, fragments)
    fields = list(fields_of(node, fragments))
    children = [f for f in fields if table == "orders" and f.name.value == "lineItems"]
    scalars = [f for f in fields if f not in children]
    condition, order_by = _arguments(root, table)
    return Plan(
        table=table,
        project=_projection(scalars, ROOTS[table], TYPE_NAMES[table], fragments),
        child=_child(children, fragments),
        condition=condition,
        order_by=order_by,
    )


def _child(connections: list[FieldNode], fragments: Fragments) -> Project | None:
    if not connections:
        return None
    if len(connections) > 1:
        raise NotInSandboxError("lineItems twice in one bulk query")
    for argument in connections[0].arguments:
        if argument.name.value not in UNHEARD:
            raise NotInSandboxError(f"lineItems({argument.name.value}:) in a bulk query")
    fields = list(fields_of(_node_of(connections[0], fragments), fragments))
    return _projection(fields, shapes.LINE_ITEM, "LineItem", fragments)


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
            if type_name not in TYPE_NAMES.values():
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
            if value is not None:
                line[out] = nested(value)
        line.update(constants)
        return line

    return project


def _arguments(root: FieldNode, table: str) -> tuple[Condition, str]:
    given = {a.name.value: _literal(a.value) for a in root.arguments}
    for name in given.keys() - UNHEARD - {"query", "sortKey", "reverse"}:
        raise NotInSandboxError(f"{table}({name}:) in a bulk query")
    keys = TIME_KEYS | ({"processed_at": "processed_at"} if table == "orders" else {})
    condition = time_condition(
        given.get("query") or "", columns=keys, whole_days=table == "customers"
    )
    sort = given.get("sortKey") or ("PROCESSED_AT" if table == "orders" else "ID")
    columns = SORT_COLUMNS | ({"PROCESSED_AT": "processed_at"} if table == "orders" else {})
    if sort not in columns:
        raise NotInSandboxError(f"{table}(sortKey: {sort})")
    way = "desc" if given.get("reverse") else "asc"
    return condition, f"{columns[sort]} {way}, num {way}"


def _literal(value: ValueNode) -> Any:
    match value:
        case StringValueNode() | EnumValueNode() | BooleanValueNode():
            return value.value
        case IntValueNode():
            return int(value.value)
    raise NotInSandboxError("anything but literal arguments in a bulk query")
