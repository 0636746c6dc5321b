"""How the bytes of a request are kept while it is open.

A hundred mails of one flow are alike but for names and products. zstd sees that in the time it
takes to read them, and leaves a hundredth; zlib, which looks back 32 KB, took more time than the
mails take to be made, and left a tenth.
"""

import threading
import zlib
from typing import Final

import zstandard

LEVEL: Final = 1
ZSTD: Final = b"\x28\xb5\x2f\xfd"  # the format's first bytes

_local = threading.local()  # a compressor serves one thread at a time


def pack(body: bytes) -> bytes:
    return _compressor().compress(body)


def unpack(packed: bytes) -> bytes:
    """Also of what an earlier release has left open."""
    if packed.startswith(ZSTD):
        return zstandard.ZstdDecompressor().decompress(packed)
    return zlib.decompress(packed)


def _compressor() -> zstandard.ZstdCompressor:
    found: zstandard.ZstdCompressor | None = getattr(_local, "compressor", None)
    if found is None:
        found = _local.compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    return found
