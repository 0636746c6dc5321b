"""Signed tokens in links: short, without a database, good for as long as one key that signed them
is known.

`version.payload.signature`, each part fit for a URL. Each purpose has a key of its own, so that a
token of one kind of link opens no other. Keys that were replaced still open, and sign nothing.
"""

import base64
import binascii
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pydantic import SecretStr

from core.secrets import derived_key
from core.settings import Settings

VERSION: Final = "1"
SIGNATURE_BYTES: Final = 16
URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


@dataclass(frozen=True)
class Recipient:
    """What a link says once its signature holds: which mail it came with."""

    shop_id: int
    message_id: int


def token_of(settings: Settings, *, shop_id: int, message_id: int, purpose: str) -> str:
    signed = f"{VERSION}.{_encode(f'{shop_id}.{message_id}'.encode())}"
    return f"{signed}.{_encode(_sign(settings.secret_key, purpose, signed))}"


def read_token_of(settings: Settings, token: str, *, purpose: str) -> Recipient | None:
    """None for anything we did not sign for this purpose."""
    signed, _, signature = token.rpartition(".")
    given = signature.encode(errors="replace")
    matches = [
        hmac.compare_digest(_encode(_sign(key, purpose, signed)).encode(), given)
        for key in _keys(settings)
    ]
    if not any(matches):
        return None
    version, _, payload = signed.partition(".")
    if version != VERSION:
        return None
    shop_id, _, message_id = _decode(payload).partition(".")
    return Recipient(int(shop_id), int(message_id))


def _keys(settings: Settings) -> Iterator[SecretStr]:
    yield settings.secret_key
    yield from settings.previous_secret_keys


def _sign(key: SecretStr, purpose: str, signed: str) -> bytes:
    signing = _signing_key(key.get_secret_value(), purpose)
    return hmac.digest(signing, signed.encode(errors="replace"), "sha256")[:SIGNATURE_BYTES]


@lru_cache(maxsize=16)
def _signing_key(secret: str, purpose: str) -> bytes:
    """Every mail has such a token: the key is derived once."""
    return derived_key(SecretStr(secret), purpose)


def _encode(data: bytes) -> str:
    """As base64.urlsafe_b64encode without padding, in half the time."""
    return binascii.b2a_base64(data, newline=False).translate(URL_SAFE, b"=").decode()


def _decode(text: str) -> str:
    padding = "=" * (-len(text) % 4)
    try:
        return base64.urlsafe_b64decode(text + padding).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
