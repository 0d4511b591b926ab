"""Step 7, execute: run the tool with a fresh decode of the effective bytes, under a deadline, whatever it does.

Guarantees: what runs is what was judged (I1); model-written code never runs in this process (I8); whatever a tool
raises, SystemExit included, the gateway lives and the end is known as `Executed` or, where nobody can say whether
it took effect, as an `Ambiguous` that becomes `Unknown` (I5). `os._exit` in a tool cannot be survived by anyone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, final

from gateway.domain.call import CallContext, Executed, Failure, StartedCall
from gateway.domain.errors import ComponentFault
from gateway.domain.waits import DeadlineExceeded, Waits
from gateway.execute.encode import encode_result
from gateway.execute.port import CodeRunner
from gateway.execute.registry import Registered, Registry
from gateway.policy.documents import Execution

CURRENT: ContextVar[CallContext | None] = ContextVar("toolgate_current_call", default=None)
"""The call whose tool is running, so that a call made inside it is known to be nested."""

TOOL_FAILED = "The tool failed."


class SandboxUnavailable(ComponentFault):
    """Code could not be contained, so it was not run."""


@final
@dataclass(frozen=True, slots=True)
class Ambiguous:
    """The tool began and nobody can say whether it took effect. `cancelled` asks the pipeline to re-raise."""

    detail: str
    cancelled: BaseException | None = None


@final
@dataclass(frozen=True, slots=True)
class Door:
    """How one contract's tool is run. `repeatable` says that a second run does no harm."""

    execution: Execution
    repeatable: bool
    fresh: Callable[[bytes], dict[str, Any]]
    runner: CodeRunner | None


@final
class Execute:
    """The step. `doors` is built from the contracts; `registry` holds the host's functions."""

    def __init__(self, registry: Registry, doors: Mapping[str, Door]) -> None:
        self._registry = registry
        self._doors = doors

    def ready(self, tool: str) -> str | None:
        """Why `tool` cannot be run here, or None."""
        if self._doors[tool].execution.sandbox is not None:
            return None if self._doors[tool].runner is not None else "no sandbox is available"
        return None if self._registry.get(tool) is not None else "no function is registered under this name"

    async def __call__(self, call: StartedCall, waits: Waits) -> Executed | Ambiguous:
        validated = call.cleared.validated
        tool = validated.contract.name
        door = self._doors[tool]
        arguments = door.fresh(validated.shaped.effective)
        if door.execution.sandbox is not None:
            return await self._contained(call, door, arguments, waits)
        arguments.update(validated.capabilities)
        registered = self._registry.get(tool)
        if registered is None:
            return _failed(call, "tool_failed", f"{tool} is not registered")
        token = CURRENT.set(call.ctx)
        try:
            value = await _run(registered, door.execution, arguments, waits)
        except DeadlineExceeded as late:
            return _late(call, door, began=late.began)
        except asyncio.CancelledError as cancelled:
            if door.repeatable:
                return Ambiguous("cancelled while it ran; running it again does no harm", cancelled)
            return Ambiguous("cancelled while it ran", cancelled)
        except BaseException as error:  # whatever a tool raises is its failure, recorded as such; the gateway lives
            cause = error.__cause__ or error
            return _failed(call, "tool_failed", f"{type(cause).__name__}: {_text(cause)}")
        finally:
            CURRENT.reset(token)
        encoded = encode_result(value)
        evidence: dict[str, object] = {"replaced": encoded.replaced} if encoded.replaced else {}
        return Executed(call.ctx, call, encoded.body, None, evidence)

    async def _contained(
        self, call: StartedCall, door: Door, arguments: dict[str, Any], waits: Waits
    ) -> Executed | Ambiguous:
        runner = door.runner
        if runner is None:
            return _failed(call, "temporarily_unavailable", "no sandbox is available")
        code, limit = arguments["code"], door.execution.deadline_s
        try:
            run = await waits.worker(lambda: runner.run(code, limit), limit + SANDBOX_GRACE_S)
        except SandboxUnavailable as fault:
            return _failed(call, "sandbox_unavailable", str(fault))
        except DeadlineExceeded:
            return _failed(call, "timeout", "the sandbox did not answer in time")
        except asyncio.CancelledError as cancelled:
            return Ambiguous("cancelled while code ran in the sandbox", cancelled)
        body = encode_result(run.value).body
        failure = None if run.ok else Failure(run.code, "The code did not finish.", detail=run.code)
        return Executed(call.ctx, call, body, failure, run.evidence)


SANDBOX_GRACE_S = 30.0  # create, start and remove around the code's own deadline


async def _run(registered: Registered, execution: Execution, arguments: dict[str, Any], waits: Waits) -> object:
    if registered.is_async:
        return await waits.awaitable(lambda: registered.fn(**arguments), execution.deadline_s)
    if execution.inline:
        return registered.fn(**arguments)
    return await waits.worker(lambda: registered.fn(**arguments), execution.deadline_s)


def _late(call: StartedCall, door: Door, *, began: bool) -> Executed | Ambiguous:
    if began and not door.repeatable:
        return Ambiguous(f"no answer within {door.execution.deadline_s:g} s; it may still take effect")
    return Executed(
        call.ctx,
        call,
        b"",
        Failure(
            "timeout",
            f"The tool did not answer within {door.execution.deadline_s:g} s.",
            "Try again later, or go on without it.",
            "deadline" if began else "no worker was free in time",
        ),
    )


def _failed(call: StartedCall, code: str, detail: str) -> Executed:
    return Executed(
        call.ctx, call, b"", Failure(code, TOOL_FAILED, "Try something else, or tell the user.", detail)
    )


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # an exception whose own __str__ raises still has a type
        return "(its message cannot be read)"
