"""SMTP: exact frozen bytes to a relay, and what is certain about the mail however it ends."""

import email
import smtplib
import ssl
from email.message import EmailMessage
from email.policy import default

import pytest
from pydantic import SecretStr

from activation.provider import (
    Accepted,
    BadSignature,
    MailRequest,
    ProviderAnswer,
    RefusalKind,
    Refused,
    Unknown,
    Unreachable,
)
from activation.provider.mime import thaw
from activation.provider.smtp import Relay, SmtpProvider
from core.errors import PermanentError
from tests.activation.provider.relay import HANG_UP, FakeRelay, relaying

LINK = "https://crm.example/unsubscribe/" + "1.MTox." * 40


def request(**more: object) -> MailRequest:
    mail = {
        "from": "Nordlicht Keramik <hello@mail.example.com>",
        "to": ["ann@example.com"],
        "subject": "Schön, dass du da bist",
        "html": "<p>Grüße</p>\n.\n<p>Ende</p>",
        "text": "Grüße\n.\nEnde\n",
        "headers": {
            "List-Unsubscribe": f"<{LINK}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        },
        "tags": [{"name": "shop_id", "value": "3"}, {"name": "send_id", "value": "77"}],
        "reply_to": "shop@example.com",
    }
    return {**mail, **more}  # type: ignore[typeddict-item,return-value]


def frozen(**more: object) -> bytes:
    return SmtpProvider(None).serialise([request(**more)])


def parsed(body: bytes) -> EmailMessage:
    thawed = thaw(body)
    assert thawed is not None
    message = email.message_from_bytes(thawed[1], policy=default)
    assert isinstance(message, EmailMessage)
    return message


def sent_to(relay: FakeRelay, body: bytes | None = None) -> ProviderAnswer:
    with SmtpProvider(SecretStr(relay.url)) as provider:
        return provider.send_batch(body or frozen(), "key")


@pytest.mark.requirement("EMAIL-01")
def test_a_mail_is_frozen_with_both_parts_and_whole_headers() -> None:
    """Python encodes a header it cannot fold, and no mail program finds the link in that."""
    body = frozen()
    message = parsed(body)
    assert not message.defects
    assert f"List-Unsubscribe: <{LINK}>\r\n".encode() in body
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["Subject"] == "Schön, dass du da bist"
    assert message["From"].addresses[0].display_name == "Nordlicht Keramik"
    assert message["Reply-To"] == "shop@example.com"
    assert message["Message-ID"].startswith("<3.77.")
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    plain = message.get_body(("plain",))
    assert plain is not None
    assert plain.get_content() == "Grüße\r\n.\r\nEnde\r\n"
    assert max(map(len, body.splitlines())) < 998


@pytest.mark.requirement("AUTO-05")
def test_the_relay_gets_the_frozen_bytes_and_no_others() -> None:
    body = frozen()
    thawed = thaw(body)
    assert thawed is not None
    envelope, message = thawed
    with relaying() as relay:
        assert sent_to(relay, body) == Accepted((envelope.id,))
    assert relay.commands[1:] == [
        "mail FROM:<hello@mail.example.com>",
        "rcpt TO:<ann@example.com>",
        "data",
    ]
    [content] = relay.contents
    assert content.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.") == message


def test_foreign_domains_travel_in_ascii_and_foreign_names_need_the_relay_s_consent() -> None:
    with relaying() as relay:
        assert isinstance(sent_to(relay, frozen(to=["ann@bücher.example"])), Accepted)
        assert "rcpt TO:<ann@xn--bcher-kva.example>" in relay.commands
        assert isinstance(sent_to(relay, frozen(to=["änn@example.com"])), Accepted)
    with relaying(offers=()) as relay:
        answer = sent_to(relay, frozen(to=["änn@example.com"]))
    assert isinstance(answer, Refused)
    assert answer.kind is RefusalKind.MAIL


@pytest.mark.requirement("AUTO-05")
@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"greeting": "421 busy"}, Unreachable),
        ({"greeting": HANG_UP}, Unreachable),
        ({"greeting": "nonsense"}, Unreachable),
        ({"MAIL": "451 try again"}, Unreachable),
        ({"MAIL": "550 not your domain"}, RefusalKind.SHOP),
        ({"MAIL": "530 log in first"}, RefusalKind.SHOP),
        ({"MAIL": HANG_UP}, Unreachable),
        ({"RCPT": "450 greylisted"}, RefusalKind.LATER),
        ({"RCPT": "421 closing"}, Unreachable),
        ({"RCPT": "550 no such user"}, RefusalKind.MAIL),
        ({"RCPT": HANG_UP}, Unreachable),
        ({"RCPT": "nonsense"}, Unreachable),
        ({"DATA": "452 no space"}, Unreachable),
        ({"DATA": "554 no"}, RefusalKind.MAIL),
        ({"DATA": HANG_UP}, Unreachable),
        ({"content": "250 taken"}, Accepted),
        ({"content": "452 no space"}, Unreachable),
        ({"content": "554 looks like spam"}, RefusalKind.MAIL),
        ({"content": "354 what"}, Unknown),
        ({"content": "nonsense"}, Unknown),
        ({"content": HANG_UP}, Unknown),
    ],
)
def test_every_end_says_what_is_certain(
    answers: dict[str, str], expected: type[ProviderAnswer] | RefusalKind
) -> None:
    with relaying(answers=answers) as relay:
        answer = sent_to(relay)
    if isinstance(expected, RefusalKind):
        assert isinstance(answer, Refused)
        assert answer.kind is expected
    else:
        assert isinstance(answer, expected)


