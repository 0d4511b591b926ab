"""Whole results beside the log: encrypted, vouched for by the outcome, erased with their subject."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.audit.kept import KeptResults
from gateway.audit.subjects import SubjectKeys
from gateway.keys import Keys
from gateway.settings import Home, locate
from tests.support import ANA, gateway_with, one, records, result, tool


def report(n: int) -> str:
    return "confidential " * n


def _kept(base: Path) -> tuple[Home, SubjectKeys, KeptResults]:
    where = locate(base / "policies", base / "home")
    subjects = SubjectKeys(where.keys / "subjects", Keys.open(where.keys / "deployment"))
    return where, subjects, KeptResults(where.state / "results", subjects)


def test_the_whole_result_is_kept_vouched_for_and_erasable(tmp_path: Path) -> None:
    kept_tool = tool(report, result={"keep": True, "max_bytes": 100_000})
    with gateway_with(tmp_path, kept_tool) as gateway:
        result(one(gateway.session(ANA), "report", n=1000))
    (outcome,) = records(tmp_path, "call.outcome")
    where, subjects, kept = _kept(tmp_path)
    (file,) = (where.state / "results").iterdir()
    assert b"confidential" not in file.read_bytes()
    place = (outcome["call"]["call_id"], outcome["intent_seq"], outcome["kept"])
    content = kept.read(*place)
    assert content is not None
    assert json.loads(content) == {"untrusted_result": "confidential " * 1000}
    whole = file.read_bytes()
    file.write_bytes(whole[:-2] + b"x}")
    with pytest.raises(ValueError, match="not the one"):
        kept.read(*place)
    file.write_bytes(whole)
    subjects.erase("ana")
    assert kept.read(*place) is None


def test_a_result_that_cannot_be_kept_does_not_hide_the_outcome(
    tmp_path: Path,
) -> None:
    with gateway_with(tmp_path, tool(report, result={"keep": True})) as gateway:
        where = locate(tmp_path / "policies", tmp_path / "home")
        (where.state / "results").write_text("in the way")
        result(one(gateway.session(ANA), "report", n=1))
    (outcome,) = records(tmp_path, "call.outcome")
    assert (outcome["status"], outcome["kept"]) == ("released", None)


def test_other_tools_keep_nothing(tmp_path: Path) -> None:
    with gateway_with(tmp_path, tool(report)) as gateway:
        result(one(gateway.session(ANA), "report", n=1))
    assert records(tmp_path, "call.outcome")[0]["kept"] is None
    where, _, _ = _kept(tmp_path)
    assert not (where.state / "results").exists()
