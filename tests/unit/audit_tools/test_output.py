"""Nothing a record holds does anything to a terminal, a spreadsheet or a program that reads it (I9, C064)."""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit.encode import encode
from gateway.audit_tools.batches import parsed
from gateway.audit_tools.export import MAX_CELL_CHARS, exported
from gateway.audit_tools.facts import facts_of
from gateway.audit_tools.figures import Figures, figures
from gateway.audit_tools.index import Found
from gateway.audit_tools.names import OTEL, ocsf
from gateway.audit_tools.plain import ascii_json, parts_of, shown
from gateway.audit_tools.query import Query
from gateway.audit_tools.story import Story, conversation, story_of
from gateway.cli.audit_read import lines
from gateway.cli.audit_story import WIDTH, figure_lines, story_lines
from gateway.domain.event import Event, Subject
from tests.unit.audit_tools import ocsf_schema
from tests.unit.audit_tools.desk import Log, denied, intent, outcome, requested, settled, voted

HOSTILE = "\x1b[2J\x1b]0;owned\x07\x00\r\n\u202e\u2066\u200b\u2028\x7f\x9b\U000e0041\ufeff=cmd()"


def quiet(text: str) -> bool:
    """No control, format, separator, private or unassigned character."""
    return all(unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for c in text)


def _made(hint: Any, text: str) -> Any:
    """A value for a field, hostile wherever text fits."""
    hint = str(hint)
    if hint.startswith("Subject"):
        return Subject(**{f.name: _made(f.type, text) for f in fields(Subject)})
    if hint in ("int", "bool"):
        return 4
    if hint.startswith("dict[str, int]"):
        return {text: 7}
    if hint.startswith("dict"):
        return {text: {text: [text]}}
    if "tuple[dict" in hint:
        return ({"kind": text, "why": text, "rule": text, "verdict": text, "voter": text, "key_id": text},)
    if hint.startswith("tuple"):
        return (text,)
    return text


def every_event(text: str) -> Iterator[Event]:
    for kind in get_args(Event):
        assert is_dataclass(kind)
        yield cast("Event", kind(**{f.name: _made(f.type, text) for f in fields(kind)}))


def _found(event: Event, text: str) -> Found:
    head = json.dumps({"seq": 1, "origin": text, "time": "2027-01-15T08:00:00.000000Z" + text, "mono_ns": 1})
    line = head.encode()[:-1] + b"," + encode(event)[1:]
    return Found(text, 1, False, line, parsed(line))


@settings(max_examples=60, deadline=None)
@given(text=st.one_of(st.just(HOSTILE), st.text(st.characters(codec="utf-8"), max_size=40)))
def test_every_output_of_every_kind_of_record_is_quiet(text: str) -> None:
    found = [_found(event, text) for event in every_event(text)]
    for each in found:
        assert all(map(quiet, parts_of(each)))
        assert all(map(quiet, story_lines(Story(text, (each,), (), clipped=True))))
        made = ascii_json(each.as_json())
        assert quiet(made)
        assert made.isascii()
        assert json.loads(made)["record"] == each.record
    for form in ("jsonl", "ocsf", "csv"):
        assert all(quiet(line) for line in exported(found, form))
    figure = Figures(records=3, untrusted=2, coalesced=1, intents=1)
    for counter in (figure.outcomes, figure.denials, figure.tools, figure.approvals, figure.settled):
        counter[text] = 3
    figure.by_hour[500_000] = 3
    figure.steps[text] = (1, 2, 3)
    assert all(map(quiet, figure_lines(figure)))
    assert quiet(ascii_json(figure.as_json()))


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(start: str) -> None:
    rows = list(csv.reader(exported([_found(denied("call_1", detail=start, tool=start), "gw")], "csv")))
    assert all(not cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in row)
    assert rows[0] == list(OTEL)
    assert len(rows[1]) == len(rows[0])


@pytest.mark.parametrize("text", ["x;=1+1", "; @SUM(A1)", 'x;"+1"', "x;;-1", "\uff1d1+1", "x;\uff0b1", " =1"])
def test_c145_no_cell_is_a_formula_where_semicolons_part_cells(text: str) -> None:
    (_, line) = exported([_found(denied("call_1", detail=text, tool=text), "gw")], "csv")
    cells = [*line.split(";"), *next(csv.reader([line])), *next(csv.reader([line], delimiter=";"))]
    begins = {cell.lstrip(' "')[:1] for cell in cells}
    assert begins.isdisjoint("=+-@\uff1d\uff0b")
    assert text in line.replace("'", "").replace('""', '"')


def test_huge_values_are_clipped_and_counted() -> None:
    huge = "x" * 1_000_000
    event = intent("call_1", arguments={"a": huge})
    found = _found(event, "gw")
    assert shown(huge, 10) == "xxxxxxxxxx... [999990 more]"
    assert max(map(len, story_lines(Story("call_1", (found,), ())))) <= WIDTH
    (_, row) = exported([found], "csv")
    assert len(row) < MAX_CELL_CHARS + 3_000
    assert len(" ".join(parts_of(_found(denied("call_1", reason=huge), "gw")))) < 1_000


