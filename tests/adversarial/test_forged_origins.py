"""Catalogue, a folder beside the log (C128, C130): what nobody enrolled neither settles, nor burns, nor hides."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway import Unknown
from gateway.audit.errors import LogDamaged
from gateway.office import calls_in, verify_home
from gateway.settings import locate
from tests.support import ANA, Tool, ask, gateway_with, one, open_gateway, reason, records, tool

Record = dict[str, Any]


def _pay() -> Tool:
    def pay(order: str) -> str:
        raise AssertionError("replaced below")

    return tool(pay, effect="external", effect_key=["order"], execution={"inline": True})


def _in_doubt(base: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A call whose outcome could not be recorded: nobody knows. Gives its id."""
    with gateway_with(base, _pay()) as gateway:
        monkeypatch.setattr("gateway.release.Release.__call__", _broken)
        outcome = one(gateway.session(ANA), "pay", order="A")
        monkeypatch.undo()
    assert isinstance(outcome, Unknown)
    return outcome.ctx.id


def _broken(*_: object) -> None:
    raise RuntimeError("no result can be released")


def _forge(base: Path, origin: str, *lines: Record) -> None:
    folder = base / "home" / "audit" / origin
    folder.mkdir(parents=True)
    framed = [{"seq": n, "origin": origin, "time": "2026-01-01T00:00:00.000000Z", "mono_ns": 1} for n in range(9)]
    text = "".join(
        json.dumps(frame | line, separators=(",", ":")) + "\n" for frame, line in zip(framed, lines, strict=False)
    )
    (folder / "00000000.jsonl").write_text(text)


def _settled(intent: Record, **over: Any) -> Record:
    said = {"call_id": intent["call"]["call_id"], "intent_origin": "gw", "intent_seq": intent["seq"]}
    return {"v": 1, "kind": "call.settled", **said, "finding": "did_not_happen", "by": "max", "why": "x"} | over


def _finished(intent: Record) -> list[Record]:
    own = {key: value for key, value in intent.items() if key not in ("seq", "origin", "time", "mono_ns")}
    outcome = {"v": 1, "kind": "call.outcome", "call": own["call"], "intent_seq": 0, "status": "released", "detail": ""}
    return [own, outcome]


@pytest.mark.parametrize("origin", ["aaa", "zzz", "GW", "gw.bak"])
@pytest.mark.parametrize("forged", [lambda i: [_settled(i)], _finished], ids=["a finding", "another outcome"])
def test_c130_a_log_that_nobody_enrolled_ends_no_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: str, forged: Callable[[Record], list[Record]]
) -> None:
    call_id = _in_doubt(tmp_path, monkeypatch)
    (intent,) = records(tmp_path, "call.intent")
    _forge(tmp_path, origin, *forged(intent))
    where = locate(tmp_path / "policies", tmp_path / "home")
    assert calls_in(where)[call_id].unfinished
    assert [damage.kind for each in verify_home(where).origins for damage in each.damage] == ["unknown-origin"]
    with open_gateway(tmp_path, _pay()) as gateway:
        assert reason(gateway.session(ANA).judge_sync([ask("pay", order="A")])[0]) == "effect_held"


def test_c128_a_record_without_its_fields_stops_the_start_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _in_doubt(tmp_path, monkeypatch)
    with gateway_with(tmp_path, _pay()):
        pass
    segment = tmp_path / "home" / "audit" / "gw" / "00000000.jsonl"
    lines = segment.read_bytes().splitlines()
    seq = len(lines)
    forged = {"seq": seq, "origin": "gw", "time": "2026-01-01T00:00:00.000000Z", "mono_ns": 1, "kind": "call.outcome"}
    segment.write_bytes(b"\n".join([*lines, json.dumps(forged, separators=(",", ":")).encode(), b""]))
    where = locate(tmp_path / "policies", tmp_path / "home")
    with pytest.raises(LogDamaged, match=f"at record {seq}"):
        calls_in(where)
    with pytest.raises(LogDamaged, match=f"at record {seq}"), open_gateway(tmp_path, _pay()):
        pass


def test_c113_a_damaged_log_of_a_dead_process_frees_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its call was under way when it died; then somebody took the intent out of the log, as if it had never run."""
    call_id = _in_doubt(tmp_path, monkeypatch)
    state = sqlite3.connect(tmp_path / "home" / "state" / "state.db")
    with state:
        state.execute("UPDATE effects SET state = 'held'")
    state.close()
    segment = tmp_path / "home" / "audit" / "gw" / "00000000.jsonl"
    segment.write_bytes(segment.read_bytes().replace(call_id.encode(), b"call_" + b"0" * 32))
    with capture_logs() as said, open_gateway(tmp_path, _pay(), origin="other") as gateway:
        assert reason(gateway.session(ANA).judge_sync([ask("pay", order="A")])[0]) == "busy"
    assert [(each["event"], each["origin"]) for each in said if each["log_level"] == "error"] == [
        ("damaged_log_not_believed", "gw")
    ]
