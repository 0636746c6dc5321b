"""Shopify's cost bucket, kept from running dry."""

import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.shopify.throttle import CostBucket
from tests.core.shopify.test_client import ASK, Waits
from tests.fixtures.shopify import FakeShopify, cost, graphql


@pytest.fixture
def waits() -> Waits:
    return Waits()


class Bucket:
    """A leaky bucket as Shopify keeps it: refuses what it cannot pay, tells what is left."""

    def __init__(self, waits: Waits, *, maximum: float = 2000, rate: float = 100) -> None:
        self._waits = waits
        self._maximum = self.left = maximum
        self._rate = rate
        self._seen_at = 0.0
        self.throttled = 0
        self.answered = 0

    def __call__(self, request: httpx.Request) -> httpx.Response | None:
        if not request.url.path.endswith("graphql.json"):
            return None
        asked = json.loads(request.content)
        price = 10.0 + 2 * len(asked["variables"].get("ids", [])) + 5 * asked["query"].count("x")
        now = self._waits.monotonic()
        self.left = min(self._maximum, self.left + (now - self._seen_at) * self._rate)
        self._seen_at = now
        is_paid = price <= self.left + 1e-6  # of floating point, where nothing takes time
        self.left -= price if is_paid else 0
        self.throttled += not is_paid
        self.answered += is_paid
        extensions = cost(price, self.left, maximum=self._maximum, rate=self._rate)
        errors = [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}]
        if is_paid:
            return graphql({"nodes": []}, extensions=extensions)
        return graphql(None, errors=errors, extensions=extensions)


@pytest.mark.requirement("SHOP-01")
@given(
    calls=st.lists(
        st.tuples(st.sampled_from(["a", "b x", "c xx"]), st.integers(0, 250)), max_size=80
    )
)
def test_a_bucket_that_only_we_use_never_throttles_us(calls: list[tuple[str, int]]) -> None:
    """Whatever is asked for in whatever sizes, known documents and new ones."""
    waits = Waits()
    bucket = Bucket(waits, maximum=1000, rate=50)
    client = FakeShopify(before=[bucket]).client(sleep=waits, monotonic=waits.monotonic)
    for name, size in calls:
        client.execute(f"query {name}", {"ids": [str(number) for number in range(size)]})
    assert (bucket.throttled, bucket.answered) == (0, len(calls))


@pytest.mark.requirement("SHOP-01")
def test_who_shares_the_bucket_is_waited_for_and_gets_through(waits: Waits) -> None:
    """The control of the test above: somebody else takes points, and we recover."""
    bucket = Bucket(waits, maximum=1000, rate=50)
    client = FakeShopify(before=[bucket]).client(sleep=waits, monotonic=waits.monotonic)
    for _ in range(30):
        client.execute(ASK, {"ids": ["1"] * 100})
        bucket.left = 0
    assert bucket.throttled > 0
    assert bucket.answered == 30


@pytest.mark.requirement("SHOP-01")
def test_two_calls_at_once_do_not_take_the_same_points(waits: Waits) -> None:
    bucket = CostBucket(waits.monotonic)
    bucket.learn("a", {"extensions": cost(300, 400, maximum=1000, rate=100)})
    first, second = bucket.reserve("a"), bucket.reserve("a")
    assert (first.seconds, second.seconds) == (0, pytest.approx(2.0))
    bucket.release(first)
    assert bucket.reserve("a").seconds == pytest.approx(2.0), "the second still holds its own"
