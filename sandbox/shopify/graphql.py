"""`POST /admin/api/{version}/graphql.json`: the real schema, executed over the store."""

import functools
import logging
import re
import time
from typing import Any

import orjson
from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    OperationType,
    execute_sync,
    get_operation_ast,
    parse,
    validate,
)
from starlette.responses import Response

from sandbox.http import Call, reply
from sandbox.shopify.bulk import BulkJobs
from sandbox.shopify.bulk_query import fragments_of
from sandbox.shopify.cost import MAX_QUERY_COST, Buckets, CostOf
from sandbox.shopify.oauth import BAD_TOKEN, find_shop, holds_token, revoke_tokens
from sandbox.shopify.resolvers import Root, resolve_field
from sandbox.shopify.versions import served
from sandbox.world import World

logger = logging.getLogger(__name__)

LIMITS_PAGE = "https://shopify.dev/api/usage/rate-limits"
Body = dict[str, Any]
# graphql-core's words -> Shopify's code, and its words where captured.
_CODES = (
    (r"Cannot query field '(\w+)' on type '(\w+)'", "undefinedField"),
    (r"must have a selection of subfields|must not have a selection", "selectionMismatch"),
    (r"argument '.*' of type .* is required", "missingRequiredArguments"),
    (r"Unknown argument", "argumentNotAccepted"),
    (r"Variable '\$\w+' is never used", "variableNotUsed"),
    (r"Variable '\$\w+' is not defined", "variableNotDefined"),
    (r"Variable '\$\w+' of type", "variableMismatch"),
    (r"Variable '\$\w+' (got|of required type)", "INVALID_VARIABLE"),
    (r"Unknown fragment|Fragment '", "undefinedFragment"),
    (r"", "argumentLiteralsIncompatible"),
)


class GraphqlEndpoint:
    """Answers every shop's Admin API calls."""

    def __init__(self, world: World, jobs: BulkJobs) -> None:
        self._world, self._jobs, self._buckets = world, jobs, Buckets()

    def __call__(self, call: Call) -> Response:
        world = self._world
        time.sleep(world.faults["shopify_latency_seconds"])
        version = served(call.params["version"], forced=world.faults["shopify_served_version"])
        shop = find_shop(world, call.params["shop"])
        if shop is None or version is None:
            return reply({"errors": "Not Found"}, 404)
        headers = {"X-Shopify-API-Version": version}
        if world.faults.take("shopify_times"):
            status = world.faults["shopify_status"]
            extra = {"Retry-After": "2.0"} if status in {429, 503} else {}
            return reply({"errors": "Service Unavailable"}, status, headers | extra)
        if world.faults.take("shopify_revoke_token_times"):
            revoke_tokens(world, shop)
        if not holds_token(world, shop, call.headers.get("x-shopify-access-token")):
            return reply({"errors": BAD_TOKEN}, 401, headers)
        asked = _asked(call.body)
        if asked is None:
            wrong = {"errors": {"query": "Required parameter missing or invalid"}}
            return reply(wrong, 400, headers)
        root = Root(world, self._jobs, shop, base_url=call.base_url)
        return reply(self._answer(asked, root, shop["shop"]), 200, headers)

    def _answer(self, asked: Body, root: Root, shop: int) -> Body:
        document = _document(self._world.schema, asked["query"])
        if isinstance(document, list):
            return {"errors": document}
        operation = get_operation_ast(document, asked.get("operationName"))
        if operation is None:
            return {
                "errors": [{"message": "No operation named", "extensions": _code("BAD_REQUEST")}]
            }
        variables = asked.get("variables") or {}
        cost = CostOf(self._world.schema, fragments_of(document), variables).operation(operation)
        if cost > MAX_QUERY_COST:
            return {"errors": [_too_dear(cost)]}
        paid, extensions = self._pay(shop, cost)
        if not paid:
            return {"errors": [_THROTTLED], "extensions": extensions}
        result = self._execute(document, operation, root, asked, variables)
        if self._world.faults.take("shopify_search_warning_times"):
            root.warnings.append(_unheard(operation))
        if root.warnings:
            extensions = extensions | {"search": root.warnings}
        return _formatted(result) | {"extensions": extensions}

    def _pay(self, shop: int, cost: int) -> tuple[bool, Body]:
        faults = self._world.faults
        size, rate = faults["shopify_bucket_size"], faults["shopify_restore_rate"]
        paid, left = self._buckets.take(
            shop, cost, size=size, rate=rate, now=self._world.clock.now()
        )
        if faults.take("shopify_throttle_times"):
            paid, left = False, min(left, max(0, cost - rate))
        throttle = {"maximumAvailable": size, "currentlyAvailable": left, "restoreRate": rate}
        return paid, {
            "cost": {
                "requestedQueryCost": cost,
                "actualQueryCost": cost if paid else None,
                "throttleStatus": throttle,
            }
        }

    def _execute(
        self,
        document: DocumentNode,
        operation: OperationDefinitionNode,
        root: Root,
        asked: Body,
        variables: Body,
    ) -> ExecutionResult:
        is_mutation = operation.operation is OperationType.MUTATION
        return execute_sync(
            self._world.schema,
            document,
            root_value=root.mutation if is_mutation else root.query,
            variable_values=variables,
            operation_name=asked.get("operationName"),
            field_resolver=resolve_field,
            context_value=root.scopes,
        )


