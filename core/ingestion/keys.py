"""Shops as the receiver of webhooks knows them: number, domain and the secrets that sign.

Kept for seconds per process. Whoever changes a secret waits for nothing: a signature that does not
fit is compared with what the database holds then, before it is refused.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import PermanentError
from core.models import Shop
from core.secrets import SecretBox
from core.shopify.webhooks import is_signed

KEPT_SECONDS: Final = 5.0
# Wrong signatures cost at most one look into the database per shop and so many seconds.
RELOAD_SECONDS: Final = 1.0
MOST_KEPT: Final = 1000


@dataclass(frozen=True, slots=True)
class KnownShop:
    """`is_shared`: another shop's webhooks are signed with the same secret."""

    shop_id: int
    domain: str
    shopify_id: int | None
    is_shared: bool
    secrets: tuple[str, ...] = field(repr=False)

    def signed(self, body: bytes, signature: str) -> bool:
        return is_signed(body, signature, self.secrets)


def load(session: Session, domain: str, secret_key: SecretStr) -> KnownShop | None:
    """The shop as the database has it. Raises PermanentError when a secret cannot be decrypted."""
    shops = session.execute(
        select(
            Shop.shop_id,
            Shop.domain,
            Shop.shopify_id,
            Shop.client_secret_encrypted.label("current"),
            Shop.previous_client_secret_encrypted.label("former"),
            Shop.previous_client_secret_until.label("until"),
        )
    ).all()
    now = datetime.now(UTC)  # a signature is about real time
    mine = next((shop for shop in shops if shop.domain == domain), None)
    if mine is None:
        return None
    secrets = _valid(mine.current, mine.former, mine.until, now=now, key=secret_key)
    others: set[str] = set()
    for shop in shops:
        if shop.domain != domain:
            others.update(_readable(shop.current, shop.former, shop.until, now=now, key=secret_key))
    return KnownShop(
        shop_id=mine.shop_id,
        domain=mine.domain,
        shopify_id=mine.shopify_id,
        is_shared=not others.isdisjoint(secrets),
        secrets=secrets,
    )


def _valid(
    current: str, former: str | None, until: datetime | None, *, now: datetime, key: SecretStr
) -> tuple[str, ...]:
    """The former secret signs only until its time is over."""
    tokens = [current]
    if former is not None and until is not None and now < until:
        tokens.append(former)
    return tuple(_decrypted(token, key.get_secret_value()) for token in tokens)


def _readable(
    current: str, former: str | None, until: datetime | None, *, now: datetime, key: SecretStr
) -> tuple[str, ...]:
    """Of another shop: one that cannot be decrypted signs nothing."""
    try:
        return _valid(current, former, until, now=now, key=key)
    except PermanentError:
        return ()


@lru_cache(maxsize=4096)
def _decrypted(token: str, secret_key: str) -> str:
    """Decrypting is slow, and every look compares the secrets of all shops."""
    return SecretBox(SecretStr(secret_key)).decrypt(token)


class KnownShops:
    """The shops of one process, kept for KEPT_SECONDS. For one thread; `load` may block."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._kept: dict[str, tuple[KnownShop | None, float]] = {}

    def find(self, domain: str) -> KnownShop | None:
        """The shop if it was looked up lately."""
        shop, at = self._kept.get(domain, (None, 0.0))
        return shop if shop is not None and self._age(at) < KEPT_SECONDS else None

    def may_load(self, domain: str) -> bool:
        """Whether a look into the database may tell anything new."""
        _, at = self._kept.get(domain, (None, -KEPT_SECONDS))
        return self._age(at) >= RELOAD_SECONDS

    def keep(self, domain: str, shop: KnownShop | None) -> None:
        """Unknown domains are kept too, a few: nobody fills the memory with invented ones."""
        if domain not in self._kept and len(self._kept) >= MOST_KEPT:
            self._kept.clear()
        self._kept[domain] = (shop, self._monotonic())

    def _age(self, at: float) -> float:
        return self._monotonic() - at
