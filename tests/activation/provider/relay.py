"""A relay that says what a test wants it to say, and hangs up when it wants it to."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

HANG_UP = ""
USUAL = {"DATA": "354 go on", "AUTH": "235 welcome", "STARTTLS": "220 go on"}


@dataclass
class FakeRelay:
    """`answers` by command (`greeting`, `MAIL`, `RCPT`, `DATA`, `content`, …, or one whole line);
    else all is well. `certificate`: talks TLS, after STARTTLS if that is offered, else at once.
    """

    port: int = 0
    answers: dict[str, str] = field(default_factory=dict)
    offers: tuple[str, ...] = ("8BITMIME", "SMTPUTF8")
    commands: list[str] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    connections: int = 0
    certificate: ssl.SSLContext | None = None
    in_clear: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def starts_tls(self) -> bool:
        return "STARTTLS" in self.offers

    def talk(self, connection: socket.socket) -> None:
        """One connection. Who does not trust our certificate hangs up while shaking hands."""
        self.connections += 1
        with suppress(OSError):
            if self.certificate is not None and not self.starts_tls:
                connection = self.certificate.wrap_socket(connection, server_side=True)
            self.converse(connection)

    def converse(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rwb") as stream:

            def say(command: str, usual: str, line: str = "") -> bool:
                answer = self.answers.get(line, self.answers.get(command, usual))
                if answer == HANG_UP:
                    return False
                stream.write(f"{answer}\r\n".encode())
                stream.flush()
                return True

            is_new = not (self.starts_tls and isinstance(connection, ssl.SSLSocket))
            if is_new and not say("greeting", "220 relay"):
                return
            while line := stream.readline():
                command = line.decode().strip()
                self.commands.append(command)
                if not isinstance(connection, ssl.SSLSocket):
                    self.in_clear.append(command)
                word = command.split()[0].upper()
                if word == "EHLO":
                    for each in self.offers:
                        stream.write(f"250-{each}\r\n".encode())
                if not say(word, USUAL.get(word, "250 fine"), command):
                    return
                if word == "STARTTLS" and self.certificate is not None:
                    self.converse(self.certificate.wrap_socket(connection, server_side=True))
                    return
                if word == "QUIT":
                    return
                if word == "DATA" and self.answers.get("DATA", "354").startswith("354"):
                    content = b""
                    while not content.endswith(b"\r\n.\r\n"):
                        content += stream.readline()
                    self.contents.append(content)
                    if not say("content", "250 taken"):
                        return


@contextmanager
def relaying(**how: object) -> Iterator[FakeRelay]:
    relay = FakeRelay(**how)  # type: ignore[arg-type]
    server = socket.create_server(("127.0.0.1", 0))
    relay.port = server.getsockname()[1]
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            thread = threading.Thread(target=relay.talk, args=(connection,), daemon=True)
            thread.start()
            threads.append(thread)

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield relay
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        accepting.join()
        for thread in threads:
            thread.join(timeout=5)
