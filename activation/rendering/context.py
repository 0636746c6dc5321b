"""What a template may say: plain dictionaries, built from typed facts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Track: TypeAlias = Callable[[str], str]
"""What becomes of a link that leads to the shop: itself, or one that counts."""

CART_LINK: Final = "cart.url"
SHOP_LINK: Final = "shop.url"


def untracked(url: str) -> str:
    return url


@dataclass(frozen=True)
class ItemFacts:
    """`price` is of all pieces, in words; addresses are https or empty."""

    title: str
    variant: str
    quantity: int
    price: str
    image_url: str = ""
    url: str = ""


@dataclass(frozen=True)
class PurchaseFacts:
    """An order or a cart. `more_items`: how many are not listed; `url`: where to go on with it."""

    name: str = ""
    items: tuple[ItemFacts, ...] = ()
    more_items: int = 0
    total: str = ""
    url: str = ""


@dataclass(frozen=True)
class CustomerFacts:
    first_name: str = ""


@dataclass(slots=True)
class MailFacts:
    """What is this mail's own; nobody changes it. Links to unsubscribe are never tracked.

    `discount_code`: of this customer alone; it goes before the one that all get. `confirm_url`: of
    the mail that asks whether a subscription is wanted.
    """

    unsubscribe_url: str
    preferences_url: str
    customer: CustomerFacts = CustomerFacts()
    purchase: PurchaseFacts = PurchaseFacts()
    discount_code: str = ""
    track: Track = untracked
    trap_url: str = ""
    confirm_url: str = ""


def context_of(facts: MailFacts, links: Sequence[str], *, shop_url: str) -> dict[str, Any]:
    """Everything a mail says besides brand and content; `links` as bake.links_of gives them."""
    purchase = facts.purchase
    track = facts.track
    places = _places(purchase, shop_url)
    has_images = any(item.image_url for item in purchase.items)
    shop_link = track(shop_url)
    return {
        "customer": {"first_name": facts.customer.first_name},
        "order": {
            "name": purchase.name,
            "first_title": purchase.items[0].title if purchase.items else "",
        },
        "items": [_item(item, track) for item in purchase.items],
        "has_images": has_images,
        "columns": 3 if has_images else 2,
        "columns_but_last": 2 if has_images else 1,
        "more_items": purchase.more_items,
        "total": purchase.total,
        "discount": {"code": facts.discount_code},
        "links": [_tracked(places.get(link, link), shop_url, shop_link, track) for link in links],
        "plain_links": [places.get(link, link) for link in links],
        "shop_link": shop_link,
        "unsubscribe_url": facts.unsubscribe_url,
        "preferences_url": facts.preferences_url,
        "trap_url": facts.trap_url,
        "confirm_url": facts.confirm_url,
    }


def _places(purchase: PurchaseFacts, shop_url: str) -> dict[str, str]:
    return {SHOP_LINK: shop_url, CART_LINK: purchase.url or shop_url}


def _tracked(url: str, shop_url: str, shop_link: str, track: Track) -> str:
    """Signing takes a while, and most buttons lead where the name at the top does."""
    if url == shop_url:
        return shop_link
    return track(url) if url else ""


def _item(item: ItemFacts, track: Track) -> dict[str, Any]:
    return {
        "title": item.title,
        "variant": item.variant,
        "quantity": item.quantity,
        "pieces": f"Qty {item.quantity}" if item.quantity > 1 else "",
        "line": _line(item),
        "price": item.price,
        "image_url": item.image_url,
        "url": track(item.url) if item.url else "",
    }


def _line(item: ItemFacts) -> str:
    """As the text part lists it: `2 x Fjord mug (Blue), €44.00`."""
    variant = f" ({item.variant})" if item.variant else ""
    price = f", {item.price}" if item.price else ""
    return f"{item.quantity} x {item.title}{variant}{price}"
