"""The cheapest provider there can be: reads a request, counts its mails, answers with ids.

`python -m benchmarks.delivery_stand_in PORT LATENCY` shares two cores with what is measured, so it
parses nothing: mails are counted by their tag. Any GET tells what came, and forgets it.
"""

import json
import socketserver
import sys
import threading
import time

COUNTED = b'"send_id"'
READ_SIZE = 1 << 20


class Tally:
    """What came since it was last asked for."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.mails = 0
        self.number = 0
        self.times: list[float] = []

    def add(self, mails: int) -> int:
        """The number of the first of these mails."""
        with self.lock:
            first = self.number
            self.number += mails
            self.mails += mails
            return first

    def told(self) -> bytes:
        with self.lock:
            said = {"mails": self.mails, "times": self.times}
            self.mails, self.times = 0, []
        return json.dumps(said).encode()


class Server(socketserver.ThreadingTCPServer):
    """A thread for each connection; clients keep theirs."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, latency: float) -> None:
        self.tally, self.latency = Tally(), latency
        super().__init__(("127.0.0.1", port), Handler)


class Handler(socketserver.BaseRequestHandler):
    """HTTP/1.1 as far as one known client speaks it."""

    server: Server

    def handle(self) -> None:
        buffer = bytearray(4 * READ_SIZE)
        while True:
            held = 0
            head = -1
            while head < 0:
                got = self.request.recv_into(memoryview(buffer)[held:])
                if not got:
                    return
                held += got
                head = buffer.find(b"\r\n\r\n", 0, held)
            if buffer.startswith(b"GET"):
                self._answer(self.server.tally.told())
                continue
            came = time.time()
            total = head + 4 + _length(bytes(buffer[:head]))
            if total > len(buffer):
                buffer.extend(bytes(total - len(buffer)))
            while held < total:
                held += self.request.recv_into(memoryview(buffer)[held:])
            self._accept(buffer.count(COUNTED, head, total), came)

    def _accept(self, mails: int, came: float) -> None:
        tally = self.server.tally
        first = tally.add(mails)
        with tally.lock:
            tally.times.append(came)
        time.sleep(self.server.latency)
        ids = ",".join(f'{{"id":"mail-{first + n}"}}' for n in range(mails))
        self._answer(f'{{"data":[{ids}]}}'.encode())

    def _answer(self, body: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        self.request.sendall(f"{head}\r\n\r\n".encode() + body)


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


if __name__ == "__main__":
    Server(int(sys.argv[1]), float(sys.argv[2])).serve_forever()
