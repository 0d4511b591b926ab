"""The derived index of a log: SQLite with FTS5, beside the state, never the source of truth.

Guarantee: what a search hands out are lines of the log itself, read where the index says and compared with it. Where
they are not there, or where the index is lost, foreign, damaged or tells of a log that was cut or replaced, it is
built anew.
Whoever can write the state folder can make it withhold records, never invent one: delete the file and it comes back.
Nothing that left the log stays in here: a retired segment means building anew.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeVar, final
from zlib import crc32

from gateway.audit.progress import Tell
from gateway.audit_tools.batches import parsed
from gateway.audit_tools.facts import facts_of
from gateway.audit_tools.fill import SCHEMA, SLOT_BITS, OutOfStep, fill
from gateway.audit_tools.moment import HOUR_US, LATEST_US
from gateway.audit_tools.query import Query
from gateway.domain.errors import ToolgateError

FILE: Final = "audit-index.db"
VERSION: Final = 2  # raised with every change of SCHEMA or of what is taken in; another one is built anew
_BUSY_S: Final = 60.0
_PAGE: Final = 500
_LASTING: Final = ("journal_mode = WAL", "synchronous = NORMAL")  # what is committed survives a kill
_COLUMNS: Final = "records.id, origin, seq, segment, offset, length, mark"
_T = TypeVar("_T")

# What SQLite says of a file that is not ours or not whole, by primary code; the rest is a disk's or a lock's fault.
_BROKEN: Final = frozenset(
    {
        *(sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_MISMATCH),
        *(sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_RANGE, sqlite3.SQLITE_SCHEMA),
    }
)


class IndexUnavailable(ToolgateError):
    """The index cannot be used; the log is not affected."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        self.why = why
        super().__init__(
            f"the search index {path} cannot be used: {why}. Check the disk and who owns the folder; "
            "the file may be deleted at any time, it is built anew."
        )


@final
class Found(NamedTuple):
    """One line of the log. `record` is None where it is no JSON object; every value is untrusted text.

    `enrolled` is false for an origin that nobody enrolled: its records prove nothing.
    """

    origin: str
    seq: int
    enrolled: bool
    line: bytes
    record: dict[str, Any] | None

    def as_json(self) -> dict[str, Any]:
        return {"origin": self.origin, "seq": self.seq, "enrolled": self.enrolled, "record": self.record}


