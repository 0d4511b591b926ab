"""Bringing an index up to the log, a batch of lines a transaction: a kill leaves it behind, never wrong.

A record's key is its time in microseconds and a counter below that, so that "newest first" and time ranges need no
sorting. Records of one microsecond, or of a clock that was set back onto others, take the next free keys.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, final
from zlib import crc32

import orjson

from gateway.audit.intents import origins_in
from gateway.audit.progress import Meter, Tell
from gateway.audit.segment import FIRST_SEGMENT, Place, read_lines, says_it_starts_at
from gateway.audit.shape import decode
from gateway.audit_tools.facts import facts_of, words_of
from gateway.audit_tools.moment import record_us
from gateway.audit_tools.query import Terms
from gateway.audit_tools.tallies import Tallies

SLOT_BITS: Final = 10
_BATCH_RECORDS: Final = 20_000
_BATCH_CHARS: Final = 16 << 20

SCHEMA: Final = """
CREATE TABLE origins (no INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, first TEXT NOT NULL, segment TEXT NOT NULL,
  offset INTEGER NOT NULL, seq INTEGER NOT NULL, last INTEGER NOT NULL, mark INTEGER NOT NULL);
CREATE TABLE records (id INTEGER PRIMARY KEY, origin INTEGER NOT NULL, seq INTEGER NOT NULL, segment INTEGER NOT NULL,
  offset INTEGER NOT NULL, length INTEGER NOT NULL, mark INTEGER NOT NULL);
CREATE VIRTUAL TABLE search USING fts5 (fields, words, content='', columnsize=0, tokenize='unicode61');
INSERT INTO search (search, rank) VALUES ('hashsize', 33554432);
CREATE TABLE counts (hour INTEGER, origin INTEGER, what TEXT, name TEXT, n INTEGER NOT NULL,
  PRIMARY KEY (hour, origin, what, name)) WITHOUT ROWID;
CREATE TABLE spans (hour INTEGER, origin INTEGER, step TEXT, bucket INTEGER, n INTEGER NOT NULL,
  PRIMARY KEY (hour, origin, step, bucket)) WITHOUT ROWID;
