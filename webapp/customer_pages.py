"""What pages for a shop's own customers have in common: the shop's look, who acts, what they are
shown. The wordings are kept in the ledger of consent with their version: change both together.
"""

from typing import Final

from fastapi import Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from activation.consent.ledger import Act
from activation.rendering.brand import brand_of
from core.models import Shop
from core.models.enums import ConsentSource, LeavingReason
from webapp.contexts import BrandLook, Choice, ConfirmingWords, LeavingWords, Template
from webapp.middleware import content_policy
from webapp.rendering import render

VERSION: Final = "2026-11"

LEAVE: Final = "Unsubscribe from all marketing mail"
UNDO: Final = "Undo, keep me subscribed"
CHOOSE: Final = "Save my choice"
LEAVING: Final = LeavingWords(leave=LEAVE, undo=UNDO, choose=CHOOSE)
AGREEMENT: Final = (
    "Yes, {shop} may send me mail with news and offers. I can take this back at any time with the "
    "link in every mail."
)
CONFIRM: Final = "Yes, subscribe me"

REASONS: Final = {
    LeavingReason.TOO_MANY: "Too many mails",
    LeavingReason.NOT_RELEVANT: "They do not interest me",
    LeavingReason.NEVER_ASKED: "I never asked for them",
    LeavingReason.DONE_HERE: "I do not shop here any more",
    LeavingReason.OTHER: "Something else",
}
# Flows in the words of who gets them; a flow of the merchant's own goes by its name.
KINDS: Final = {
    "welcome": "A welcome after the first order",
    "abandoned_cart": "Reminders of a cart I left",
    "repurchase": "Ideas for the next order",
    "win_back": "A hello when I have not been there for long",
    "vip": "Thanks to the best customers",
}


def look_of(shop: Shop) -> BrandLook:
    brand = brand_of(shop)
    return BrandLook(
        name=brand.name,
        postal_address=brand.postal_address,
        logo_url=brand.logo_url,
        logo_dark_url=brand.logo_dark_url,
        logo_width=brand.logo_width,
        accent=brand.accent,
        accent_text=brand.accent_text,
        dark_accent=brand.dark_accent,
        dark_accent_text=brand.dark_accent_text,
    )


def confirming_words(brand: BrandLook) -> ConfirmingWords:
    return ConfirmingWords(agreement=AGREEMENT.format(shop=brand.name), confirm=CONFIRM)


def reason_choices() -> tuple[Choice, ...]:
    return tuple(Choice(value=reason.value, text=text) for reason, text in REASONS.items())


def act_of(
    request: Request,
    source: ConsentSource,
    wording: str | None,
    *,
    reason: LeavingReason | None = None,
    words: str | None = None,
) -> Act:
    """Who acts, as far as a request says: kept as proof, and not for ever."""
    return Act(
        source=source,
        version=None if wording is None else f"{source.value}/{VERSION}",
        wording=wording,
        reason=reason,
        reason_text=words,
        ip=request.client.host if request.client else None,
        user_agent=request.headers.get("user-agent"),
    )


def shop_of(session: Session, shop_id: int) -> Shop:
    return session.get_one(Shop, shop_id)


def render_branded(
    request: Request, page: Template, brand: BrandLook, *, status: int = 200
) -> Response:
    """With the shop's colours, and its logo from where it is."""
    logos = [url for url in (brand.logo_url, brand.logo_dark_url) if url]
    policy = content_policy(request.scope["state"]["nonce"], images=logos, own_style=True)
    return render(request, page, status=status, headers={"content-security-policy": policy})
