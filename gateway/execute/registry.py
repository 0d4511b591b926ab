"""The tools themselves. Nothing public leads from here to a function: only step 7 holds a `Registry` (I11)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from gateway.alarm import alarm
from gateway.domain.errors import UsageError


@final
@dataclass(frozen=True, slots=True)
class ToolRef:
    """What registering a tool gives back: its name. It cannot be called."""

    name: str


@final
@dataclass(frozen=True, slots=True)
class Registered:
    """One tool: the function, whether it must be awaited, and whether another process could find it by its name."""

    fn: Callable[..., Any]
    is_async: bool
    importable: bool


@final
class Registry:
    """Tools by name, each registered once."""

    def __init__(self) -> None:
        self._tools: dict[str, Registered] = {}

    def add(self, name: str, fn: Callable[..., Any]) -> ToolRef:
        if not callable(fn):
            raise UsageError(f"tool {name!r} is not callable")
        if name in self._tools:
            raise UsageError(f"tool {name!r} is registered twice; give each function a name of its own")
        target = fn if inspect.isroutine(fn) else type(fn).__call__
        self._tools[name] = Registered(fn, inspect.iscoroutinefunction(target), _importable(fn))
        return ToolRef(name)

    def check_importable(self, name: str) -> None:
        """Raise an alarm if calls of this tool could not be resumed by a fresh process."""
        if not self._tools[name].importable:
            alarm().warning(
                "tool_not_importable",
                tool=name,
                effect="its calls may wait for a person, and a closure, lambda or object made here is gone after a "
                "restart: what it holds is no part of the request that was approved",
                advice="register a function from the top of a module",
            )

    def get(self, name: str) -> Registered | None:
        return self._tools.get(name)

    def function(self, name: str) -> Callable[..., Any]:
        """For comparing a function with a contract, never for calling it. Raises KeyError."""
        return self._tools[name].fn

    def names(self) -> frozenset[str]:
        return frozenset(self._tools)


def _importable(fn: object) -> bool:
    """True if a fresh interpreter finds the same thing under its name: no closure, no lambda, no object of this run.

    A program's own functions (`__main__`) count: whoever resumes starts the program again.
    """
    return inspect.isroutine(fn) and "<" not in getattr(fn, "__qualname__", "<")
