"""SMTP: any relay, and Mailpit while developing. One mail a request, the frozen bytes as they are.

    smtps://user:password@relay:465   TLS from the first byte
    smtp://user:password@relay:587    STARTTLS, or nothing is sent
    smtp://127.0.0.1:1025             in clear, on this machine only

What is certain about the mail, by how far the talk with the relay had come:

    before the content left    nothing was accepted      the same again, later
    4xx to the sender          not accepted now          the same again, later; all mail waits
    4xx to the recipient       not accepted now          the same again, later; nobody else waits
    5xx                        refused                   the mail, or the sender for every mail
    2xx to the content         accepted
    no answer to the content   unknown                   never again by itself: SMTP has no keys

Bounces come as mails to the sender and are not read here: with SMTP no event tells of delivery.
"""

import smtplib
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, NoReturn, Self
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from activation.provider import (
    Accepted,
    BadSignature,
    DeliveredMail,
    MailRequest,
    ProviderAnswer,
    ProviderEvent,
    RefusalKind,
    Refused,
    SentPage,
    Unknown,
    Unreachable,
    team_of,
)
from activation.provider.errors import frozen_otherwise
from activation.provider.mime import Envelope, freeze, thaw
from core.errors import PermanentError

NAME: Final = "smtp"
# All of one call; under half of a batch's lease (outbox/batches.py).
LONGEST_CALL: Final = 25.0
CONNECT_SECONDS: Final = 5.0
SHORTEST: Final = 0.2
IDLE_SECONDS: Final = 20.0  # relays hang up on who says nothing for long
PORTS: Final[Mapping[str, int]] = {"smtp": 587, "smtps": 465}
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})

TEMPORARY: Final = 4
OF_THE_RELAY: Final = frozenset({421, 452})  # it closes, or is full, whatever command it answers
PERMANENT: Final = 5
FINE: Final = 2
CONTINUE: Final = 354
# Said of who sends, whatever command they answer: log in, not allowed here, sender refused.
OF_THE_SENDER: Final = frozenset({530, 534, 535, 538})
NO_URL: Final = "ECOMCRM_SMTP_URL is not set."

Connect = Callable[["Relay", float], smtplib.SMTP]


class _SmtpError(Exception):
    """Carries the answer out of the talk with the relay."""

    def __init__(self, answer: ProviderAnswer) -> None:
        super().__init__()
        self.answer = answer