"""


class OutOfStep(Exception):
    """The index tells of another log than the one that is there. Never leaves this package."""


@final
class Cursor(NamedTuple):
    """How far one origin is indexed: `offset` of `segment` comes next, as record `seq`.

    `first` is the oldest segment there was; the last line taken begins at `last` and has the CRC-32 `mark`.
    """

    no: int
    name: str
    first: str
    segment: str
    offset: int
    seq: int
    last: int
    mark: int


def fill(database: sqlite3.Connection, audit: Path, progress: Tell | None = None) -> None:
    """Take in every finished line that is new. Raises OutOfStep, sqlite3.Error, OSError."""
    kinds = (int, str, str, str, int, int, int, int)
    cursors: dict[str, Cursor] = {}
    for row in database.execute("SELECT no, name, first, segment, offset, seq, last, mark FROM origins"):
        if not all(isinstance(each, kind) for each, kind in zip(row, kinds, strict=True)):
            raise OutOfStep("no origins")
        cursors[row[1]] = Cursor(*row)
    present = origins_in(audit)
    if set(cursors) - set(present):
        raise OutOfStep("an origin is gone")
    todo: list[tuple[Cursor, list[Path]]] = []
    for name in present:
        segments = Place(name, audit, audit).segments()
        cursor = cursors.get(name)
        if cursor is not None:
            _check(cursor, segments)
        elif segments:
            cursor = _begin(database, name, segments[0])
        if cursor is not None:
            todo.append((cursor, [each for each in segments if each.name >= cursor.segment]))
    meter = Meter(progress, -sum(cursor.offset for cursor, _ in todo))
    for _, segments in todo:
        meter.expect(segments)
    for cursor, segments in todo:
        for read, records in _Filler(database, cursor, segments).run():
            meter.add(read, records)


def _begin(database: sqlite3.Connection, name: str, first: Path) -> Cursor:
    start = 0 if first.name == FIRST_SEGMENT else says_it_starts_at(first) or 0
    row = (name, first.name, first.name, 0, start, 0, 0)
    no = database.execute(
        "INSERT INTO origins (name, first, segment, offset, seq, last, mark) VALUES (?, ?, ?, ?, ?, ?, ?)", row
    ).lastrowid
    return Cursor(no or 0, *row)


def _check(cursor: Cursor, segments: list[Path]) -> None:
    """The log must still be the one that was indexed, as far as its last line can say."""
    here = next((each for each in segments if each.name == cursor.segment), None)
    if here is None or segments[0].name != cursor.first:
        raise OutOfStep("segments are gone")
    if cursor.offset == 0:
        return
    if not 0 <= cursor.last < cursor.offset <= here.stat().st_size:
        raise OutOfStep("it says more was read than there is")
    with here.open("rb") as file:
        file.seek(cursor.last)
        line = file.read(cursor.offset - cursor.last)
    if not line.endswith(b"\n") or crc32(line[:-1]) != cursor.mark:
        raise OutOfStep("the last line indexed is another one now")


class _Filler:
    """One origin's new lines."""

    def __init__(self, database: sqlite3.Connection, cursor: Cursor, segments: list[Path]) -> None:
        self._database = database
        self._cursor = cursor
        self._segments = segments
        self._seconds: dict[str, int] = {}
        self._terms = Terms()

    def run(self) -> Iterator[tuple[int, int]]:
        """Commits batch by batch; yields the bytes and the records of each."""
        seq, segment, offset = self._cursor.seq, self._cursor.segment, self._cursor.offset
        last, mark = self._cursor.last, self._cursor.mark
        rows: list[tuple[int, int, int, int, int, int]] = []
        texts: list[tuple[str, str]] = []
        tallies, chars, read = Tallies(), 0, 0
        for name, at, data, taken in self._whole_lines():
            record = parsed(data)
            facts = facts_of(record)
            us = record_us(record.get("time"), self._seconds) if record is not None else 0
            words = words_of(record)
            mark = crc32(data)
            rows.append((us, seq, int(name[:8]), at, len(data), mark))
            texts.append((self._terms.of(facts), words))
            tallies.add(us, facts, record)
            seq, segment, offset, last = seq + 1, name, at + taken, at
            chars += len(words)
            read += taken
            if len(rows) >= _BATCH_RECORDS or chars >= _BATCH_CHARS:
                self._commit(rows, texts, tallies, (segment, offset, seq, last, mark))
                yield read, len(rows)
                rows, texts, tallies, chars, read = [], [], Tallies(), 0, 0
        if rows:
            self._commit(rows, texts, tallies, (segment, offset, seq, last, mark))
            yield read, len(rows)

    def _whole_lines(self) -> Iterator[tuple[str, int, bytes, int]]:
        """(segment, offset, line, bytes it takes up): as `shape.numbered` counts, an unfinished last line left out."""
        waiting: tuple[str, int, bytes, int] | None = None
        for segment, offset, data, whole in read_lines(self._segments, self._cursor.offset):
            if waiting is not None:
                yield waiting
                waiting = None
            if whole:
                yield segment.name, offset, data, len(data) + 1
            else:
                waiting = (segment.name, offset, data, len(data))

    def _commit(
        self,
        rows: list[tuple[int, int, int, int, int, int]],
        texts: list[tuple[str, str]],
        tallies: Tallies,
        reached: tuple[str, int, int, int, int],
    ) -> None:
        database, no = self._database, self._cursor.no
        database.execute("BEGIN IMMEDIATE")
        order = sorted(range(len(rows)), key=lambda i: (rows[i][0], rows[i][1]))
        ids = self._keys([rows[i][0] for i in order])
        keyed = sorted(zip(ids, order, strict=True))
        database.executemany(
            "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", ((key, no, *rows[i][1:]) for key, i in keyed)
        )
        database.executemany(
            "INSERT INTO search (rowid, fields, words) VALUES (?, ?, ?)", ((key, *texts[i]) for key, i in keyed)
        )
        database.executemany(
            "INSERT INTO counts VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n",
            ((hour, no, what, name, n) for (hour, what, name), n in tallies.counts.items()),
        )
        database.executemany(
            "INSERT INTO spans VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n",
            ((hour, no, step, bucket, n) for (hour, step, bucket), n in tallies.spans().items()),
        )
        database.execute(
            "UPDATE origins SET segment = ?, offset = ?, seq = ?, last = ?, mark = ? WHERE no = ?", (*reached, no)
        )
        database.execute("COMMIT")

    def _keys(self, times: list[int]) -> list[int]:
        """Free keys for ascending times, in order."""
        ids, last = [], -1
        for us in times:
            last = max(us << SLOT_BITS, last + 1)
            ids.append(last)
        one = self._database.execute
        if one("SELECT 1 FROM records WHERE id BETWEEN ? AND ? LIMIT 1", (ids[0], ids[-1])).fetchone() is None:
            return ids
        last = -1
        for place, us in enumerate(times):
            key = max(us << SLOT_BITS, last + 1)
            if one("SELECT 1 FROM records WHERE id = ?", (key,)).fetchone() is not None:
                key = one(_NEXT_FREE, (key,)).fetchone()[0]
            ids[place] = last = key
        return ids


_NEXT_FREE: Final = (
    "SELECT id + 1 FROM records AS r WHERE id >= ? "
    "AND NOT EXISTS (SELECT 1 FROM records WHERE id = r.id + 1) ORDER BY id LIMIT 1"
)


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
