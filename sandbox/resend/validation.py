"""What makes a mail acceptable; the result is the mail in one shape."""

import re
from dataclasses import dataclass, field
from email.utils import parseaddr
from typing import Any

from sandbox.resend.errors import invalid, missing, not_in_sandbox

MAX_RECIPIENTS = 50
MAX_TAGS = 75
KNOWN = {
    "from", "to", "subject", "html", "text", "cc", "bcc", "reply_to", "headers", "tags",
    "scheduled_at",
}  # fmt: skip
NOT_BUILT = {"topic_id", "template", "attachments", "react"}
ADDRESS = re.compile(r"[^\s@<>,;:\"()\[\]\\]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")
_HEADER_NAME = re.compile(r"[!-9;-~]+")
_LINE_BREAKS = re.compile(r"[\r\n\x00]")


@dataclass(frozen=True, kw_only=True)
class Mail:
    """A mail that was found good. Addresses as given, `plain` without display name."""

    sender: str
    to: list[str]
    subject: str
    html: str | None
    text: str | None
    cc: list[str] = field(default_factory=list)
    bcc: list[str] = field(default_factory=list)
    reply_to: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    tags: list[dict[str, str]] = field(default_factory=list)
    scheduled_at: str | None = None


def good_mail(data: Any, *, in_batch: bool = False) -> Mail:
    """The mail in a request body. Raises ResendError with Resend's status and name."""
    if not isinstance(data, dict):
        raise invalid("The request body must be an object.")
    _no_surprises(data, in_batch=in_batch)
    for name in ("from", "to", "subject"):
        if data.get(name) in (None, "", []):
            raise missing(name)
    html, text = _text(data, "html"), _text(data, "text")
    if html is None and text is None:
        raise missing("html` or `text")
    return Mail(
        sender=_addresses(data, "from", most=1)[0],
        to=_addresses(data, "to"),
        subject=_header_value("subject", data["subject"]),
        html=html,
        text=text,
        cc=_addresses(data, "cc"),
        bcc=_addresses(data, "bcc"),
        reply_to=_addresses(data, "reply_to"),
        headers=_headers(data.get("headers")),
        tags=_tags(data.get("tags")),
        scheduled_at=data.get("scheduled_at"),
    )


def plain(address: str) -> str:
    """`Ann <ann@example.com>` -> `ann@example.com`, as it is compared."""
    return parseaddr(address)[1].strip().lower()


def _no_surprises(data: dict[str, Any], *, in_batch: bool) -> None:
    if in_batch and data.get("attachments"):
        raise invalid("The `attachments` field is not supported in batch emails.")
    for name, value in data.items():
        if name in NOT_BUILT and value in (None, []):
            continue
        if name not in KNOWN:
            raise not_in_sandbox(f"the field `{name}` of a mail")


def _text(data: dict[str, Any], name: str) -> str | None:
    value = data.get(name)
    if value is not None and not isinstance(value, str):
        raise invalid(f"The `{name}` field must be a string.")
    return value


def _addresses(data: dict[str, Any], name: str, *, most: int = MAX_RECIPIENTS) -> list[str]:
    value = data.get(name)
    given = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise invalid(f"Invalid `{name}` field.")
    if len(given) > most:
        raise invalid(f"The `{name}` field cannot contain more than {most} addresses.")
    for each in given:
        if _LINE_BREAKS.search(each) or not ADDRESS.fullmatch(parseaddr(each)[1]):
            raise invalid(
                f"Invalid `{name}` field. The email address needs to follow the "
                "`email@example.com` or `Name <email@example.com>` format."
            )
    return given


def _header_value(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise invalid(f"The `{name}` field must be a string.")
    if _LINE_BREAKS.search(value):
        raise invalid(f"The `{name}` field must not contain line breaks.")
    return value


def _headers(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid("The `headers` field must be an object.")
    for name, text in value.items():
        if not _HEADER_NAME.fullmatch(name):
            raise invalid(f"Invalid header name `{name!r}`.")
        _header_value(f"headers.{name}", text)
    return value


def _tags(value: Any) -> list[dict[str, str]]:
    tags = value or []
    if not isinstance(tags, list) or len(tags) > MAX_TAGS:
        raise invalid(f"The `tags` field must be a list of at most {MAX_TAGS} tags.")
    for tag in tags:
        if not isinstance(tag, dict) or tag.keys() != {"name", "value"}:
            raise invalid("Each tag must have a `name` and a `value`.")
        if not all(isinstance(part, str) and _TAG.fullmatch(part) for part in tag.values()):
            raise invalid(
                "Tags should only contain ASCII letters, numbers, underscores, or dashes."
            )
    if len({tag["name"] for tag in tags}) < len(tags):
        raise invalid("Tag names must be unique.")
    return tags
