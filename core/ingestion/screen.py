"""Who was erased from a shop, and must never be stored again (docs/decisions/0016).

All that is left of an erased person are keyed hashes among the suppressions: one for each address
and one for each customer number. Whoever stores customers, orders or checkouts asks here first.
"""

import hmac
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Self

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.errors import PermanentError
from core.secrets import derived_key

PREFIX: Final = "hmac:"
CUSTOMER_PREFIX: Final = "hmac:customer:"
KEY_PREFIX: Final = "hmac:key:"

READ_ERASED = text("""
-- Returns the hashes of everyone the shop has erased. Changes nothing.
-- Index ix_suppressions__erased, which is empty while nobody was.
SELECT email_normalized
FROM crm.suppressions
WHERE shop_id = :shop_id AND reason = 'erased'
""")

READ_SOME_ERASED = text("""
-- Returns which of these hashes are of erased people. Changes nothing. Index
-- ix_suppressions__erased.
SELECT email_normalized
FROM crm.suppressions
WHERE
    shop_id = :shop_id
    AND reason = 'erased'
    AND email_normalized = ANY(CAST(:hashes AS text []))
""")

HAS_ERASED = text("""
-- Returns whether the shop has erased anybody. Changes nothing. Index ix_suppressions__erased.
SELECT EXISTS (
    SELECT 1 FROM crm.suppressions WHERE shop_id = :shop_id AND reason = 'erased'
)
""")


class ErasureHasher:
    """The hashes of one shop. The key differs by shop, so nobody can be followed across shops."""

    def __init__(self, secret_key: SecretStr, shop_id: int) -> None:
        self._key = derived_key(secret_key, f"erasure/{shop_id}")

    def email(self, email: str) -> str:
        return PREFIX + self._hash(f"email/{normalized(email)}")

    def customer(self, customer_id: int) -> str:
        return f"{CUSTOMER_PREFIX}{self._hash(f'customer/{customer_id}')}"

    @property
    def key_check(self) -> str:
        """Stored beside the hashes: tells whether they were made with this key."""
        return KEY_PREFIX + self._hash("key")

    def _hash(self, value: str) -> str:
        return hmac.digest(self._key, value.encode(errors="replace"), "sha256").hex()


def normalized(email: str) -> str:
    """One spelling per address, independent of the database's locale."""
    return unicodedata.normalize("NFKC", email).strip().casefold()


@dataclass(frozen=True)
class Screen:
    """The erased people of one shop. May be passed to other processes."""

    hasher: ErasureHasher = field(repr=False)
    hashes: frozenset[str] = field(repr=False)

    @classmethod
    def load(cls, session: Session, shop_id: int, secret_key: SecretStr) -> Self | None:
        """Everyone; for files. None while the shop has erased nobody, which costs one look-up.

        Raises PermanentError when the hashes were made with another ECOMCRM_SECRET_KEY.
        """
        found = session.scalars(READ_ERASED, {"shop_id": shop_id}).all()
        return cls._of(ErasureHasher(secret_key, shop_id), found) if found else None

    @classmethod
    def load_for(
        cls,
        session: Session,
        shop_id: int,
        secret_key: SecretStr,
        *,
        customer_ids: Iterable[int] = (),
        emails: Iterable[str | None] = (),
    ) -> Self | None:
        """Only those among these customers and addresses; for a few objects at a time.

        Its cost does not grow with the number of people erased. It knows nothing of others.
        """
        has_erased: bool = session.execute(HAS_ERASED, {"shop_id": shop_id}).scalar_one()
        if not has_erased:
            return None
        hasher = ErasureHasher(secret_key, shop_id)
        hashes = [hasher.customer(customer_id) for customer_id in customer_ids]
        hashes += [hasher.email(email) for email in emails if email]
        found = session.scalars(
            READ_SOME_ERASED, {"shop_id": shop_id, "hashes": [*hashes, hasher.key_check]}
        )
        return cls._of(hasher, found)

    @classmethod
    def _of(cls, hasher: ErasureHasher, hashes: Iterable[str]) -> Self:
        screen = cls(hasher, frozenset(hashes))
        if hasher.key_check not in screen.hashes:
            raise PermanentError(
                "People were erased under another ECOMCRM_SECRET_KEY and can no longer be "
                "recognised, so nothing is stored or sent for this shop. Restore that key."
            )
        return screen

    def is_erased_customer(self, customer_id: int) -> bool:
        return self.hasher.customer(customer_id) in self.hashes

    def is_erased_email(self, email: str | None) -> bool:
        return email is not None and self.hasher.email(email) in self.hashes
