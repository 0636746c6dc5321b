"""`/resend/emails…`: what Resend accepts, refuses and remembers."""

import hmac
import sqlite3
import time
import uuid
from collections.abc import Callable
from typing import Any

import orjson
from starlette.responses import HTMLResponse, Response

from sandbox.clock import utc_millis
from sandbox.http import Call, Dropped, reply
from sandbox.resend.errors import ResendError, invalid, not_in_sandbox
from sandbox.resend.events import outcome_of, suppress, tell, tell_one
from sandbox.resend.idempotency import Idempotency, remember
from sandbox.resend.rate_limit import RateLimit
from sandbox.resend.reading import find_email, list_emails
from sandbox.resend.scheduling import forget_events, moment, waiting
from sandbox.resend.validation import Mail, good_mail, plain
from sandbox.world import World

MAX_BATCH = 100
BAD_GATEWAY = "<html><head><title>502 Bad Gateway</title></head><body>502 Bad Gateway</body></html>"
_FAULT_NAMES = {
    400: "validation_error",
    429: "rate_limit_exceeded",
    500: "application_error",
    503: "service_unavailable",
}
Body = dict[str, Any]


class ResendApi:
    """One account (team): one key, one rate limit, one suppression list."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._idempotency = Idempotency(world.store)
        self._limit = RateLimit()

    def emails(self, call: Call) -> Response:
        """`POST /emails` and `GET /emails`."""
        return self._guarded(call, self._send_one if call.method == "POST" else self._list)

    def batch(self, call: Call) -> Response:
        """`POST /emails/batch`, strict (all or none) or permissive (the good ones)."""
        return self._guarded(call, self._send_batch)

    def email(self, call: Call) -> Response:
        """`GET /emails/{id}`, and `PATCH`, which moves a scheduled mail."""
        return self._guarded(call, self._find if call.method == "GET" else self._reschedule)

    def cancel(self, call: Call) -> Response:
        """`POST /emails/{id}/cancel`."""
        return self._guarded(call, self._cancel)

    def guarded(self, handle: Callable[[Call], Response]) -> Callable[[Call], Response]:
        """The same door for what is not about mails (account.py)."""
        return lambda call: self._guarded(call, handle)

    def anything_else(self, call: Call) -> Response:
        def refuse(_: Call) -> Response:
            raise not_in_sandbox(f"{call.method} {call.path.removeprefix('/resend')}")

        return self._guarded(call, refuse)

    def pace(self, _call: Call) -> Response:
        """`GET /_sandbox/resend/pace`: how many requests came in each second; not of Resend."""
        return reply(
            {
                "limit": self._world.faults["resend_rate_per_second"],
                "seconds": self._limit.seconds(),
            }
        )

    # ------------------------------------------------------------------ at the door

    def _guarded(self, call: Call, handle: Callable[[Call], Response]) -> Response:
        faults = self._world.faults
        time.sleep(faults["resend_latency_seconds"])
        if not call.headers.get("user-agent"):
            return Response("error code: 1010", 403, media_type="text/plain")
        standing = self._limit.count(
            limit=faults["resend_rate_per_second"], now=self._world.clock.now()
        )
        try:
            self._authenticate(call)
            self._fail_when(limited=not standing.allowed)
            gone = faults.take("resend_html_502_times")
            response = HTMLResponse(BAD_GATEWAY, 502) if gone else handle(call)
        except ResendError as error:
            response = error.response()
        for name, value in standing.headers.items():
            response.headers[name] = value
        return response

    def _authenticate(self, call: Call) -> None:
        scheme, _, key = call.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise ResendError(401, "missing_api_key", "Missing API Key")
        if not hmac.compare_digest(
            key.strip().encode(), self._world.config.resend_api_key.encode()
        ):
            raise ResendError(403, "invalid_api_key", "API key is invalid")

    def _fail_when(self, *, limited: bool) -> None:
        if limited:
            raise ResendError(
                429, "rate_limit_exceeded", "Too many requests. Please limit the number."
            )
        if self._world.faults.take("resend_times"):
            status = self._world.faults["resend_status"]
            name = self._world.faults["resend_error_name"] or _FAULT_NAMES.get(
                status, "application_error"
            )
            raise ResendError(status, name, "The sandbox was told to fail.")

    # ------------------------------------------------------------------ sending

    def _send_one(self, call: Call) -> Response:
        def answer(ids: list[str], _errors: list[Body]) -> Body:
            return {"id": ids[0]}

        return self._accept(
            call, lambda data: ([good_mail(data)], []), answer, endpoint="POST /emails"
        )

    def _send_batch(self, call: Call) -> Response:
        mode = call.headers.get("x-batch-validation", "strict")
        if mode not in ("strict", "permissive"):
            raise invalid("The `x-batch-validation` header must be strict or permissive.")
        is_strict = mode == "strict"

        def answer(ids: list[str], errors: list[Body]) -> Body:
            data = {"data": [{"id": each} for each in ids]}
            return data if is_strict else {**data, "errors": errors}

        return self._accept(
            call,
            lambda data: _good_batch(data, is_strict=is_strict),
            answer,
            endpoint="POST /emails/batch",
        )

    def _accept(
        self,
        call: Call,
        check: Callable[[Any], tuple[list[Mail], list[Body]]],
        answer: Callable[[list[str], list[Body]], Body],
        *,
        endpoint: str,
    ) -> Response:
        key = call.headers.get("idempotency-key")
        faults, now = self._world.faults, self._world.clock.now()
        with self._idempotency.claim(endpoint, key):
            before = self._idempotency.remembered(endpoint, key, call.body, now=now)
            if before is not None:
                return Response(before, media_type="application/json")
            mails, errors = check(_json(call.body))
            self._mind_quota(len(mails), now)
            times = [
                None if mail.scheduled_at is None else moment(mail.scheduled_at, now=now)
                for mail in mails
            ]
            ids = [str(uuid.uuid4()) for _ in mails]
            response = orjson.dumps(answer(ids, errors))
            with self._world.store.write() as db:
                for mail, id_, at in zip(mails, ids, times, strict=True):
                    self._store_mail(db, mail, id_, endpoint=endpoint, key=key, at=at, now=now)
                if key is not None:
                    remember(db, endpoint, key, call.body, response, now=now)
        self._world.deliverer.wake()
        if faults.take("resend_accept_then_502_times"):
            return HTMLResponse(BAD_GATEWAY, 502)
        if faults.take("resend_accept_then_drop_times"):
            return Dropped()
        if faults.take("resend_accept_then_timeout_times"):
            return Dropped(delay=faults["resend_timeout_seconds"])
        return Response(response, media_type="application/json")

    def _store_mail(
        self,
        db: sqlite3.Connection,
        mail: Mail,
        id_: str,
        *,
        endpoint: str,
        key: str | None,
        at: float | None,
        now: float,
    ) -> None:
        message_id = f"<{uuid.uuid4().hex}@{plain(mail.sender).partition('@')[2]}>"
        seq = db.execute(
            """insert into emails (id, accepted_at, endpoint, idempotency_key, sender, subject,
                                   html, text, message_id, body)
               values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) returning seq""",
            [
                id_,
                now,
                endpoint,
                key,
                mail.sender,
                mail.subject,
                mail.html,
                mail.text,
                message_id,
                orjson.dumps(_kept(mail)),
            ],
        ).fetchone()["seq"]
        begin = now if at is None else at
        outcomes = self._store_recipients(db, mail, id_, seq=seq, begin=begin, now=now)
        data = _event_data(mail, id_, message_id, now)
        if at is not None:
            db.execute(
                "insert into scheduled (email, at, data, outcomes) values (?, ?, ?, ?)",
                [seq, at, orjson.dumps(data), ",".join(outcomes)],
            )
            tell_one(db, self._world, "email.scheduled", data, seq=seq, at=now, now=now)
        tell(db, self._world, data, outcomes, seq=seq, begin=begin, now=now)

    def _mind_quota(self, count: int, now: float) -> None:
        """Of the free plan, from midnight UTC to midnight."""
        quota = self._world.faults["resend_daily_quota"]
        if not quota:
            return
        with self._world.store.read() as db:
            used = db.execute(
                "select count(*) from emails where accepted_at >= ?", [now - now % 86_400]
            ).fetchone()[0]
        if used + count > quota:
            raise ResendError(
                429, "daily_quota_exceeded", "You have reached your daily email sending quota."
            )

    def _store_recipients(
        self,
        db: sqlite3.Connection,
        mail: Mail,
        id_: str,
        *,
        seq: int,
        begin: float,
        now: float,
    ) -> list[str]:
        outcomes = []
        for kind, addresses in (("to", mail.to), ("cc", mail.cc), ("bcc", mail.bcc)):
            for address in dict.fromkeys(plain(each) for each in addresses):
                outcome = outcome_of(db, address)
                db.execute(
                    "insert into email_recipients (email, address, kind, outcome)"
                    " values (?, ?, ?, ?)",
                    [seq, address, kind, outcome],
                )
                suppress(
                    db, self._world, address, outcome=outcome, email_id=id_, begin=begin, now=now
                )
                outcomes.append(outcome)
        return outcomes

    # ------------------------------------------------------------------ looking

    def _find(self, call: Call) -> Response:
        return find_email(self._world.store, call.params["id"], now=self._world.clock.now())

    def _reschedule(self, call: Call) -> Response:
        asked, now = _json(call.body), self._world.clock.now()
        if not isinstance(asked, dict) or asked.keys() != {"scheduled_at"}:
            raise invalid("Only the `scheduled_at` field can be changed.")
        at = moment(asked["scheduled_at"], now=now)
        with self._world.store.write() as db:
            row = waiting(db, call.params["id"], now=now)
            forget_events(db, row["seq"], now=now)
            db.execute("update scheduled set at = ? where email = ?", [at, row["seq"]])
            data, outcomes = orjson.loads(row["data"]), row["outcomes"].split(",")
            tell(db, self._world, data, outcomes, seq=row["seq"], begin=at, now=now)
        self._world.deliverer.wake()
        return reply({"object": "email", "id": call.params["id"]})

    def _cancel(self, call: Call) -> Response:
        now = self._world.clock.now()
        with self._world.store.write() as db:
            row = waiting(db, call.params["id"], now=now)
            forget_events(db, row["seq"], now=now)
            db.execute("update scheduled set canceled_at = ? where email = ?", [now, row["seq"]])
            db.execute(
                "insert into email_events (id, email, type, at, payload)"
                " values (?, ?, 'email.canceled', ?, '{}')",
                [str(uuid.uuid4()), row["seq"], now],
            )
        return reply({"object": "email", "id": call.params["id"]})

    def _list(self, call: Call) -> Response:
        return list_emails(self._world.store, call.query, now=self._world.clock.now())


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ResendError(400, "validation_error", "The request body is not valid JSON.") from None


def _good_batch(data: Any, *, is_strict: bool) -> tuple[list[Mail], list[Body]]:
    """The good mails, and what is wrong with the others; strict: any that is wrong is an error."""
    if not isinstance(data, list) or not data:
        raise invalid("The request body must be an array of at least one email.")
    if len(data) > MAX_BATCH:
        raise invalid(f"The batch cannot contain more than {MAX_BATCH} emails.")
    mails: list[Mail] = []
    errors: list[Body] = []
    for place, each in enumerate(data):
        try:
            mails.append(good_mail(each, in_batch=True))
        except ResendError as error:
            if is_strict:
                message = f"Email at index {place}: {error.message}"
                raise ResendError(error.status, error.name, message) from error
            errors.append({"index": place, "message": error.message})
    return mails, errors


def _kept(mail: Mail) -> Body:
    names = ("to", "cc", "bcc", "reply_to", "headers", "tags")
    return {name: getattr(mail, name) for name in names}


def _event_data(mail: Mail, id_: str, message_id: str, now: float) -> Body:
    data: Body = {
        "created_at": utc_millis(now),
        "email_id": id_,
        "message_id": message_id,
        "from": mail.sender,
        "to": mail.to,
        "subject": mail.subject,
    }
    if mail.tags:
        data["tags"] = {tag["name"]: tag["value"] for tag in mail.tags}
    return data
