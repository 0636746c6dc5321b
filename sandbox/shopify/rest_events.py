"""Webhook bodies of what happens more rarely: edits, deletions, merges, tags, checkouts, the app's
removal, and what the law asks for.
"""

import sqlite3
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from sandbox.clock import utc_millis, utc_z
from sandbox.shapes import gid
from sandbox.shopify.rest_shapes import customer_payload, local, money, number_of

Body = dict[str, Any]


def edit_payload(
    order: int,
    *,
    edit: int,
    additions: Sequence[tuple[int, int]],
    removals: Sequence[tuple[int, int]],
    at: float,
    zone: str,
) -> Body:
    """The body of orders/edited: (line, units) that came and went, and not the order."""
    stamp = local(utc_z(at), zone)

    def deltas(lines: Sequence[tuple[int, int]]) -> list[Body]:
        return [{"id": line, "delta": units} for line, units in lines]

    return {
        "order_edit": {
            "id": edit,
            "app_id": None,
            "created_at": stamp,
            "committed_at": stamp,
            "notify_customer": False,
            "order_id": order,
            "staff_note": "",
            "user_id": None,
            "line_items": {"additions": deltas(additions), "removals": deltas(removals)},
            "discounts": {"line_item": {"additions": [], "removals": []}},
            "shipping_lines": {"additions": [], "removals": []},
        }
    }


def order_deleted_payload(order: int) -> Body:
    """The body of orders/delete: nothing but the number."""
    return {"id": order}


def customer_deleted_payload(customer: int) -> Body:
    """The body of customers/delete: who it was is not told any more."""
    return {
        "id": customer,
        "tax_exemptions": [],
        "admin_graphql_api_id": gid("Customer", customer),
    }


def merge_payload(*, kept: int, deleted: int, errors: Sequence[Body] = ()) -> Body:
    """The body of customers/merge; a merge that Shopify gave up is told of as well."""
    return {
        "admin_graphql_api_customer_kept_id": gid("Customer", kept),
        "admin_graphql_api_customer_deleted_id": gid("Customer", deleted),
        "admin_graphql_api_job_id": None,
        "status": "failed" if errors else "completed",
        "errors": list(errors),
    }


def tags_payload(customer: int, tags: Sequence[str], *, at: float) -> Body:
    """The body of customer.tags_added and customer.tags_removed: camel case, UTC."""
    return {
        "customerId": gid("Customer", customer),
        "tags": list(tags),
        "occurredAt": utc_millis(at),
    }


def checkout_payload(
    checkout: Body, items: Sequence[Body], customer: Body | None, *, token: str, shop: sqlite3.Row
) -> Body:
    """The body of checkouts/create and checkouts/update: no id (since 2026-04), but the token."""
    zone = shop["time_zone"]
    address, phone = None, None
    if customer is not None:
        address, phone = customer["defaultEmailAddress"], customer["defaultPhoneNumber"]
    return {
        "token": token,
        "cart_token": _cart(token),
        "name": checkout["name"],
        "email": address["emailAddress"] if address else None,
        "phone": phone["phoneNumber"] if phone else None,
        "gateway": None,
        "buyer_accepts_marketing": False,
        "created_at": local(checkout["createdAt"], zone),
        "updated_at": local(checkout["updatedAt"], zone),
        "completed_at": local(checkout["completedAt"], zone),
        "closed_at": None,
        "abandoned_checkout_url": checkout["abandonedCheckoutUrl"],
        "currency": shop["currency"],
        "presentment_currency": shop["currency"],
        "customer_locale": "en",
        "source_name": "web",
        "note": None,
        "taxes_included": True,
        "discount_codes": [
            {"code": code, "amount": "0.00", "type": "percentage"}
            for code in checkout["discountCodes"]
        ],
        "line_items": [checkout_line_payload(item) for item in items],
        "subtotal_price": _amount(checkout["subtotalPriceSet"]),
        "total_line_items_price": _amount(checkout["subtotalPriceSet"]),
        "total_price": _amount(checkout["totalPriceSet"]),
        "total_discounts": "0.00",
        "total_tax": "0.00",
        "customer": customer and customer_payload(customer, zone=zone),
    }


def checkout_line_payload(item: Body) -> Body:
    """A line of a checkout has a key, and no id."""
    unit = Decimal(item["originalUnitPriceSet"]["shopMoney"]["amount"])
    return {
        "key": str(number_of(item["id"])),
        "title": item["title"],
        "presentment_title": item["title"],
        "variant_title": item["variantTitle"],
        "sku": item["sku"],
        "quantity": item["quantity"],
        "product_id": number_of(item["product"]["id"]) if item["product"] else None,
        "price": f"{unit:.2f}",
        "line_price": f"{unit * item['quantity']:.2f}",
    }


def checkout_deleted_payload(checkout: Body, *, token: str, shop: sqlite3.Row) -> Body:
    """The body of checkouts/delete: the id that the others lack, and not the token.

    What it has in common with them is the cart's token, and the id in their `name`.
    """
    total = _amount(checkout["totalPriceSet"])
    return {
        "id": number_of(checkout["id"]),
        "presentment_currency": shop["currency"],
        "buyer_accepts_sms_marketing": False,
        "sms_marketing_phone": None,
        "total_discounts": "0.00",
        "total_line_items_price": total,
        "total_price": total,
        "total_tax": "0.00",
        "subtotal_price": total,
        "cart_token": _cart(token),
        "total_duties": None,
        "reservation_token": None,
    }


def uninstalled_payload(shop: sqlite3.Row) -> Body:
    """The body of app/uninstalled: the shop, as far as the sandbox knows it."""
    created_at = local(utc_z(shop["loaded_at"]), shop["time_zone"])
    return {
        "id": shop["shop"],
        "name": shop["name"],
        "email": "owner@example.com",
        "domain": shop["domain"],
        "myshopify_domain": shop["domain"],
        "currency": shop["currency"],
        "iana_timezone": shop["time_zone"],
        "created_at": created_at,
        "updated_at": created_at,
    }


def data_request_payload(
    shop: sqlite3.Row, person: Body, *, orders: Sequence[int], request: int
) -> Body:
    """The body of customers/data_request; `person` as `person_payload` makes it."""
    return {
        **_shop_payload(shop),
        "orders_requested": list(orders),
        "customer": person,
        "data_request": {"id": request},
    }


def redact_payload(shop: sqlite3.Row, person: Body, *, orders: Sequence[int]) -> Body:
    """The body of customers/redact."""
    return {**_shop_payload(shop), "customer": person, "orders_to_redact": list(orders)}


def shop_redact_payload(shop: sqlite3.Row) -> Body:
    """The body of shop/redact."""
    return _shop_payload(shop)


def person_payload(customer: Body) -> Body:
    """By what the compliance topics name a customer."""
    address, phone = customer["defaultEmailAddress"], customer["defaultPhoneNumber"]
    return {
        "id": number_of(customer["id"]),
        "email": address["emailAddress"] if address else None,
        "phone": phone["phoneNumber"] if phone else None,
    }


def _shop_payload(shop: sqlite3.Row) -> Body:
    return {"shop_id": shop["shop"], "shop_domain": shop["domain"]}


def _cart(token: str) -> str:
    return f"cart-{token}"


def _amount(bag: Body) -> str:
    text: str = money("amount", bag)["amount"]
    return text
