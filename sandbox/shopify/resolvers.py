"""The root fields that the sandbox answers, over plain dicts; any other field is refused."""

import sqlite3
from collections.abc import Callable
from typing import Any

from graphql import GraphQLResolveInfo

from sandbox.http import NotInSandboxError
from sandbox.shapes import gid
from sandbox.shopify.bulk import BulkJobs
from sandbox.shopify.bulk_view import matching
from sandbox.shopify.connections import connection
from sandbox.shopify.discounts import Discounts
from sandbox.shopify.errors import graphql_error, not_in_sandbox, only
from sandbox.shopify.mutations import Mutations
from sandbox.shopify.objects import PAGING, Objects, parse_gid
from sandbox.shopify.scopes import OF_FIELD, denied, granted
from sandbox.shopify.subscriptions import Subscriptions
from sandbox.world import World

Info = GraphQLResolveInfo
Body = dict[str, Any]


class Root:
    """`query` and `mutation` are root values: field name -> resolver.

    `scopes` is what the app may do; `warnings` gathers what was wrong with searches.
    """

    def __init__(self, world: World, jobs: BulkJobs, shop: sqlite3.Row, *, base_url: str) -> None:
        now = world.clock.now()
        self.scopes = granted(world.faults)
        self.warnings: list[Body] = []
        self._jobs, self._shop, self._base_url = jobs, shop, base_url
        self._objects = Objects(
            world.store, jobs, shop, base_url=base_url, now=now, scopes=self.scopes
        )
        changes = Mutations(world, shop)
        discounts = Discounts(world, shop)
        self._subscriptions = Subscriptions(world.store, shop, version=world.api_version, now=now)
        self.query: Body = {
            "shop": self._about_shop(),
            "currentAppInstallation": _installation(self.scopes),
            "node": lambda _info, id: self._objects.node(id),  # noqa: A006 - the schema's name
            "nodes": lambda _info, ids: self._objects.nodes(ids),
            "bulkOperation": self._bulk_operation,
            "bulkOperations": self._bulk_operations,
            "customersCount": self._count("customers"),
            "ordersCount": self._count("orders"),
            "webhookSubscriptions": self._webhook_subscriptions,
            "codeDiscountNode": discounts.by_id,
            "codeDiscountNodeByCode": discounts.by_code,
            "discountRedeemCodeBulkCreation": discounts.job,
        }
        self.mutation: Body = {
            "bulkOperationRunQuery": self._run_bulk,
            "bulkOperationCancel": self._cancel_bulk,
            "discountCodeBasicCreate": discounts.create,
            "discountRedeemCodeBulkAdd": discounts.add_codes,
            "tagsAdd": changes.tags_add,
            "tagsRemove": changes.tags_remove,
            "customerEmailMarketingConsentUpdate": changes.update_consent,
            "webhookSubscriptionCreate": self._create_webhook,
            "webhookSubscriptionUpdate": self._update_webhook,
            "webhookSubscriptionDelete": self._delete_webhook,
        }

    def _about_shop(self) -> Body:
        shop = self._shop
        return {
            "id": gid("Shop", shop["shop"]),
            "name": shop["name"],
            "myshopifyDomain": shop["domain"],
            "currencyCode": shop["currency"],
            "ianaTimezone": shop["time_zone"],
        }

    def _bulk_operation(self, _info: Info, id: str) -> Body | None:  # noqa: A002
        kind, number = parse_gid(id)
        if kind != "BulkOperation":
            raise graphql_error(f"Invalid id: {id}", "RESOURCE_NOT_FOUND")
        return self._jobs.poll(self._shop, number, base_url=self._base_url)

    def _bulk_operations(self, info: Info, **args: Any) -> Body:
        only("bulkOperations", args, *PAGING, "query", "sortKey", "reverse")
        if args.get("sortKey", "CREATED_AT") not in {"CREATED_AT", "ID"}:
            raise not_in_sandbox(f"bulkOperations(sortKey: {args['sortKey']})")
        found = self._jobs.list(self._shop, base_url=self._base_url)
        text = args.get("query") or ""
        found, warnings = matching(found, text)
        if warnings:
            path = info.path.as_list()
            self.warnings.append({"path": path, "query": text, "warnings": warnings})
        return connection(found[::-1] if args.get("reverse") else found, args)

    def _count(self, table: str) -> Callable[..., Body]:
        def count(_info: Info, limit: int | None = None, **args: Any) -> Body:
            only(f"{table}Count", args)
            return self._objects.count(table, limit)

        return count

    def _run_bulk(self, _info: Info, query: str, groupObjects: bool = False) -> Body:  # noqa: FBT001, FBT002, N803
        if groupObjects:
            raise not_in_sandbox("bulkOperationRunQuery(groupObjects: true)")
        try:
            operation, errors = self._jobs.submit(self._shop, query)
        except NotInSandboxError as error:
            raise graphql_error(str(error), "NOT_IN_SANDBOX") from error
        return {"bulkOperation": operation, "userErrors": errors}

    def _cancel_bulk(self, _info: Info, id: str) -> Body:  # noqa: A002
        kind, number = parse_gid(id)
        if kind != "BulkOperation":
            raise graphql_error(f"Invalid id: {id}", "RESOURCE_NOT_FOUND")
        try:
            operation, errors = self._jobs.cancel(self._shop, number, base_url=self._base_url)
        except NotInSandboxError as error:
            raise graphql_error(str(error), "NOT_IN_SANDBOX") from error
        return {"bulkOperation": operation, "userErrors": errors}

    def _webhook_subscriptions(self, _info: Info, **args: Any) -> Body:
        only("webhookSubscriptions", args, *PAGING, *SUBSCRIPTION_FILTERS)
        found = self._subscriptions.all(topics=args.get("topics"), uri=args.get("uri"))
        return connection(found[::-1] if args.get("reverse") else found, args)

    def _create_webhook(self, _info: Info, topic: str, webhookSubscription: Body) -> Body:  # noqa: N803
        return self._subscriptions.create(topic, webhookSubscription)

    def _update_webhook(self, _info: Info, id: str, webhookSubscription: Body) -> Body:  # noqa: A002, N803
        return self._subscriptions.update(id, webhookSubscription)

    def _delete_webhook(self, _info: Info, id: str) -> Body:  # noqa: A002
        return self._subscriptions.delete(id)


SUBSCRIPTION_FILTERS = ("topics", "uri", "format", "sortKey", "reverse")


def resolve_field(source: Any, info: Info, **args: Any) -> Any:
    """The field of a dict, called when it can be; one that is not there is refused.

    The context of the execution is the scopes that the app has.
    """
    scope = OF_FIELD.get((info.parent_type.name, info.field_name))
    if scope is not None and scope not in info.context:
        raise denied(info.field_name, scope)
    if info.field_name not in source:
        raise not_in_sandbox(f"{info.parent_type.name}.{info.field_name}")
    value = source[info.field_name]
    return value(info, **args) if callable(value) else value


def _installation(scopes: tuple[str, ...]) -> Body:
    return {
        "id": gid("AppInstallation", 1),
        "accessScopes": [{"handle": scope, "description": scope} for scope in scopes],
    }
