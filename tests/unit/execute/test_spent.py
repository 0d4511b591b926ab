"""Code that began has spent what its call charges: a model may print what it wants to know, and then fail."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from gateway.domain.decision import ReasonCode
from gateway.execute import stage
from gateway.execute.port import CodeRun
from sandbox.result import Verdict
from tests.support import ANA, one, reason, records, tool
from tests.unit.test_errors import CODE, Case, FailingBox, standing

LET_GO = threading.Event()


class HangingBox(FailingBox):
    def run(self, *_: object, **__: object) -> CodeRun:
        LET_GO.wait(30)
        return self.says


@pytest.mark.parametrize("box", [FailingBox, HangingBox])
def test_code_that_fails_or_does_not_end_has_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, box: type[FailingBox]
) -> None:
    LET_GO.clear()
    monkeypatch.setattr("tests.unit.test_errors.FailingBox", box)
    monkeypatch.setattr(stage, "SANDBOX_GRACE_S", 0)
    ran = CodeRun(ok=False, code=Verdict.CODE_FAILED.value, value={"stdout": "42"}, evidence={})
    runs = tool(
        name="run_code", parameters=CODE, charges={"runs": 1}, execution={"sandbox": "python", "deadline_s": 0.2}
    )
    case = Case((runs,), settings={"budgets": {"runs": {"max": 1, "window_s": 60}}}, box=ran)
    with standing(tmp_path, case, monkeypatch) as gateway:
        session = gateway.session(ANA)
        one(session, "run_code", code="1")
        LET_GO.set()
        assert reason(one(session, "run_code", code="2")) is ReasonCode.VALUE_BUDGET
    assert [each["spent"] for each in records(tmp_path, "call.outcome")] == [True]
