"""The load of the webhook benchmark: signed requests over keep-alive connections, from a process of
its own. `python -m benchmarks.webhook_load FILE PORT CONNECTIONS`: one JSON line.

FILE has the whole requests, each after its length (4 bytes). Every connection sends its next one as
soon as it has the answer to the one before.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import cast

import uvloop


def frames(content: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 4])
        found.append(content[at + 4 : at + 4 + size])
        at += 4 + size
    return found


class _Sender(asyncio.Protocol):
    """One connection. Answers are small and come whole; one in two parts is put together."""

    def __init__(self, load: "_Load") -> None:
        self._load = load
        self._answer = b""
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, separator, body = self._answer.partition(b"\r\n\r\n")
        if not separator or len(body) < _length(head):
            return
        self._load.answered(self._answer[9:12], time.perf_counter() - self._sent_at)
        self._answer = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self._load.closed()

    def _next(self) -> None:
        request = next(self._load.requests, None)
        if request is None:
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


class _Load:
    def __init__(self, requests: list[bytes], connections: int) -> None:
        self.requests = iter(requests)
        self.seconds: list[float] = []
        self.statuses: Counter[str] = Counter()
        self._open = connections
        self.done = asyncio.get_running_loop().create_future()

    def answered(self, status: bytes, seconds: float) -> None:
        self.statuses[status.decode()] += 1
        self.seconds.append(seconds)

    def closed(self) -> None:
        self._open -= 1
        if self._open == 0:
            self.done.set_result(None)


async def _run(requests: list[bytes], port: int, connections: int) -> dict[str, object]:
    loop = asyncio.get_running_loop()
    load = _Load(requests, connections)
    started = time.perf_counter()
    for _ in range(connections):
        await loop.create_connection(lambda: _Sender(load), "127.0.0.1", port)
    await load.done
    took = time.perf_counter() - started
    ordered = sorted(load.seconds)
    return {
        "rate": len(ordered) / took,
        "p50_ms": 1000 * ordered[len(ordered) // 2],
        "p99_ms": 1000 * ordered[int(len(ordered) * 0.99)],
        "statuses": load.statuses,
    }


def main() -> None:
    file, port, connections = sys.argv[1:]
    requests = frames(Path(file).read_bytes())
    print(json.dumps(uvloop.run(_run(requests, int(port), int(connections)))))


if __name__ == "__main__":
    main()
