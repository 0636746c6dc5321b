"""Access tokens by the client-credentials grant: asked for when needed, renewed before they end."""

import threading
import time
from collections.abc import Callable
from typing import Final

import httpx
from pydantic import SecretStr

from core.errors import PermanentError, TransientError
from core.shopify.errors import (
    HTTPX_ERRORS,
    SERVER_ERROR,
    STATUS_WORDS,
    TOO_MANY_REQUESTS,
    from_httpx,
)

EARLY: Final = 60.0  # seconds before its end that a token is renewed, as Shopify's sample does

_REFUSALS: Final = {
    "invalid_client": "the client id or secret is wrong: check SHOPIFY_CLIENT_ID and "
    "SHOPIFY_CLIENT_SECRET",
    "shop_not_permitted": "the app and the shop belong to different organisations",
    "app_not_installed": "the app is not installed in this shop",
}


class TokenSource:
    """One shop's access token. Safe to use from several threads."""

    def __init__(
        self,
        http: httpx.Client,
        *,
        address: str,
        client_id: str,
        client_secret: SecretStr,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http
        self._address = address
        self._client_id = client_id
        self._client_secret = client_secret
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._token: str | None = None
        self._ends_at = 0.0

    def token(self) -> str:
        """A token that is good for another minute. Raises TransientError or PermanentError."""
        with self._lock:
            if self._token is None or self._monotonic() >= self._ends_at - EARLY:
                self._token = self._ask()
            return self._token

    def forget(self, token: str) -> None:
        """Shopify refused `token`: ask anew, unless another thread already did."""
        with self._lock:
            if self._token == token:
                self._token = None

    def _ask(self) -> str:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._client_id,
            "client_secret": self._client_secret.get_secret_value(),
        }
        try:
            response = self._http.post(self._address, data=form)
        except HTTPX_ERRORS as error:
            raise from_httpx(error) from None
        if response.status_code != httpx.codes.OK:
            raise _refused(response)
        try:
            answer = response.json()
            token, seconds = str(answer["access_token"]), float(answer["expires_in"])
        except (ValueError, KeyError, TypeError):
            raise TransientError("Shopify answered the token request with no token.") from None
        self._ends_at = self._monotonic() + seconds
        return token


def _refused(response: httpx.Response) -> TransientError | PermanentError:
    """Shopify refuses in JSON, in a line of text or in an HTML page."""
    status = response.status_code
    if status == TOO_MANY_REQUESTS or status >= SERVER_ERROR:
        return TransientError(f"Shopify gives no access token now ({status}).")
    for code, reason in _REFUSALS.items():
        if code in response.text:
            return PermanentError(f"Shopify gives no access token: {reason}.")
    if status in STATUS_WORDS and status != httpx.codes.BAD_REQUEST:
        return PermanentError(f"Shopify gives no access token ({status}): {STATUS_WORDS[status]}.")
    return PermanentError(
        f"Shopify gives no access token ({status}): check SHOPIFY_SHOP, SHOPIFY_CLIENT_ID and "
        "SHOPIFY_CLIENT_SECRET."
    )
