"""Which shop a webhook's body says it is of; only the body is under the signature."""

import re
from typing import Any, Final

# Where a body may name its shop. The expression is urlsplit's host and path, many times as fast.
ADDRESSES: Final = ("order_status_url", "abandoned_checkout_url")
_ADDRESS: Final = re.compile(
    r"https?://(?:[^/?#@]*@)?([^/?#:\[\]]+)(?::\d+)?/*([^/?#]*)", re.IGNORECASE
)


def other_shop(data: dict[str, Any], *, domain: str, shopify_id: int | None) -> str | None:
    """The shop that the body names when it is not this one; headers are not under the signature."""
    for key in ("shop_domain", "myshopify_domain"):
        named = data.get(key)
        if isinstance(named, str) and named.lower() != domain:
            return named
    number = data.get("shop_id")
    if isinstance(number, int) and shopify_id is not None and number != shopify_id:
        return str(number)
    for key in ADDRESSES:
        host, first = _parts(data.get(key))
        if host.endswith(".myshopify.com") and host != domain:
            return host
        # As text: Python makes no number of more than 4300 digits.
        if shopify_id is not None and _is_number(first) and first != str(shopify_id):
            return first
    return None


def names_shop(data: dict[str, Any], *, domain: str, shopify_id: int | None) -> bool:
    """Whether the body itself says that it is of this shop; only the body is under the signature.

    Assumes that `other_shop` found no other.
    """
    for key in ("shop_domain", "myshopify_domain"):
        if isinstance(data.get(key), str):
            return True
    if shopify_id is not None and data.get("shop_id") == shopify_id:
        return True
    parts = [_parts(data.get(key)) for key in ADDRESSES]
    return any(host == domain or (first and first == str(shopify_id)) for host, first in parts)


def _parts(address: Any) -> tuple[str, str]:
    """Host and first folder of https://{host}/{shop number}/orders/{token}/…, where the host may
    be the shop's own; checkouts have it too.
    """
    if not isinstance(address, str):
        return "", ""
    found = _ADDRESS.match(address)
    return (found[1].lower(), found[2]) if found else ("", "")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
