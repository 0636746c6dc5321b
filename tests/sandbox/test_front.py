import re
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tests.sandbox.support import DOMAIN, Running, wait_for

SAME_SITE = {"Sec-Fetch-Site": "same-origin"}
EVIL = '"><script>alert(1)</script>'


def submit(
    sandbox: Running, *, headers: Mapping[str, str] = SAME_SITE, **fields: str
) -> httpx.Response:
    usual = {
        "shop": DOMAIN,
        "first_name": "Mira",
        "email": "mira@example.com",
        "consent": "SUBSCRIBED",
        "total": "49.90",
    }
    return sandbox.client.post("/orders", data=usual | fields, headers=dict(headers))


def customers(sandbox: Running) -> list[dict[str, Any]]:
    with sandbox.world.store.read() as db:
        rows = db.execute("select email, consent from customers order by num").fetchall()
    return [dict(row) for row in rows]


def orders(sandbox: Running) -> int:
    shops = sandbox.client.get("/_sandbox/shops").json()["shops"]
    return int(shops[0]["orders"])


def test_the_form_places_an_order_and_its_webhook_goes_out(shop: Running) -> None:
    shop.subscribe("ORDERS_CREATE")
    answer = submit(shop, consent="PENDING", total="12,50")
    assert answer.status_code == 303
    assert customers(shop)[-1] == {"email": "mira@example.com", "consent": "PENDING"}
    wait_for(lambda: shop.receiver.on("/shopify"))
    body = shop.receiver.on("/shopify")[0].body
    assert b'"total_price":"12.50"' in body
    assert b"mira@example.com" in body


def test_after_the_order_the_page_says_what_comes_next(shop: Running) -> None:
    shop.subscribe("ORDERS_CREATE")
    page = shop.client.get(submit(shop).headers["location"]).text
    assert "Order #1013 placed</strong>" in page
    assert "its webhook is on the way" in page
    assert '<a href="/mailbox">Mailbox</a>.' in page
    assert "Order #" not in shop.client.get("/").text


def test_without_a_subscriber_the_page_does_not_promise_a_mail(shop: Running) -> None:
    page = shop.client.get(submit(shop).headers["location"]).text
    assert "so nobody is told of it" in page
    assert "on the way" not in page


def test_each_visit_offers_a_new_customer(shop: Running) -> None:
    pages = [shop.client.get("/").text for _ in range(2)]
    offered = [re.findall(r'value="(\S+@example\.com)"', page) for page in pages]
    assert len(offered[0]) == 1
    assert offered[0] != offered[1]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("email", "mira@example", "This is not an address."),
        ("email", f"{'m' * 250}@example.com", "This is not an address."),
        ("total", "free", "Write an amount such as 49.90"),
        ("total", "-1", "Write an amount such as 49.90"),
        ("total", "1e9", "Write an amount such as 49.90"),
        ("first_name", "", "Write a first name"),
        ("first_name", "a\nb", "Write a first name"),
        ("consent", "INVALID", "Choose one of the four."),
    ],
)
def test_what_is_wrong_is_said_beside_the_field(
    quiet_shop: Running, field: str, value: str, words: str
) -> None:
    before = orders(quiet_shop)
    answer = submit(quiet_shop, headers=SAME_SITE, **{field: value})
    assert answer.status_code == 422
    assert f'aria-describedby="order1-{field}" autofocus' in answer.text
    assert f'id="order1-{field}">{words}' in answer.text
    assert answer.text.count('class="wrong"') == 1
    assert orders(quiet_shop) == before


def test_what_was_written_stays_in_the_form_escaped(quiet_shop: Running) -> None:
    page = submit(quiet_shop, first_name=EVIL, total=EVIL, consent="UNSUBSCRIBED").text
    assert EVIL not in page
    assert page.count("&#34;&gt;&lt;script&gt;") == 2
    assert '<option value="UNSUBSCRIBED" selected>' in page


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
    ],
)
def test_a_form_of_another_page_is_refused(quiet_shop: Running, headers: dict[str, str]) -> None:
    before = orders(quiet_shop)
    answer = submit(quiet_shop, headers=headers)
    assert answer.status_code == 403
    assert "sandbox's own page" in answer.text
    assert orders(quiet_shop) == before


def test_a_browser_without_fetch_metadata_is_known_by_its_origin(shop: Running) -> None:
    # Browsers send `Origin: null` from a page that forbids every referrer.
    assert shop.client.get("/").headers["referrer-policy"] == "same-origin"
    assert submit(shop, headers={"Origin": shop.url}).status_code == 303


def test_the_form_may_only_post_to_the_sandbox(quiet_shop: Running) -> None:
    page = quiet_shop.client.get("/")
    assert "form-action 'self'" in page.headers["content-security-policy"]
    assert "<script" not in page.text
    assert quiet_shop.client.get("/orders").headers["location"] == "/"


@pytest.mark.parametrize(
    "query", [{"order": "x"}, {"order": "9" * 40}, {"order": "1", "shop": "no"}, {"order": "٣"}]
)
def test_an_order_that_is_not_there_is_not_announced(
    quiet_shop: Running, query: dict[str, str]
) -> None:
    page = quiet_shop.client.get("/", params={"shop": DOMAIN} | query)
    assert page.status_code == 200
    assert "placed" not in page.text


def test_a_shop_that_is_not_loaded_takes_no_order(quiet_shop: Running) -> None:
    assert submit(quiet_shop, shop="other.myshopify.com").status_code == 404


def test_an_empty_sandbox_has_no_form(sandbox: Running) -> None:
    assert "<form" not in sandbox.client.get("/").text
