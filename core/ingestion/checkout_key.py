"""Checkouts into `raw_shopify`, each under one key however it reached us.

GraphQL knows a checkout by id and recovery address, webhooks by token and recovery address: the
token in that address is what both have.
"""

from typing import Final
from urllib.parse import urlsplit

LONGEST_KEY: Final = 255


def checkout_key(recovery_url: str | None, *, token: str | None = None) -> str:
    """The token in `…/checkouts/ac/<token>/recover`, else the given token.

    A webhook passes its body's token, which need not be the one in the address. Raises ValueError
    when neither tells, or when what they tell is no token.
    """
    key = _token_in(recovery_url) or token
    if not key:
        raise ValueError("a checkout without a token or a recovery address")
    if len(key) > LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise ValueError(f"not a checkout's token: {key[:40]!r}")
    return key


def _token_in(recovery_url: str | None) -> str | None:
    """The part of the path before `recover`; the query behind it is a signature."""
    try:
        parts = urlsplit(recovery_url or "").path.split("/")
    except ValueError:
        return None
    if len(parts) > 2 and parts[-1] == "recover" and "checkouts" in parts[:-2]:  # noqa: PLR2004
        return parts[-2] or None
    return None
