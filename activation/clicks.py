"""Links of mails that lead through us: where they lead, whose they are, and that we made them.

    {public url}/c/{version}.{payload}.{signature}

The payload is shop, message and address, and the signature covers all of it, so nobody can make us
send a reader anywhere that we have not written into a mail ourselves. There is no name and no
address of a person in it. Making one needs no database and always gives the same text: a batch that
is frozen twice is the same twice.
"""

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from core.secrets import derived_key
from core.settings import Settings

VERSION: Final = "1"
PURPOSE: Final = "click-link"
PATH: Final = "/c/"
SIGNATURE_BYTES: Final = 12
LONGEST_URL: Final = 2000
# Base64 of the longest address with its numbers, version and signature.
LONGEST_TOKEN: Final = 2800
TRAP: Final = "-"

URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")

# White space, control characters, the backslash and what is not ASCII are read differently by
# different browsers.
UNSAFE: Final = re.compile(r"[^!-~]|\\")


@dataclass(frozen=True)
class Link:
    """What a link says once its signature holds. `url` None: the trap, which leads nowhere."""

    shop_id: int
    message_id: int
    url: str | None


def tracked(settings: Settings, shop_id: int, message_id: int, url: str) -> str:
    """The link that counts and leads to `url`; `url` itself where it must not or cannot lead there.

    Left alone are other schemes (mailto, tel), what is longer than 2,000 characters or unclear to a
    browser, and our own pages: an unsubscribe must work in one step.
    """
    if not is_plain_web(url) or url.startswith(settings.public_url + "/"):
        return url
    return _link(settings, shop_id, message_id, url)


def trap(settings: Settings, shop_id: int, message_id: int) -> str:
    """A link for programs alone, to be hidden from people: who follows it reads no mail."""
    return _link(settings, shop_id, message_id, TRAP)


def read_link(settings: Settings, token: str) -> Link | None:
    """None for anything we did not sign."""
    if len(token) > LONGEST_TOKEN or not token.isascii():
        return None
    signed, _, signature = token.rpartition(".")
    keys = (settings.secret_key, *settings.previous_secret_keys)
    if not any(_is_signed(key.get_secret_value(), signed, signature) for key in keys):
        return None
    version, _, payload = signed.partition(".")
    parts = _decode(payload).split(" ", 2)
    if version != VERSION or len(parts) != 3:  # noqa: PLR2004 - shop, message, address
        return None
    shop_id, message_id, url = parts
    if url != TRAP and not is_plain_web(url):
        return None
    return Link(int(shop_id), int(message_id), None if url == TRAP else url)


@lru_cache(maxsize=4096)
def is_plain_web(url: str) -> bool:
    """Whether every browser reads this as the same http or https address with a host."""
    if len(url) > LONGEST_URL or UNSAFE.search(url):
        return False
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
        )
    except ValueError:
        return False


def _link(settings: Settings, shop_id: int, message_id: int, url: str) -> str:
    payload = f"{shop_id} {message_id} {url}".encode()
    signed = f"{VERSION}.{_encode(payload)}"
    key = _key(settings.secret_key.get_secret_value())
    return f"{settings.public_url}{PATH}{signed}.{_signature(key, signed)}"


@lru_cache(maxsize=4)
def _key(secret: str) -> bytes:
    """A mail has a dozen links: the key is derived once."""
    return derived_key(SecretStr(secret), PURPOSE)


def _is_signed(secret: str, signed: str, signature: str) -> bool:
    return hmac.compare_digest(_signature(_key(secret), signed), signature)


def _signature(key: bytes, signed: str) -> str:
    """BLAKE2b with a key, which is a MAC by itself and takes a third of HMAC's time."""
    return _encode(hashlib.blake2b(signed.encode(), key=key, digest_size=SIGNATURE_BYTES).digest())


def _encode(data: bytes) -> str:
    """As base64.urlsafe_b64encode without padding, in half the time."""
    return binascii.b2a_base64(data, newline=False).translate(URL_SAFE, b"=").decode()


def _decode(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""
