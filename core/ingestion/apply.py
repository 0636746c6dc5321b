"""What a webhook changes, by topic: bodies read into `Changes`, which core/ingestion/groups.py
writes.

Only the body is under the signature. Where two shops share a client secret (decision 20), a body
that does not itself name its shop may be another shop's passed off as this one's: it is a hint, and
what it names is read from this shop.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from core.ingestion.changes import Changes, OrderState, PrivacyWish
from core.ingestion.keys import KnownShop
from core.models.enums import ObjectType, PrivacyKind
from core.shopify import rest_events
from core.shopify.naming import names_shop, other_shop
from core.shopify.rest import (
    BodyError,
    positive_number,
    read_customer,
    read_json,
    read_order,
)

CONSENT_UNKNOWN: Final = "consent unknown"
HINT: Final = "a body that does not name its shop"


@dataclass(slots=True)
class Incoming:
    """One signed body with what its headers say."""

    shop: KnownShop
    topic: str
    webhook_id: str
    body: bytes
    triggered_at: datetime | None = None
    event_id: str | None = None
    api_version: str | None = None
    told: Any = field(default=None, compare=False, repr=False)
    """What `taking.read_ahead` found in the body, if somebody has read it already."""


Handler = Callable[[Changes, Incoming], None]
Reader = Callable[[Changes, Incoming, dict[str, Any]], None]


def read_into(changes: Changes, incoming: Incoming) -> bool:
    """Add what the body changes; False for a topic we do not use (yet).

    Raises BodyError, and adds nothing, when the body cannot be read or applied, or names another
    shop.
    """
    handler = HANDLERS.get(incoming.topic)
    if handler is None:
        _read(incoming)
        return False
    handler(changes, incoming)
    return True


def _read(incoming: Incoming) -> dict[str, Any]:
    data = read_json(incoming.body)
    _refuse_other(incoming.shop, data)
    return data


def _refuse_other(shop: KnownShop, naming: dict[str, Any]) -> None:
    named = other_shop(naming, domain=shop.domain, shopify_id=shop.shopify_id)
    if named is not None:
        raise BodyError(f"The body belongs to another shop ({named}), not to {shop.domain}.")


def _is_hint(shop: KnownShop, naming: dict[str, Any]) -> bool:
    return shop.is_shared and not names_shop(naming, domain=shop.domain, shopify_id=shop.shopify_id)


def _believed(reader: Reader, hint: Reader) -> Handler:
    """A handler that reads a body of this shop with `reader`, any other with `hint`."""

    def handle(changes: Changes, incoming: Incoming) -> None:
        data = _read(incoming)
        (hint if _is_hint(incoming.shop, data) else reader)(changes, incoming, data)

    return handle


def _order(changes: Changes, incoming: Incoming) -> None:
    """The customer, then the order, then what must be read; decoded once, as nearly all are."""
    try:
        found = read_order(incoming.body)
    except BodyError:
        _read(incoming)
        raise
    _refuse_other(incoming.shop, found.naming)
    if _is_hint(incoming.shop, found.naming):
        _ask(changes, ObjectType.ORDER, found.order.order_id, HINT)
        return
    order = found.order
    if found.is_partial:
        _ask(changes, ObjectType.ORDER, order.order_id, "partial body")
    else:
        changes.orders.append(
            OrderState(
                order.order_id,
                order.updated_at,
                order.customer_id,
                order,
                found.lines,
                found.refunds,
            )
        )
        changes.product_ids.update([line.product_id for line in found.lines if line.product_id])
    if found.customer is not None:
        changes.customers.append(found.customer)


def _customer(changes: Changes, incoming: Incoming, _data: dict[str, Any]) -> None:
    changes.customers.append(read_customer(incoming.body))


def _customer_named(changes: Changes, incoming: Incoming, _data: dict[str, Any]) -> None:
    _ask(changes, ObjectType.CUSTOMER, read_customer(incoming.body).customer_id, HINT)


def _refund(changes: Changes, _: Incoming, data: dict[str, Any]) -> None:
    """A refund names its order; only the order itself tells what is left of it."""
    _ask(changes, ObjectType.ORDER, positive_number(data.get("order_id"), "order_id"), "refund")


def _edit(changes: Changes, _: Incoming, data: dict[str, Any]) -> None:
    edit = data.get("order_edit")
    order_id = edit.get("order_id") if isinstance(edit, dict) else None
    _ask(changes, ObjectType.ORDER, positive_number(order_id, "order_edit.order_id"), "edit")


def _order_gone(changes: Changes, incoming: Incoming, data: dict[str, Any]) -> None:
    changes.gone_orders[positive_number(data.get("id"), "id")] = incoming.triggered_at


def _order_named(changes: Changes, _: Incoming, data: dict[str, Any]) -> None:
    _ask(changes, ObjectType.ORDER, positive_number(data.get("id"), "id"), HINT)


def _customer_gone(changes: Changes, incoming: Incoming, data: dict[str, Any]) -> None:
    changes.gone_customers[positive_number(data.get("id"), "id")] = incoming.triggered_at


def _id_named(changes: Changes, _: Incoming, data: dict[str, Any]) -> None:
    _ask(changes, ObjectType.CUSTOMER, positive_number(data.get("id"), "id"), HINT)


def _merge(changes: Changes, incoming: Incoming, data: dict[str, Any]) -> None:
    merge = rest_events.read_merge(data)
    if merge is not None:
        changes.merges.append((merge, incoming.triggered_at))


def _merged_named(changes: Changes, _: Incoming, data: dict[str, Any]) -> None:
    merge = rest_events.read_merge(data)
    for number in (merge.kept_id, merge.deleted_id) if merge else ():
        _ask(changes, ObjectType.CUSTOMER, number, HINT)


def _consent(changes: Changes, _: Incoming, data: dict[str, Any]) -> None:
    """Believed at once where it has a time, and read as well: reads may be on their way that do not
    know of it yet.
    """
    consent = rest_events.read_consent(data)
    if consent.updated_at is not None:
        changes.consents.append(consent)
    _ask(changes, ObjectType.CUSTOMER, consent.customer_id, "consent changed")


def _consent_named(changes: Changes, _: Incoming, data: dict[str, Any]) -> None:
    _ask(changes, ObjectType.CUSTOMER, rest_events.read_consent(data).customer_id, HINT)


def _tags(changes: Changes, _: Incoming, data: dict[str, Any]) -> None:
    """A difference that comes late would undo a later one: the tags are read whole instead."""
    _ask(changes, ObjectType.CUSTOMER, rest_events.read_tagged_customer(data), "tags changed")


def _checkout(changes: Changes, incoming: Incoming, _data: dict[str, Any]) -> None:
    checkout = rest_events.read_checkout(incoming.body)
    changes.checkouts.append(checkout)
    changes.product_ids.update(checkout.product_ids)
    if checkout.customer is not None:
        changes.customers.append(checkout.customer)


def _checkout_gone(changes: Changes, incoming: Incoming, data: dict[str, Any]) -> None:
    token, number = data.get("token"), data.get("id")
    known = (
        token if isinstance(token, str) and token else None,
        positive_number(number, "id") if isinstance(number, int) else None,
    )
    if known == (None, None):
        raise BodyError("The body cannot be applied: it names no checkout.")
    changes.gone_checkouts.append((*known, incoming.triggered_at))


def _finished(changes: Changes, _: Incoming, data: dict[str, Any]) -> None:
    """Only wakes the poll of an operation of ours: it needs no more trust than that."""
    changes.finished_operations.append(rest_events.read_finished_operation(data))


def _uninstalled(changes: Changes, incoming: Incoming, _data: dict[str, Any]) -> None:
    changes.uninstalled.append(incoming.triggered_at)


def _privacy(kind: PrivacyKind) -> Reader:
    def read(changes: Changes, incoming: Incoming, data: dict[str, Any]) -> None:
        is_shop = kind is PrivacyKind.SHOP_REDACT
        subject = None if is_shop else rest_events.read_subject(data)
        changes.privacy.append(PrivacyWish(incoming.webhook_id, kind, subject))
        if kind is PrivacyKind.CUSTOMER_REDACT and subject and subject.customer_id:
            # Nothing is mailed while the erasure waits for its turn.
            changes.gone_customers[subject.customer_id] = incoming.triggered_at

    return read


def _nothing(_changes: Changes, _incoming: Incoming, _data: dict[str, Any]) -> None:
    """A hint that names nothing we could read."""


def _doubted(_changes: Changes, incoming: Incoming, _data: dict[str, Any]) -> None:
    raise BodyError(
        f"The body does not say that it is of {incoming.shop.domain}, and another shop has the same"
        " client secret."
    )


def _ask(changes: Changes, kind: ObjectType, number: int, reason: str) -> None:
    changes.requests.setdefault((kind, number), reason)


HANDLERS: Final[Mapping[str, Handler]] = {
    "orders/create": _order,
    "orders/updated": _order,
    "orders/paid": _order,
    "orders/cancelled": _order,
    "orders/edited": _believed(_edit, _edit),
    "orders/delete": _believed(_order_gone, _order_named),
    "refunds/create": _believed(_refund, _refund),
    "customers/create": _believed(_customer, _customer_named),
    "customers/update": _believed(_customer, _customer_named),
    "customers/delete": _believed(_customer_gone, _id_named),
    "customers/merge": _believed(_merge, _merged_named),
    "customers_email_marketing_consent/update": _believed(_consent, _consent_named),
    "customer.tags_added": _believed(_tags, _tags),
    "customer.tags_removed": _believed(_tags, _tags),
    "checkouts/create": _believed(_checkout, _nothing),
    "checkouts/update": _believed(_checkout, _nothing),
    "checkouts/delete": _believed(_checkout_gone, _nothing),
    "bulk_operations/finish": _believed(_finished, _finished),
    "app/uninstalled": _believed(_uninstalled, _doubted),
    "customers/data_request": _believed(_privacy(PrivacyKind.DATA_REQUEST), _doubted),
    "customers/redact": _believed(_privacy(PrivacyKind.CUSTOMER_REDACT), _doubted),
    "shop/redact": _believed(_privacy(PrivacyKind.SHOP_REDACT), _doubted),
}

# These keep everybody else from writing the shop's data while they are applied.
EXCLUSIVE_TOPICS: Final = frozenset({"orders/delete", "customers/merge", "checkouts/delete"})
