"""The kill switch stops the very next call, in every process, and any doubt stops it too."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from gateway.domain.errors import StateUnavailable, UsageError
from gateway.state.database import Database
from gateway.state.kill_switches import KillSwitches
from tests.fakes.clock import FakeClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def switches(path: Path) -> KillSwitches:
    return KillSwitches(Database(path), FakeClock())


def stops(switches: KillSwitches, principal: str, tool: str) -> str | None:
    return switches.thrown(principal) or switches.off(tool)


def test_each_scope_stops_what_it_names_and_nothing_else(switches: KillSwitches) -> None:
    assert stops(switches, "alice", "refund") is None
    switches.throw("tool", "refund", by="ops", why="ticket 1")
    assert stops(switches, "alice", "refund") == "kill switch tool refund by ops: ticket 1"
    assert stops(switches, "alice", "weather") is None
    switches.throw("principal", "mallory", by="ops", why="ticket 2")
    assert stops(switches, "mallory", "weather") is not None
    assert stops(switches, "refund", "mallory") is None  # a person named like the tool, and the other way round
    switches.throw("all", "", by="ops", why="ticket 3")
    assert stops(switches, "alice", "weather") is not None
    assert switches.release("all", "")
    assert not switches.release("all", "")
    assert stops(switches, "alice", "weather") is None
    assert [(s.scope, s.subject) for s in switches.switches()] == [("tool", "refund"), ("principal", "mallory")]


def test_another_process_sees_it_at_once(path: Path, switches: KillSwitches) -> None:
    elsewhere = KillSwitches(Database(path), FakeClock())
    for _ in range(20):
        assert stops(elsewhere, "alice", "refund") is None
        switches.throw("all", "", by="ops", why="drill")
        assert stops(elsewhere, "alice", "refund") is not None
        switches.release("all", "")


def test_threads_see_it_at_once(switches: KillSwitches) -> None:
    wrong: list[bool] = []
    thrown, stop = threading.Event(), threading.Event()

    def look() -> None:
        while not stop.is_set():
            known = thrown.is_set()
            if known and stops(switches, "alice", "refund") is None:
                wrong.append(True)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        switches.throw("all", "", by="ops", why="drill")
        thrown.set()
        assert stops(switches, "bob", "x") is not None
        thrown.clear()
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong


def test_throwing_again_keeps_one_switch(switches: KillSwitches) -> None:
    switches.throw("tool", "refund", by="ops", why="one")
    switches.throw("tool", "refund", by="ops", why="two")
    assert [found.why for found in switches.switches()] == ["two"]


@pytest.mark.parametrize(("scope", "subject"), [("all", "x"), ("tool", ""), ("principal", ""), ("role", "x")])
def test_a_switch_that_means_nothing_is_a_bug(switches: KillSwitches, scope: str, subject: str) -> None:
    with pytest.raises(UsageError):
        switches.throw(scope, subject, by="ops", why="?")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "sql", ["INSERT INTO kill_switches VALUES ('everything', '', 'x', 'y', 1)", "DROP TABLE kill_switches"]
)
def test_a_table_changed_by_hand_denies(path: Path, switches: KillSwitches, sql: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(sql)
    connection.close()
    for _ in range(2):  # and goes on denying
        with pytest.raises(StateUnavailable):
            stops(switches, "alice", "refund")


def test_a_replaced_file_denies(path: Path) -> None:
    clock = FakeClock()
    switches = KillSwitches(Database(path), clock)
    path.unlink()
    clock.advance(1)
    for _ in range(2):
        with pytest.raises(StateUnavailable):
            stops(switches, "alice", "refund")


def test_closed_means_denied(switches: KillSwitches) -> None:
    switches.close()
    with pytest.raises(StateUnavailable):
        stops(switches, "alice", "refund")
