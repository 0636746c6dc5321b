"""What one webhook or a group of them changes, read from the bodies; nothing here asks a database.

Of several states of one object in a group only the last is written, as in a pass in order of time.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from core.ingestion.rows import Row
from core.models.enums import ObjectType, PrivacyKind
from core.shopify.rest import WebhookCustomer
from core.shopify.rest_events import Consent, Merge, Subject, WebhookCheckout
from core.shopify.told import LineTold, OrderTold, RefundTold

_CUSTOMER: Final = 2  # of ORDER_COLUMNS
_EMAIL: Final = 3
_BLANKS: Final = ("email", "first_name", "last_name", "phone")
_CHECKOUT_BLANKS: Final = (
    *("token", "name", "customer_id", "email", "phone", "recovery_url", "completed_at", "subtotal"),
)


@dataclass(slots=True)
class OrderState:
    """One state of an order, as rows: as a webhook told them, or as text of what was read by id.

    Never changed; not frozen, because making a frozen one takes three times as long.
    """

    order_id: int
    updated_at: datetime
    customer_id: int | None
    row: OrderTold | Row
    lines: Sequence[LineTold | Row]
    refunds: Sequence[RefundTold | Row]

    @property
    def email(self) -> str | None:
        return self.row[_EMAIL] if isinstance(self.row, tuple) else self.row.email

    def of(self, customer_id: int | None, *, is_erased: bool = False) -> "OrderState":
        """The same order of another customer, or of nobody who may be named."""
        email = None if is_erased else self.email
        row: OrderTold | Row
        if isinstance(self.row, tuple):
            number = None if customer_id is None else str(customer_id)
            row = (*self.row[:_CUSTOMER], number, email, *self.row[_EMAIL + 1 :])
        else:
            row = msgspec.structs.replace(self.row, customer_id=customer_id, email=email)
        return OrderState(
            self.order_id, self.updated_at, customer_id, row, self.lines, self.refunds
        )


@dataclass(frozen=True, slots=True)
class PrivacyWish:
    webhook_id: str
    kind: PrivacyKind
    subject: Subject | None


@dataclass(slots=True)
class Changes:
    """`gone_…`: id → when Shopify deleted it. `requests`: what must be read, and why."""

    customers: list[WebhookCustomer] = field(default_factory=list)
    orders: list[OrderState] = field(default_factory=list)
    checkouts: list[WebhookCheckout] = field(default_factory=list)
    product_ids: set[int] = field(default_factory=set)
    requests: dict[tuple[ObjectType, int], str] = field(default_factory=dict)
    consents: list[Consent] = field(default_factory=list)
    gone_customers: dict[int, datetime | None] = field(default_factory=dict)
    gone_orders: dict[int, datetime | None] = field(default_factory=dict)
    gone_checkouts: list[tuple[str | None, int | None, datetime | None]] = field(
        default_factory=list
    )
    merges: list[tuple[Merge, datetime | None]] = field(default_factory=list)
    privacy: list[PrivacyWish] = field(default_factory=list)
    uninstalled: list[datetime | None] = field(default_factory=list)
    finished_operations: list[str] = field(default_factory=list)
    named_ids: set[int] = field(default_factory=set)
    """Customers of order states that are not written; their statistics are looked at all the
    same."""

    @property
    def is_exclusive(self) -> bool:
        """Whether nobody else may write the shop's data meanwhile."""
        return bool(self.gone_orders or self.merges or self.gone_checkouts)

    @property
    def is_plain(self) -> bool:
        """Whether one call of the database's function does it all."""
        return not (
            self.consents
            or self.gone_customers
            or self.gone_orders
            or self.gone_checkouts
            or self.merges
            or self.privacy
            or self.uninstalled
            or self.finished_operations
        )

    def customer_ids(self) -> set[int]:
        found = {customer.customer_id for customer in self.customers}
        found.update(order.customer_id for order in self.orders if order.customer_id)
        found.update(checkout.customer_id for checkout in self.checkouts if checkout.customer_id)
        found.update(consent.customer_id for consent in self.consents)
        return found | self.named_ids

    def emails(self) -> set[str]:
        found = {customer.email for customer in self.customers if customer.email}
        found.update(order.email for order in self.orders if order.email)
        found.update(checkout.email for checkout in self.checkouts if checkout.email)
        found.update(consent.email for consent in self.consents if consent.email)
        return found

    def add(self, other: "Changes") -> None:
        """What a later webhook of the group tells; `other` stays as it is."""
        self.customers += other.customers
        self.orders += other.orders
        self.checkouts += other.checkouts
        self.product_ids |= other.product_ids
        self.requests = other.requests | self.requests
        self.named_ids |= other.named_ids
        if not other.is_plain:
            self.consents += other.consents
            _keep_first(self.gone_customers, other.gone_customers)
            _keep_first(self.gone_orders, other.gone_orders)
            self.gone_checkouts += other.gone_checkouts
            self.merges += other.merges
            self.privacy += other.privacy
            self.uninstalled += other.uninstalled
            self.finished_operations += other.finished_operations

    def settle(self) -> None:
        """Leave the last state of each object."""
        if len(self.customers) > 1:
            self._settle_customers()
        if len(self.orders) > 1:
            self._settle_orders()
        if len(self.checkouts) > 1:
            self._settle_checkouts()
        if len(self.consents) > 1:
            ordered = sorted(self.consents, key=_consent_order)
            self.consents = list({consent.customer_id: consent for consent in ordered}.values())

    def _settle_customers(self) -> None:
        kept: dict[int, WebhookCustomer] = {}
        for told in sorted(self.customers, key=lambda customer: customer.updated_at):
            known = kept.get(told.customer_id)
            if known is not None:
                if known.updated_at == told.updated_at and not _agree(known, told):
                    asked = (ObjectType.CUSTOMER, told.customer_id)
                    self.requests.setdefault(asked, "two states at one time")
                    continue
                told = _filled(told, known, _BLANKS)  # noqa: PLW2901
            kept[told.customer_id] = told
        self.customers = list(kept.values())

    def _settle_orders(self) -> None:
        kept: dict[int, OrderState] = {}
        for told in sorted(self.orders, key=lambda order: order.updated_at):
            known = kept.get(told.order_id)
            if known is not None:
                if known.customer_id is not None:
                    self.named_ids.add(known.customer_id)
                if known.updated_at == told.updated_at and known != told:
                    asked = (ObjectType.ORDER, told.order_id)
                    self.requests.setdefault(asked, "two states at one time")
            kept[told.order_id] = told
        self.orders = list(kept.values())

    def _settle_checkouts(self) -> None:
        kept: dict[str, WebhookCheckout] = {}
        for told in sorted(self.checkouts, key=_checkout_order):
            known = kept.get(told.checkout_key)
            filled = told if known is None else _filled(told, known, _CHECKOUT_BLANKS)
            kept[told.checkout_key] = filled
        self.checkouts = list(kept.values())

    def follow(self, merged: dict[int, int]) -> None:
        """Orders and checkouts of merged-away customers are of those who were kept."""
        self.orders = [
            order.of(merged[order.customer_id]) if order.customer_id in merged else order
            for order in self.orders
        ]
        self.checkouts = [
            msgspec.structs.replace(checkout, customer_id=merged[checkout.customer_id])
            if checkout.customer_id in merged
            else checkout
            for checkout in self.checkouts
        ]
        self.named_ids = {merged.get(number, number) for number in self.named_ids}

    def leave_out_orders(self, gone: Iterable[int]) -> None:
        """Orders that Shopify has deleted stay deleted; their customers are looked at anyway."""
        dead = set(gone)
        self.named_ids.update(
            order.customer_id
            for order in self.orders
            if order.order_id in dead and order.customer_id is not None
        )
        self.orders = [order for order in self.orders if order.order_id not in dead]
        for number in dead:
            self.requests.pop((ObjectType.ORDER, number), None)

    def forget(
        self, is_customer: Callable[[int], bool], is_email: Callable[[str | None], bool]
    ) -> None:
        """Erased people are not stored again: no customer, and orders and checkouts of nobody."""

        def erased(number: int | None, email: str | None) -> bool:
            return (number is not None and is_customer(number)) or is_email(email)

        self.customers = [
            customer
            for customer in self.customers
            if not erased(customer.customer_id, customer.email)
        ]
        self.consents = [
            consent for consent in self.consents if not erased(consent.customer_id, consent.email)
        ]
        self.orders = [
            order.of(None, is_erased=True) if erased(order.customer_id, order.email) else order
            for order in self.orders
        ]
        self.checkouts = [
            msgspec.structs.replace(checkout, customer_id=None, email=None, phone=None)
            if erased(checkout.customer_id, checkout.email)
            else checkout
            for checkout in self.checkouts
        ]
        self.named_ids = {number for number in self.named_ids if not is_customer(number)}
        self.requests = {
            (kind, number): reason
            for (kind, number), reason in self.requests.items()
            if kind is not ObjectType.CUSTOMER or not is_customer(number)
        }