@final
class Index:
    """An index that has caught up with the log, which is only read. Not thread-safe."""

    def __init__(self, folder: Path, audit: Path, enrolled: frozenset[str], progress: Tell | None) -> None:
        """Use `open`."""
        self._private = None if os.access(folder, os.W_OK) else tempfile.TemporaryDirectory(prefix="toolgate-index-")
        self.path = (folder if self._private is None else Path(self._private.name)) / FILE
        self._audit = audit
        self._enrolled = enrolled
        self._progress = progress
        self._database: sqlite3.Connection | None = None
        self._names: dict[int, str] = {}

    @classmethod
    def open(cls, folder: Path, audit: Path, enrolled: frozenset[str], progress: Tell | None = None) -> Self:
        """The index kept in `folder`, made or brought up to the log; `enrolled` names the origins that are trusted.

        Where `folder` cannot be written (evidence at rest), the index is made for this time only: see `temporary`.
        Raises IndexUnavailable, OSError.
        """
        index = cls(folder, audit, enrolled, progress)
        try:
            index._catch_up()
        except BaseException:
            index.close()
            raise
        return index

    @property
    def temporary(self) -> bool:
        return self._private is not None

    def close(self) -> None:
        self._disconnect()
        if self._private is not None:
            self._private.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # what is asked of it

    def newest(self, query: Query, limit: int) -> list[Found]:
        """The newest `limit` records that meet every condition, in the order of their times."""
        return self._ask(lambda: list(islice(self._fitting(query, newest_first=True, page=min(limit, _PAGE)), limit)))[
            ::-1
        ]

    def each(self, query: Query) -> Iterator[Found]:
        """Every record that meets the conditions, in the order of their times. Raises IndexUnavailable."""
        try:
            yield from self._fitting(query, newest_first=False, page=_PAGE)
        except OutOfStep as error:
            raise IndexUnavailable(
                self.path, f"the log changed while it was read ({error}); run the command again"
            ) from error

    def at(self, origin: str, seq: int) -> Found | None:
        """The record at one place, or None."""
        return self._ask(lambda: self._at(origin, seq))

    def counts(self, since: int = 0, until: int = LATEST_US) -> list[tuple[int, str, str, str, int]]:
        """(hour, origin, what, name, how many) of the hours that `since` and `until` (microseconds) lie in."""
        return self._ask(lambda: self._hours("counts", "what, name", since, until))

    def spans(self, since: int = 0, until: int = LATEST_US) -> list[tuple[int, str, str, int, int]]:
        """(hour, origin, step, bucket, how many); buckets as `tallies` makes them."""
        return self._ask(lambda: self._hours("spans", "step, bucket", since, until))

    def reached(self) -> dict[str, tuple[str, int, int]]:
        """By origin the segment, the offset in it and the number of the record that comes next."""
        rows = self._connection().execute("SELECT name, segment, offset, seq FROM origins")
        return {name: (segment, offset, seq) for name, segment, offset, seq in rows}

    def is_enrolled(self, origin: str) -> bool:
        return origin in self._enrolled

    # how it answers

    def _hours(self, table: str, columns: str, since: int, until: int) -> list[Any]:
        rows = self._connection().execute(
            f"SELECT hour, origin, {columns}, n FROM {table} WHERE hour BETWEEN ? AND ?",  # noqa: S608 -- our own words
            (since // HOUR_US, until // HOUR_US),
        )
        return [(row[0], self._name(row[1]), *row[2:]) for row in rows]

    def _fitting(self, query: Query, *, newest_first: bool, page: int) -> Iterator[Found]:
        expression = query.expression()
        low, high = query.since << SLOT_BITS, (query.until + 1 << SLOT_BITS) - 1
        order = "DESC" if newest_first else "ASC"
        asked = "search MATCH ? AND search.rowid" if expression else "id"
        table = "search JOIN records ON id = search.rowid" if expression else "records"
        key = "search.rowid" if expression else "id"
        sql = f"SELECT {_COLUMNS} FROM {table} WHERE {asked} BETWEEN ? AND ? ORDER BY {key} {order} LIMIT ?"  # noqa: S608
        lines = _Lines(self._audit)
        try:
            while True:
                given = (expression, low, high, page) if expression else (low, high, page)
                rows = self._connection().execute(sql, given).fetchall()
                for row in rows:
                    found = self._read(lines, row)
                    if (found.enrolled or not query.enrolled_only) and query.fits(facts_of(found.record)):
                        yield found
                if len(rows) < page:
                    return
                low, high = (low, rows[-1][0] - 1) if newest_first else (rows[-1][0] + 1, high)
                page = _PAGE
        finally:
            lines.close()

    def _at(self, origin: str, seq: int) -> Found | None:
        sql = f"SELECT {_COLUMNS} FROM records WHERE seq = ? AND origin = (SELECT no FROM origins WHERE name = ?)"  # noqa: S608
        row = self._connection().execute(sql, (min(seq, 1 << 62), origin)).fetchone()
        if row is None:
            return None
        lines = _Lines(self._audit)
        try:
            return self._read(lines, row)
        finally:
            lines.close()

    def _read(self, lines: _Lines, row: tuple[Any, ...]) -> Found:
        if not all(isinstance(each, int) for each in row):
            raise OutOfStep("no numbers where there should be")
        _, origin, seq, segment, offset, length, mark = row
        name = self._name(origin)
        line = lines.read(name, segment, offset, length)
        if crc32(line) != mark or len(line) != length:
            raise OutOfStep(f"{name}#{seq} is not where it was")
        return Found(name, seq, name in self._enrolled, line, parsed(line))

    def _name(self, no: int) -> str:
        if no not in self._names:
            row = self._connection().execute("SELECT name FROM origins WHERE no = ?", (no,)).fetchone()
            if row is None or not isinstance(row[0], str) or "/" in row[0] or row[0] in ("", ".", ".."):
                raise OutOfStep("a record of no origin")
            self._names[no] = row[0]
        return self._names[no]

    # how it is kept

    def _ask(self, question: Callable[[], _T]) -> _T:
        """The answer; where the index turns out to be wrong, that of a new one."""
        try:
            return question()
        except OutOfStep:
            pass
        except sqlite3.Error as error:
            self._unless_broken(error)
        try:
            self._build_anew()
            return question()
        except (OutOfStep, sqlite3.Error) as error:
            raise IndexUnavailable(self.path, f"{error}, even when built anew") from error

    def _catch_up(self) -> None:
        with self._alone():
            try:
                database = self._connect(*_LASTING)
                if database.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                    raise OutOfStep("of another version, or new")
                fill(database, self._audit, self._progress)
            except OutOfStep:
                pass
            except sqlite3.Error as error:
                self._unless_broken(error)
            else:
                return
            self._begin_anew()

    def _build_anew(self) -> None:
        with self._alone():
            self._begin_anew()

    def _begin_anew(self) -> None:
        self._disconnect()
        for end in ("", "-wal", "-shm", "-journal"):
            self.path.with_name(self.path.name + end).unlink(missing_ok=True)
        try:
            database = self._connect("journal_mode = OFF", "synchronous = OFF")
            database.executescript(SCHEMA)
            fill(database, self._audit, self._progress)
            self._sync()
            database = self._connect(*_LASTING)
            database.execute(f"PRAGMA user_version = {VERSION}")  # only now is it believed: a kill before means anew
        except (OutOfStep, sqlite3.Error) as error:
            raise IndexUnavailable(self.path, str(error)) from error

    def _unless_broken(self, error: sqlite3.Error) -> None:
        """Raises IndexUnavailable for what building anew would not cure."""
        if (getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF) not in _BROKEN:
            raise IndexUnavailable(self.path, str(error)) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time fills the index."""
        lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _sync(self) -> None:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _connect(self, *pragmas: str) -> sqlite3.Connection:
        self._disconnect()
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        database = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
        self._database = database
        for pragma in (*pragmas, "cache_size = -65536", "trusted_schema = OFF"):
            database.execute(f"PRAGMA {pragma}")
        return database

    def _connection(self) -> sqlite3.Connection:
        if self._database is None:
            raise IndexUnavailable(self.path, "it is closed")
        return self._database

    def _disconnect(self) -> None:
        self._names.clear()
        if self._database is not None:
            self._database.close()
            self._database = None


@final
class _Lines:
    """Reads single lines, with the segments last used kept open."""

    _MOST = 16

    def __init__(self, audit: Path) -> None:
        self._audit = audit
        self._open: dict[tuple[str, int], int] = {}

    def read(self, origin: str, segment: int, offset: int, length: int) -> bytes:
        """At most `length` bytes. Raises OutOfStep where there is no such segment."""
        file = self._open.get((origin, segment))
        if file is None:
            if len(self._open) >= self._MOST:
                self.close()
            try:
                path = self._audit / origin / f"{segment:08d}.jsonl"
                file = self._open[origin, segment] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError as error:
                raise OutOfStep(f"a segment of {origin} is gone") from error
        try:
            return os.pread(file, min(length, 1 << 30), offset)
        except (OverflowError, OSError) as error:
            raise OutOfStep(f"no such place in {origin}") from error

    def close(self) -> None:
        for file in self._open.values():
            os.close(file)
        self._open.clear()
