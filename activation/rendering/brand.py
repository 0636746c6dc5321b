"""How a shop's mails look and by whom they are sent: settings, checked when they are saved.

The table's constraints repeat what would be dangerous in a header or an attribute, so no other way
in can bring it (migration 0007).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final

from email_validator import EmailNotValidError, validate_email
from sqlalchemy.orm import Session

from activation.rendering.colors import (
    COLOR,
    READABLE,
    VISIBLE,
    mixed,
    moved_until,
    readable_on,
)
from activation.rendering.text import mailbox, one_line
from core.errors import PermanentError
from core.models import Shop
from core.models.enums import MailFont

DEFAULT_ACCENT: Final = "#2f5d50"
DEFAULT_BACKGROUND: Final = "#f4f2ee"
CARD: Final = "#fffefc"
DARK_CARD: Final = "#211f1d"
INK: Final = "#262421"
DARK_INK: Final = "#f1eee9"
MAX_NAME: Final = 80
MAX_ADDRESS: Final = 300
MAX_URL: Final = 1_000
MIN_LOGO: Final = 24
MAX_LOGO: Final = 320
HTTPS: Final = re.compile(r"https://[^\s\x00-\x1f\x7f\"'<>\\]+")

_SYSTEM: Final = (
    "-apple-system, BlinkMacSystemFont, Segoe UI, Roboto, Helvetica Neue, Arial, sans-serif"
)
_SERIF: Final = "Georgia, Times New Roman, Times, serif"
_PLAIN: Final = "Arial, Helvetica, sans-serif"
# Headings and text. Unquoted, so that they fit into an attribute as they are.
FONTS: Final[Mapping[MailFont, tuple[str, str]]] = {
    MailFont.MODERN: (_SYSTEM, _SYSTEM),
    MailFont.EDITORIAL: (_SERIF, _SYSTEM),
    MailFont.CLASSIC: (_SERIF, _SERIF),
    MailFont.PLAIN: (_PLAIN, _PLAIN),
}


class BrandError(PermanentError):
    """Settings that cannot be saved: `problems` has the words for each field."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__(" ".join(problems.values()))
        self.problems = dict(problems)


@dataclass(frozen=True)
class BrandSettings:
    """What a merchant sets. Empty text: not set."""

    sender_name: str = ""
    sender_address: str = ""
    reply_to: str = ""
    postal_address: str = ""
    accent_color: str = DEFAULT_ACCENT
    background_color: str = DEFAULT_BACKGROUND
    logo_url: str = ""
    logo_dark_url: str = ""
    logo_width: int = 140
    mail_font: str = MailFont.MODERN.value


@dataclass(frozen=True)
class Brand:
    """What templates say as `brand.…`; every text is one line, every colour `#rrggbb`.

    `*_text` is readable on its colour; `accent_ink` is the accent as text on the card; names with
    `dark_` are for dark mode. `sender` and `reply_to` go into headers, never into a template.
    """

    name: str
    url: str
    postal_address: str
    sender: str
    reply_to: str
    logo_url: str
    logo_dark_url: str
    logo_width: str
    heading_font: str
    text_font: str
    accent: str
    accent_text: str
    accent_ink: str
    accent_soft: str
    dark_accent: str
    dark_accent_text: str
    dark_accent_ink: str
    dark_accent_soft: str
    background: str
    background_ink: str
    background_soft: str


def read_settings(shop: Shop) -> BrandSettings:
    return BrandSettings(
        sender_name=shop.sender_name or "",
        sender_address=shop.sender_address or "",
        reply_to=shop.reply_to or "",
        postal_address=shop.postal_address or "",
        accent_color=shop.accent_color,
        background_color=shop.background_color,
        logo_url=shop.logo_url or "",
        logo_dark_url=shop.logo_dark_url or "",
        logo_width=shop.logo_width,
        mail_font=shop.mail_font.value,
    )


def save_settings(session: Session, shop_id: int, settings: BrandSettings) -> BrandSettings:
    """Check, clean and keep them; the next mail looks so. Raises BrandError, and keeps nothing."""
    cleaned = clean_settings(settings)
    shop = session.get_one(Shop, shop_id)
    for field in fields(cleaned):
        value = getattr(cleaned, field.name)
        setattr(shop, field.name, None if value == "" else value)
    shop.mail_font = MailFont(cleaned.mail_font)
    session.flush()
    return cleaned


