import pytest

from tests.sandbox.support import Running

EVIL = "<script>alert(1)</script>"


def test_a_mail_is_shown_escaped_and_without_outside_resources(shop: Running) -> None:
    id_ = shop.send(
        f'"{EVIL}" <ann@example.com>',
        subject=f"Hi {EVIL}",
        html=f"<p>Hello</p>{EVIL}<img src='https://tracker.example/x.gif'>",
        text=EVIL,
        headers={"List-Unsubscribe": f"<https://try.example/u>{EVIL}"},
        tags=[{"name": "send_id", "value": "7"}],
    ).json()["id"]
    for path in ("/mailbox", f"/mailbox/{id_}"):
        page = shop.client.get(path)
        assert page.status_code == 200
        assert EVIL not in page.text
        assert "&lt;script&gt;" in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "http://" not in page.text.replace("http://127.0.0.1", "")
    page = shop.client.get(f"/mailbox/{id_}").text
    assert "List-Unsubscribe" in page
    assert "Tag send_id" in page
    assert 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in page


def test_the_html_of_a_mail_may_do_nothing(shop: Running) -> None:
    id_ = shop.send(html=f"<p>Hello</p>{EVIL}").json()["id"]
    answer = shop.client.get(f"/mailbox/{id_}/html")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox ")
    assert "allow-scripts" not in policy
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy
    assert "<p>Hello</p>" in answer.text


def test_links_open_elsewhere_and_the_doctype_stays_first(shop: Running) -> None:
    html = "<!DOCTYPE html><html><head><title>x</title></head><body><a href='/'>x</a></body></html>"
    id_ = shop.send(html=html).json()["id"]
    shown = shop.client.get(f"/mailbox/{id_}/html").text
    assert shown == html.replace("<head>", '<head><base target="_blank">')


def test_the_list_is_searched_and_paged(shop: Running) -> None:
    shop.fault(resend_rate_per_second=1000)
    for number in range(51):
        shop.send(f"c{number}@example.com", subject=f"Mail_{number}")
    first = shop.client.get("/mailbox").text
    assert "51 mails accepted" in first
    assert "Mail_50" in first
    assert "Mail_0<" not in first
    assert "Mail_0<" in shop.client.get("/mailbox?page=2").text
    found = shop.client.get("/mailbox", params={"q": "c7@example"}).text
    assert "Mail_7<" in found
    assert "Mail_8<" not in found
    assert "No mail has" in shop.client.get("/mailbox", params={"q": "l%0"}).text


@pytest.mark.parametrize("path", ["/mailbox/none", "/mailbox/none/html"])
def test_a_mail_that_is_not_there_is_a_404(quiet_shop: Running, path: str) -> None:
    assert quiet_shop.client.get(path).status_code == 404


def test_the_index_names_the_shops_and_the_turned_knobs(shop: Running) -> None:
    shop.fault(resend_times=3)
    page = shop.client.get("/").text
    assert "Try &amp; Error" in page
    assert "resend_times" in page
    assert "resend_latency_seconds" not in page


def test_an_empty_sandbox_says_what_to_do_next(sandbox: Running) -> None:
    assert "ecomcrm sandbox load" in sandbox.client.get("/").text
    assert "No mail yet" in sandbox.client.get("/mailbox?page=x").text
