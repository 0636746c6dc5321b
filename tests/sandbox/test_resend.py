import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import orjson
import pytest
from resend import Webhooks

from sandbox.clock import ManualClock
from sandbox.resend.errors import ResendError
from sandbox.resend.events import signer
from sandbox.resend.validation import good_mail
from tests.sandbox.support import WHSEC, Received, Running, mail, resend_headers, wait_for


def events(sandbox: Running, count: int) -> list[Received]:
    found: list[Received] = wait_for(
        lambda: len(sandbox.receiver.on("/resend")) >= count and sandbox.receiver.on("/resend")
    )
    return found


def types(sandbox: Running, count: int) -> list[str]:
    return [orjson.loads(each.body)["type"] for each in events(sandbox, count)]


def listed(sandbox: Running) -> list[dict[str, Any]]:
    found = sandbox.client.get("/resend/emails", headers=resend_headers()).json()
    data: list[dict[str, Any]] = found["data"]
    return data


# --------------------------------------------------------------------------- at the door


@pytest.mark.parametrize(
    ("headers", "status", "name"),
    [
        ({"Authorization": ""}, 401, "missing_api_key"),
        ({"Authorization": "Basic abc"}, 401, "missing_api_key"),
        ({"Authorization": "Bearer wrong"}, 403, "invalid_api_key"),
    ],
)
def test_a_wrong_key_is_refused(
    quiet_shop: Running, headers: dict[str, str], status: int, name: str
) -> None:
    answer = quiet_shop.client.post(
        "/resend/emails", json=mail(), headers=resend_headers() | headers
    )
    assert (answer.status_code, answer.json()["name"]) == (status, name)


def test_a_caller_without_a_user_agent_is_turned_away(quiet_shop: Running) -> None:
    headers = resend_headers() | {"User-Agent": ""}
    answer = quiet_shop.client.post("/resend/emails", json=mail(), headers=headers)
    assert (answer.status_code, answer.text) == (403, "error code: 1010")


def test_the_window_of_a_second_takes_ten_and_no_more(start: Callable[..., Any]) -> None:
    clock = ManualClock(1_800_000_000.0)
    with start(clock=clock) as sandbox:
        answers = [sandbox.send() for _ in range(11)]
        assert [each.status_code for each in answers] == [200] * 10 + [429]
        assert answers[9].headers["ratelimit-remaining"] == "0"
        assert answers[10].json()["name"] == "rate_limit_exceeded"
        assert answers[10].headers["retry-after"] == "1"
        clock.move(1)
        assert sandbox.send().status_code == 200
        pace = sandbox.client.get("/_sandbox/resend/pace").json()
        assert pace == {"limit": 10, "seconds": [[1_800_000_000, 11], [1_800_000_001, 1]]}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/audiences"),
        ("POST", "/broadcasts"),
        ("GET", "/emails?colour=x"),
        ("GET", "/suppressions?colour=x"),
    ],
)
def test_what_is_not_built_says_so(quiet_shop: Running, method: str, path: str) -> None:
    answer = quiet_shop.client.request(method, f"/resend{path}", headers=resend_headers())
    assert (answer.status_code, answer.json()["name"]) == (501, "not_in_the_sandbox")


# --------------------------------------------------------------------------- what is a mail