def clean_settings(settings: BrandSettings) -> BrandSettings:
    """The settings as they are kept. Raises BrandError naming everything that is wrong."""
    tidy = replace(
        settings,
        sender_name=one_line(settings.sender_name, limit=MAX_NAME),
        sender_address=settings.sender_address.strip(),
        reply_to=settings.reply_to.strip(),
        postal_address="\n".join(
            line
            for each in settings.postal_address.splitlines()
            if (line := one_line(each, limit=MAX_ADDRESS + 1))
        ),
        accent_color=settings.accent_color.strip().lower(),
        background_color=settings.background_color.strip().lower(),
        logo_url=settings.logo_url.strip(),
        logo_dark_url=settings.logo_dark_url.strip(),
    )
    problems = {
        **_address_problems(tidy),
        **_look_problems(tidy),
    }
    if problems:
        raise BrandError(problems)
    return tidy


def brand_of(shop: Shop) -> Brand:
    """Works on any row, also one that was never checked: what is wrong falls back."""
    accent = _carrier(_color_or(shop.accent_color, DEFAULT_ACCENT))
    background = _carrier(_color_or(shop.background_color, DEFAULT_BACKGROUND))
    dark_accent = _carrier(moved_until(accent, against=DARK_CARD, ratio=VISIBLE))
    heading_font, text_font = FONTS[shop.mail_font or MailFont.MODERN]
    name = one_line(shop.name, limit=MAX_NAME)
    logo = https_url(shop.logo_url)
    background_ink = readable_on(background)
    return Brand(
        name=name,
        url=f"https://{shop.domain}",
        postal_address=one_line(
            ", ".join((shop.postal_address or "").strip().splitlines()), limit=MAX_ADDRESS
        ),
        sender=_sender(shop, name),
        reply_to=one_line(shop.reply_to or "", limit=320),
        logo_url=logo,
        logo_dark_url=https_url(shop.logo_dark_url) if logo else "",
        logo_width=str(shop.logo_width or BrandSettings.logo_width),
        heading_font=heading_font,
        text_font=text_font,
        accent=accent,
        accent_text=readable_on(accent),
        accent_ink=moved_until(accent, against=CARD, ratio=READABLE),
        accent_soft=mixed(accent, CARD, 0.07),
        dark_accent=dark_accent,
        dark_accent_text=readable_on(dark_accent),
        dark_accent_ink=moved_until(accent, against=DARK_CARD, ratio=READABLE),
        dark_accent_soft=mixed(dark_accent, DARK_CARD, 0.14),
        background=background,
        background_ink=background_ink,
        background_soft=moved_until(
            mixed(background_ink, background, 0.6), against=background, ratio=READABLE
        ),
    )


def _sender(shop: Shop, name: str) -> str:
    address = one_line(shop.sender_address or "", limit=MAX_ADDRESS)
    return mailbox(shop.sender_name or name, address) if address else ""


def https_url(value: str | None) -> str:
    """`value` if a mail may load or link it, else empty."""
    value = (value or "").strip()
    return value if len(value) <= MAX_URL and HTTPS.fullmatch(value) else ""


def _carrier(color: str) -> str:
    """The colour, moved a little where neither light nor dark text could be read on it."""
    return moved_until(color, against=readable_on(color), ratio=READABLE)


def _color_or(value: str | None, default: str) -> str:
    return value if value and COLOR.fullmatch(value) else default


def _address_problems(settings: BrandSettings) -> dict[str, str]:
    problems = {}
    for field, words in (("sender_address", "sender address"), ("reply_to", "reply address")):
        value = getattr(settings, field)
        if not value:
            continue
        try:
            validate_email(value, check_deliverability=False)
        except EmailNotValidError as error:
            problems[field] = f"The {words} is not an email address: {error}"
    return problems


def _look_problems(settings: BrandSettings) -> dict[str, str]:
    problems = {
        field: f"The {words} is a colour like #2f5d50."
        for field, words in (("accent_color", "accent"), ("background_color", "background"))
        if not COLOR.fullmatch(getattr(settings, field))
    }
    for field in ("logo_url", "logo_dark_url"):
        value = getattr(settings, field)
        if value and not https_url(value):
            problems[field] = "A logo is an address that starts with https:// and has no spaces."
    if settings.logo_dark_url and not settings.logo_url:
        problems["logo_dark_url"] = "A logo for dark backgrounds needs the usual logo too."
    if not MIN_LOGO <= settings.logo_width <= MAX_LOGO:
        problems["logo_width"] = f"A logo is {MIN_LOGO} to {MAX_LOGO} pixels wide."
    if settings.mail_font not in [font.value for font in MailFont]:
        problems["mail_font"] = f"The font is one of {', '.join(MailFont)}."
    if len(settings.postal_address) > MAX_ADDRESS:
        problems["postal_address"] = f"The postal address has at most {MAX_ADDRESS} characters."
    return problems
