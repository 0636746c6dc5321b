"""One mail as bytes for SMTP: a line with the envelope, then the message exactly as it is sent.

    {"from": "hello@shop.example", "to": ["ann@example.com"], "id": "…"}
    From: …

Signing it (DKIM) is left to the relay, which has the key. The tags of the mail are in its
Message-ID, so that a bounce that a person looks at leads back to the message.
"""

import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime, parseaddr
from typing import Final

import orjson
from email_validator import validate_email

from activation.provider import MailRequest

# Python folds a longer line by encoding it, and nobody finds the address in an encoded
# List-Unsubscribe. 998 is what SMTP allows.
LONGEST_LINE: Final = 998
POLICY: Final = SMTP.clone(max_line_length=LONGEST_LINE)
POLICY_UTF8: Final = SMTPUTF8.clone(max_line_length=LONGEST_LINE)


@dataclass(frozen=True)
class Envelope:
    """Whom the relay is told of. `id` is the Message-ID without its angle brackets."""

    sender: str
    recipients: list[str]
    id: str

    @property
    def needs_utf8(self) -> bool:
        """Whether an address has letters before its `@` that only SMTPUTF8 knows."""
        return not all(each.isascii() for each in (self.sender, *self.recipients))


def freeze(mail: MailRequest) -> bytes:
    """Envelope and message. Raises ValueError for what eligibility and rendering let nobody have: a
    line break in a header, an address that is none.
    """
    sender = _address(mail["from"])
    recipients = [_address(each) for each in mail["to"]]
    envelope = Envelope(
        sender.addr_spec,
        [each.addr_spec for each in recipients],
        _message_id(mail, sender.domain),
    )
    message = EmailMessage(policy=POLICY_UTF8 if envelope.needs_utf8 else POLICY)
    message["From"] = sender
    message["To"] = recipients
    if "reply_to" in mail:
        message["Reply-To"] = _address(mail["reply_to"])
    message["Subject"] = mail["subject"]
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = f"<{envelope.id}>"
    for name, value in mail["headers"].items():
        message[name] = value
    message.set_content(mail["text"], cte="quoted-printable")
    message.add_alternative(mail["html"], subtype="html", cte="quoted-printable")
    return orjson.dumps(asdict(envelope)) + b"\n" + message.as_bytes()


def thaw(body: bytes) -> tuple[Envelope, bytes] | None:
    """Envelope and message of frozen bytes; None for what was frozen for another provider."""
    line, _, message = body.partition(b"\n")
    if not line.startswith(b"{"):
        return None
    return Envelope(**orjson.loads(line)), message


def _address(text: str) -> Address:
    """With its domain as the network writes it: `bücher.example` is `xn--bcher-kva.example`."""
    name, spec = parseaddr(text)
    read = validate_email(spec, check_deliverability=False)
    return Address(name, read.local_part, read.ascii_domain)


def _message_id(mail: MailRequest, domain: str) -> str:
    tags = {tag["name"]: tag["value"] for tag in mail["tags"]}
    parts = (tags.get("shop_id", "0"), tags.get("send_id", "0"), secrets.token_hex(8))
    return f"{'.'.join(parts)}@{domain}"