def test_one_connection_serves_many_mails_and_is_made_anew_when_it_is_gone() -> None:
    with relaying() as relay, SmtpProvider(SecretStr(relay.url)) as provider:
        for _ in range(3):
            assert isinstance(provider.send_batch(frozen(), "k"), Accepted)
        assert relay.connections == 1
        relay.answers = {"RSET": HANG_UP}
        assert isinstance(provider.send_batch(frozen(), "k"), Accepted)
        assert relay.connections == 2


def test_nothing_is_sent_in_clear_to_another_machine() -> None:
    def plain(relay: Relay, timeout: float) -> smtplib.SMTP:
        assert not relay.is_local
        raise smtplib.SMTPNotSupportedError("STARTTLS extension not supported by server.")

    def false_certificate(relay: Relay, timeout: float) -> smtplib.SMTP:
        raise ssl.SSLCertVerificationError("self-signed certificate")

    for connect in (plain, false_certificate):
        provider = SmtpProvider(SecretStr("smtp://relay.example:587"), connect=connect)
        answer = provider.send_batch(frozen(), "k")
        assert isinstance(answer, Refused)
        assert answer.kind is RefusalKind.SHOP
        assert provider.check() == answer.message


def test_without_a_relay_or_with_a_foreign_batch_nothing_is_tried() -> None:
    nobody = SmtpProvider(None)
    answer = nobody.send_batch(frozen(), "k")
    assert isinstance(answer, Refused)
    assert answer.kind is RefusalKind.SHOP
    foreign = nobody.send_batch(b'[{"to":["a@example.com"]}]', "k")
    assert isinstance(foreign, Refused)
    assert foreign.kind is RefusalKind.RATE  # taken apart, and frozen anew for this one
    with pytest.raises(PermanentError):
        SmtpProvider(SecretStr("relay.example"))
    with pytest.raises(BadSignature):
        nobody.verify_webhook(headers={}, body=b"")
    with pytest.raises(PermanentError):
        nobody.list_sent()
    assert nobody.look_up("m") is None


def test_a_closed_port_is_unreachable() -> None:
    with relaying() as relay:
        url = relay.url
    answer = SmtpProvider(SecretStr(url)).send_batch(frozen(), "k")
    assert isinstance(answer, Unreachable)
