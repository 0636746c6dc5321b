"""What Shopify answers instead of data."""

from typing import Any

from graphql import GraphQLError

from sandbox.http import NotInSandboxError


def graphql_error(message: str, code: str, **extensions: Any) -> GraphQLError:
    """An error for the `errors` list, with Shopify's `extensions.code`."""
    return GraphQLError(message, extensions={"code": code, **extensions})


def not_in_sandbox(what: str) -> GraphQLError:
    return graphql_error(str(NotInSandboxError(what)), "NOT_IN_SANDBOX")


def only(field: str, args: dict[str, Any], *names: str) -> None:
    """Refuses the arguments of `field` that the sandbox would otherwise leave unheard."""
    for name in args.keys() - set(names):
        if args[name] is not None:
            raise not_in_sandbox(f"{field}({name}:)")
