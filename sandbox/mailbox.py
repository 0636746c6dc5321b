"""The mailbox pages: what was accepted, as the recipient, the mail server and we see it."""

import re
import sqlite3
from typing import Any

import orjson
from starlette.responses import HTMLResponse, Response

from sandbox.clock import postgres_stamp, utc_millis
from sandbox.eml import eml_of
from sandbox.http import Call
from sandbox.pages import render_page
from sandbox.resend.reading import last_event
from sandbox.world import World

PAGE = 50
MAIL_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; "
    "style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
)
Body = dict[str, Any]


class Mailbox:
    """Handlers of the pages."""

    def __init__(self, world: World) -> None:
        self._world = world

    def list(self, call: Call) -> Response:
        """Newest first, 50 a page; `q` looks in subject and addresses."""
        text = call.query.get("q", "").strip()
        page = int(call.query.get("page", "1")) if call.query.get("page", "1").isdigit() else 1
        page = min(max(1, page), 1_000_000)
        with self._world.store.read() as db:
            now = self._world.clock.now()
            rows = db.execute(_MAILS, [f"%{_like(text)}%", PAGE + 1, (page - 1) * PAGE]).fetchall()
            mails = [_listed(db, row, now) for row in rows[:PAGE]]
            total = db.execute("select count(*) from emails").fetchone()[0]
        return render_page(
            "list.html",
            mails=mails,
            total=total,
            text=text,
            page=page,
            has_more=len(rows) > PAGE,
            here="mailbox",
        )

    def mail(self, call: Call) -> Response:
        with self._world.store.read() as db:
            row = _row(db, call.params["id"])
            if row is None:
                return render_page("missing.html", status=404, here="mailbox")
            mail = _shown(db, row, self._world.clock.now())
        return render_page("mail.html", mail=mail, here="mailbox")

    def html(self, call: Call) -> Response:
        """The mail's own HTML, on a route that lets it do nothing."""
        with self._world.store.read() as db:
            row = _row(db, call.params["id"])
        if row is None or row["html"] is None:
            return Response("No such mail, or a mail without HTML.", 404, media_type="text/plain")
        headers = {"Content-Security-Policy": MAIL_POLICY, "X-Content-Type-Options": "nosniff"}
        return HTMLResponse(_opening_links_elsewhere(row["html"]), headers=headers)

    def eml(self, call: Call) -> Response:
        """The mail as a file, for mail programs and checkers."""
        with self._world.store.read() as db:
            row = _row(db, call.params["id"])
        if row is None:
            return Response("No such mail.", 404, media_type="text/plain")
        content = eml_of(row, orjson.loads(row["body"]))
        name = f'attachment; filename="{row["id"]}.eml"'
        return Response(content, media_type="message/rfc822", headers={"Content-Disposition": name})


_MAILS = """
select * from emails
where subject like ?1 escape '!' or exists (
    select 1 from email_recipients where email = seq and address like ?1 escape '!')
order by seq desc limit ?2 offset ?3"""


def _opening_links_elsewhere(html: str) -> str:
    """The mail with a base target; behind its doctype, before which it would change the layout."""
    head = re.search(r"<head\b[^>]*>", html, re.IGNORECASE) or re.match(
        r"\s*<!doctype\b[^>]*>", html, re.IGNORECASE
    )
    end = head.end() if head else 0
    return f'{html[:end]}<base target="_blank">{html[end:]}'


def _like(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def _row(db: sqlite3.Connection, id_: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute("select * from emails where id = ?", [id_]).fetchone()
    return row


def _listed(db: sqlite3.Connection, row: sqlite3.Row, now: float) -> Body:
    kept = orjson.loads(row["body"])
    return {
        "id": row["id"],
        "subject": row["subject"],
        "to": kept["to"],
        "sender": row["sender"],
        "accepted_at": utc_millis(row["accepted_at"]),
        "accepted_short": postgres_stamp(row["accepted_at"])[:19],
        "state": last_event(db, row["seq"], now),
    }


def _shown(db: sqlite3.Connection, row: sqlite3.Row, now: float) -> Body:
    kept = orjson.loads(row["body"])
    return _listed(db, row, now) | {
        "has_html": row["html"] is not None,
        "source": row["html"],
        "text": row["text"],
        "size": len(row["html"] or ""),
        "headers": _headers(row, kept),
        "tags": kept["tags"],
        "events": _events(db, row["seq"]),
        "endpoint": row["endpoint"],
        "idempotency_key": row["idempotency_key"],
    }


def _headers(row: sqlite3.Row, kept: Body) -> list[tuple[str, str]]:
    lines = [("From", row["sender"])]
    for name, key in (("To", "to"), ("Cc", "cc"), ("Bcc", "bcc"), ("Reply-To", "reply_to")):
        if kept[key]:
            lines.append((name, ", ".join(kept[key])))
    lines += [("Subject", row["subject"]), ("Message-ID", row["message_id"])]
    return lines + list(kept["headers"].items())


def _events(db: sqlite3.Connection, seq: int) -> list[Body]:
    """Each event with what became of telling it."""
    events = db.execute("select * from email_events where email = ? order by at", [seq]).fetchall()
    told = """select state, attempts, last_status, last_error from deliveries
              where message_id = ? order by num"""
    return [
        {
            "type": event["type"],
            "at": utc_millis(event["at"]),
            "deliveries": [dict(each) for each in db.execute(told, [event["id"]])],
        }
        for event in events
    ]
