"""Bytes of requests are kept packed, and come back as they were."""

import threading
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from activation.outbox.packing import pack, unpack


@given(st.binary(max_size=2_000), st.integers(0, 200))
def test_comes_back_byte_for_byte(body: bytes, times: int) -> None:
    assert unpack(pack(body * times)) == body * times


def test_what_an_earlier_release_left_open_is_read() -> None:
    assert unpack(zlib.compress(b'[{"from":"a"}]', 1)) == b'[{"from":"a"}]'


def test_bytes_that_changed_are_not_sent() -> None:
    packed = bytearray(pack(b'[{"from":"a"}]' * 50))
    packed[-6] ^= 1
    with pytest.raises(zstandard.ZstdError):
        unpack(bytes(packed))


def test_threads_do_not_share_a_compressor() -> None:
    bodies = [bytes([65 + number]) * 200_000 for number in range(4)]
    packed: dict[int, bytes] = {}

    def work(number: int) -> None:
        for _ in range(20):
            packed[number] = pack(bodies[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [unpack(packed[number]) for number in range(4)] == bodies
