"""The adapter to Resend: exact bytes out, answers and events in."""

import base64
import hashlib
import hmac
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import orjson
import pytest
from pydantic import SecretStr

from activation.provider import (
    Accepted,
    BadSignature,
    ProviderAnswer,
    RefusalKind,
    Refused,
    Unknown,
    Unreachable,
    UnreadableEvent,
)
from activation.provider.resend import ResendProvider
from core.errors import PermanentError, TransientError

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'[{"to":["a@example.com"]}]'


def provider(handler: httpx.MockTransport | None = None) -> ResendProvider:
    return ResendProvider(
        api_key=SecretStr("re_123"),
        base_url="https://api.resend.com",
        webhook_secret=SecretStr(SECRET),
        transport=handler,
    )


def answered(response: httpx.Response) -> ProviderAnswer:
    with provider(httpx.MockTransport(lambda _: response)) as resend:
        return resend.send_batch(BODY, "b/1")


@pytest.mark.requirement("AUTO-05")
def test_the_stored_bytes_go_out_unchanged_under_their_key() -> None:
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"data": [{"id": "m1"}]})

    with provider(httpx.MockTransport(handle)) as resend:
        assert resend.send_batch(BODY, "b/1") == Accepted(("m1",))
    [request] = seen
    assert (request.method, str(request.url)) == ("POST", "https://api.resend.com/emails/batch")
    assert request.content == BODY
    assert request.headers["idempotency-key"] == "b/1"
    assert request.headers["authorization"] == "Bearer re_123"
    assert request.headers["user-agent"].startswith("ecomcrm/")
    assert request.headers["content-type"] == "application/json"


@pytest.mark.requirement("AUTO-05")
@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, json={"data": [{"id": 1}]}),
        httpx.Response(200, json={"data": [{}]}),
        httpx.Response(200, json=[]),
        httpx.Response(200, text="<html>"),
        httpx.Response(502, text="<html>Bad gateway</html>"),
        httpx.Response(422, text="<html>not Resend</html>"),
        httpx.Response(302, headers={"location": "https://example.com"}),
    ],
)
def test_an_answer_that_cannot_be_read_says_nothing(response: httpx.Response) -> None:
    assert isinstance(answered(response), Unknown)


@pytest.mark.requirement("AUTO-05")
def test_a_parsed_refusal_is_definite() -> None:
    answer = answered(
        httpx.Response(
            429,
            json={"statusCode": 429, "name": "rate_limit_exceeded", "message": "Too many"},
            headers={"Retry-After": "1"},
        )
    )
    assert isinstance(answer, Refused)
    assert answer.kind is RefusalKind.RATE


@pytest.mark.requirement("AUTO-05")
def test_a_closed_port_is_unreachable_and_a_cut_answer_unknown() -> None:
    with ResendProvider(
        api_key=SecretStr("re_123"), base_url="http://127.0.0.1:9", webhook_secret=None
    ) as resend:
        assert isinstance(resend.send_batch(BODY, "b/1"), Unreachable)

    def cut(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("reset", request=request)

    with provider(httpx.MockTransport(cut)) as resend:
        assert isinstance(resend.send_batch(BODY, "b/1"), Unknown)


def test_without_a_key_the_shop_is_told_so() -> None:
    with ResendProvider(api_key=None, base_url="https://x", webhook_secret=None) as resend:
        answer = resend.send_batch(BODY, "b/1")
        assert isinstance(answer, Refused)
        assert (answer.kind, answer.message) == (RefusalKind.SHOP, "RESEND_API_KEY is not set.")
        with pytest.raises(PermanentError):
            resend.look_up("m1")


def signed(body: bytes, *, event_id: str = "msg_1", at: float | None = None) -> dict[str, str]:
    stamp = str(int(time.time() if at is None else at))
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    digest = hmac.new(key, f"{event_id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "Svix-Id": event_id,
        "Svix-Timestamp": stamp,
        "Svix-Signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def test_a_signed_event_is_read() -> None:
    body = b'{"type":"email.sent","created_at":"2026-11-20T12:00:00.000Z","data":{}}'
    event = provider().verify_webhook(headers=signed(body), body=body)
    assert (event.event_id, event.event_type) == ("msg_1", "email.sent")
    assert event.occurred_at is not None
    assert event.occurred_at.isoformat() == "2026-11-20T12:00:00+00:00"
    assert event.body["data"] == {}


@pytest.mark.parametrize(
    "change",
    [
        {"Svix-Signature": "v1,AAAA"},
        {"Svix-Signature": ""},
        {"Svix-Id": "msg_2"},
        {"Svix-Timestamp": "1"},
        {"Svix-Timestamp": "soon"},
    ],
)
def test_an_event_that_is_not_signed_right_is_refused(change: dict[str, str]) -> None:
    body = b'{"type":"email.sent"}'
    with pytest.raises(BadSignature):
        provider().verify_webhook(headers=signed(body) | change, body=body)


def test_old_events_other_bodies_and_a_missing_secret_are_refused() -> None:
    body = b'{"type":"email.sent"}'
    with pytest.raises(BadSignature):
        provider().verify_webhook(headers=signed(body, at=time.time() - 3600), body=body)
    with pytest.raises(BadSignature):
        provider().verify_webhook(headers=signed(body), body=body + b" ")
    with pytest.raises(BadSignature):
        provider().verify_webhook(headers=signed(b"\xff"), body=b"\xff")
    nobody = ResendProvider(api_key=None, base_url="https://x", webhook_secret=None)
    with pytest.raises(BadSignature, match="ECOMCRM_RESEND_WEBHOOK_SECRET"):
        nobody.verify_webhook(headers=signed(body), body=body)


@pytest.mark.parametrize("body", [b"not json", b"[]", b'"text"', b"{}", b'{"type": 5}'])
def test_a_signed_event_that_cannot_be_read_says_which(body: bytes) -> None:
    with pytest.raises(UnreadableEvent) as caught:
        provider().verify_webhook(headers=signed(body), body=body)
    assert caught.value.event_id == "msg_1"


def test_an_event_with_a_strange_time_keeps_the_rest() -> None:
    body = b'{"type":"email.sent","created_at":"yesterday"}'
    assert provider().verify_webhook(headers=signed(body), body=body).occurred_at is None


@contextmanager
def answering(status: int, payload: object) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = orjson.dumps(payload)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:  # a look-up that raises must not leave a thread that keeps pytest alive
            server.shutdown()
            thread.join()


def looked_up(status: int, payload: object) -> object:
    with (
        answering(status, payload) as url,
        ResendProvider(api_key=SecretStr("re_1"), base_url=url, webhook_secret=None) as resend,
    ):
        return resend.look_up("m1")


def test_a_mail_is_looked_up_with_its_tags() -> None:
    tags = [{"name": "send_id", "value": "7"}]
    found = looked_up(200, {"object": "email", "id": "m1", "last_event": "sent", "tags": tags})
    assert found is not None
    assert (found.message_id, found.last_event, found.tags) == ("m1", "sent", {"send_id": "7"})


def test_a_look_up_that_fails_says_whether_to_try_again() -> None:
    assert looked_up(404, {"statusCode": 404, "name": "not_found", "message": "no"}) is None
    with pytest.raises(TransientError):
        looked_up(500, {"statusCode": 500, "name": "application_error", "message": "oops"})
    with pytest.raises(PermanentError):
        looked_up(403, {"statusCode": 403, "name": "invalid_api_key", "message": "no"})
