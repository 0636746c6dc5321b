"""What the app may read and write, and what Shopify says of a field that it may not."""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from graphql import FieldNode, GraphQLError

from sandbox.shopify.errors import graphql_error

if TYPE_CHECKING:  # the knobs know the scopes
    from sandbox.faults import Faults

SCOPES = (
    "read_all_orders",
    "read_customers",
    "read_discounts",
    "read_orders",
    "read_products",
    "write_customers",
    "write_discounts",
)
# Without read_all_orders only orders of the last 60 days are visible.
ALL_ORDERS = "read_all_orders"
VISIBLE_SECONDS = 60 * 86400
PAGE = "https://shopify.dev/api/usage/access-scopes"

OF_TYPE = {
    "Customer": "read_customers",
    "Order": "read_orders",
    "AbandonedCheckout": "read_orders",
    "Product": "read_products",
}
OF_FIELD = {
    ("QueryRoot", "customersCount"): "read_customers",
    ("QueryRoot", "ordersCount"): "read_orders",
    ("Order", "customer"): "read_customers",
    ("AbandonedCheckout", "customer"): "read_customers",
    ("LineItem", "product"): "read_products",
    ("AbandonedCheckoutLineItem", "product"): "read_products",
    ("Mutation", "tagsAdd"): "write_customers",
    ("Mutation", "tagsRemove"): "write_customers",
    ("Mutation", "customerEmailMarketingConsentUpdate"): "write_customers",
    ("Mutation", "discountCodeBasicCreate"): "write_discounts",
    ("Mutation", "discountRedeemCodeBulkAdd"): "write_discounts",
    ("QueryRoot", "codeDiscountNode"): "read_discounts",
    ("QueryRoot", "codeDiscountNodeByCode"): "read_discounts",
    ("QueryRoot", "discountRedeemCodeBulkCreation"): "read_discounts",
}


def listed(text: str) -> set[str]:
    """The scopes of a list with commas."""
    return {each.strip() for each in text.split(",") if each.strip()}


def granted(faults: "Faults") -> tuple[str, ...]:
    """The scopes that the shop gave; without reading there is no writing either."""
    missing = listed(faults["shopify_missing_scopes"])
    missing |= {each.replace("read_", "write_") for each in missing}
    return tuple(scope for scope in SCOPES if scope not in missing)


def visible_since(scopes: Collection[str], *, now: float) -> float:
    """The creation of the oldest order that the app may see."""
    return 0.0 if ALL_ORDERS in scopes else now - VISIBLE_SECONDS


def scopes_for(type_name: str, fields: Iterable[FieldNode]) -> frozenset[str]:
    """What reading these fields of objects of the type takes."""
    wanted = {OF_FIELD.get((type_name, each.name.value)) for each in fields}
    return frozenset(scope for scope in wanted | {OF_TYPE.get(type_name)} if scope)


def denied(field: str, scope: str) -> GraphQLError:
    """Shopify's answer for a field without the scope."""
    required = f"`{scope}` access scope."
    return graphql_error(
        f"Access denied for {field} field. Required access: {required}",
        "ACCESS_DENIED",
        documentation=PAGE,
        requiredAccess=required,
    )
