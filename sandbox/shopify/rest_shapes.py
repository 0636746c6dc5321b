"""Webhook bodies of orders and customers: the REST shape of an object, without what Shopify
leaves out of it. Those of rarer topics are in rest_events.py.

Customers carry no consent, tags, order count or totals (since 2025-01), orders no checkout_id
(since 2026-04). Times carry the shop's offset, statuses are lower case.
"""

import hashlib
import sqlite3
from decimal import Decimal
from typing import Any

from sandbox.clock import in_zone

Body = dict[str, Any]


def number_of(gid: str) -> int:
    return int(gid.rpartition("/")[2])


def order_payload(
    order: Body, items: list[Body], customer: Body | None, *, shop: sqlite3.Row
) -> Body:
    """The body of orders/create, orders/updated, orders/paid and orders/cancelled."""
    email, zone = order["email"], shop["time_zone"]
    return {
        "id": number_of(order["id"]),
        "admin_graphql_api_id": order["id"],
        "name": order["name"],
        "order_number": _order_number(order["name"]),
        "order_status_url": _status_url(order, shop),
        "email": email,
        "contact_email": email,
        "test": order["test"],
        "created_at": local(order["createdAt"], zone),
        "updated_at": local(order["updatedAt"], zone),
        "processed_at": local(order["processedAt"], zone),
        "cancelled_at": local(order["cancelledAt"], zone),
        "cancel_reason": "customer" if order["cancelledAt"] else None,
        "closed_at": None,
        "confirmed": True,
        "currency": order["currencyCode"],
        "presentment_currency": order["currencyCode"],
        "financial_status": (order["displayFinancialStatus"] or "").lower() or None,
        "fulfillment_status": None,
        "source_name": order["sourceName"],
        "checkout_token": order["checkoutToken"],
        "buyer_accepts_marketing": False,
        "discount_codes": [{"code": code, "type": "percentage"} for code in order["discountCodes"]],
        "tags": "",
        "note": None,
        **money("current_total_price", order["currentTotalPriceSet"]),
        **money("total_price", order["totalPriceSet"]),
        "line_items": [line_item_payload(item) for item in items],
        "refunds": [refund_payload(order, refund, zone=zone) for refund in order["refunds"]],
        "customer": customer and customer_payload(customer, zone=zone),
    }


def line_item_payload(item: Body) -> Body:
    unit = item["originalUnitPriceSet"]
    return {
        "id": number_of(item["id"]),
        "admin_graphql_api_id": item["id"],
        "title": item["title"],
        "name": item["title"],
        "variant_title": item["variantTitle"],
        "sku": item["sku"],
        "quantity": item["quantity"],
        "current_quantity": item["currentQuantity"],
        "product_id": number_of(item["product"]["id"]) if item["product"] else None,
        **money("price", unit),
    }


def customer_payload(customer: Body, *, zone: str) -> Body:
    """The body of customers/create and customers/update, and `order.customer`."""
    address, phone = customer["defaultEmailAddress"], customer["defaultPhoneNumber"]
    return {
        "id": number_of(customer["id"]),
        "admin_graphql_api_id": customer["id"],
        "email": address["emailAddress"] if address else None,
        "first_name": customer["firstName"],
        "last_name": customer["lastName"],
        "phone": phone["phoneNumber"] if phone else None,
        "state": "disabled",
        "note": None,
        "verified_email": True,
        "multipass_identifier": None,
        "tax_exempt": False,
        "currency": None,
        "created_at": local(customer["createdAt"], zone),
        "updated_at": local(customer["updatedAt"], zone),
    }


def consent_payload(customer: Body, *, zone: str) -> Body:
    """The body of customers_email_marketing_consent/update."""
    address = customer["defaultEmailAddress"]
    return {
        "customer_id": number_of(customer["id"]),
        "email_address": address["emailAddress"],
        "email_marketing_consent": {
            "state": address["marketingState"].lower(),
            "opt_in_level": (address["marketingOptInLevel"] or "").lower() or None,
            "consent_updated_at": local(address["marketingUpdatedAt"], zone),
        },
    }


def refund_payload(order: Body, refund: Body, *, zone: str) -> Body:
    """The body of refunds/create, and one of `order.refunds`: the order's number, not the order."""
    number, money = number_of(refund["id"]), refund["totalRefundedSet"]["shopMoney"]
    at = local(refund["processedAt"], zone)
    return {
        "id": number,
        "admin_graphql_api_id": refund["id"],
        "order_id": number_of(order["id"]),
        "created_at": at,
        "processed_at": at,
        "note": None,
        "user_id": None,
        "restock": False,
        "refund_line_items": [],
        "order_adjustments": [],
        "transactions": [
            {
                "id": number,
                "order_id": number_of(order["id"]),
                "kind": "refund",
                "status": "success",
                "gateway": "manual",
                "amount": f"{Decimal(money['amount']):.2f}",
                "currency": money["currencyCode"],
                "processed_at": at,
            }
        ],
    }


def bulk_finish_payload(operation: Body, *, zone: str) -> Body:
    """The body of bulk_operations/finish: lower case, and without the url."""
    return {
        "admin_graphql_api_id": operation["id"],
        "completed_at": local(operation["completedAt"], zone),
        "created_at": local(operation["createdAt"], zone),
        "error_code": (operation["errorCode"] or "").lower() or None,
        "status": operation["status"].lower(),
        "type": "query",
    }


def local(stamp: str | None, zone: str) -> str | None:
    return in_zone(stamp, zone) if stamp else None


def _status_url(order: Body, shop: sqlite3.Row) -> str:
    """Where a buyer looks after the order; it names the shop, by its address and its number."""
    token = hashlib.blake2b(order["id"].encode(), digest_size=16).hexdigest()
    return f"https://{shop['domain']}/{shop['shop']}/orders/{token}/authenticate"


def _order_number(name: str | None) -> int | None:
    digits = (name or "").lstrip("#")
    return int(digits) if digits.isascii() and digits.isdigit() else None


def money(name: str, bag: Body) -> Body:
    """REST writes two decimals where GraphQL writes as few as one."""
    shop = bag["shopMoney"]
    text = f"{Decimal(shop['amount']):.2f}"
    money = {"amount": text, "currency_code": shop["currencyCode"]}
    return {name: text, f"{name}_set": {"shop_money": money, "presentment_money": money}}
