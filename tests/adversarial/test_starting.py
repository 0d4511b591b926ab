"""What a start believes without reading the whole log (I5, C113, C127, C130): what a log's own key signed, or nothing.

Every test makes a call in doubt long ago, so that no start reads its records again, and restores a database that has
forgotten it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway import Gateway, Parked, Released, Unknown
from gateway.audit.errors import LogDamaged
from gateway.audit.read import read_origin
from gateway.domain.call import Outcome
from gateway.domain.decision import ReasonCode
from gateway.keys import Keys
from gateway.office import calls_in
from gateway.settings import locate
from tests.support import ANA, Tool, gateway_with, one, open_gateway, reason, records, tool, vote

SETTINGS = {"audit": {"checkpoint_every": 4}}


@pytest.fixture(autouse=True)
def _short_stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.audit.store.EVERY_BYTES", 1)


def _pay() -> Tool:
    def pay(order: str) -> str:
        return f"paid {order}"

    return tool(pay, effect="external", effect_key=["order"], execution={"inline": True})


async def _broken(*_: object) -> None:
    raise RuntimeError("nobody knows what it did")


def _in_doubt_long_ago(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, gateway_with(base, _pay(), settings=SETTINGS) as gateway:
        session = gateway.session(ANA)
        patch.setattr("gateway.execute.stage.Execute.__call__", _broken)
        assert isinstance(one(session, "pay", order="A"), Unknown)
        patch.undo()
        patch.setattr("gateway.audit.store.EVERY_BYTES", 1)
        for number in range(10):
            assert isinstance(one(session, "pay", order=f"B-{number}"), Released)


def _forget(base: Path) -> None:
    with closing(sqlite3.connect(base / "home" / "state" / "state.db")) as state, state:
        state.execute("DELETE FROM effects")


def _edit_the_outcome(base: Path) -> None:
    """The doubt becomes a failure, without moving a byte."""
    segment = base / "home" / "audit" / "gw" / "00000000.jsonl"
    kept = segment.read_bytes()
    edited = kept.replace(b'"status":"unknown",', b'"status":"failed", ', 1)
    assert edited != kept
    segment.write_bytes(edited)


@pytest.mark.parametrize("origin", ["gw", "other"], ids=["its own log", "a dead process's log"])
@pytest.mark.parametrize("edited", [False, True])
def test_c127_a_doubt_is_held_again_without_reading_its_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: str, edited: bool
) -> None:
    """C113: an edit that no start reads frees nothing either; `verify` names it."""
    _in_doubt_long_ago(tmp_path, monkeypatch)
    _forget(tmp_path)
    if edited:
        _edit_the_outcome(tmp_path)
    read: list[int] = []

    def counted(root: Path, name: str) -> object:
        for stored in read_origin(root, name):
            read.append(stored.seq)
            yield stored

    monkeypatch.setattr("gateway.starting.read_origin", counted)
    with capture_logs() as said, open_gateway(tmp_path, _pay(), origin=origin) as gateway:
        assert reason(one(gateway.session(ANA), "pay", order="A")) == "effect_held"
        assert isinstance(one(gateway.session(ANA), "pay", order="B-3"), Released)
    assert read == []
    assert [each for each in said if each["log_level"] == "error"] == []


def _without_frontier(base: Path) -> None:
    (base / "home" / "audit" / "gw" / "frontier").unlink()


def _forged_ledger(base: Path) -> None:
    """The doubtful call is taken out of the ledger."""
    frontier = base / "home" / "audit" / "gw" / "frontier"
    kept = frontier.read_bytes()
    start = kept.index(b'"calls":[[') + len(b'"calls":[')
    frontier.write_bytes(kept[:start] + kept[kept.index(b"]]", start) + 1 :])


@pytest.mark.parametrize("spoil", [_without_frontier, _forged_ledger])
@pytest.mark.parametrize("origin", ["gw", "other"])
def test_c113_without_a_signed_ledger_the_whole_log_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None], origin: str
) -> None:
    _in_doubt_long_ago(tmp_path, monkeypatch)
    _forget(tmp_path)
    spoil(tmp_path)
    with open_gateway(tmp_path, _pay(), origin=origin) as gateway:
        assert reason(one(gateway.session(ANA), "pay", order="A")) == "effect_held"


@pytest.mark.parametrize("spoil", [_without_frontier, _forged_ledger])
def test_c113_an_edited_log_without_a_signed_ledger_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None]
) -> None:
    _in_doubt_long_ago(tmp_path, monkeypatch)
    _edit_the_outcome(tmp_path)
    spoil(tmp_path)
    with pytest.raises(LogDamaged), open_gateway(tmp_path, _pay()):
        pass


def test_c127_requests_older_than_a_ledger_remembers_cost_a_reading_of_the_whole_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Database and markers both come back from a backup; only the log knows that the grant was used."""
    monkeypatch.setattr("gateway.audit.ledger.REMEMBERED", 1)
    subject = _approved()
    with gateway_with(tmp_path, subject, settings=SETTINGS) as gateway:
        session = gateway.session(ANA, conversation="c")
        asked = [one(session, "pay", order=f"{number}") for number in range(3)]
        ids = [each.request_id for each in asked if isinstance(each, Parked)]
        vote(tmp_path, *ids)
        with closing(sqlite3.connect(tmp_path / "home" / "state" / "state.db")) as state:
            backup = sqlite3.connect(tmp_path / "backup.db")
            state.backup(backup)
            backup.close()
        for request_id in ids:
            assert isinstance(session.resume_sync(request_id), Released)
    home = tmp_path / "home"
    for leftover in home.glob("state/state.db*"):
        leftover.unlink()
    (tmp_path / "backup.db").rename(home / "state" / "state.db")
    for marker in (home / "spent").iterdir():
        marker.unlink()
    with capture_logs() as said, open_gateway(tmp_path, subject) as gateway:
        session = gateway.session(ANA, conversation="c")
        assert [reason(session.resume_sync(request_id)) for request_id in ids] == ["grant_spent"] * 3
    assert "whole_log_read" in [each["event"] for each in said]
    assert len(records(tmp_path, "call.intent")) == 3


