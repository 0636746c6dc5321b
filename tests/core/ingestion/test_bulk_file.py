import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import PermanentError
from core.ingestion import bulk_file
from core.ingestion.bulk_file import BulkFile
from tests.fixtures.shopify import FakeShopify


def file_of(*chunks: bytes) -> BulkFile:
    fake = FakeShopify(before=[lambda _: httpx.Response(200, content=iter(chunks))])
    return BulkFile(fake.client(), "https://storage.example/bulk/1", renew=lambda: "")


@given(
    lines=st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b""))),
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=20),
)
def test_lines_are_the_same_however_the_file_is_cut_into_chunks(
    lines: list[bytes], sizes: list[int]
) -> None:
    content, chunks = b"".join(line + b"\n" for line in lines), []
    rest = content
    while rest:
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(rest[:size])
        rest = rest[size:]
    file = file_of(*chunks)
    assert [line for batch in file.batches() for line in batch] == lines
    file.check(object_count=len(lines), file_size=len(content))


def test_a_last_line_without_its_end_counts() -> None:
    file = file_of(b"one\ntw", b"o")
    assert list(file.batches()) == [[b"one"], [b"two"]]
    assert (file.lines_read, file.bytes_read) == (2, 7)


def test_a_line_without_end_is_not_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_file, "LONGEST_LINE", 1000)
    monkeypatch.setattr(bulk_file, "KEPT_OF_LONG_LINE", 100)
    file = file_of(b"good\n", *[b"x" * 600] * 50, b"\n", b"good\n")
    lines = [line for batch in file.batches() for line in batch]
    assert [lines[0], lines[2]] == [b"good", b"good"]
    assert len(lines[1]) < 2000
    with pytest.raises(UnicodeDecodeError):
        lines[1].decode()
    assert file.bytes_read == 5 + 600 * 50 + 1 + 5


def test_a_file_that_is_not_as_announced_is_refused() -> None:
    file = file_of(b"one\n")
    list(file.batches())
    file.check(object_count=1, file_size=4)
    file.check(object_count=1, file_size=None)
    with pytest.raises(PermanentError, match="2 lines and sent 1"):
        file.check(object_count=2, file_size=4)
    with pytest.raises(PermanentError, match="5 bytes and sent 4"):
        file.check(object_count=1, file_size=5)