class Relay:
    """Where mails are handed in. Raises PermanentError for an address that must not be used."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in PORTS or not parts.hostname:
            raise PermanentError(
                "ECOMCRM_SMTP_URL must be smtp://… or smtps://… with the name of a relay."
            )
        self.host = parts.hostname
        self.port = parts.port or PORTS[parts.scheme]
        self.is_tls = parts.scheme == "smtps"
        self.is_local = self.host in LOOPBACK
        self.user = unquote(parts.username or "")
        self.password = unquote(parts.password or "")


def connect(relay: Relay, timeout: float) -> smtplib.SMTP:
    """A connection that is encrypted unless it stays on this machine, and logged in."""
    context = ssl.create_default_context()
    if relay.is_tls:
        client: smtplib.SMTP = smtplib.SMTP_SSL(
            relay.host, relay.port, timeout=timeout, context=context
        )
    else:
        client = smtplib.SMTP(relay.host, relay.port, timeout=timeout)
    try:
        client.ehlo_or_helo_if_needed()
        if not relay.is_tls and not relay.is_local:
            client.starttls(context=context)
            client.ehlo()
        if relay.user:
            client.login(relay.user, relay.password)
    except BaseException:
        client.close()
        raise
    return client


class SmtpProvider:
    """Implements `activation.provider.Provider`. One connection, kept while it is in use."""

    name: Final = NAME
    batch_limit: Final = 1
    replays_safely: Final = False
    remembers: Final = False

    def __init__(self, url: SecretStr | None, *, connect: Connect = connect) -> None:
        self.team = team_of(NAME, url)
        self._relay = Relay(url.get_secret_value()) if url else None
        self._connect = connect
        self._client: smtplib.SMTP | None = None
        self._used_at = 0.0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._hang_up()

    def serialise(self, mails: Sequence[MailRequest]) -> bytes:
        [mail] = mails
        return freeze(mail)

    def send_batch(self, body: bytes, idempotency_key: str) -> ProviderAnswer:  # noqa: ARG002
        """Hand one frozen mail in. SMTP knows no keys: what is unknown stays so."""
        thawed = thaw(body)
        if thawed is None:
            return frozen_otherwise(NAME)
        if self._relay is None:
            return Refused(RefusalKind.SHOP, 0, NO_URL)
        envelope, message = thawed
        with self._lock:
            until = time.monotonic() + LONGEST_CALL
            try:
                return self._hand_in(self._relay, envelope, message, until)
            except _SmtpError as error:
                self._hang_up()
                return error.answer

    def verify_webhook(self, *, headers: Mapping[str, str], body: bytes) -> ProviderEvent:  # noqa: ARG002
        raise BadSignature("With SMTP no provider tells of events.")

    def look_up(self, message_id: str) -> DeliveredMail | None:  # noqa: ARG002
        return None

    def list_sent(self, *, after: str | None = None) -> SentPage:  # noqa: ARG002
        raise PermanentError("A relay keeps no list of what was sent.")

    def check(self) -> str | None:
        """Connect and log in, sending nothing: what is wrong, in words; None when all is well."""
        if self._relay is None:
            return NO_URL
        with self._lock:
            try:
                self._open(self._relay, time.monotonic() + LONGEST_CALL)
            except _SmtpError as error:
                return getattr(error.answer, "message", "unknown")
            finally:
                self._hang_up()
        return None

    # ------------------------------------------------------------------ the talk

    def _hand_in(
        self, relay: Relay, envelope: Envelope, message: bytes, until: float
    ) -> ProviderAnswer:
        client = self._open(relay, until)
        options = []
        if envelope.needs_utf8:
            if not client.has_extn("smtputf8"):
                reason = "The relay takes no addresses with letters beyond ASCII."
                return Refused(RefusalKind.MAIL, 0, reason)
            options = ["SMTPUTF8", "BODY=8BITMIME"]
        sender = envelope.sender
        self._say(client, until, lambda: client.mail(sender, options), RefusalKind.SHOP)
        for address in envelope.recipients:
            self._say(client, until, _rcpt(client, address), RefusalKind.MAIL)
        code, words = self._ask(client, until, lambda: client.docmd("data"))
        if code != CONTINUE:
            raise _SmtpError(_answer_for(code, words, RefusalKind.MAIL))
        return self._content(client, message, until, envelope.id)

    def _content(
        self, client: smtplib.SMTP, message: bytes, until: float, message_id: str
    ) -> ProviderAnswer:
        """From the first byte on only an answer says whether it was accepted."""
        try:
            _limit(client, until)
            client.send(_dotted(message))
            code, words = client.getreply()
        except (OSError, smtplib.SMTPException) as error:
            raise _SmtpError(Unknown(_words(error))) from error
        self._used_at = time.monotonic()
        if code // 100 == FINE:
            return Accepted((message_id,))
        if code // 100 in (TEMPORARY, PERMANENT):
            raise _SmtpError(_answer_for(code, words, RefusalKind.MAIL))
        raise _SmtpError(Unknown(f"The relay answered {code}."))

    def _open(self, relay: Relay, until: float) -> smtplib.SMTP:
        """The connection of before if it still answers, else a new one."""
        if self._client is not None and time.monotonic() - self._used_at < IDLE_SECONDS:
            with suppress(OSError, smtplib.SMTPException):
                _limit(self._client, until)
                if self._client.rset()[0] // 100 == FINE:
                    return self._client
        self._hang_up()
        try:
            self._client = self._connect(relay, CONNECT_SECONDS)
        except smtplib.SMTPResponseException as error:
            kind = RefusalKind.SHOP
            answer = _answer_for(error.smtp_code, _bytes(error.smtp_error), kind)
            raise _SmtpError(answer) from error
        except (smtplib.SMTPNotSupportedError, ssl.SSLError) as error:
            words = f"The relay cannot be used: {_words(error)}"
            raise _SmtpError(Refused(RefusalKind.SHOP, 0, words)) from error
        except (OSError, smtplib.SMTPException) as error:
            raise _SmtpError(Unreachable(_words(error))) from error
        self._used_at = time.monotonic()
        return self._client

    def _say(
        self,
        client: smtplib.SMTP,
        until: float,
        command: Callable[[], tuple[int, bytes]],
        kind: RefusalKind,
    ) -> None:
        code, words = self._ask(client, until, command)
        if code // 100 != FINE:
            raise _SmtpError(_answer_for(code, words, kind))

    def _ask(
        self, client: smtplib.SMTP, until: float, command: Callable[[], tuple[int, bytes]]
    ) -> tuple[int, bytes]:
        """A command before the content: whatever happens in it, nothing was accepted."""
        try:
            _limit(client, until)
            return command()
        except (OSError, smtplib.SMTPException) as error:
            raise _SmtpError(Unreachable(_words(error))) from error

    def _hang_up(self) -> None:
        if self._client is not None:
            with suppress(OSError, smtplib.SMTPException):
                self._client.close()
        self._client = None


def _rcpt(client: smtplib.SMTP, address: str) -> Callable[[], tuple[int, bytes]]:
    return lambda: client.rcpt(address)


def _answer_for(code: int, words: bytes, kind: RefusalKind) -> ProviderAnswer:
    """What a refusal before or after the content means. Its words may hold the address: they are
    kept with the message, as a provider's are.
    """
    said = f"{code} {words.decode(errors='replace')[:300]}".strip()
    if code // 100 == PERMANENT:
        return Refused(RefusalKind.SHOP if code in OF_THE_SENDER else kind, code, said)
    is_of_this_mail = kind is RefusalKind.MAIL and code not in OF_THE_RELAY
    if code // 100 == TEMPORARY and is_of_this_mail:
        return Refused(RefusalKind.LATER, code, said)
    return Unreachable(said)


def _dotted(message: bytes) -> bytes:
    """As it goes over the wire: lines end in CRLF, a dot at a line's start is doubled."""
    lines = message.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    if not lines.endswith(b"\r\n"):
        lines += b"\r\n"
    if lines.startswith(b"."):
        lines = b"." + lines
    return lines.replace(b"\r\n.", b"\r\n..") + b".\r\n"


def _limit(client: smtplib.SMTP, until: float) -> None:
    """Each wait ends with the whole call's time."""
    left = until - time.monotonic()
    if left <= 0:
        _too_long()
    if client.sock is not None:
        client.sock.settimeout(max(left, SHORTEST))


def _too_long() -> NoReturn:
    raise TimeoutError("the relay took too long")


def _bytes(words: bytes | str) -> bytes:
    return words if isinstance(words, bytes) else words.encode()


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
