"""The mailbox pages: what was accepted, as the recipient, the mail server and we see it."""

import re
import sqlite3
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from sandbox.clock import postgres_stamp, utc_millis
from sandbox.http import Call
from sandbox.resend.reading import last_event
from sandbox.world import World

PAGE = 50
TEMPLATES = Path(__file__).parent / "templates"
# The pages load nothing from anywhere; a mail may show inline styles and embedded images only.
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
MAIL_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; "
    "style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
)
Body = dict[str, Any]


class Mailbox:
    """Handlers of the pages."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._templates = Environment(
            loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
        )

    def index(self, _call: Call) -> Response:
        with self._world.store.read() as db:
            shops = [dict(row) for row in db.execute(_SHOPS)]
            mails = db.execute("select count(*) from emails").fetchone()[0]
            states = dict(db.execute("select state, count(*) from deliveries group by state"))
        changed = self._world.faults.changed()
        return self._page(
            "index.html", shops=shops, mails=mails, states=states, faults=changed, here="index"
        )

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
        return self._page(
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
                return self._page("missing.html", status=404, here="mailbox")
            mail = _shown(db, row, self._world.clock.now())
        return self._page("mail.html", mail=mail, here="mailbox")

    def html(self, call: Call) -> Response:
        """The mail's own HTML, on a route that lets it do nothing."""
        with self._world.store.read() as db:
            row = _row(db, call.params["id"])
        if row is None or row["html"] is None:
            return Response("No such mail, or a mail without HTML.", 404, media_type="text/plain")
        headers = {"Content-Security-Policy": MAIL_POLICY, "X-Content-Type-Options": "nosniff"}
        return HTMLResponse(_opening_links_elsewhere(row["html"]), headers=headers)

    def _page(self, template: str, *, status: int = 200, **context: Any) -> Response:
        text = self._templates.get_template(template).render(context)
        headers = {
            "Content-Security-Policy": PAGE_POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        return HTMLResponse(text, status, headers)


_SHOPS = """
select domain, name, currency, time_zone,
       (select count(*) from customers where customers.shop = shops.shop) as customers,
       (select count(*) from orders where orders.shop = shops.shop) as orders,
       (select count(*) from subscriptions where subscriptions.shop = shops.shop) as webhooks
from shops order by domain"""
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
