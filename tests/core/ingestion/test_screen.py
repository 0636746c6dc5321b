"""What is left of an erased person, and what it is good for."""

import pickle
from collections.abc import Sequence

import pytest
from pydantic import SecretStr
from sqlalchemy import insert
from sqlalchemy.orm import Session

from core.clock import MovableClock
from core.errors import PermanentError
from core.ingestion.screen import ErasureHasher, Screen
from core.models import Shop, Suppression
from core.models.enums import SuppressionReason

KEY = SecretStr("0123456789abcdef0123456789abcdef")
EMAIL_HASH = "hmac:255e76438b68bf623994c204ae1604c8f90dbc3383b89697945731ec45bfab41"
CUSTOMER_HASH = "hmac:customer:e06fa4af3e9dc7885d8ccaa71831dde37800a5143b0fa412ff6db622ea086f62"
OTHER_KEY = SecretStr("fedcba9876543210fedcba9876543210")


@pytest.fixture
def shop_id(session: Session) -> int:
    shop = Shop(
        domain="one.myshopify.com",
        name="One",
        currency="EUR",
        time_zone="Europe/Berlin",
        client_id="id",
        client_secret_encrypted="x",
    )
    session.add(shop)
    session.flush()
    return shop.shop_id


def erase(session: Session, shop_id: int, hashes: Sequence[str], clock: MovableClock) -> None:
    session.execute(
        insert(Suppression),
        [
            {
                "shop_id": shop_id,
                "email_normalized": hash_,
                "reason": SuppressionReason.ERASED,
                "suppressed_at": clock.now(),
            }
            for hash_ in hashes
        ],
    )


@pytest.fixture
def erased(session: Session, shop_id: int, clock: MovableClock) -> ErasureHasher:
    """Ada, customer 7."""
    hasher = ErasureHasher(KEY, shop_id)
    hashes = [hasher.customer(7), hasher.email("ada@example.com"), hasher.key_check]
    erase(session, shop_id, hashes, clock)
    return hasher


@pytest.mark.requirement("SHOP-07")
def test_hashes_are_exactly_these_for_ever() -> None:
    """With another text every erased person could be mailed again."""
    hasher = ErasureHasher(KEY, 1)
    assert hasher.email(" Ada@Example.com") == hasher.email("ada@example.com")
    assert hasher.email("ada@example.com") == EMAIL_HASH
    assert hasher.customer(7) == CUSTOMER_HASH


def test_a_shop_that_has_erased_nobody_has_no_screen(session: Session, shop_id: int) -> None:
    assert Screen.load(session, shop_id, KEY) is None
    assert Screen.load_for(session, shop_id, KEY, customer_ids=[7]) is None


@pytest.mark.requirement("SHOP-07")
def test_an_erased_person_is_known_by_number_and_by_address_however_spelt(
    session: Session, shop_id: int, erased: ErasureHasher
) -> None:
    for screen in (
        Screen.load(session, shop_id, KEY),
        Screen.load_for(session, shop_id, KEY, customer_ids=[7, 8], emails=["ADA@example.com"]),
    ):
        assert screen is not None
        assert screen.is_erased_customer(7)
        assert not screen.is_erased_customer(8)
        assert screen.is_erased_email(" Ada@EXAMPLE.com ")
        assert not screen.is_erased_email("bob@example.com")
        assert not screen.is_erased_email(None)


def test_a_screen_for_some_knows_nothing_of_others(
    session: Session, shop_id: int, erased: ErasureHasher
) -> None:
    screen = Screen.load_for(session, shop_id, KEY, customer_ids=[8], emails=[None])
    assert screen is not None
    assert not screen.is_erased_customer(7)


@pytest.mark.requirement("SHOP-07")
def test_another_shop_cannot_tell_who_was_erased_here(erased: ErasureHasher) -> None:
    assert ErasureHasher(KEY, 2).email("ada@example.com") != erased.email("ada@example.com")


@pytest.mark.requirement("SHOP-07")
def test_another_key_is_noticed_instead_of_forgetting_everyone(
    session: Session, shop_id: int, erased: ErasureHasher
) -> None:
    for load in (Screen.load, Screen.load_for):
        with pytest.raises(PermanentError, match="ECOMCRM_SECRET_KEY"):
            load(session, shop_id, OTHER_KEY)


def test_a_screen_reaches_other_processes_and_shows_nothing_in_logs(
    session: Session, shop_id: int, erased: ErasureHasher
) -> None:
    screen = Screen.load(session, shop_id, KEY)
    copy = pickle.loads(pickle.dumps(screen))  # noqa: S301 - our own bytes
    assert copy.is_erased_customer(7)
    assert repr(screen) == "Screen()"
