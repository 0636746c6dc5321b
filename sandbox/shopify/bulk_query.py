"""What Shopify refuses in a bulk query, word for word (captured answers)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLNamedType,
    GraphQLSchema,
    GraphQLSyntaxError,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    get_named_type,
    is_list_type,
    parse,
    validate,
)
from graphql.type import GraphQLInterfaceType, GraphQLObjectType, get_nullable_type

MAX_BYTES = 65_535
MAX_DEPTH = 2
MAX_CONNECTIONS = 5
Fragments = dict[str, FragmentDefinitionNode]


@dataclass
class _Findings:
    connections: int = 0
    depth: int = 0
    by_nodes: list[str] = field(default_factory=list)
    without_id: list[str] = field(default_factory=list)
    in_list: bool = False
    top_level_node: bool = False


def refusals(schema: GraphQLSchema, text: str) -> list[str]:
    """The messages with which Shopify refuses the query, [] when it takes it."""
    if not text.strip():
        return ["Invalid bulk query: syntax error, unexpected end of file"]
    size = len(text.encode())
    if size > MAX_BYTES:
        return [f"Query is too large ({size} bytes; maximum is {MAX_BYTES} bytes)"]
    try:
        document = parse(text)
    except GraphQLSyntaxError as error:
        return [f"Invalid bulk query: {error.message}"]
    operation = operation_of(document)
    if operation is None or operation.operation is not OperationType.QUERY:
        return ["Invalid operation type. Only `query` operations are supported."]
    findings = _Findings()
    _Walk(schema, fragments_of(document), findings).root(operation)
    return _messages(findings) or [
        f"Invalid bulk query: {error.message}" for error in validate(schema, document)
    ]


def operation_of(document: DocumentNode) -> OperationDefinitionNode | None:
    found = [d for d in document.definitions if isinstance(d, OperationDefinitionNode)]
    return found[0] if len(found) == 1 else None


def fragments_of(document: DocumentNode) -> Fragments:
    return {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}


def fields_of(selection: SelectionSetNode, fragments: Fragments) -> Iterator[FieldNode]:
    """The fields selected, those in fragments included."""
    for node in selection.selections:
        if isinstance(node, FieldNode):
            yield node
        elif isinstance(node, InlineFragmentNode):
            yield from fields_of(node.selection_set, fragments)
        elif isinstance(node, FragmentSpreadNode) and node.name.value in fragments:
            yield from fields_of(fragments[node.name.value].selection_set, fragments)


class _Walk:
    """Collects findings over the selections; fields unknown to the schema are left to it."""

    def __init__(self, schema: GraphQLSchema, fragments: Fragments, findings: _Findings) -> None:
        self.schema, self.fragments, self.found = schema, fragments, findings

    def root(self, operation: OperationDefinitionNode) -> None:
        for node in fields_of(operation.selection_set, self.fragments):
            if node.name.value == "node":
                self.found.top_level_node = True
        query = self.schema.query_type
        self.selection(operation.selection_set, query, parent=None, depth=0, in_list=False)

    def selection(
        self,
        selection: SelectionSetNode,
        type_: GraphQLNamedType | None,
        *,
        parent: FieldNode | None,
        depth: int,
        in_list: bool,
    ) -> None:
        if not isinstance(type_, GraphQLObjectType | GraphQLInterfaceType):
            return
        for node in fields_of(selection, self.fragments):
            known = type_.fields.get(node.name.value)
            if known is None or node.selection_set is None:
                continue
            named = get_named_type(known.type)
            if named.name.endswith("Connection"):
                self.connection(node, named, parent=parent, depth=depth + 1, in_list=in_list)
            else:
                self.selection(
                    node.selection_set,
                    named,
                    parent=parent,
                    depth=depth,
                    in_list=in_list or is_list_type(get_nullable_type(known.type)),
                )

    def connection(
        self,
        node: FieldNode,
        type_: GraphQLNamedType,
        *,
        parent: FieldNode | None,
        depth: int,
        in_list: bool,
    ) -> None:
        self.found.connections += 1
        self.found.depth = max(self.found.depth, depth)
        self.found.in_list |= in_list
        if parent is not None and not self.selects_id(parent):
            self.found.without_id.append(parent.name.value)
        for inner in fields_of(_selected(node), self.fragments):
            if inner.name.value == "nodes":
                self.found.by_nodes.append(node.name.value)
            content = [inner] if inner.name.value == "nodes" else self.nodes_in(inner)
            item = self.item_type(type_)
            for each in content:
                self.selection(_selected(each), item, parent=node, depth=depth, in_list=False)

    def nodes_in(self, edges: FieldNode) -> list[FieldNode]:
        inner = fields_of(_selected(edges), self.fragments)
        return [f for f in inner if f.name.value == "node"]

    def selects_id(self, connection: FieldNode) -> bool:
        """Whether its `edges { node }` selects `id` without an alias."""
        nodes = [
            node
            for edges in fields_of(_selected(connection), self.fragments)
            for node in ([edges] if edges.name.value == "nodes" else self.nodes_in(edges))
        ]
        return any(
            f.name.value == "id" and f.alias is None
            for node in nodes
            for f in fields_of(_selected(node), self.fragments)
        )

    def item_type(self, connection: GraphQLNamedType) -> GraphQLNamedType | None:
        if not isinstance(connection, GraphQLObjectType) or "edges" not in connection.fields:
            return None
        edge = get_named_type(connection.fields["edges"].type)
        if not isinstance(edge, GraphQLObjectType):
            return None
        return cast("GraphQLNamedType", get_named_type(edge.fields["node"].type))


def _selected(node: FieldNode) -> SelectionSetNode:
    return node.selection_set or SelectionSetNode(selections=())


def _messages(found: _Findings) -> list[str]:
    messages = []
    if found.top_level_node:
        messages.append("Bulk queries cannot contain a top level `node` field.")
    if found.connections == 0:
        messages.append("Bulk queries must contain at least one connection.")
    if found.by_nodes:
        messages.append(
            "All connection fields in a bulk query must select their contents using "
            "'edges' > 'node', e.g: 'orders { edges { node {'. Selecting via 'nodes' is not "
            f"supported. Invalid connection fields: '{', '.join(found.by_nodes)}'."
        )
    if found.depth > MAX_DEPTH:
        messages.append(
            "Bulk queries cannot contain connections with a nesting depth greater than 2."
        )
    if found.connections > MAX_CONNECTIONS:
        messages.append("Bulk queries cannot contain more than 5 connections.")
    if found.without_id:
        messages.append(
            "The parent 'node' field for a nested connection must select the 'id' field without "
            "an alias and must be of 'ID' return type. Connection fields without 'id': "
            f"{', '.join(dict.fromkeys(found.without_id))}."
        )
    if found.in_list:
        messages.append(
            "Queries that contain a connection field within a list field are not currently "
            "supported."
        )
    return messages
