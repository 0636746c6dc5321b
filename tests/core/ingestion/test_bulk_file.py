import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import PermanentError
from core.ingestion import bulk_file
from core.ingestion.bulk_file import BulkFile
from tests.fixtures.loads import file_of


def lines(file: BulkFile) -> list[bytes]:
    found = [line for block in file.blocks() for line in block.removesuffix(b"\n").split(b"\n")]
    file.lines_read += len(found)
    return found


@given(
    given_lines=st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b""))),
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=20),
    block=st.sampled_from([1, 30, 2**18]),
)
def test_lines_are_the_same_however_the_file_is_cut_into_chunks(
    given_lines: list[bytes], sizes: list[int], block: int
) -> None:
    content, chunks = b"".join(line + b"\n" for line in given_lines), []
    rest = content
    while rest:
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(rest[:size])
        rest = rest[size:]
    file = file_of(chunks)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bulk_file, "BLOCK", block)
        assert lines(file) == given_lines
    file.check(object_count=len(given_lines), file_size=len(content))


def test_a_last_line_without_its_end_counts() -> None:
    file = file_of([b"one\ntw", b"o"])
    assert lines(file) == [b"one", b"two"]
    assert (file.lines_read, file.bytes_read) == (2, 7)


def test_a_line_without_end_is_not_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_file, "LONGEST_LINE", 1000)
    monkeypatch.setattr(bulk_file, "KEPT_OF_LONG_LINE", 100)
    monkeypatch.setattr(bulk_file, "BLOCK", 500)
    file = file_of([b"good\n", *[b"x" * 600] * 50, b"\n", b"good\n"])
    first, long, last = lines(file)
    assert [first, last] == [b"good", b"good"]
    assert len(long) < 2000
    with pytest.raises(UnicodeDecodeError):
        long.decode()
    assert file.bytes_read == 5 + 600 * 50 + 1 + 5


def test_a_file_that_is_not_as_announced_is_refused() -> None:
    file = file_of(b"one\n")
    assert lines(file) == [b"one"]
    file.check(object_count=1, file_size=4)
    file.check(object_count=1, file_size=None)
    with pytest.raises(PermanentError, match="2 lines and sent 1"):
        file.check(object_count=2, file_size=4)
    with pytest.raises(PermanentError, match="5 bytes and sent 4"):
        file.check(object_count=1, file_size=5)
