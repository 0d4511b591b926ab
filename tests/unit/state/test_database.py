"""The state database: every kind of trouble is StateUnavailable, and so a denial (C063)."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest
from sqlalchemy import text

from gateway.domain.errors import SettingsError, StateUnavailable
from gateway.state.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Database:
    found = Database(tmp_path / "state" / "state.db", busy_s=0.05)
    with found.write() as connection:
        connection.execute(text("CREATE TABLE t (n INTEGER)"))
    return found


def count(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(text("SELECT count(*) FROM t")).scalar_one())


def test_commits_are_durable_and_private(database: Database) -> None:
    with database.write() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    assert stat.S_IMODE(database.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(database.path.parent.stat().st_mode) == 0o700


def test_an_exception_rolls_everything_back(database: Database) -> None:
    def interrupted() -> None:
        with database.write() as connection:
            connection.execute(text("INSERT INTO t VALUES (1)"))
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert count(database) == 0


def test_a_write_holds_the_lock_from_its_beginning(database: Database) -> None:
    other = Database(database.path, busy_s=0.05)
    with database.write(), pytest.raises(StateUnavailable), other.write():
        pass
    with other.write() as connection:
        connection.execute(text("INSERT INTO t VALUES (1)"))
    assert count(database) == 1


def test_a_thread_does_not_wait_for_ever_for_another(database: Database) -> None:
    with database.write(), pytest.raises(StateUnavailable, match="busy"), database.write():
        pass


def test_a_replaced_file_is_noticed(database: Database) -> None:
    copy = database.path.with_name("copy")
    shutil.copy(database.path, copy)
    copy.replace(database.path)
    with pytest.raises(StateUnavailable, match="replaced"):
        count(database)
    database.path.unlink()
    with pytest.raises(StateUnavailable, match="gone"):
        count(database)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(StateUnavailable):
        Database(tmp_path / "state.db")


@pytest.mark.parametrize("spoil", ["world-writable", "symlink"])
def test_an_unsafe_file_is_refused(tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "state.db"
    if spoil == "symlink":
        (tmp_path / "elsewhere").touch()
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.touch()
        path.chmod(0o666)
    with pytest.raises(SettingsError):
        Database(path)


def test_a_forked_child_may_not_use_it(database: Database) -> None:
    child = os.fork()
    if child == 0:
        try:
            count(database)
        except StateUnavailable:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_errors_of_the_raw_connection_are_translated(database: Database) -> None:
    assert isinstance(database.raw(busy_s=1), sqlite3.Connection)
    database.path.unlink()
    with pytest.raises(StateUnavailable):
        database.raw(busy_s=1)