@pytest.mark.parametrize(
    ("change", "status", "name"),
    [
        ({"from": None}, 422, "missing_required_field"),
        ({"to": []}, 422, "missing_required_field"),
        ({"subject": ""}, 422, "missing_required_field"),
        ({"html": None, "text": None}, 422, "missing_required_field"),
        ({"from": "nobody"}, 422, "validation_error"),
        ({"to": ["a@example.com"] * 51}, 422, "validation_error"),
        ({"to": ["a@example.com", "b@"]}, 422, "validation_error"),
        ({"to": ["a@example.com\r\nBcc: b@example.com"]}, 422, "validation_error"),
        ({"subject": "Hello\r\nBcc: b@example.com"}, 422, "validation_error"),
        ({"headers": {"X-Id": "1\nBcc: b@example.com"}}, 422, "validation_error"),
        ({"headers": {"X-Id\n": "1"}}, 422, "validation_error"),
        ({"headers": {"X-Id": 1}}, 422, "validation_error"),
        ({"tags": [{"name": "a b", "value": "1"}]}, 422, "validation_error"),
        ({"tags": [{"name": "a"}]}, 422, "validation_error"),
        ({"tags": [{"name": f"t{n}", "value": "1"} for n in range(76)]}, 422, "validation_error"),
        ({"html": 5}, 422, "validation_error"),
        ({"template": {"id": "x"}}, 501, "not_in_the_sandbox"),
        ({"colour": "red"}, 501, "not_in_the_sandbox"),
    ],
)
def test_a_mail_that_resend_would_not_take_is_refused(
    change: dict[str, Any], status: int, name: str
) -> None:
    with pytest.raises(ResendError) as refused:
        good_mail(mail() | change)
    assert (refused.value.status, refused.value.name) == (status, name)


def test_a_body_that_is_not_json_is_refused(quiet_shop: Running) -> None:
    answer = quiet_shop.client.post("/resend/emails", content=b"{", headers=resend_headers())
    assert (answer.status_code, answer.json()["name"]) == (400, "validation_error")


def test_a_mail_is_found_and_listed_as_it_was_sent(sandbox: Running) -> None:
    sandbox.fault(resend_rate_per_second=1000)
    tags = [{"name": "send_id", "value": "7"}]
    headers = {"List-Unsubscribe": "<https://try.example/u/1>"}
    id_ = sandbox.send("Ann <ann@example.com>", tags=tags, headers=headers).json()["id"]
    found = sandbox.client.get(f"/resend/emails/{id_}", headers=resend_headers()).json()
    assert found["to"] == ["Ann <ann@example.com>"]
    assert found["tags"] == tags
    assert found["object"] == "email"
    assert found["created_at"].endswith("+00")
    wait_for(lambda: listed(sandbox)[0]["last_event"] == "delivered")
    missing = sandbox.client.get("/resend/emails/none", headers=resend_headers())
    assert (missing.status_code, missing.json()["name"]) == (404, "not_found")


def test_mails_are_listed_newest_first_in_pages(sandbox: Running) -> None:
    sandbox.fault(resend_rate_per_second=1000)
    ids = [sandbox.send(subject=f"Mail {n}").json()["id"] for n in range(5)]

    def page(**query: Any) -> dict[str, Any]:
        url = httpx.URL("/resend/emails", params=query)
        answer: dict[str, Any] = sandbox.client.get(url, headers=resend_headers()).json()
        return answer

    first = page(limit=3)
    assert [each["id"] for each in first["data"]] == ids[:1:-1]
    assert first["has_more"] is True
    rest = page(limit=3, after=ids[2])
    assert [each["id"] for each in rest["data"]] == [ids[1], ids[0]]
    assert rest["has_more"] is False
    back = page(limit=2, before=ids[0])
    assert [each["id"] for each in back["data"]] == [ids[2], ids[1]]
    assert back["has_more"] is True
    assert page(limit=101)["name"] == page(after="x")["name"] == "validation_error"


# --------------------------------------------------------------------------- batches


def test_a_batch_answers_in_the_order_it_was_given(sandbox: Running) -> None:
    mails = [mail(f"c{n}@example.com") for n in range(100)]
    answer = sandbox.post_mail("/resend/emails/batch", mails)
    ids = [each["id"] for each in answer.json()["data"]]
    assert len(set(ids)) == 100
    sandbox.fault(resend_rate_per_second=1000)
    last = sandbox.client.get(f"/resend/emails/{ids[99]}", headers=resend_headers()).json()
    assert last["to"] == ["c99@example.com"]


