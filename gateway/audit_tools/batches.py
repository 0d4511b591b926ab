"""What the index takes in of the lines of one origin, made ready in batches; nothing here writes.

Reading and parsing cost as much as storing does, so for a long log they go on in a process of their own (`aside`) while
the batch before is stored. That process holds one end of a pipe: where either end is gone, the other one stops.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Generator, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple, final
from zlib import crc32

import orjson

from gateway.audit.segment import read_lines
from gateway.audit.shape import decode
from gateway.audit_tools.facts import facts_of, words_of
from gateway.audit_tools.moment import record_us
from gateway.audit_tools.query import Terms
from gateway.audit_tools.tallies import Tallies

BATCH_RECORDS: Final = 20_000
BATCH_CHARS: Final = 16 << 20


@final
class Reached(NamedTuple):
    """`offset` of `segment` comes next, as record `seq`; the last line taken begins at `last`, its CRC-32 is `mark`."""

    segment: str
    offset: int
    seq: int
    last: int
    mark: int


@final
class Batch(NamedTuple):
    """Lines ready to be stored, in the order of their times.

    `times` in microseconds; `rows`: number, segment, offset, length, CRC-32; `texts`: words of the fields, and of the
    text. `counts` and `spans` as `Tallies` has them. `read`: bytes of the log.
    """

    times: list[int]
    rows: list[tuple[int, int, int, int, int]]
    texts: list[tuple[str, str]]
    counts: dict[tuple[int, str, str], int]
    spans: dict[tuple[int, str, int], int]
    reached: Reached
    read: int


@final
class _Pending:
    """A batch that grows."""

    __slots__ = ("chars", "lines", "read", "tallies")

    def __init__(self) -> None:
        self.lines: list[tuple[int, tuple[int, int, int, int, int], tuple[str, str]]] = []
        self.tallies = Tallies()
        self.chars = self.read = 0

    def batch(self, reached: Reached) -> Batch:
        self.lines.sort(key=_time)  # a clock that was set back; what is of one microsecond stays in its order
        return Batch(
            [us for us, _, _ in self.lines],
            [row for _, row, _ in self.lines],
            [text for _, _, text in self.lines],
            dict(self.tallies.counts),
            self.tallies.spans(),
            reached,
            self.read,
        )


def batches(segments: list[Path], start: Reached) -> Generator[Batch, None, None]:
    """Every finished line from `start` on; `segments` begin with the one it names. Raises OSError."""
    last = (start.segment, start.offset, start.seq, start.last, start.mark)
    seconds: dict[str, int] = {}
    terms = Terms()
    seq, pending = start.seq, _Pending()
    for name, at, data, taken in _whole_lines(segments, start.offset):
        record = parsed(data)
        facts = facts_of(record)
        us = record_us(record.get("time"), seconds) if record is not None else 0
        words = words_of(record)
        mark = crc32(data)
        pending.lines.append((us, (seq, int(name[:8]), at, len(data), mark), (terms.of(facts), words)))
        pending.tallies.add(us, facts, record)
        pending.chars += len(words)
        pending.read += taken
        seq += 1
        if len(pending.lines) >= BATCH_RECORDS or pending.chars >= BATCH_CHARS:
            yield pending.batch(Reached(name, at + taken, seq, at, mark))
            pending = _Pending()
        else:
            last = (name, at + taken, seq, at, mark)
    if pending.lines:
        yield pending.batch(Reached(*last))


def aside(segments: list[Path], start: Reached) -> Generator[Batch, None, None]:
    """The same, read and parsed in a process of its own. Raises OSError, also where that process was ended."""
    context = get_context("spawn")  # a fork would copy whatever locks and threads the caller has
    ours, theirs = context.Pipe(duplex=False)
    reader = context.Process(target=_send, args=(theirs, segments, start), daemon=True)
    reader.start()
    theirs.close()
    try:
        while (given := _received(ours)) is not None:
            if isinstance(given, OSError):
                raise given
            yield Batch(*given)
    finally:
        ours.close()
        reader.terminate()
        reader.join()


_time = itemgetter(0)


def _received(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except (EOFError, OSError) as error:  # in the middle of a message it is the latter
        raise ChildProcessError("the process that reads the log was ended: run the command again") from error


def _send(pipe: Connection, segments: list[Path], start: Reached) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever waits for this process ends it
    gc.disable()  # parsed JSON has no cycles, and looking for them in a batch costs a tenth
    try:
        try:
            for batch in batches(segments, start):
                pipe.send(tuple(batch))
            pipe.send(None)
        except BrokenPipeError:
            raise
        except OSError as error:
            pipe.send(error)
    except BrokenPipeError:
        pass  # nobody wants it any more


def _whole_lines(segments: list[Path], offset: int) -> Iterator[tuple[str, int, bytes, int]]:
    """(segment, offset, line, bytes it takes up): as `shape.numbered` counts, an unfinished last line left out."""
    waiting: tuple[str, int, bytes, int] | None = None
    for segment, at, data, whole in read_lines(segments, offset):
        if waiting is not None:
            yield waiting
            waiting = None
        if whole:
            yield segment.name, at, data, len(data) + 1
        else:
            waiting = (segment.name, at, data, len(data))


def parsed(line: bytes) -> dict[str, Any] | None:
    """As `shape.decode` has it, several times faster where orjson agrees that it is JSON."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            return decode(line)
        except ValueError:
            return None
    return record if isinstance(record, dict) else None
