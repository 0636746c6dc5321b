import inspect
import json
import logging
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from core.errors import EcomCRMError, PermanentError, TransientError
from core.shopify.client import ShopifyClient
from core.shopify.errors import HTTPX_ERRORS, from_httpx
from tests.fixtures.shopify import CLIENT_SECRET, DOMAIN, FakeShopify, cost, graphql

ASK = "query { shop { name } }"


class Waits(list[float]):
    """Records how long the client would have slept; time moves by as much."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)

    def monotonic(self) -> float:
        return sum(self)


@pytest.fixture
def waits() -> Waits:
    return Waits()


def answering(*answers: httpx.Response | Exception) -> FakeShopify:
    """A Shopify whose GraphQL endpoint gives these answers in turn, the last one for ever."""
    fake = FakeShopify()
    left = list(answers)

    def respond(request: httpx.Request) -> httpx.Response | None:
        if not request.url.path.endswith("graphql.json"):
            return None
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    fake.before.append(respond)
    return fake


def good() -> httpx.Response:
    return graphql({"shop": {"name": "Tea"}})


def test_an_answer_is_asked_for_with_a_token_at_the_shops_own_address() -> None:
    fake = answering(good())
    with fake.client() as client:
        assert client.execute(ASK) == {"shop": {"name": "Tea"}}
    token, query = fake.requests
    assert {request.url.host for request in fake.requests} == {DOMAIN}
    assert query.url.path == "/admin/api/2026-07/graphql.json"
    assert query.headers["X-Shopify-Access-Token"] == "token-1"
    assert "X-Shopify-Access-Token" not in token.headers


@pytest.mark.parametrize("domain", ["evil.com", "a.myshopify.com.evil.com", "x@a.myshopify.com/"])
def test_no_other_host_can_be_named_as_a_shop(domain: str) -> None:
    with pytest.raises(PermanentError, match="Not a shop's domain"):
        ShopifyClient(
            domain=domain,
            client_id="c",
            client_secret="s",
            base_url="https://{shop}",
            api_version="2026-07",
        )


def test_a_token_is_used_until_a_minute_before_its_end(waits: Waits) -> None:
    fake = answering(good())
    client = fake.client(sleep=waits, monotonic=waits.monotonic)
    client.execute(ASK)
    waits(86399 - 61)
    client.execute(ASK)
    assert fake.token_count == 1
    waits(2)
    client.execute(ASK)
    assert fake.token_count == 2


def test_a_refused_token_is_renewed_once() -> None:
    fake = answering(httpx.Response(401, json={"errors": "[API] Invalid API key"}), good())
    client = fake.client()
    assert client.execute(ASK) == {"shop": {"name": "Tea"}}
    assert fake.token_count == 2


def test_a_renewed_token_that_is_refused_too_ends_it() -> None:
    fake = answering(httpx.Response(401, json={"errors": "[API] Invalid API key"}))
    with pytest.raises(PermanentError, match="installed"):
        fake.client().execute(ASK)
    assert fake.token_count == 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"error":"invalid_client"}', "client id or secret"),
        ("Oauth error shop_not_permitted: …", "different organisations"),
        ("<html>app_not_installed</html>", "not installed"),
        ("<html>Something went wrong</html>", "check SHOPIFY_SHOP"),
    ],
)
def test_a_refused_token_request_says_what_to_do(body: str, words: str) -> None:
    fake = FakeShopify()
    fake.before.append(
        lambda request: httpx.Response(400, text=body) if "oauth" in request.url.path else None
    )
    with pytest.raises(PermanentError, match=words):
        fake.client().execute(ASK)


@pytest.mark.requirement("SHOP-01")
def test_an_empty_bucket_is_waited_for_as_long_as_it_takes_to_refill(waits: Waits) -> None:
    throttled = graphql(
        None,
        errors=[{"message": "Throttled", "extensions": {"code": "THROTTLED"}}],
        extensions=cost(70, 20, maximum=1000, rate=50),
    )
    fake = answering(throttled, good())
    fake.client(sleep=waits, monotonic=waits.monotonic).execute(ASK)
    assert len(waits) == 1
    assert 1.0 <= waits[0] <= 1.25


@pytest.mark.requirement("SHOP-01")
def test_the_bucket_is_waited_for_before_a_query_it_cannot_pay(waits: Waits) -> None:
    fake = answering(graphql({"shop": None}, extensions=cost(500, 100)))
    client = fake.client(sleep=waits, monotonic=waits.monotonic)
    client.execute(ASK)
    assert waits == []
    client.execute(ASK)
    assert waits == [pytest.approx(4.0)]


@pytest.mark.requirement("SHOP-01")
def test_many_429s_in_a_row_do_not_end_a_call(waits: Waits) -> None:
    busy = [httpx.Response(429, headers={"Retry-After": "2.0"}) for _ in range(40)]
    fake = answering(*busy, good())
    assert fake.client(sleep=waits).execute(ASK) == {"shop": {"name": "Tea"}}
    assert len(waits) == 40
    assert all(2.0 <= wait <= 2.5 for wait in waits)


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.Response(503, text="<html>maintenance</html>"),
        httpx.Response(502),
        httpx.Response(200, text="<html>not what you asked for</html>"),
        httpx.Response(200, json={"extensions": {}}),
        httpx.Response(200, json=[]),
        graphql(None, errors=[{"message": "x", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}]),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut"),
    ],
)
def test_what_may_pass_is_tried_again_with_growing_pauses(
    waits: Waits, trouble: httpx.Response | Exception
) -> None:
    fake = answering(trouble, trouble, trouble, good())
    assert fake.client(sleep=waits).execute(ASK) == {"shop": {"name": "Tea"}}
    assert len(waits) == 3
    assert waits[0] <= 0.5
    assert 1.0 <= waits[2] <= 2.0


def test_trouble_that_does_not_pass_is_transient_in_the_end(waits: Waits) -> None:
    fake = answering(httpx.Response(503))
    with pytest.raises(TransientError, match="503"):
        fake.client(sleep=waits).execute(ASK)
    assert len(waits) == 7


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(402), "frozen"),
        (httpx.Response(403, json={"errors": "[API] Non-expiring"}), "Non-expiring"),
        (httpx.Response(403, text="<html>"), "scopes"),
        (httpx.Response(404), "does not exist"),
        (httpx.Response(423, json={"errors": "This shop is unavailable"}), "locked"),
        (httpx.Response(418), "418"),
        (
            graphql(
                {"orders": None},
                errors=[
                    {
                        "message": "Access denied for orders field.",
                        "extensions": {
                            "code": "ACCESS_DENIED",
                            "requiredAccess": "`read_orders` access scope.",
                        },
                    }
                ],
            ),
            "read_orders",
        ),
        (
            graphql(
                None, errors=[{"message": "2003", "extensions": {"code": "MAX_COST_EXCEEDED"}}]
            ),
            "2003",
        ),
        (
            graphql(None, errors=[{"message": "x", "extensions": {"code": "SHOP_INACTIVE"}}]),
            "closed",
        ),
        (
            graphql(
                None, errors=[{"message": "Field 'x'", "extensions": {"code": "undefinedField"}}]
            ),
            "undefinedField",
        ),
        (graphql(None, errors=[{"message": "no code at all"}]), "no code at all"),
        (graphql(None, errors="[API] a text"), "a text"),
        (
            graphql(
                {"customers": []},
                extensions={
                    "search": [{"warnings": [{"code": "invalid_field", "message": "Invalid: typ"}]}]
                },
            ),
            "invalid_field",
        ),
    ],
)
def test_a_refusal_is_final_and_said_in_words(
    waits: Waits, answer: httpx.Response, words: str
) -> None:
    with pytest.raises(PermanentError, match=words):
        answering(answer).client(sleep=waits).execute(ASK)
    assert waits == []


def test_every_error_class_of_httpx_is_mapped() -> None:
    classes = [
        kind
        for _, kind in inspect.getmembers(httpx, inspect.isclass)
        if issubclass(kind, Exception) and not issubclass(kind, Warning)
    ]
    assert len(classes) >= 25
    for kind in classes:
        error = kind.__new__(kind)
        assert isinstance(error, HTTPX_ERRORS), kind
        assert kind in from_httpx.__globals__["_HTTPX"], kind
        assert isinstance(from_httpx(error), EcomCRMError)


def test_an_older_api_version_that_is_no_longer_served_is_noticed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = answering(graphql({"shop": None}, version="2026-10")).client()
    client.execute(ASK)
    client.execute(ASK)
    assert client.served_version == "2026-10"
    warnings = [line for line in caplog.messages if "2026-07 is not served" in line]
    assert len(warnings) == 1


def test_neither_tokens_nor_bodies_nor_signed_addresses_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    fake = FakeShopify(customers=[{"id": "gid://shopify/Customer/1", "email": "ada@example.com"}])
    client = fake.client()
    client.execute("mutation { bulkOperationRunQuery }", {"query": "{ customers }"})
    url = fake.operations["gid://shopify/BulkOperation/1"]["url"] + "?Signature=hidden"
    with client.download(url) as chunks:
        assert b"ada" in b"".join(chunks)
    for secret in ("token-1", CLIENT_SECRET, "ada@example.com", "hidden"):
        assert secret not in caplog.text


def test_a_bulk_file_is_fetched_without_the_access_token_and_only_by_https() -> None:
    fake = FakeShopify(customers=["{}"])
    client = fake.client()
    client.execute("mutation { bulkOperationRunQuery }", {"query": "{ customers }"})
    with client.download("https://storage.example/bulk/1") as chunks:
        assert b"".join(chunks) == b"{}\n"
    assert "X-Shopify-Access-Token" not in fake.requests[-1].headers
    with (
        pytest.raises(PermanentError, match="not https"),
        client.download("http://storage.example/bulk/1"),
    ):
        pass


def test_variables_reach_shopify_as_they_are() -> None:
    seen: list[Any] = []
    fake = answering(good())
    fake.before.insert(0, _watching(seen))
    fake.client().execute(ASK, {"ids": ["gid://shopify/Order/1"]})
    assert seen == [{"query": ASK, "variables": {"ids": ["gid://shopify/Order/1"]}}]


def _watching(seen: list[Any]) -> Callable[[httpx.Request], None]:
    def watch(request: httpx.Request) -> None:
        if request.url.path.endswith("graphql.json"):
            seen.append(json.loads(request.content))

    return watch
