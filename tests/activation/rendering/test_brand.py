"""A shop's look and sender: what is kept, what is refused, what follows from it."""

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from activation.rendering.brand import (
    CARD,
    DARK_CARD,
    BrandError,
    BrandSettings,
    brand_of,
    clean_settings,
    read_settings,
    save_settings,
)
from activation.rendering.colors import READABLE, VISIBLE, contrast, readable_on
from core.database import SessionFactory, session_scope
from core.models import Shop
from core.models.enums import MailFont
from tests.activation.rendering.samples import brand

ACCENTS = ["#000000", "#2f5d50", "#ffd400", "#ffffff", "#ff0000", "#7f7f7f", "#1d1b19", "#0b1f8f"]


@pytest.mark.requirement("EMAIL-06")
@pytest.mark.parametrize("accent", ACCENTS)
def test_every_accent_is_readable_in_both_schemes(accent: str) -> None:
    look = brand(accent_color=accent, background_color=accent)
    assert contrast(look.accent_text, look.accent) >= READABLE
    assert contrast(look.accent_ink, CARD) >= READABLE
    assert contrast(look.dark_accent, DARK_CARD) >= VISIBLE
    assert contrast(look.dark_accent_text, look.dark_accent) >= READABLE
    assert contrast(look.dark_accent_ink, DARK_CARD) >= READABLE
    assert contrast(look.background_ink, look.background) >= READABLE
    assert contrast(look.background_soft, look.background) >= READABLE


@pytest.mark.parametrize("color", ["#000000", "#2f5d50", "#0b1f8f"])
def test_dark_colours_carry_light_text(color: str) -> None:
    assert readable_on(color) == "#fffefc"


@pytest.mark.parametrize(
    ("color", "used"), [("#ABCDEF", "#abcdef"), ("red", "#2f5d50"), ('#000" x="', "#2f5d50")]
)
def test_a_colour_that_is_none_does_not_reach_the_mail(color: str, used: str) -> None:
    assert brand(accent_color=color).accent == used


def test_a_row_that_nobody_checked_still_makes_no_second_header() -> None:
    look = brand(
        sender_name="Shop\r\nBcc: a@b.example",
        sender_address="hello@x.example\r\nX: y",
        reply_to="a@b.example\nX: y",
        postal_address="A\nB\r\n C ",
        logo_url="javascript:alert(1)",
        logo_dark_url="https://x.example/d.png",
    )
    assert look.sender.isprintable()
    assert look.reply_to.isprintable()
    assert look.postal_address == "A, B, C"
    assert (look.logo_url, look.logo_dark_url) == ("", "")


@pytest.mark.requirement("EMAIL-06")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sender_address", "Shop <hello@x.example>"),
        ("sender_address", "hello@x.example\nBcc: a@b.example"),
        ("sender_address", "hello"),
        ("reply_to", "a@b.example, c@d.example"),
        ("accent_color", "red"),
        ("accent_color", "#abc"),
        ("background_color", "#12345g"),
        ("logo_url", "http://x.example/l.png"),
        ("logo_url", 'https://x.example/"l.png'),
        ("logo_url", "https://x.example/a b.png"),
        ("logo_url", "data:image/png;base64,AAAA"),
        ("logo_dark_url", "https://x.example/only-dark.png"),
        ("logo_width", 2000),
        ("mail_font", "Comic Sans"),
        ("postal_address", "x" * 301),
    ],
)
def test_settings_that_would_spoil_a_mail_are_refused_by_field(
    field: str, value: str | int
) -> None:
    with pytest.raises(BrandError) as refused:
        clean_settings(BrandSettings(**{field: value}))  # type: ignore[arg-type]
    assert list(refused.value.problems) == [field]


@pytest.mark.requirement("EMAIL-06")
def test_settings_are_kept_cleaned_and_read_again(session_factory: SessionFactory) -> None:
    given = BrandSettings(
        sender_name=" Nordlicht\r\nKeramik ",
        sender_address=" hello@mail.nordlicht.example ",
        reply_to="shop@nordlicht.example",
        postal_address="Lange Reihe 12 \r\n\r\n20099  Hamburg",
        accent_color="#B4532A",
        logo_url="https://nordlicht.example/logo.png",
        logo_width=180,
        mail_font="editorial",
    )
    with session_scope(session_factory) as session:
        shop = add_shop()
        session.add(shop)
        session.flush()
        kept = save_settings(session, shop.shop_id, given)
        assert read_settings(shop) == kept
        assert kept.sender_name == "Nordlicht Keramik"
        assert kept.postal_address == "Lange Reihe 12\n20099 Hamburg"
        assert shop.logo_dark_url is None
        assert shop.mail_font is MailFont.EDITORIAL
        look = brand_of(shop)
        assert look.sender == "Nordlicht Keramik <hello@mail.nordlicht.example>"
        assert (look.accent, look.heading_font[:7]) == ("#b4532a", "Georgia")


@pytest.mark.requirement("EMAIL-06")
@pytest.mark.parametrize(
    "columns",
    [
        {"accent_color": "red"},
        {"background_color": "#fff"},
        {"logo_url": "http://x.example/l.png"},
        {"logo_url": 'https://x.example/"onerror="x'},
        {"logo_dark_url": "https://x.example/a b"},
        {"logo_width": 5000},
        {"sender_name": "a\nb"},
        {"sender_address": "a@b.example\rX: y"},
        {"reply_to": "a@b.example\n"},
    ],
)
def test_no_other_way_in_brings_what_could_break_a_header_or_an_attribute(
    session_factory: SessionFactory, columns: dict[str, object]
) -> None:
    with session_scope(session_factory) as session:
        shop = add_shop()
        session.add(shop)
        session.flush()
        with pytest.raises(IntegrityError), session.begin_nested():
            session.execute(update(Shop).where(Shop.shop_id == shop.shop_id).values(columns))


def add_shop() -> Shop:
    return Shop(
        domain="nordlicht.myshopify.com",
        name="Nordlicht",
        currency="EUR",
        time_zone="Europe/Berlin",
        client_id="id",
        client_secret_encrypted="x",
    )
