"""SMTP over TLS: names and passwords go nowhere in clear, and to nobody who is not the relay."""

import base64
import datetime as dt
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from activation.provider import Accepted, ProviderAnswer, RefusalKind, Refused
from activation.provider.smtp import SmtpProvider
from tests.activation.provider.relay import FakeRelay, relaying
from tests.activation.provider.test_smtp import frozen

NAME = "relay.example"
LOGIN = base64.b64encode(b"\0shop\0pass:word/1").decode()
STARTTLS = ("8BITMIME", "STARTTLS", "AUTH PLAIN")


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    """A server's own certificate for `name`, and the file by which a client trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    trusted, private = folder / f"{name}.pem", folder / f"{name}.key"
    trusted.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, private)
    return context, trusted


@pytest.fixture(autouse=True)
def _names(monkeypatch: pytest.MonkeyPatch) -> None:
    """The relay's name leads to this machine, where in clear would be allowed by number only."""
    real = socket.getaddrinfo

    def found(host: str, *rest: object, **named: object) -> list[object]:
        return real("127.0.0.1" if host == NAME else host, *rest, **named)  # type: ignore[arg-type,return-value]

    monkeypatch.setattr(socket, "getaddrinfo", found)


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    context, file = certificate(tmp_path, NAME)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    return context


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[FakeRelay]:
    """Has the right name in its certificate, but nobody vouches for it."""
    with relaying(certificate=certificate(tmp_path, NAME)[0], offers=STARTTLS) as relay:
        yield relay


def sent(relay: FakeRelay, *, scheme: str = "smtp") -> ProviderAnswer:
    url = f"{scheme}://shop:pass%3Aword%2F1@{NAME}:{relay.port}"
    with SmtpProvider(SecretStr(url)) as provider:
        return provider.send_batch(frozen(), "key")


@pytest.mark.requirement("EMAIL-05")
@pytest.mark.parametrize(
    ("scheme", "offers"), [("smtps", ("8BITMIME", "AUTH PLAIN")), ("smtp", STARTTLS)]
)
def test_a_mail_leaves_after_tls_and_login(
    trusted: ssl.SSLContext, scheme: str, offers: tuple[str, ...]
) -> None:
    with relaying(certificate=trusted, offers=offers) as relay:
        assert isinstance(sent(relay, scheme=scheme), Accepted)
    assert [line.split()[0] for line in relay.in_clear] in ([], ["ehlo", "STARTTLS"])
    assert f"AUTH PLAIN {LOGIN}" in relay.commands
    assert len(relay.contents) == 1


@pytest.mark.parametrize("scheme", ["smtps", "smtp"])
def test_a_relay_that_nobody_vouches_for_is_told_nothing(stranger: FakeRelay, scheme: str) -> None:
    if scheme == "smtps":
        stranger.offers = ("8BITMIME",)
    _refused(sent(stranger, scheme=scheme))
    assert not [line for line in stranger.commands if "AUTH" in line or "mail" in line.lower()]


def test_a_certificate_for_another_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, file = certificate(tmp_path, "other.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with relaying(certificate=context, offers=STARTTLS) as relay:
        _refused(sent(relay))
    assert not relay.contents


def test_without_starttls_nothing_is_sent_in_clear(trusted: ssl.SSLContext) -> None:
    del trusted
    with relaying(offers=("8BITMIME", "AUTH PLAIN")) as relay:
        _refused(sent(relay))
    assert not [line for line in relay.in_clear if "AUTH" in line or "mail" in line.lower()]


def test_a_wrong_password_pauses_the_shop(trusted: ssl.SSLContext) -> None:
    answers = {"AUTH": "535 no"}
    with relaying(certificate=trusted, offers=STARTTLS, answers=answers) as relay:
        _refused(sent(relay))
    assert not relay.contents


def _refused(answer: ProviderAnswer) -> None:
    assert isinstance(answer, Refused)
    assert answer.kind is RefusalKind.SHOP