def test_one_bad_mail_refuses_the_whole_batch(sandbox: Running) -> None:
    answer = sandbox.post_mail("/resend/emails/batch", [mail(), mail() | {"from": "nobody"}])
    assert (answer.status_code, answer.json()["name"]) == (422, "validation_error")
    assert "index 1" in answer.json()["message"]
    assert listed(sandbox) == []


@pytest.mark.parametrize(
    "body", [[], {}, [mail()] * 101, [mail() | {"attachments": [{"filename": "a"}]}]]
)
def test_a_batch_of_the_wrong_kind_is_refused(quiet_shop: Running, body: Any) -> None:
    answer = quiet_shop.post_mail("/resend/emails/batch", body)
    assert (answer.status_code, answer.json()["name"]) == (422, "validation_error")


# --------------------------------------------------------------------------- idempotency


@pytest.mark.requirement("AUTO-05")
def test_the_same_key_and_bytes_are_sent_once(start: Callable[..., Any]) -> None:
    clock = ManualClock(time.time())
    with start(clock=clock) as sandbox:
        first = sandbox.send(key="k1")
        assert sandbox.send(key="k1").content == first.content
        assert len(listed(sandbox)) == 1
        other = sandbox.send(key="k1", subject="Something else")
        assert (other.status_code, other.json()["name"]) == (409, "invalid_idempotent_request")
        in_a_batch = sandbox.post_mail("/resend/emails/batch", [mail()], key="k1")
        assert in_a_batch.status_code == 200
        clock.move(86_401)
        assert sandbox.send(key="k1").json() != first.json()


def test_a_key_in_use_is_refused_until_its_request_is_done(sandbox: Running) -> None:
    headers = resend_headers() | {"Idempotency-Key": "k1"}
    with ThreadPoolExecutor(1) as pool:
        with sandbox.world.store.write():  # accepting the first waits for the store
            waiting = pool.submit(sandbox.send, key="k1")
            time.sleep(0.3)
            second = httpx.post(
                f"{sandbox.url}/resend/emails", json=mail(), headers=headers, trust_env=False
            )
        assert waiting.result().status_code == 200
    assert (second.status_code, second.json()["name"]) == (409, "concurrent_idempotent_requests")


def test_a_key_that_is_too_long_is_refused(quiet_shop: Running) -> None:
    answer = quiet_shop.send(key="x" * 257)
    assert (answer.status_code, answer.json()["name"]) == (400, "invalid_idempotency_key")


def test_a_refused_request_does_not_use_its_key_up(sandbox: Running) -> None:
    sandbox.fault(resend_times=1, resend_status=500)
    assert sandbox.send(key="k1").json()["name"] == "application_error"
    assert sandbox.send(key="k1", subject="").status_code == 422
    assert sandbox.send(key="k1").status_code == 200


# --------------------------------------------------------------------------- faults


@pytest.mark.requirement("AUTO-05")
@pytest.mark.parametrize(
    "knobs",
    [
        {"resend_accept_then_drop_times": 1},
        {"resend_accept_then_timeout_times": 1, "resend_timeout_seconds": 0.1},
    ],
)
def test_an_accepted_mail_whose_answer_never_came_is_not_sent_again(
    sandbox: Running, knobs: dict[str, Any]
) -> None:
    sandbox.fault(**knobs)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        sandbox.send(key="k1")
    assert sandbox.send(key="k1").status_code == 200
    assert len(listed(sandbox)) == 1


def test_a_502_page_is_html_before_or_after_acceptance(sandbox: Running) -> None:
    sandbox.fault(resend_html_502_times=1, resend_accept_then_502_times=1)
    for sent in (0, 1):
        answer = sandbox.send(key="k1")
        assert answer.status_code == 502
        assert answer.headers["content-type"].startswith("text/html")
        assert len(listed(sandbox)) == sent
    assert sandbox.send(key="k1").status_code == 200
    assert len(listed(sandbox)) == 1