def test_a_story_at_80_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Log(tmp_path)
    log.write(
        requested("call_1", "req_1"),
        voted("req_1"),
        intent("call_2", request_id="req_1", proofs=({"verdict": "approve", "voter": "bob", "dev_key": True},)),
        intent("call_3", parent_id="call_2", tool="ledger"),
        outcome("call_3", 3, parent_id="call_2", tool="ledger"),
        outcome("call_2", 2, status="unknown", request_id="req_1"),
        settled("call_2"),
    )
    log.put_stranger(log.stranger_says(settled("call_2", "did_not_happen")))
    with log.index() as index:
        story = story_of(index, "call_2")
        assert story is not None
        assert [each.seq for each in story.own if each.enrolled] == [0, 1, 2, 5, 6]
        assert [each.seq for each in story.children[0].own] == [3, 4]
        told = list(story_lines(story))
        everything, clipped = conversation(index, "talk")
        found = figures(index, 0, 1 << 51)
    assert max(map(len, told)) <= WIDTH
    assert any("!stranger#0" in line for line in told)
    assert not clipped
    assert len(everything) == 8
    lines(everything)
    assert "nobody enrolled" in capsys.readouterr().out
    assert found.intents == 2
    assert found.untrusted == 1
    assert found.settled == {"happened": 1}
    assert found.approvals == {"requested": 1, "approve": 1}
    assert found.steps["execute"][0] == 2
    assert abs(found.steps["execute"][1] - 3000) <= 3000 / 31
    assert max(map(len, figure_lines(found))) <= WIDTH


def test_a_ring_of_calls_ends(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.write(intent("call_a", parent_id="call_b"), intent("call_b", parent_id="call_a"))
    with log.index() as index:
        story = story_of(index, "call_a")
    assert story is not None
    assert len(list(story.everything())) == 2


def test_ocsf_says_what_was_decided() -> None:
    event = ocsf(_found(denied("call_1", "guard"), "gw"))
    assert (event["class_uid"], event["type_uid"], event["status_id"], event["disposition_id"]) == (6003, 600399, 2, 2)
    assert event["status_detail"] == "guard"
    assert event["api"]["operation"] == "refund"
    unknown = ocsf(_found(outcome("call_1", status="unknown"), "gw"))
    assert (unknown["status_id"], unknown["severity_id"]) == (0, 3)
    parked = ocsf(_found(requested("call_1"), "gw"))
    assert (parked["action"], parked["disposition"]) == ("Unknown", "Delayed")


@pytest.mark.parametrize("words", ["x", "", HOSTILE])
def test_every_ocsf_event_is_one_by_its_schema(words: str) -> None:
    nothing = Found("stranger", 0, False, b"nonsense", None)
    odd: list[dict[str, Any]] = [
        {},
        {"kind": "call.denied"},
        {"kind": "process.started", "version": {}, "time": 7},
        {"kind": {}, "call": []},
    ]
    strangers = [Found("stranger", n, False, b"", record) for n, record in enumerate(odd)]
    for found in (nothing, *strangers, *(_found(each, words or "gw") for each in every_event(words))):
        made = json.loads(ascii_json(ocsf(found)))
        assert ocsf_schema.misfits(made) == [], found.record


def test_a_misfit_to_the_ocsf_schema_would_be_found() -> None:
    good = ocsf(_found(denied("call_1", "guard"), "gw"))
    bad: list[dict[str, Any]] = [
        {**good, "severity_id": 42},
        {**good, "action": "Parked"},
        {**good, "actor": {}},
        {**good, "api": {"operation": "refund", "request": {}}},
        {**good, "time": "today"},
        {**good, "metadata": {"version": "1.6.0"}},
        {**good, "colour": "red"},
        {name: value for name, value in good.items() if name != "src_endpoint"},
    ]
    assert all(ocsf_schema.misfits(each) for each in bad)


def test_opentelemetry_names_are_the_conventions() -> None:
    """Registry of semantic conventions 1.38, checked 2026-11-20; anything else is ours and says so."""
    known = {
        "operation.name",
        "tool.name",
        "tool.call.id",
        "conversation.id",
        "tool.call.arguments",
        "tool.call.result",
    }
    foreign = {name for name in OTEL if not name.startswith("toolgate.")}
    assert foreign == {f"gen_ai.{name}" for name in known} | {"time", "user.id", "user.roles", "error.type"}
    row = dict(zip(OTEL, next(csv.reader([list(exported([_found(denied("c"), "gw")], "csv"))[1]])), strict=True))
    assert row["gen_ai.operation.name"] == "execute_tool"


def test_a_query_for_enrolled_origins_leaves_strangers_out(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.write(denied("call_1"))
    log.put_stranger(*(log.stranger_says(denied("call_1"), n) for n in range(5)))
    with log.index() as index:
        query = Query(call_id="call_1")
        assert len(index.newest(query, 3)) == 3
        assert [each.origin for each in index.newest(replace(query, enrolled_only=True), 3)] == ["gw"]


def test_facts_never_raise() -> None:
    for record in ({}, {"call": []}, {"kind": {}, "call": {"tool": []}}, {"reason": 1.5, "call": None}):
        assert all(isinstance(each, str) for each in facts_of(record))
