"""The file of a bulk operation as it arrives: in blocks of lines, never held as a whole."""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Final

from core.errors import PermanentError, TransientError
from core.shopify.client import ExpiredUrlError, ShopifyClient

log = logging.getLogger(__name__)

RECONNECTS: Final = 5
LONGEST_LINE: Final = 16 * 2**20
KEPT_OF_LONG_LINE: Final = 64 * 2**10
BLOCK: Final = 128 * 2**10


class BulkFile:
    """One pass over the lines of the file at `url`.

    A broken connection is resumed at the byte where it broke; an expired address is asked for
    anew (`renew`). `bytes_read` counts what arrived, `lines_read` what the reader says it was.
    """

    def __init__(
        self,
        client: ShopifyClient,
        url: str | None,
        *,
        renew: Callable[[], str],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._url = url
        self._renew = renew
        self._sleep = sleep
        self.lines_read = 0
        self.bytes_read = 0

    def blocks(self) -> Iterator[bytes]:
        """Whole lines, about BLOCK bytes at a time, each line with its newline (the file's last
        may lack it). Whoever reads them adds to `lines_read`: it counts them anyway.
        """
        pieces: list[bytes] = []
        waiting = 0
        for chunk in self._chunks():
            pieces.append(chunk)
            waiting += len(chunk)
            if waiting < BLOCK:
                continue
            text, waiting = b"".join(pieces), 0
            end = text.rfind(b"\n") + 1
            if end:
                yield text[:end]
            pieces = [_not_too_long(text[end:])]
        rest = b"".join(pieces)
        if rest:
            yield rest

    def check(self, *, object_count: int, file_size: int | None) -> None:
        """Raises PermanentError unless everything Shopify announced has arrived."""
        if self.lines_read != object_count:
            raise PermanentError(
                f"Shopify announced {object_count} lines and sent {self.lines_read}. Nothing was "
                "changed; the next sync asks for them again."
            )
        if file_size is not None and self.bytes_read != file_size:
            raise PermanentError(
                f"Shopify announced {file_size} bytes and sent {self.bytes_read}. Nothing was "
                "changed; the next sync asks for them again."
            )

    def _chunks(self) -> Iterator[bytes]:
        failures = 0
        renewed = False
        while self._url is not None:
            before = self.bytes_read
            try:
                with self._client.download(self._url, offset=self.bytes_read) as chunks:
                    for chunk in chunks:
                        self.bytes_read += len(chunk)
                        yield chunk
            except ExpiredUrlError:
                if renewed:
                    raise
                renewed = True
                self._url = self._renew()
            except TransientError as error:
                failures = 1 if self.bytes_read > before else failures + 1
                if failures > RECONNECTS:
                    raise
                log.info("The bulk file broke off at byte %d: %s", self.bytes_read, error)
                self._sleep(min(0.5 * 2**failures, 10.0))
            else:
                return


def _not_too_long(rest: bytes) -> bytes:
    """A line that has not ended; one without end is cut, and made not to be read as JSON by any
    luck: 0xff is no UTF-8.
    """
    return rest if len(rest) <= LONGEST_LINE else rest[:KEPT_OF_LONG_LINE] + b"\xff"