def _keep_first(gone: dict[int, datetime | None], told: Mapping[int, datetime | None]) -> None:
    """Of two deletions of one object the earlier one, as in two groups."""
    for number, at in told.items():
        known = gone.get(number)
        gone[number] = min(known, at) if known and at else known or at


def _agree(one: WebhookCustomer, other: WebhookCustomer) -> bool:
    """Whether they tell the same of a customer; a blank says nothing."""
    pairs = ((getattr(one, name), getattr(other, name)) for name in _BLANKS)
    return all(None in pair or pair[0] == pair[1] for pair in pairs)


def _filled(told: Any, known: Any, blanks: tuple[str, ...]) -> Any:
    """A blank in the later state takes nothing away."""
    filling = {
        name: getattr(known, name)
        for name in blanks
        if getattr(told, name) is None and getattr(known, name) is not None
    }
    filling["created_at"] = min(told.created_at, known.created_at)
    return msgspec.structs.replace(told, **filling)


def _checkout_order(checkout: WebhookCheckout) -> tuple[datetime, bool, Decimal]:
    """As upsert_webhook_checkouts.sql compares."""
    return (checkout.updated_at, checkout.completed_at is not None, Decimal(checkout.total))


def _consent_order(consent: Consent) -> tuple[datetime, bool, str]:
    """As set_consents.sql compares; those without a time are not among them."""
    assert consent.updated_at is not None  # noqa: S101
    return (consent.updated_at, consent.state != "SUBSCRIBED", consent.state)
