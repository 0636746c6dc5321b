"""A kept mail as the file that a mail program opens: both parts, all headers.

Not signed: DKIM needs a key that somebody publishes, and nothing here is looked up.
"""

import sqlite3
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTPUTF8
from email.utils import format_datetime
from typing import Any

# A longer header would be folded by encoding it, and a link in it could not be read any more.
POLICY = SMTPUTF8.clone(max_line_length=998)


def eml_of(row: sqlite3.Row, kept: dict[str, Any]) -> bytes:
    """`row` of `emails`, `kept` its addresses, headers and tags."""
    message = EmailMessage(policy=POLICY)
    message["From"] = row["sender"]
    for name, key in (("To", "to"), ("Cc", "cc"), ("Reply-To", "reply_to")):
        if kept[key]:
            message[name] = ", ".join(kept[key])
    message["Subject"] = row["subject"]
    message["Date"] = format_datetime(datetime.fromtimestamp(row["accepted_at"], UTC))
    message["Message-ID"] = row["message_id"]
    for name, value in kept["headers"].items():
        message[name] = value
    text, html = row["text"], row["html"]
    if text is not None:
        message.set_content(text, cte="quoted-printable")
    if html is not None and text is not None:
        message.add_alternative(html, subtype="html", cte="quoted-printable")
    elif html is not None:
        message.set_content(html, subtype="html", cte="quoted-printable")
    return message.as_bytes()
