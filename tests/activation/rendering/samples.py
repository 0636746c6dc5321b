"""Brands, contents and facts that mails are tried with."""

from dataclasses import replace
from typing import Any, Final

from activation.rendering.brand import Brand, brand_of
from activation.rendering.content import MailContent
from activation.rendering.context import CustomerFacts, ItemFacts, MailFacts, PurchaseFacts
from activation.rendering.templates import template_names
from core.models import Shop

NAMES: Final = template_names()
FLOWS: Final = ("welcome", "abandoned_cart", "repurchase", "win_back", "vip")
LINK: Final = "https://crm.example.com/unsubscribe/1.abc.def"
ADDRESS: Final = "Nordlicht Keramik GmbH\nLange Reihe 12\n20099 Hamburg"
ADDRESS_LINE: Final = "Nordlicht Keramik GmbH, Lange Reihe 12, 20099 Hamburg"
HOSTILE: Final = "<script>alert(1)</script> & {{ 7 * 7 }} {% raw %}"
ITEM: Final = ItemFacts(
    "Becher Fjord",
    "Blaugrau",
    2,
    "€44.00",
    "https://cdn.shopify.com/s/files/becher.jpg?v=1&width=144",
    "https://nordlicht.example/products/becher-fjord",
)
CART: Final = PurchaseFacts(
    "#1042", (ITEM,), 0, "€44.00", "https://nordlicht.example/checkouts/ac/t0k3n/recover?key=a&b=c"
)
LONG_URL: Final = "https://nordlicht.example/" + "p" * 300


def brand(**columns: Any) -> Brand:
    return brand_of(
        Shop(
            **{
                "name": "Nordlicht Keramik",
                "domain": "nordlicht.myshopify.com",
                "accent_color": "#ffd400",
                "background_color": "#f4f2ee",
                "postal_address": ADDRESS,
                "sender_name": "Nordlicht Keramik",
                "sender_address": "hello@mail.example.com",
                **columns,
            }
        )
    )


def facts(**fields: Any) -> MailFacts:
    return MailFacts(
        **{
            "unsubscribe_url": LINK,
            "preferences_url": f"{LINK}#preferences",
            "confirm_url": "https://crm.example.com/confirm/1.abc.def",
            "customer": CustomerFacts("Anna"),
            "purchase": CART,
            **fields,
        }
    )


LONGEST: Final = facts(
    customer=CustomerFacts("M" * 40),
    purchase=PurchaseFacts(
        "#" * 40,
        tuple(
            ItemFacts("T" * 120, "V" * 120, 99, "1,234,567.00 CHF", LONG_URL, LONG_URL)
            for _ in range(8)
        ),
        99,
        "1,234,567.00 CHF",
        LONG_URL,
    ),
    track=lambda url: "https://crm.example.com/c/" + "t" * len(url) * 2,
    trap_url="https://crm.example.com/c/trap",
)
EMPTY: Final = facts(customer=CustomerFacts(), purchase=PurchaseFacts())
PLAIN: Final = replace(ITEM, image_url="", url="")

MAILS: Final[dict[str, tuple[Brand, MailContent, MailFacts]]] = {
    "usual": (brand(), MailContent(), facts()),
    "with a code": (brand(), MailContent(discount_code="DANKE10"), facts()),
    "with a code of their own": (
        brand(),
        MailContent(discount_code="DANKE10"),
        facts(discount_code="ANNA-7Q2"),
    ),
    "nothing known": (brand(), MailContent(), EMPTY),
    "no pictures": (brand(), MailContent(), facts(purchase=replace(CART, items=(PLAIN,)))),
    "logo": (brand(logo_url="https://x.example/l.png", logo_width=99), MailContent(), facts()),
    "two logos": (
        brand(logo_url="https://x.example/l.png", logo_dark_url="https://x.example/d.png"),
        MailContent(),
        facts(),
    ),
    "least": (
        brand(),
        MailContent(preheader="", headline="", body="", button_text="", button_link=""),
        EMPTY,
    ),
    "not ASCII": (
        brand(name="Käse & Söhne"),
        MailContent(),
        facts(customer=CustomerFacts("王小明")),
    ),
    "hostile": (
        brand(name=HOSTILE, postal_address=f"{ADDRESS}\n{HOSTILE}"),
        MailContent(),
        facts(
            customer=CustomerFacts(HOSTILE),
            purchase=PurchaseFacts(HOSTILE, (replace(ITEM, title=HOSTILE, variant=HOSTILE),)),
        ),
    ),
    "longest": (brand(name="S" * 80), MailContent(discount_code="C" * 60), LONGEST),
}
