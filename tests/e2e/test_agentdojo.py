"""The AgentDojo replay, run as `make agentdojo` runs it: real tools and calls, written elsewhere."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.dojo.checks import Check, tally

pytestmark = pytest.mark.timeout(900)  # a fresh machine installs AgentDojo first
ROOT = Path(__file__).resolve().parents[2]
USER_TASKS = 36  # of banking and travel in suite version v1.2.2

# AgentDojo's interpreter runs the very program, with one thing broken beforehand.
_BROKEN = """
import sys
from benchmarks import agentdojo_replay
{fault}
sys.argv = ["agentdojo_replay", "--json"]
sys.exit(agentdojo_replay.main())
"""
_EVERYTHING_GRANTED = """
from gateway.authorize.stage import Authorize
from gateway.domain.call import AuthorizedCall
from gateway.domain.decision import Provenance
def everything(self, call):
    return AuthorizedCall(call.ctx, call, self._contracts[call.tool], Provenance("policy.csv", 1))
Authorize.__call__ = everything
"""
_DENIAL_UNDER_A_WRONG_NAME = """
from gateway.audit.log import AuditLog
append = AuditLog.append
def forgetful(self, body, reservation=None):
    if b'"kind":"call.denied"' in body:
        body = body.replace(b'"call_id":"', b'"call_id":"not-')
    return append(self, body, reservation)
AuditLog.append = forgetful
"""


@pytest.fixture(scope="module")
def python() -> str:
    made = subprocess.run(
        [ROOT / "scripts" / "own-env.sh", "agentdojo"], capture_output=True, text=True, timeout=900, check=False
    )
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def _figures(text: str) -> dict[str, tuple[int, int]]:
    report: dict[str, Any] = json.loads(text)
    return {check["question"]: (check["got"], check["of"]) for checks in report["checks"].values() for check in checks}


def test_every_ground_truth_call_passes_and_every_wrong_one_is_refused(python: str) -> None:
    run = subprocess.run(
        [ROOT / "scripts" / "agentdojo.sh", "--json"], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    figures = _figures(run.stdout)
    solved = [pair for question, pair in figures.items() if "AgentDojo's own verdict" in question]
    assert (sum(got for got, _ in solved), sum(of for _, of in solved)) == (USER_TASKS, USER_TASKS)
    assert all(got == of > 0 for got, of in figures.values()), figures
    assert json.loads(run.stdout)["met"] is True


@pytest.mark.parametrize(
    ("fault", "question"),
    [
        pytest.param(_EVERYTHING_GRANTED, "reader: calls with a side effect refused", id="everything granted"),
        pytest.param(
            _DENIAL_UNDER_A_WRONG_NAME, "calls recorded, the refused ones too", id="a denial under a wrong name"
        ),
    ],
)
def test_a_fault_in_toolgate_is_a_shortfall_with_an_exit_code(python: str, fault: str, question: str) -> None:
    run = subprocess.run(
        [python, "-c", _BROKEN.format(fault=fault)], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 1, run.stderr
    got, of = _figures(run.stdout)[question]
    assert got < of


def test_a_figure_is_met_only_by_everything_and_never_by_nothing() -> None:
    assert Check("q", 36, 36).met
    assert not Check("q", 35, 36).met
    assert not Check("q", 37, 36).met
    assert not Check("q", 0, 0).met
    assert tally("q", {"a": True, "b": False}) == Check("q", 1, 2, ("b",))
