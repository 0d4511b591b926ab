"""The way of an agent that already runs: observed, a policy proposed from what was seen, applied, enforced.

The `banking` suite is replayed twice. First nothing is denied and there is no contract for any of its tools; then
`toolgate policy scaffold --from-log` and `toolgate policy apply` run as somebody would type them; then the same tasks
run under that policy, and calls that were never seen are made.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agentdojo.functions_runtime import FunctionsRuntime
from agentdojo.task_suite.task_suite import TaskSuite

from benchmarks.dojo.checks import Check, tally
from benchmarks.dojo.governed import Desk
from benchmarks.dojo.policies import READER, WORKER
from benchmarks.dojo.replay import utility
from benchmarks.dojo.suites import fresh, ground_truth, routed
from gateway.domain.call import Denied, Released

SUITE = "banking"
FAR_ABOVE = 10_000_000.0  # more than any task of the suite pays


def walk(folder: Path, suites: Mapping[str, TaskSuite[Any]]) -> Iterator[Check]:
    """Observe, scaffold, apply, enforce. `folder` is empty."""
    suite = suites[SUITE]
    tools = {function.name: function for function in suite.tools}
    before, proposed = folder / "before", folder / "proposed"
    _toolgate("init", str(before))
    with (before / "settings.yaml").open("a", encoding="utf-8") as settings:
        settings.write("observe:\n  arguments: values\n")
    yield from _observed(Desk(before, folder / "home", tools, observe=True), suite)
    home = ("--home", str(folder / "home"))
    _toolgate("policy", "scaffold", "--from-log", "--to", str(proposed), "--policies", str(before), *home)
    _toolgate("policy", "test", "--policies", str(proposed))
    _toolgate("policy", "apply", "--yes", "--by", "walk", "--policies", str(proposed), *home)
    seen = {name: tools[name] for name in tools if (proposed / "tools" / f"{name}.yaml").exists()}
    yield from _enforced(Desk(proposed, folder / "home", seen), suite)


def _observed(desk: Desk, suite: TaskSuite[Any]) -> Iterator[Check]:
    try:
        with routed(desk.run):
            yield utility({SUITE: suite}, "observed, without a contract: user tasks solved")
    finally:
        desk.gateway.close()


def _enforced(desk: Desk, suite: TaskSuite[Any]) -> Iterator[Check]:
    try:
        with routed(desk.run):
            yield utility({SUITE: suite}, "under the applied proposal: user tasks solved")
        released = {str(n): isinstance(outcome, Released) for n, outcome in enumerate(desk.outcomes)}
        yield tally("under the applied proposal: calls released", released)
        yield tally("by somebody who was never seen: calls denied", _by_a_stranger(desk, suite))
        yield tally("far above every amount that was seen: calls denied", _far_above(desk, suite))
    finally:
        desk.gateway.close()


def _by_a_stranger(desk: Desk, suite: TaskSuite[Any]) -> dict[str, bool]:
    return {
        f"{step.task} {number} {step.tool}": isinstance(
            desk.ask(READER, step.runtime, step.environment, step.tool, step.arguments), Denied
        )
        for steps in ground_truth(suite)
        for number, step in enumerate(steps)
    }


def _far_above(desk: Desk, suite: TaskSuite[Any]) -> dict[str, bool]:
    denied = {}
    for steps in ground_truth(suite):
        for number, step in enumerate(steps):
            if step.tool in ("send_money", "schedule_transaction"):
                arguments = {**step.arguments, "amount": FAR_ABOVE}
                outcome = desk.ask(WORKER, FunctionsRuntime(suite.tools), fresh(suite), step.tool, arguments)
                denied[f"{step.task} {number} {step.tool}"] = isinstance(outcome, Denied)
    return denied


def _toolgate(*words: str) -> None:
    """Type a command; the walk ends where one fails."""
    done = subprocess.run([sys.executable, "-m", "gateway.cli", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"toolgate {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