def _approved() -> Tool:
    def pay(order: str) -> str:
        return f"paid {order}"

    return tool(pay, risk="high", execution={"inline": True})


def test_c125_what_a_start_reads_and_what_people_read_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _in_doubt_long_ago(tmp_path, monkeypatch)
    where = locate(tmp_path / "policies", tmp_path / "home")
    (doubt,) = (call for call in calls_in(where).values() if call.unfinished)
    with open_gateway(tmp_path, _pay()) as gateway:
        ledger = gateway._runtime.log.ledger  # type: ignore[attr-defined]
    assert {(each, call.seq, call.outcome) for each, call in ledger.calls.items()} == {
        (doubt.call_id, doubt.seq, "unknown")
    }


@pytest.mark.parametrize("forgotten", [False, True], ids=["kept", "restored"])
def test_c147_a_rotated_digest_key_lets_go_of_no_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: bool
) -> None:
    _in_doubt_long_ago(tmp_path, monkeypatch)
    Keys.open(tmp_path / "home" / "keys" / "deployment").rotate()
    if forgotten:
        _forget(tmp_path)
    with open_gateway(tmp_path, _pay()) as gateway:
        session = gateway.session(ANA)
        assert reason(one(session, "pay", order="A")) is ReasonCode.EFFECT_HELD
        assert isinstance(one(session, "pay", order="B-1"), Released)


@pytest.mark.parametrize("newest_first", [False, True])
def test_c147_a_process_that_knows_an_older_key_meets_one_that_knows_the_newest(
    tmp_path: Path, newest_first: bool
) -> None:
    met: list[Outcome] = []
    meanwhile: list[Gateway] = []

    def pay(order: str) -> str:
        if meanwhile:
            other = meanwhile.pop()
            asking = threading.Thread(target=lambda: met.append(one(other.session(ANA), "pay", order=order)))
            asking.start()  # a thread of its own: another caller, and no nested call
            asking.join()
        return "paid"

    paying = tool(pay, effect="external", effect_key=["order"], execution={"inline": True})
    with gateway_with(tmp_path, paying) as old:
        Keys.open(tmp_path / "home" / "keys" / "deployment").rotate()
        with open_gateway(tmp_path, paying, origin="newest") as new:
            first, second = (new, old) if newest_first else (old, new)
            meanwhile.append(second)
            assert isinstance(one(first.session(ANA), "pay", order="A"), Released)
            assert isinstance(one(second.session(ANA), "pay", order="A"), Released)
    assert [reason(each) for each in met] == [ReasonCode.BUSY]
