"""What happens in a shop: orders, checkouts, consent, deletions, and what the law asks for.

Each call changes the store within one transaction and queues the webhooks that Shopify would
send; the caller wakes the deliverer.
"""

from sandbox.shopkeeper.checkouts import (
    complete_checkout,
    delete_checkout,
    start_checkout,
    update_checkout,
)
from sandbox.shopkeeper.customers import (
    announce_consent,
    announce_tags,
    change_customer,
    change_tags,
    delete_customer,
    merge_customers,
    set_consent,
)
from sandbox.shopkeeper.orders import cancel_order, delete_order, edit_order, refund_order
from sandbox.shopkeeper.privacy import (
    install,
    redact_customer,
    redact_shop,
    request_data,
    uninstall,
)
from sandbox.shopkeeper.purchases import Buyer, Line, Purchase, place_order, total_of
from sandbox.shopkeeper.shop import Shop

__all__ = [
    "Buyer",
    "Line",
    "Purchase",
    "Shop",
    "announce_consent",
    "announce_tags",
    "cancel_order",
    "change_customer",
    "change_tags",
    "complete_checkout",
    "delete_checkout",
    "delete_customer",
    "delete_order",
    "edit_order",
    "install",
    "merge_customers",
    "place_order",
    "redact_customer",
    "redact_shop",
    "refund_order",
    "request_data",
    "set_consent",
    "start_checkout",
    "total_of",
    "uninstall",
    "update_checkout",
]
