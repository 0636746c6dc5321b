"""The Admin GraphQL client: one per shop, safe to call again and again.

Waits for Shopify's cost bucket, retries what may succeed, and raises only TransientError or
PermanentError. Knows one host per shop: `base_url` with the shop's domain in it.
"""

import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self

import httpx
from pydantic import SecretStr

from core.errors import PermanentError, TransientError
from core.shopify.auth import TokenSource
from core.shopify.errors import (
    HTTPX_ERRORS,
    ThrottledError,
    UnauthorizedError,
    from_graphql,
    from_httpx,
    from_status,
)
from core.shopify.throttle import CostBucket

log = logging.getLogger(__name__)
# At INFO httpx logs every address it opens, and that of a bulk file is a key to everybody's data.
logging.getLogger("httpx").setLevel(logging.WARNING)

TIMEOUT: Final = httpx.Timeout(30.0, connect=10.0)
ATTEMPTS: Final = 8
THROTTLED_ATTEMPTS: Final = 60  # waiting for the bucket is no failure; this only ends a livelock
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
VERSION_HEADER: Final = "X-Shopify-API-Version"
DOMAIN: Final = re.compile(r"[a-z0-9][a-z0-9-]*\.myshopify\.com")
GONE: Final = frozenset({400, 401, 403, 404, 410})  # how storage refuses an address that expired


class ExpiredUrlError(TransientError):
    """The address of a bulk file is no longer good: ask the operation for a new one."""


class ShopifyClient:
    """A persistent connection to one shop's Admin API.

    `served_version` is the API version that answered last; Shopify falls forward to another one
    when the version asked for is no longer supported.
    """

    def __init__(
        self,
        *,
        domain: str,
        client_id: str,
        client_secret: SecretStr | str,
        base_url: str,
        api_version: str,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not DOMAIN.fullmatch(domain):
            raise PermanentError(f"Not a shop's domain (name.myshopify.com): {domain[:80]!r}")
        self.domain = domain
        self.client_id = client_id
        secret = client_secret if isinstance(client_secret, SecretStr) else SecretStr(client_secret)
        self.client_secret = secret
        self.api_version = api_version
        self.served_version = api_version
        self._base = base_url.format(shop=domain).rstrip("/")
        self._sleep = sleep
        self._http = httpx.Client(
            transport=transport,
            timeout=TIMEOUT,
            headers={"User-Agent": "EcomCRM"},
            trust_env=self._base.startswith("https://"),  # no proxy to a stand-in on this machine
        )
        self._bucket = CostBucket(monotonic)
        self._tokens = TokenSource(
            self._http,
            address=f"{self._base}/admin/oauth/access_token",
            client_id=client_id,
            client_secret=secret,
            monotonic=monotonic,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def execute(self, document: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """The `data` of the answer to one GraphQL document.

        Raises TransientError when it still fails after all retries, PermanentError when Shopify
        refuses.
        """
        retries = _Retries(self.domain, self._sleep)
        size = _size(variables or {})
        while True:
            reserved = self._bucket.reserve(document, size)
            try:
                if reserved.seconds:
                    self._sleep(reserved.seconds)
                return self._once(document, variables or {})
            except UnauthorizedError as error:
                retries.after_unauthorized(error)
            except TransientError as error:
                retries.pause(error)
            finally:
                self._bucket.release(reserved)

    def _once(self, document: str, variables: dict[str, Any]) -> dict[str, Any]:
        token = self._tokens.token()
        try:
            response = self._http.post(
                f"{self._base}/admin/api/{self.api_version}/graphql.json",
                json={"query": document, "variables": variables},
                headers={"X-Shopify-Access-Token": token},
            )
        except HTTPX_ERRORS as error:
            raise from_httpx(error) from None
        if problem := from_status(response):
            if isinstance(problem, UnauthorizedError):
                self._tokens.forget(token)
            raise problem
        self._note_version(response)
        answer = _json_object(response)
        self._bucket.learn(document, answer, _size(variables))
        if problem := from_graphql(answer):
            raise problem
        data: dict[str, Any] = answer["data"]
        return data

    def _note_version(self, response: httpx.Response) -> None:
        served = response.headers.get(VERSION_HEADER, self.served_version)
        if served not in (self.served_version, self.api_version):
            log.warning(
                "Shopify %s: API version %s is not served any more, %s answered. "
                "Set ECOMCRM_SHOPIFY_API_VERSION to a supported version.",
                *(self.domain, self.api_version, served),
            )
        self.served_version = served

    @contextmanager
    def download(self, url: str, *, offset: int = 0) -> Iterator[Iterator[bytes]]:
        """The bytes of a bulk file from `offset` on, as they arrive.

        Sent without the access token: the address is signed. Raises ExpiredUrlError when it is
        not good any more, TransientError when the connection breaks (ask again from there).
        """
        if self._base.startswith("https://") and not url.startswith("https://"):
            raise PermanentError("Shopify gave an unsafe address for a bulk file (not https).")
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        try:
            with self._http.stream("GET", url, headers=headers) as response:
                if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                    yield iter(())  # everything had arrived before the connection broke
                    return
                if response.status_code in GONE:
                    raise ExpiredUrlError("The address of the bulk file has expired.")
                if response.status_code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
                    raise TransientError(f"The bulk file answers {response.status_code}.")
                whole = offset and response.status_code == httpx.codes.OK
                yield _skip(response.iter_bytes(), offset if whole else 0)
        except HTTPX_ERRORS as error:
            raise from_httpx(error) from None


class _Retries:
    """How often and how long one call may wait. Waiting for the bucket has a budget of its own."""

    def __init__(self, domain: str, sleep: Callable[[float], None]) -> None:
        self._domain = domain
        self._sleep = sleep
        self._random = secrets.SystemRandom()
        self._failed = 0
        self._throttled = 0
        self._renewed = False

    def after_unauthorized(self, error: UnauthorizedError) -> None:
        """Once a fresh token may help; a second refusal is final."""
        if self._renewed:
            raise PermanentError(
                f"{error} A new token is refused too: check that the app is installed."
            ) from None
        self._renewed = True

    def pause(self, error: TransientError) -> None:
        """Wait before the next attempt, or raise `error` when there is none left."""
        if isinstance(error, ThrottledError):
            self._throttled += 1
            used_up = self._throttled >= THROTTLED_ATTEMPTS
        else:
            self._failed += 1
            used_up = self._failed >= ATTEMPTS
        if used_up:
            raise error
        seconds = self._seconds(error)
        log.info("Shopify %s: again in %.1f s. %s", self._domain, seconds, error)
        self._sleep(seconds)

    def _seconds(self, error: TransientError) -> float:
        jitter = self._random.uniform(1.0, 1.25)
        if error.retry_after is not None:
            return error.retry_after.total_seconds() * jitter
        longest = float(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self._failed - 1)))
        return longest * self._random.uniform(0.5, 1.0)


def _size(variables: Mapping[str, Any]) -> int:
    """How many objects a call names: its cost grows with them."""
    return max((len(value) for value in variables.values() if isinstance(value, list)), default=0)


def _json_object(response: httpx.Response) -> dict[str, Any]:
    """The answer as JSON. A page of HTML, which Shopify's edge sends in trouble, is transient."""
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise TransientError("Shopify answered with something that is not JSON.")
    return answer


def _skip(chunks: Iterator[bytes], count: int) -> Iterator[bytes]:
    """Without the first `count` bytes: the storage ignored our Range and sent the whole file."""
    for chunk in chunks:
        if count >= len(chunk):
            count -= len(chunk)
            continue
        yield chunk[count:]
        count = 0
