"""A relay that says what a test wants it to say, and hangs up when it wants it to."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

HANG_UP = ""


@dataclass
class FakeRelay:
    """`answers` by command (`greeting`, `MAIL`, `RCPT`, `DATA`, `content`, …); else all is well."""

    port: int = 0
    answers: dict[str, str] = field(default_factory=dict)
    offers: tuple[str, ...] = ("8BITMIME", "SMTPUTF8")
    commands: list[str] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    def talk(self, connection: socket.socket) -> None:
        self.connections += 1
        with connection, connection.makefile("rwb") as stream:

            def say(command: str, usual: str) -> bool:
                answer = self.answers.get(command, usual)
                if answer == HANG_UP:
                    return False
                stream.write(f"{answer}\r\n".encode())
                stream.flush()
                return True

            if not say("greeting", "220 relay"):
                return
            while line := stream.readline():
                command = line.decode().strip()
                self.commands.append(command)
                word = command.split()[0].upper()
                if word == "EHLO":
                    for each in self.offers:
                        stream.write(f"250-{each}\r\n".encode())
                if not say(word, "354 go on" if word == "DATA" else "250 fine"):
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