def _asked(body: bytes) -> Body | None:
    """`query`, `variables` and `operationName` of the body; None when it is none."""
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(asked, dict) or not isinstance(asked.get("query"), str):
        return None
    return asked if isinstance(asked.get("variables"), dict | None) else None


@functools.lru_cache(maxsize=256)
def _document(schema: GraphQLSchema, text: str) -> DocumentNode | list[Body]:
    """The valid document, or Shopify's errors."""
    try:
        document = parse(text)
    except GraphQLSyntaxError as error:
        return [{**_located(error), "extensions": _code("PARSE_ERROR")}]
    errors = validate(schema, document)
    return [_validation_error(error) for error in errors] or document


def _validation_error(error: GraphQLError) -> Body:
    shape = _located(error)
    for pattern, code in _CODES:
        found = re.search(pattern, error.message)
        if found is None:
            continue
        if code == "undefinedField":
            field, type_name = found.groups()
            shape["message"] = f"Field '{field}' doesn't exist on type '{type_name}'"
            shape["extensions"] = {"code": code, "typeName": type_name, "fieldName": field}
        else:
            shape["extensions"] = _code(code)
        break
    return shape


def _located(error: GraphQLError) -> Body:
    locations = [{"line": at.line, "column": at.column} for at in error.locations or []]
    return {"message": error.message, "locations": locations}


def _formatted(result: ExecutionResult) -> Body:
    if not result.errors:
        return {"data": result.data}
    errors = [_execution_error(error) for error in result.errors]
    known_only = all(error.path is None for error in result.errors)
    return {"errors": errors} if known_only else {"data": result.data, "errors": errors}


def _execution_error(error: GraphQLError) -> Body:
    shape = {**_located(error), "path": error.path}
    if error.path is None:
        return {**_located(error), "extensions": _code("INVALID_VARIABLE")}
    original = error.original_error
    if original is not None and not isinstance(original, GraphQLError):
        logger.error("a resolver failed", exc_info=original)
        return {**shape, "extensions": _code("INTERNAL_SERVER_ERROR")}
    return {**shape, "extensions": error.extensions or _code("INTERNAL_SERVER_ERROR")}


def _unheard(operation: OperationDefinitionNode) -> Body:
    """A warning as it comes with a search whose key Shopify did not know: it matched everything."""
    fields = [each for each in operation.selection_set.selections if isinstance(each, FieldNode)]
    warning = {
        "field": "updated_at",
        "message": "Invalid search field for this query.",
        "code": "invalid_field",
    }
    path = [(each.alias or each.name).value for each in fields[:1]]
    return {"path": path, "query": "updated_at:>''", "warnings": [warning]}


def _code(code: str) -> Body:
    return {"code": code}


_THROTTLED: Body = {
    "message": "Throttled",
    "extensions": {"code": "THROTTLED", "documentation": LIMITS_PAGE},
}


def _too_dear(cost: int) -> Body:
    return {
        "message": f"Query cost is {cost}, which exceeds the single query max cost limit "
        f"({MAX_QUERY_COST}).\n\nSee {LIMITS_PAGE} for more information.",
        "extensions": {
            "code": "MAX_COST_EXCEEDED",
            "cost": cost,
            "maxCost": MAX_QUERY_COST,
            "documentation": "https://shopify.dev/api/usage/limits#rate-limits",
        },
    }
