"""AgentDojo's side: its suites, its ground-truth calls, its own verdict, and the one door every tool call goes through.

`FunctionsRuntime.run_function` is that door; `routed` replaces it for a while, so AgentDojo's own `TaskSuite.check`
runs unchanged. `check(check_injectable=False)`: `is_task_injectable` looks for strings where this version keeps blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from agentdojo.functions_runtime import Function, FunctionCall, FunctionsRuntime, TaskEnvironment
from agentdojo.task_suite.load_suites import get_suite
from agentdojo.task_suite.task_suite import TaskSuite

VERSION = "v1.2.2"
NAMES = ("banking", "travel")

# What each tool may change, as its author documents it; every other tool only reads. The replay measures whether
# this is true: a tool that is not listed here and changes its environment is a shortfall.
EFFECTS: dict[str, Literal["internal", "external"]] = {
    "send_money": "external",
    "schedule_transaction": "external",
    "update_scheduled_transaction": "external",
    "update_password": "internal",
    "update_user_info": "internal",
    "create_calendar_event": "external",  # it mails the participants
    "cancel_calendar_event": "external",
    "reserve_hotel": "external",
    "reserve_car_rental": "external",
    "reserve_restaurant": "external",
    "send_email": "external",
}

Run = Callable[[FunctionsRuntime, TaskEnvironment | None, str, Mapping[str, Any]], Any]
"""Make one call: runtime, environment, tool, arguments. Gives the result or raises."""

straight: Any = FunctionsRuntime.run_function
"""AgentDojo's own method, kept before anybody replaces it."""


@dataclass(frozen=True)
class Step:
    """One ground-truth call of a user task, with the environment as the calls before it left it."""

    suite: str
    task: str
    tool: str
    arguments: dict[str, Any]
    environment: TaskEnvironment
    runtime: FunctionsRuntime


def load() -> dict[str, TaskSuite[Any]]:
    """The suites by name."""
    return {name: get_suite(VERSION, name) for name in NAMES}


def tools(suites: Mapping[str, TaskSuite[Any]]) -> dict[str, tuple[str, Function[..., Any]]]:
    """Every tool of every suite: name to (suite, function). No name may stand in two suites."""
    found: dict[str, tuple[str, Function[..., Any]]] = {}
    for suite_name, suite in suites.items():
        for function in suite.tools:
            if function.name in found:
                raise ValueError(f"{function.name} stands in two suites")
            found[function.name] = (suite_name, function)
    return found


def user_tasks(suite: TaskSuite[Any]) -> dict[str, tuple[bool, str]]:
    """AgentDojo's own check: for every user task, whether its ground truth solves it, and why not."""
    _, (results, _) = suite.check(check_injectable=False)
    missing = {task: (False, "not run") for task in suite.user_tasks if task not in results}
    return results | missing


def ground_truth(suite: TaskSuite[Any]) -> Iterator[list[Step]]:
    """The ground-truth calls of each user task, on a fresh environment a task."""
    for task_id, task in suite.user_tasks.items():
        environment = fresh(suite, task_id)
        runtime = FunctionsRuntime(suite.tools)
        calls: list[FunctionCall] = task.ground_truth(environment)
        yield [Step(suite.name, task_id, c.function, dict(c.args), environment, runtime) for c in calls]


def fresh(suite: TaskSuite[Any], task_id: str | None = None) -> TaskEnvironment:
    """The environment as a task finds it (no injections)."""
    environment = suite.load_and_inject_default_environment({})
    if task_id is None:
        return environment
    return suite.user_tasks[task_id].init_environment(environment)


@contextmanager
def routed(run: Run) -> Iterator[None]:
    """Inside, every `run_function` of every runtime goes through `run`."""

    def run_function(
        self: FunctionsRuntime,
        env: TaskEnvironment | None,
        function: str,
        kwargs: Mapping[str, Any],
        raise_on_error: bool = False,
    ) -> tuple[Any, str | None]:
        try:
            return run(self, env, function, self._execute_nested_calls(env, kwargs)), None
        except Exception as error:  # AgentDojo's contract: the caller says whether an error is raised or reported
            if raise_on_error:
                raise
            return "", f"{type(error).__name__}: {error}"

    FunctionsRuntime.run_function = run_function
    try:
        yield
    finally:
        FunctionsRuntime.run_function = straight
