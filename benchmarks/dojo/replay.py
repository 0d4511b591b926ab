"""The questions the replay asks, one function each. Every figure is counted in the run; totals come from AgentDojo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agentdojo.functions_runtime import Function, FunctionsRuntime
from agentdojo.task_suite.task_suite import TaskSuite
from pydantic import ValidationError

from benchmarks.dojo import probes
from benchmarks.dojo.checks import Check, tally
from benchmarks.dojo.governed import Desk
from benchmarks.dojo.policies import READER, WORKER
from benchmarks.dojo.suites import EFFECTS, fresh, ground_truth, routed, user_tasks
from gateway.domain.call import Denied, Outcome, Released
from gateway.domain.decision import ReasonCode

Suites = Mapping[str, TaskSuite[Any]]
Tools = Mapping[str, tuple[str, Function[..., Any]]]

_MALFORMED = {ReasonCode.SCHEMA, ReasonCode.BAD_JSON, ReasonCode.BAD_CALL}


def utility(suites: Suites, label: str) -> Check:
    """AgentDojo's own verdict on every user task, through whatever `run_function` is at the moment."""
    results = {
        f"{name} {task}: {why}": solved
        for name, suite in suites.items()
        for task, (solved, why) in user_tasks(suite).items()
    }
    return tally(label, results)


def measured_effects(suites: Suites) -> tuple[int, Check]:
    """How many ground-truth calls change their environment, and whether every tool that does is declared to."""
    changing: dict[str, bool] = {}
    count = 0
    for suite in suites.values():
        for steps in ground_truth(suite):
            for step in steps:
                before = step.environment.model_dump()
                step.runtime.run_function(step.environment, step.tool, step.arguments, raise_on_error=True)
                if step.environment.model_dump() != before:
                    count += 1
                    changing[step.tool] = step.tool in EFFECTS
    return count, tally("tools seen to change something are declared to", changing)


def governed_utility(desk: Desk, suites: Suites) -> Iterator[Check]:
    """AgentDojo's check again, with every call of every runtime taken through a session."""
    calls = len(desk.outcomes)
    with routed(desk.run):
        for name, suite in suites.items():
            yield utility({name: suite}, f"{name}: user tasks solved, by AgentDojo's own verdict")
    made = desk.outcomes[calls:]
    executed = len(desk.world.executed)
    yield Check("calls of the replay that were released", sum(isinstance(o, Released) for o in made), len(made))
    yield Check("calls executed, each exactly once", executed, len(made))


def malformed(desk: Desk, suites: Suites, tools: Tools) -> Iterator[Check]:
    """For every tool: a legal call reaches it; one argument of the wrong type or one too many never does."""
    legal: dict[str, bool] = {}
    wrong: dict[str, bool] = {}
    extra: dict[str, bool] = {}
    for name, (suite, function) in tools.items():
        legal[name] = _ask_worker(desk, suites[suite], name, probes.legal(function.parameters))[1]
        for probe in probes.wrong_types(name, function.parameters):
            wrong[f"{name}: {probe.fault}"] = _is_refused(desk, suites[suite], probe)
        probe = probes.extra_argument(name, function.parameters)
        extra[f"{name}: {probe.fault}"] = _is_refused(desk, suites[suite], probe)
    yield tally("tools that a legal call reaches", legal)
    yield tally("calls with an argument of the wrong type, refused before the tool", wrong)
    yield tally("calls with an argument too many, refused before the tool", extra)


def converting_validator_accepts(tools: Tools) -> dict[str, int]:
    """For comparison: how many of the same wrong calls AgentDojo's own validation (pydantic's default) lets through."""
    kinds = {"wrong_type": 0, "extra_argument": 0}
    for name, (_, function) in tools.items():
        for kind, probe in [
            *(("wrong_type", one) for one in probes.wrong_types(name, function.parameters)),
            ("extra_argument", probes.extra_argument(name, function.parameters)),
        ]:
            try:
                function.parameters.model_validate(probe.arguments)
            except ValidationError:
                continue
            kinds[kind] += 1
    return kinds


def reading_only(desk: Desk, suites: Suites) -> Iterator[Check]:
    """The reader replays every ground-truth call: with an effect it is refused and changes nothing, else it is made."""
    refused: dict[str, bool] = {}
    untouched: dict[str, bool] = {}
    made: dict[str, bool] = {}
    for suite in suites.values():
        for steps in ground_truth(suite):
            for number, step in enumerate(steps):
                label = f"{step.suite} {step.task} call {number}: {step.tool}"
                before, executed = step.environment.model_dump(), len(desk.world.executed)
                outcome = desk.ask(READER, step.runtime, step.environment, step.tool, step.arguments)
                ran = len(desk.world.executed) > executed
                if step.tool in EFFECTS:
                    refused[label] = isinstance(outcome, Denied) and outcome.refusal.reason is ReasonCode.NOT_GRANTED
                    untouched[label] = not ran and step.environment.model_dump() == before
                else:
                    made[label] = isinstance(outcome, Released) and ran
    yield tally("reader: calls with a side effect refused", refused)
    yield tally("reader: of those, not executed and nothing changed", untouched)
    yield tally("reader: calls that only read, made", made)


def _ask_worker(desk: Desk, suite: TaskSuite[Any], tool: str, arguments: object) -> tuple[Outcome, bool]:
    """One call in a conversation of its own, on a fresh environment: the outcome, and whether the tool was reached."""
    executed = len(desk.world.executed)
    outcome = desk.ask(WORKER, FunctionsRuntime(suite.tools), fresh(suite), tool, arguments)
    return outcome, len(desk.world.executed) > executed


def _is_refused(desk: Desk, suite: TaskSuite[Any], probe: probes.Probe) -> bool:
    outcome, reached = _ask_worker(desk, suite, probe.tool, probe.arguments)
    return isinstance(outcome, Denied) and outcome.refusal.reason in _MALFORMED and not reached
