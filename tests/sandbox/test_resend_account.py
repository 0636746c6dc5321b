"""What belongs to the account: later mails, permissive batches, the suppression list, webhooks."""

from collections.abc import Callable
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default
from typing import Any

import orjson
import pytest

from sandbox.clock import ManualClock
from sandbox.faults import DEFAULTS
from tests.sandbox.support import Running, mail, resend_headers, wait_for
from tests.sandbox.test_resend import events, types

NOON = 1_800_000_000.0


def ask(sandbox: Running, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
    content = None if body is None else orjson.dumps(body)
    answer = sandbox.client.request(
        method, f"/resend{path}", content=content, headers=resend_headers()
    )
    return answer.status_code, answer.json()


def last_event(sandbox: Running, id_: str) -> str:
    return str(ask(sandbox, "GET", f"/emails/{id_}")[1]["last_event"])


@pytest.fixture
def frozen(start: Callable[..., Any]) -> Any:
    """A sandbox whose clock a test moves, without a limit of requests."""
    clock = ManualClock(NOON)
    with start(clock=clock) as sandbox:
        sandbox.fault(resend_rate_per_second=1000, resend_event_delay_seconds=1.0)
        yield sandbox, clock


@pytest.mark.parametrize(
    "when", ["in 10 min", "in 1 hour", datetime.fromtimestamp(NOON + 3600, UTC).isoformat()]
)
def test_a_scheduled_mail_leaves_at_its_time(frozen: Any, when: str) -> None:
    sandbox, clock = frozen
    id_ = sandbox.send(scheduled_at=when).json()["id"]
    assert last_event(sandbox, id_) == "scheduled"
    assert ask(sandbox, "GET", f"/emails/{id_}")[1]["scheduled_at"] is not None
    clock.move(3602)
    assert last_event(sandbox, id_) == "delivered"


def test_a_scheduled_mail_can_be_moved_and_cancelled_until_it_leaves(frozen: Any) -> None:
    sandbox, clock = frozen
    moved = sandbox.send(scheduled_at="in 10 min").json()["id"]
    cancelled = sandbox.send(scheduled_at="in 10 min").json()["id"]
    assert ask(sandbox, "PATCH", f"/emails/{moved}", {"scheduled_at": "in 2 days"}) == (
        200,
        {"object": "email", "id": moved},
    )
    assert ask(sandbox, "POST", f"/emails/{cancelled}/cancel")[0] == 200
    clock.move(3600)
    assert last_event(sandbox, moved) == "scheduled"
    assert last_event(sandbox, cancelled) == "canceled"
    clock.move(2 * 86_400)
    assert last_event(sandbox, moved) == "delivered"
    for id_ in (moved, cancelled):
        assert ask(sandbox, "POST", f"/emails/{id_}/cancel")[1]["name"] == "validation_error"
    assert ask(sandbox, "POST", "/emails/none/cancel")[0] == 404


@pytest.mark.parametrize("when", ["yesterday", "in 40 days", "2020-01-01T00:00:00Z", 5])
def test_a_time_that_is_none_or_too_far_is_refused(quiet_shop: Running, when: Any) -> None:
    assert quiet_shop.send(scheduled_at=when).json()["name"] == "validation_error"


def test_a_permissive_batch_takes_the_good_mails_and_names_the_bad(sandbox: Running) -> None:
    mails = [mail("a@example.com"), mail() | {"from": "nobody"}, mail("b@example.com")]
    answer = sandbox.client.post(
        "/resend/emails/batch",
        json=mails,
        headers=resend_headers() | {"x-batch-validation": "permissive"},
    ).json()
    assert len(answer["data"]) == 2
    assert [each["index"] for each in answer["errors"]] == [1]


def test_a_daily_quota_has_a_name_of_its_own(frozen: Any) -> None:
    sandbox, clock = frozen
    sandbox.fault(resend_daily_quota=2)
    assert [sandbox.send().status_code for _ in range(3)] == [200, 200, 429]
    assert sandbox.send().json()["name"] == "daily_quota_exceeded"
    clock.move(86_400)
    assert sandbox.send().status_code == 200


def test_any_error_of_the_table_can_be_asked_for(sandbox: Running) -> None:
    sandbox.fault(resend_times=1, resend_status=403, resend_error_name="suspended_api_key")
    answer = sandbox.send()
    assert (answer.status_code, answer.json()["name"]) == (403, "suspended_api_key")


@pytest.mark.requirement("EMAIL-03")
def test_the_list_is_kept_told_of_and_blocks(sandbox: Running) -> None:
    sandbox.fault(resend_rate_per_second=1000)
    status, made = ask(sandbox, "POST", "/suppressions", {"email": "Ann@Example.com"})
    assert (status, made["object"]) == (201, "suppression")
    assert ask(sandbox, "POST", "/suppressions", {"email": "ann@example.com"})[1] == made
    found = ask(sandbox, "GET", "/suppressions/ann@example.com")[1]
    assert (found["email"], found["origin"], found["source_id"]) == (
        "ann@example.com",
        "manual",
        None,
    )
    sandbox.send("ann@example.com")
    assert types(sandbox, 2) == ["suppression.added", "email.suppressed"]
    assert ask(sandbox, "DELETE", f"/suppressions/{made['id']}")[1]["deleted"] is True
    assert ask(sandbox, "GET", "/suppressions/ann@example.com")[0] == 404
    told = orjson.loads(events(sandbox, 3)[2].body)
    assert (told["type"], told["data"]["email"]) == ("suppression.removed", "ann@example.com")


def test_the_list_is_paged_filtered_and_changed_in_batches(sandbox: Running) -> None:
    sandbox.fault(resend_rate_per_second=1000, resend_events_off=True)
    emails = [f"c{number}@example.com" for number in range(5)]
    _, added = ask(sandbox, "POST", "/suppressions/batch/add", {"emails": [*emails, emails[0]]})
    assert len(added["data"]) == 5
    sandbox.send("bounced@resend.dev")
    bounced = ask(sandbox, "GET", "/suppressions?origin=bounce")[1]
    assert [each["email"] for each in bounced["data"]] == ["bounced@resend.dev"]
    assert bounced["data"][0]["source_id"]
    first = ask(sandbox, "GET", "/suppressions?limit=4")[1]
    rest = ask(sandbox, "GET", f"/suppressions?limit=4&after={first['data'][-1]['id']}")[1]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    seen = {each["email"] for page in (first, rest) for each in page["data"]}
    assert seen == {*emails, "bounced@resend.dev"}
    assert ask(sandbox, "GET", "/suppressions?after=x")[1]["name"] == "validation_error"
    _, gone = ask(
        sandbox, "POST", "/suppressions/batch/remove", {"emails": [emails[0], "x@example.com"]}
    )
    assert len(gone["data"]) == 1
    too_many = {"emails": [f"x{number}@example.com" for number in range(101)]}
    assert ask(sandbox, "POST", "/suppressions/batch/add", too_many)[0] == 422


def test_a_webhook_that_was_made_gets_only_what_it_asked_for(sandbox: Running) -> None:
    sandbox.fault(resend_rate_per_second=1000)
    endpoint = f"{sandbox.receiver.url}/second"
    status, made = ask(
        sandbox, "POST", "/webhooks", {"endpoint": endpoint, "events": ["email.delivered"]}
    )
    assert status == 201
    assert made["signing_secret"].startswith("whsec_")
    sandbox.send()
    wait_for(lambda: sandbox.receiver.on("/second"))
    assert types(sandbox, 2) == ["email.sent", "email.delivered"]
    [one] = sandbox.receiver.on("/second")
    assert orjson.loads(one.body)["type"] == "email.delivered"
    listed = ask(sandbox, "GET", "/webhooks")[1]["data"]
    assert {each["endpoint"] for each in listed} == {endpoint, f"{sandbox.receiver.url}/resend"}
    assert ask(sandbox, "DELETE", f"/webhooks/{made['id']}")[1]["deleted"] is True
    assert ask(sandbox, "POST", "/webhooks", {"endpoint": "ftp://x", "events": []})[0] == 422


def test_each_loaded_shop_has_a_verified_domain(quiet_shop: Running) -> None:
    [domain] = ask(quiet_shop, "GET", "/domains")[1]["data"]
    assert (domain["name"], domain["status"]) == ("try.example", "verified")
    found = ask(quiet_shop, "GET", f"/domains/{domain['id']}")[1]
    assert {each["record"] for each in found["records"]} == {"SPF", "DKIM"}


def test_events_can_be_shuffled(sandbox: Running) -> None:
    """Each waits a time of its own, so that some come in another order than they happened in."""
    assert DEFAULTS["resend_event_shuffle_seconds"] == 0
    sandbox.fault(resend_event_shuffle_seconds=0.5, resend_rate_per_second=1000)
    sandbox.post_mail("/resend/emails/batch", [mail(f"c{n}@example.com") for n in range(20)])
    assert sorted(types(sandbox, 40)) != types(sandbox, 40)
    by_mail: dict[str, list[str]] = {}
    for each in events(sandbox, 40):
        told = orjson.loads(each.body)
        by_mail.setdefault(told["data"]["email_id"], []).append(told["type"])
    assert ["email.delivered", "email.sent"] in by_mail.values()


def test_a_mail_can_be_had_as_a_file_for_mail_programs(sandbox: Running) -> None:
    link = "https://try.example/unsubscribe/" + "a.b" * 60
    id_ = sandbox.send(
        "Zoë <zoe@example.com>",
        subject="Grüße",
        html="<p>Grüße</p>",
        text="Grüße",
        headers={"List-Unsubscribe": f"<{link}>"},
    ).json()["id"]
    answer = sandbox.client.get(f"/mailbox/{id_}/eml")
    assert answer.headers["content-type"] == "message/rfc822"
    assert f"List-Unsubscribe: <{link}>\r\n".encode() in answer.content
    message = message_from_bytes(answer.content, policy=default)
    assert not message.defects
    assert (message["Subject"], message["To"]) == ("Grüße", "Zoë <zoe@example.com>")
    assert [part.get_content_type() for part in message.walk()] == [
        *("multipart/alternative", "text/plain", "text/html"),
    ]
    assert sandbox.client.get("/mailbox/none/eml").status_code == 404
