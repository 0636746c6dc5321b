"""A helper process of a load: blocks of lines on standard input, rows into staging tables.

    python -m core.ingestion.copy_worker

A command of its own and not a fork, so it takes along neither threads nor connections of the
process that loads, and imports nothing of Dagster. It commits only once it is told that the file
is at its end: input that just stops means that the loading process is gone.
"""

import os
import sys
from typing import IO

import psycopg

from core.ingestion import frames
from core.ingestion.copies import copying
from core.ingestion.decoding import Decoder, format_of
from core.ingestion.frames import Frame, FrameKind, Job, Told


def main() -> int:
    # Whatever prints must not end up between the frames.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        return _work(sys.stdin.buffer, out)
    except psycopg.Error as error:
        # Only its name: the message may quote a row.
        Frame(FrameKind.FAILED, content=type(error).__name__.encode()).write(out)
        return 1
    except BrokenPipeError:
        return 1


def _work(given: IO[bytes], out: IO[bytes]) -> int:
    frame = frames.read(given)
    job = frames.unpack(frame) if frame else None
    if not isinstance(job, Job):
        return 1
    format_ = format_of(job.object_type, job.purpose)
    columns = {job.tables[table.name]: table.columns for table in format_.tables}

    def reject(number: int, line: bytes, reason: str) -> None:
        told = Told(line=line[: frames.KEPT_OF_LINE], reason=reason)
        told.frame(FrameKind.REJECTED, number).write(out)

    decoder = Decoder(format_, job.screen, reject)
    with copying(lambda: psycopg.connect(job.conninfo), columns) as copies:
        while (frame := frames.read(given)) and frame.kind is FrameKind.BLOCK:
            block = decoder.block(frame.content, frame.number)
            for name, text in block.text.items():
                copies.write(job.tables[name], text)
            Told(counts=block.counts).frame(FrameKind.COUNTED).write(out)
        if frame is None:
            raise BrokenPipeError
    Frame(FrameKind.DONE).write(out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
