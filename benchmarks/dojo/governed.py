"""Toolgate's side: a policy folder made from AgentDojo's tools, and every tool call taken through a session.

Each tool is registered under its own name. The registered function does what AgentDojo's runtime would have done, on
the environment of the task in hand, so what differs between a straight and a governed replay is Toolgate alone.
"""

from __future__ import annotations

import inspect
import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agentdojo.functions_runtime import Function, FunctionsRuntime, TaskEnvironment

from benchmarks.dojo.policies import SECRETS, WORKER
from benchmarks.dojo.suites import straight
from gateway import Gateway, Principal
from gateway.domain.call import Outcome, Released, ToolCall

MIN_SECRET_CHARS = 4  # shorter ones, such as the "x" of a made-up call, stand in every line anyway


class Refused(Exception):
    """Toolgate did not hand back a result. `outcome` says why."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(type(outcome).__name__)
        self.outcome = outcome


class World:
    """The environment that tools act on now, and what was really executed."""

    def __init__(self) -> None:
        self.runtime: FunctionsRuntime | None = None
        self.environment: TaskEnvironment | None = None
        self.executed: list[str] = []

    def tool(self, function: Function[..., Any]) -> Callable[..., Any]:
        """What to register for `function`: the same parameters, minus those AgentDojo fills in itself."""

        def run(**arguments: Any) -> Any:
            self.executed.append(function.name)
            return straight(self.runtime, self.environment, function.name, arguments, raise_on_error=True)[0]

        run.__name__ = run.__qualname__ = function.name
        run.__doc__ = function.description
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(
                    name,
                    inspect.Parameter.KEYWORD_ONLY,
                    annotation=field.annotation,
                    default=inspect.Parameter.empty if field.is_required() else field.default,
                )
                for name, field in function.parameters.model_fields.items()
            ]
        )
        run.__annotations__ = {name: field.annotation for name, field in function.parameters.model_fields.items()}
        return run


class Desk:
    """One gateway over every tool. Each runtime of AgentDojo is one conversation."""

    def __init__(
        self, policies: Path, home: Path, tools: Mapping[str, Function[..., Any]], *, observe: bool = False
    ) -> None:
        self.world = World()
        self.gateway = Gateway.from_policies(policies, home=home, observe=observe)
        for name, function in tools.items():
            self.gateway.register(self.world.tool(function), name=name)
        self.outcomes: list[Outcome] = []
        self.secrets: list[str] = []
        self._numbers = itertools.count(1)

    def ask(
        self, who: str, runtime: FunctionsRuntime, environment: TaskEnvironment | None, tool: str, arguments: object
    ) -> Outcome:
        """One call by `who`, as a model would have sent it: arguments are JSON text."""
        session = runtime.__dict__.get("toolgate_session")
        if session is None:
            session = self.gateway.session(Principal(who), conversation=f"{who}-{next(self._numbers)}")
            runtime.__dict__["toolgate_session"] = session
        if isinstance(arguments, dict):
            values = (arguments.get(name) for name in SECRETS.get(tool, ()))
            self.secrets += [value for value in values if isinstance(value, str) and len(value) >= MIN_SECRET_CHARS]
        self.world.runtime, self.world.environment = runtime, environment
        number = next(self._numbers)
        (outcome,) = session.judge_sync([ToolCall(id=f"call_{number}", name=tool, arguments=json.dumps(arguments))])
        self.outcomes.append(outcome)
        return outcome

    def run(
        self, runtime: FunctionsRuntime, environment: TaskEnvironment | None, tool: str, arguments: Mapping[str, Any]
    ) -> Any:
        """`suites.Run` for the role that may call everything: the text that a model would read, or an error."""
        outcome = self.ask(WORKER, runtime, environment, tool, dict(arguments))
        if not isinstance(outcome, Released) or outcome.failure is not None:
            raise Refused(outcome)
        return outcome.content
