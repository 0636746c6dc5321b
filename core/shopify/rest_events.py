"""Webhook bodies of what happens more rarely than orders: checkouts, consent, tags, deletions,
merges, the app's removal, and what the law asks for.

Raises BodyError for whatever cannot be read. Nothing here says whether a body may be believed.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import Struct

from core.ingestion.checkout_key import checkout_key
from core.shopify import gid
from core.shopify.rest import (
    BodyError,
    RestCode,
    RestCustomer,
    WebhookCustomer,
    decode,
    money_bag,
    plain_text,
    positive_number,
    webhook_customer,
)
from core.shopify.shapes import Int32, Moment, check_address, check_moment

CONSENT_STATES: Final = frozenset(
    {"SUBSCRIBED", "NOT_SUBSCRIBED", "PENDING", "UNSUBSCRIBED", "INVALID", "REDACTED"}
)


class RestCheckoutLine(Struct, frozen=True):
    quantity: Int32
    title: str | None = None
    variant_title: str | None = None
    sku: str | None = None
    product_id: int | None = None
    price: Decimal | None = None


class RestCheckout(Struct, frozen=True):
    created_at: Moment
    updated_at: Moment
    currency: str
    total_price: Decimal
    token: str | None = None
    name: str | None = None
    email: str | None = None
    phone: str | None = None
    abandoned_checkout_url: str | None = None
    completed_at: Moment | None = None
    subtotal_price: Decimal | None = None
    discount_codes: list[RestCode] = []
    line_items: list[RestCheckoutLine] = []
    customer: RestCustomer | None = None


class WebhookCheckout(Struct, frozen=True):
    """A checkout as a webhook tells it, under the key that bulk files give it too."""

    checkout_key: str
    token: str | None
    name: str | None
    customer_id: int | None
    email: str | None
    phone: str | None
    recovery_url: str | None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    currency: str
    total: str
    subtotal: str | None
    discount_codes: list[str]
    line_items: list[dict[str, Any]]
    customer: WebhookCustomer | None

    @property
    def product_ids(self) -> list[int]:
        return [line["product_id"] for line in self.line_items if line["product_id"]]

    @property
    def has_contact(self) -> bool:
        return bool(self.email or self.phone or self.customer_id)


class Consent(Struct, frozen=True):
    """The consent of one address at one time; `updated_at` None: never given or taken back."""

    customer_id: int
    email: str | None
    state: str
    level: str | None
    updated_at: datetime | None


class Merge(Struct, frozen=True):
    kept_id: int
    deleted_id: int


class Subject(Struct, frozen=True):
    """Whom a compliance request is about."""

    customer_id: int | None
    email: str | None
    phone: str | None
    order_ids: list[int]
    request_id: int | None


def read_checkout(body: bytes) -> WebhookCheckout:
    """The checkout of a checkouts/* body."""
    rest = decode(body, RestCheckout)
    try:
        return _checkout(rest)
    except (ValueError, ArithmeticError) as error:
        raise BodyError(f"The checkout cannot be read: {error}") from None


def _checkout(rest: RestCheckout) -> WebhookCheckout:
    customer = webhook_customer(rest.customer, seen_at=rest.created_at) if rest.customer else None
    check_address(rest.email)
    for moment in (rest.created_at, rest.updated_at, rest.completed_at):
        if moment is not None:
            check_moment(moment)
    subtotal = rest.subtotal_price
    return WebhookCheckout(
        checkout_key=checkout_key(rest.abandoned_checkout_url, token=rest.token),
        token=plain_text(rest.token),
        name=plain_text(rest.name),
        customer_id=customer.customer_id if customer else None,
        email=plain_text(rest.email) or (customer.email if customer else None),
        phone=plain_text(rest.phone),
        recovery_url=plain_text(rest.abandoned_checkout_url),
        created_at=rest.created_at.astimezone(UTC),
        updated_at=rest.updated_at.astimezone(UTC),
        completed_at=rest.completed_at.astimezone(UTC) if rest.completed_at else None,
        currency=rest.currency,
        total=_amount(rest.total_price),
        subtotal=None if subtotal is None else _amount(subtotal),
        discount_codes=[code.code for code in rest.discount_codes if code.code],
        line_items=[_checkout_line(line) for line in rest.line_items],
        customer=customer,
    )


def _checkout_line(line: RestCheckoutLine) -> dict[str, Any]:
    return {
        "title": plain_text(line.title),
        "variant_title": plain_text(line.variant_title),
        "sku": plain_text(line.sku),
        "product_id": line.product_id,
        "quantity": line.quantity,
        "unit_price": None if line.price is None else _amount(line.price),
    }


def _amount(amount: Decimal) -> str:
    return money_bag(amount, "").shop_money.amount


def read_consent(data: dict[str, Any]) -> Consent:
    """Of customers_email_marketing_consent/update: lower case, nested."""
    told = data.get("email_marketing_consent")
    told = told if isinstance(told, dict) else {}
    state, level = told.get("state"), told.get("opt_in_level")
    if not isinstance(state, str) or state.upper() not in CONSENT_STATES:
        raise BodyError("The consent cannot be read: `state` is not one we know.")
    email = data.get("email_address")
    return Consent(
        customer_id=positive_number(data.get("customer_id"), "customer_id"),
        email=plain_text(email) if isinstance(email, str) else None,
        state=state.upper(),
        level=plain_text(level.upper()) if isinstance(level, str) else None,
        updated_at=_moment(told.get("consent_updated_at"), "consent_updated_at"),
    )


def read_tagged_customer(data: dict[str, Any]) -> int:
    """Of customer.tags_added and customer.tags_removed: whose tags changed."""
    return _gid_number(data.get("customerId"), "Customer", "customerId")


def read_merge(data: dict[str, Any]) -> Merge | None:
    """Of customers/merge; None for a merge that Shopify gave up, or has not done yet."""
    if str(data.get("status", "")).lower() != "completed":
        return None
    kept, deleted = (
        _gid_number(data.get(name), "Customer", name)
        for name in ("admin_graphql_api_customer_kept_id", "admin_graphql_api_customer_deleted_id")
    )
    if kept == deleted:
        raise BodyError("A customer cannot be merged into itself.")
    return Merge(kept, deleted)


def read_finished_operation(data: dict[str, Any]) -> str:
    """Of bulk_operations/finish: the operation's id; what became of it is asked for."""
    name = "admin_graphql_api_id"
    return gid.make("BulkOperation", _gid_number(data.get(name), "BulkOperation", name))


def read_subject(data: dict[str, Any]) -> Subject:
    """Of customers/data_request and customers/redact."""
    person = data.get("customer")
    person = person if isinstance(person, dict) else {}
    request = data.get("data_request")
    request = request if isinstance(request, dict) else {}
    orders = data.get("orders_requested") or data.get("orders_to_redact") or []
    if not isinstance(orders, list):
        raise BodyError("The request cannot be read: its orders are no list.")
    customer_id = person.get("id")
    email, phone = person.get("email"), person.get("phone")
    subject = Subject(
        customer_id=None if customer_id is None else positive_number(customer_id, "customer.id"),
        email=plain_text(email) if isinstance(email, str) else None,
        phone=plain_text(phone) if isinstance(phone, str) else None,
        order_ids=[positive_number(order, "an order") for order in orders],
        request_id=request.get("id") if isinstance(request.get("id"), int) else None,
    )
    if subject.customer_id is None and subject.email is None:
        raise BodyError("The request names nobody: neither a customer nor an address.")
    return subject


def _gid_number(value: Any, kind: str, name: str) -> int:
    try:
        return gid.number(value if isinstance(value, str) else "", kind)
    except ValueError:
        raise BodyError(f"The body cannot be applied: `{name}` is not an id.") from None


def _moment(value: Any, name: str) -> datetime | None:
    if value is None:
        return None
    try:
        moment = msgspec.convert(value, Moment)
        check_moment(moment)
    except ValueError as error:
        raise BodyError(f"`{name}` cannot be read: {error}") from None
    return moment.astimezone(UTC)
