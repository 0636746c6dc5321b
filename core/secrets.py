"""Secrets of shops at rest, encrypted under ECOMCRM_SECRET_KEY, and keyed hashes derived from it.

Every use derives a key of its own, so a signature of one kind never passes for another.
"""

import base64
import hashlib
import hmac

from cryptography.fernet import Fernet, InvalidToken
from pydantic import SecretStr

from core.errors import PermanentError


def derived_key(secret_key: SecretStr, purpose: str) -> bytes:
    """32 bytes for one purpose (HMAC as a key-derivation function, RFC 5869 style)."""
    master = secret_key.get_secret_value().encode()
    return hmac.new(master, f"ecomcrm/{purpose}".encode(), hashlib.sha256).digest()


class SecretBox:
    """Encrypts and decrypts small texts for one purpose."""

    def __init__(self, secret_key: SecretStr, purpose: str = "vendor-secrets") -> None:
        key = base64.urlsafe_b64encode(derived_key(secret_key, purpose))
        self._fernet = Fernet(key)

    def encrypt(self, text: str) -> str:
        return self._fernet.encrypt(text.encode()).decode()

    def decrypt(self, token: str) -> str:
        """Raises PermanentError when the key is not the one that encrypted."""
        try:
            return self._fernet.decrypt(token.encode()).decode()
        except InvalidToken:
            raise PermanentError(
                "A stored secret cannot be read: ECOMCRM_SECRET_KEY is not the key it was "
                "encrypted with. Restore that key, or connect the shop again."
            ) from None
