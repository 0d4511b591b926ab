"""Bringing an index up to the log, a batch of lines a transaction: a kill leaves it behind, never wrong.

A record's key is its time in microseconds and a counter below that, so that "newest first" and time ranges need no
sorting. Records of one microsecond, or of a clock that was set back onto others, take the next free keys.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple, final
from zlib import crc32

from gateway.audit.intents import origins_in
from gateway.audit.progress import Meter, Tell
from gateway.audit.segment import FIRST_SEGMENT, Place, says_it_starts_at
from gateway.audit_tools.batches import Batch, Reached, aside, batches

SLOT_BITS: Final = 10
_WORTH_A_PROCESS: Final = 64 << 20  # bytes: reading so much takes longer than starting one

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
        start = Reached(cursor.segment, cursor.offset, cursor.seq, cursor.last, cursor.mark)
        long = sum(each.stat().st_size for each in segments) - cursor.offset >= _WORTH_A_PROCESS
        with closing(aside(segments, start) if long else batches(segments, start)) as ready:
            for batch in ready:
                _store(database, cursor.no, batch)
                meter.add(batch.read, len(batch.rows))


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


def _store(database: sqlite3.Connection, no: int, batch: Batch) -> None:
    database.execute("BEGIN IMMEDIATE")
    ids = _keys(database, batch.times)
    database.executemany(
        "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)",
        ((key, no, *row) for key, row in zip(ids, batch.rows, strict=True)),
    )
    database.executemany(
        "INSERT INTO search (rowid, fields, words) VALUES (?, ?, ?)",
        ((key, fields, words) for key, (fields, words) in zip(ids, batch.texts, strict=True)),
    )
    database.executemany(
        "INSERT INTO counts VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n",
        ((hour, no, what, name, n) for (hour, what, name), n in batch.counts.items()),
    )
    database.executemany(
        "INSERT INTO spans VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n",
        ((hour, no, step, bucket, n) for (hour, step, bucket), n in batch.spans.items()),
    )
    database.execute(
        "UPDATE origins SET segment = ?, offset = ?, seq = ?, last = ?, mark = ? WHERE no = ?", (*batch.reached, no)
    )
    database.execute("COMMIT")


def _keys(database: sqlite3.Connection, times: list[int]) -> list[int]:
    """Free keys for ascending times, ascending."""
    ids, last = [], -1
    for us in times:
        last = max(us << SLOT_BITS, last + 1)
        ids.append(last)
    one = database.execute
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
