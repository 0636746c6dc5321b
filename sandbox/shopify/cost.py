"""What a query costs and whether the bucket can pay: shopify.dev's rules, fitted to captures."""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    FieldNode,
    FragmentSpreadNode,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    VariableNode,
    get_named_type,
)
from graphql.type import GraphQLInterfaceType, GraphQLObjectType

from sandbox.shopify.bulk_query import Fragments

MAX_QUERY_COST = 1000
MUTATION = 10
COUNT = 10
# Captured: rows asked for -> cost of a connection of leaf nodes, less the 2 it costs itself.
SIZE_STEPS = ((1, 1), (2, 2), (3, 2), (5, 3), (10, 4), (20, 5), (50, 7), (250, 11))


def by_size(rows: int) -> int:
    """How much of one row's cost is charged for `rows` of them; far below `rows`."""
    for size, cost in SIZE_STEPS:
        if rows <= size:
            return cost
    return SIZE_STEPS[-1][1] * math.ceil(rows / SIZE_STEPS[-1][0])


@dataclass(frozen=True)
class CostOf:
    """Requested cost of an operation: objects 1, scalars 0, mutations and counts 10."""

    schema: GraphQLSchema
    fragments: Fragments
    variables: Mapping[str, Any]

    def operation(self, operation: OperationDefinitionNode) -> int:
        if operation.operation is OperationType.MUTATION:
            return MUTATION * len(operation.selection_set.selections)
        return max(1, self._selection(operation.selection_set, self.schema.query_type))

    def _selection(self, selection: SelectionSetNode, type_: GraphQLNamedType | None) -> int:
        """Fields add up; of several type conditions only one can hold, so the dearest counts."""
        total, branches = 0, [0]
        for node in selection.selections:
            if isinstance(node, FieldNode):
                total += self._field(node, type_)
            elif isinstance(node, InlineFragmentNode):
                condition = node.type_condition
                inner = self.schema.get_type(condition.name.value) if condition else type_
                branches.append(self._selection(node.selection_set, inner))
            elif isinstance(node, FragmentSpreadNode):
                fragment = self.fragments[node.name.value]
                inner = self.schema.get_type(fragment.type_condition.name.value)
                branches.append(self._selection(fragment.selection_set, inner))
        return total + max(branches)

    def _field(self, node: FieldNode, type_: GraphQLNamedType | None) -> int:
        if not isinstance(type_, GraphQLObjectType | GraphQLInterfaceType):
            return 0
        known = type_.fields.get(node.name.value)
        if known is None or node.selection_set is None:
            return 0  # __typename, introspection, scalars
        named = get_named_type(known.type)
        inner = self._selection(node.selection_set, named)
        if named.name.endswith("Connection"):
            return 2 + by_size(self._rows(node)) * max(1, inner)
        if named.name == "Count":
            return COUNT
        if node.name.value == "nodes" and type_ is self.schema.query_type:
            return by_size(self._rows(node)) * (1 + inner)
        return inner if named.name == "PageInfo" or named.name.endswith("Edge") else 1 + inner

    def _rows(self, node: FieldNode) -> int:
        for argument in node.arguments:
            if argument.name.value not in {"first", "last", "ids"}:
                continue
            value: Any = argument.value
            if isinstance(value, VariableNode):
                value = self.variables.get(value.name.value)
            elif isinstance(value, IntValueNode):
                value = int(value.value)
            else:
                value = getattr(value, "values", None)
            return len(value) if isinstance(value, list | tuple) else int(value or 1)
        return 1


class Buckets:
    """Points left per shop. Forgotten at a restart, which can only be kind to the client."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._levels: dict[int, tuple[float, float]] = {}

    def take(self, shop: int, cost: int, *, size: int, rate: int, now: float) -> tuple[bool, int]:
        """(paid, points left). Nothing is taken when the points do not suffice."""
        with self._lock:
            level, at = self._levels.get(shop, (float(size), now))
            level = min(float(size), level + max(0.0, now - at) * rate)
            paid = cost <= level
            if paid:
                level -= cost
            self._levels[shop] = (level, now)
            return paid, int(level)
