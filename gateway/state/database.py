"""The shared state database: SQLite in WAL mode with `synchronous=FULL`, so a committed claim survives a power cut.

Guarantees: every write transaction takes the write lock when it begins (BEGIN IMMEDIATE), so what it reads is still
true when it commits; a database that is locked, damaged, replaced or inherited through a fork raises StateUnavailable
and so denies (C063). What is built on it uses SQLAlchemy Core and no SQL of SQLite's own.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from gateway.domain.errors import SettingsError, StateUnavailable

BUSY_S: Final = 5.0  # how long a writer waits for another process before its call is denied
_BEGIN: Final = "toolgate_begin"


@final
class Database:
    """One SQLite file. `write` and `read` give a connection inside one transaction."""

    def __init__(self, path: Path, *, busy_s: float = BUSY_S) -> None:
        """Create the file (mode 0600) if it is absent. Raises SettingsError or StateUnavailable."""
        self.path = path
        self._name = os.fspath(path)  # `check` stands on the hot path, and a Path costs it 1 us
        self._busy_s = busy_s
        self._pid = os.getpid()
        self._writer = threading.Lock()  # threads of one process queue here: fairer than SQLite's own polling
        self._inode = _create(path)
        self._engine = _engine(path, busy_s)
        with self.read() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Commits at the end, rolls back on any exception. Raises StateUnavailable."""
        if not self._writer.acquire(timeout=self._busy_s):
            raise StateUnavailable(f"the state database {self.path} is busy. Calls are denied until it is free.")
        try:
            with self._transaction("BEGIN IMMEDIATE") as connection:
                yield connection
        finally:
            self._writer.release()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent snapshot. Raises StateUnavailable."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Connection]:
        self.check()
        try:
            with self._engine.connect() as connection:
                connection.execution_options(**{_BEGIN: begin})  # in place, for this connection only
                with connection.begin():
                    yield connection
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise StateUnavailable(
                f"the state database {self.path} failed: {str(error).splitlines()[0]}. Calls that need it are denied; "
                "check the disk, who else holds the file, and `PRAGMA integrity_check`."
            ) from error

    def check(self) -> None:
        """Raises StateUnavailable if the file was replaced beneath us, or if this process is a forked child."""
        if os.getpid() != self._pid:
            raise StateUnavailable("this process was forked from the one that opened the state database; open it anew.")
        try:
            found = os.stat(self._name)
        except OSError as error:
            raise StateUnavailable(
                f"the state database {self.path} is gone ({error}). Restart once it is back."
            ) from error
        if (found.st_dev, found.st_ino) != self._inode:
            raise StateUnavailable(f"the state database {self.path} was replaced by another file. Restart.")

    def raw(self, *, busy_s: float) -> sqlite3.Connection:
        """A connection of one's own, beside the pool, for the hot path. The caller guards it and closes it."""
        self.check()
        try:
            return sqlite3.connect(self.path, timeout=busy_s, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise StateUnavailable(f"the state database {self.path} cannot be opened: {error}") from error

    def close(self) -> None:
        self._engine.dispose()


def _create(path: Path) -> tuple[int, int]:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            found = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SettingsError(f"the state database {path} cannot be opened: {error}") from error
    if found.st_mode & 0o002:
        raise SettingsError(f"the state database {path} can be written by anybody. Run `chmod 600 {path}`.")
    return found.st_dev, found.st_ino


def _engine(path: Path, busy_s: float) -> Engine:
    engine = create_engine(f"sqlite:///{path}", pool_size=8, max_overflow=24, pool_timeout=busy_s)

    @event.listens_for(engine, "connect")
    def _(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver begins nothing behind our back
        connection.execute(f"PRAGMA busy_timeout={int(busy_s * 1000)}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA trusted_schema=OFF")  # a view planted in the file may call no function

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN IMMEDIATE"))

    return engine