def test_a_knob_that_does_not_exist_is_refused(quiet_shop: Running) -> None:
    for knobs in ({"resend_latency": 1}, {"resend_times": -1}, {"webhook_off": 1}):
        answer = quiet_shop.client.post("/_sandbox/faults", json=knobs)
        assert answer.status_code == 422


def test_all_knobs_go_back_at_once(sandbox: Running) -> None:
    sandbox.fault(resend_times=5, bulk_line_order="shuffled")
    values = sandbox.client.delete("/_sandbox/faults").json()
    assert (values["resend_times"], values["bulk_line_order"]) == (0, "interleaved")


# --------------------------------------------------------------------------- events


def test_the_signature_is_the_official_example_s() -> None:
    body = b'{"test": 2432232314}'
    headers = signer(WHSEC)("msg_p5jXN8AQM9LWM0D4loKWxJek", body, 1614265330.0)
    assert headers["svix-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.requirement("AUTO-06")
def test_sent_and_delivered_are_told_signed(sandbox: Running) -> None:
    answer = sandbox.send("ann@example.com", tags=[{"name": "send_id", "value": "7"}])
    assert types(sandbox, 2) == ["email.sent", "email.delivered"]
    for each in events(sandbox, 2):
        payload = Webhooks.verify(
            {
                "payload": each.body.decode(),
                "headers": {
                    "id": each.headers["svix-id"],
                    "timestamp": each.headers["svix-timestamp"],
                    "signature": each.headers["svix-signature"],
                },
                "webhook_secret": WHSEC,
            }
        )
        assert payload["data"]["email_id"] == answer.json()["id"]
        assert payload["data"]["tags"] == {"send_id": "7"}


@pytest.mark.requirement("EMAIL-03")
def test_a_bounced_address_is_suppressed_from_then_on(sandbox: Running) -> None:
    sandbox.send("bounced+x@resend.dev")
    assert types(sandbox, 3) == ["email.sent", "email.bounced", "suppression.added"]
    bounce = orjson.loads(events(sandbox, 2)[1].body)["data"]["bounce"]
    assert (bounce["type"], bounce["subType"]) == ("Permanent", "General")
    id_ = sandbox.send("bounced+x@resend.dev").json()["id"]
    assert types(sandbox, 4)[3] == "email.suppressed"
    found = sandbox.client.get(f"/resend/emails/{id_}", headers=resend_headers()).json()
    assert found["last_event"] == "suppressed"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("delivered@resend.dev", ["email.sent", "email.delivered"]),
        (
            "complained@resend.dev",
            ["email.sent", "email.delivered", "email.complained", "suppression.added"],
        ),
        ("suppressed@resend.dev", ["email.suppressed"]),
    ],
)
def test_the_test_addresses_do_what_they_are_named_for(
    sandbox: Running, address: str, told: list[str]
) -> None:
    sandbox.send(address)
    assert types(sandbox, len(told)) == told


def test_an_event_is_told_again_with_its_id_and_a_new_signature(sandbox: Running) -> None:
    sandbox.fault(retry_scale=0.25)
    sandbox.receiver.answers[:] = [500, 500]
    sandbox.send("suppressed@resend.dev")
    received = events(sandbox, 3)
    assert len({each.headers["svix-id"] for each in received}) == 1
    assert len({each.body for each in received}) == 1
    assert len({each.headers["svix-signature"] for each in received}) > 1


def test_events_can_be_doubled_and_held_back(sandbox: Running) -> None:
    sandbox.fault(resend_event_copies=2, resend_events_off=True)
    sandbox.send("suppressed@resend.dev")
    time.sleep(0.3)
    assert sandbox.receiver.received == []
    sandbox.fault(resend_events_off=False)
    received = events(sandbox, 2)
    assert len({each.headers["svix-id"] for each in received}) == 1
