"""People and purchases that never were: for previews, and for trying a template before it is used.

A template has to read well for all three: the usual customer, one of whom nothing is known, and
the longest of everything.
"""

from collections.abc import Mapping
from typing import Final

from activation.rendering.brand import brand_of
from activation.rendering.context import CustomerFacts, ItemFacts, MailFacts, PurchaseFacts
from activation.rendering.facts import MAX_ITEMS, MAX_TITLE
from core.models import Shop

BRAND: Final = brand_of(
    Shop(
        name="Nordlicht Keramik",
        domain="nordlicht.myshopify.com",
        accent_color="#2f5d50",
        background_color="#f4f2ee",
        postal_address="Nordlicht Keramik GmbH, Lange Reihe 12, 20099 Hamburg",
        sender_name="Nordlicht Keramik",
        sender_address="hello@mail.nordlicht.example",
    )
)
SITE: Final = "https://nordlicht.example"
IMAGES: Final = "https://cdn.shopify.com/s/files/1/0000/0001/products"
UNSUBSCRIBE: Final = "https://crm.example.com/unsubscribe/1.sample.token"
CONFIRM: Final = "https://crm.example.com/confirm/1.sample.token"

_ITEMS: Final = tuple(
    ItemFacts(
        title=title,
        variant=variant,
        quantity=quantity,
        price=price,
        image_url=f"{IMAGES}/{handle}.jpg?width=144",
        url=f"{SITE}/products/{handle}",
    )
    for title, variant, quantity, price, handle in (
        ("Fjord mug", "Blue grey · 300 ml", 2, "€44.00", "fjord-mug"),
        ("Serving bowl, hand-thrown", "Sand", 1, "€64.00", "serving-bowl"),
        ("Bud vase", "Moss", 1, "€28.00", "bud-vase"),
    )
)
_LONG_URL: Final = f"{SITE}/products/" + "long-name-" * 20


def _facts(customer: CustomerFacts, purchase: PurchaseFacts) -> MailFacts:
    return MailFacts(
        unsubscribe_url=UNSUBSCRIBE,
        preferences_url=f"{UNSUBSCRIBE}#preferences",
        confirm_url=CONFIRM,
        customer=customer,
        purchase=purchase,
    )


USUAL: Final = _facts(
    CustomerFacts("Anna"),
    PurchaseFacts(
        name="#1042",
        items=_ITEMS,
        total="€136.00",
        url=f"{SITE}/checkouts/ac/5f1c/recover?key=abc",
    ),
)
EMPTY: Final = _facts(CustomerFacts(), PurchaseFacts())
LONGEST: Final = _facts(
    CustomerFacts("M" * 40),
    PurchaseFacts(
        name="#" * 40,
        items=tuple(
            ItemFacts(
                title="Title " * (MAX_TITLE // 6),
                variant="Variant " * (MAX_TITLE // 8),
                quantity=99,
                price="1,234,567.00 CHF",
                image_url=_LONG_URL,
                url=_LONG_URL,
            )
            for _ in range(MAX_ITEMS)
        ),
        more_items=99,
        total="1,234,567.00 CHF",
        url=_LONG_URL,
    ),
)
SAMPLES: Final[Mapping[str, MailFacts]] = {"usual": USUAL, "empty": EMPTY, "longest": LONGEST}
