"""Step 7, execute: run the tool with a fresh decode of the effective bytes, under a deadline, whatever it does.

Guarantees: what runs is what was judged (I1); model-written code never runs in this process (I8); whatever a tool
raises, SystemExit included, the gateway lives and the end is known as `Executed` or, where nobody can say whether
it took effect, as an `Ambiguous` that becomes `Unknown` (I5). `os._exit` in a tool cannot be survived by anyone.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple, final

from gateway.alarm import alarm
from gateway.domain.call import (
    CallContext,
    ClearedCall,
    Executed,
    Failure,
    ObservedCall,
    Outcome,
    Released,
    StartedCall,
    Unknown,
)
from gateway.domain.canonical import canonical
from gateway.domain.decision import NOT_NOW, ReasonCode, Refusal, Step
from gateway.domain.errors import ComponentFault, described
from gateway.domain.waits import DeadlineExceeded, Ended, Waits
from gateway.execute import words
from gateway.execute.encode import Encoded, encode_result
from gateway.execute.port import Caller, CodeJob, CodeRunner
from gateway.execute.registry import Registered, Registry
from gateway.execute.watch import Watchers
from gateway.policy.documents import Execution
from gateway.waiting import ToolEscaped, contained


@final
class Running(NamedTuple):
    """The call whose tool is running here, and the turns it holds."""

    ctx: CallContext
    held_keys: frozenset[str]


CURRENT: ContextVar[Running | None] = ContextVar("toolgate_running_call", default=None)
"""Set while a tool runs, so that a call made inside it is known to be nested (C085, C141)."""

RETRY_AFTER_S = (1.0, 2.0, 4.0)
SANDBOX_GRACE_S = 30.0  # create, start and remove around the code's own deadline
GRACE_S = 60.0  # facts, turns, the log and the sandbox around a tool's own deadline


class SandboxUnavailable(ComponentFault):
    """Code could not be contained, so it was not run."""


class SandboxBusy(SandboxUnavailable):
    """There was no room for another run, so it was not begun."""


class SandboxInput(SandboxUnavailable):
    """The code or one of its files is too large or cannot be read, so nothing was run."""


class SandboxMoved(SandboxUnavailable):
    """Another run came between an approval and its use, so nothing was run."""


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
    runner: CodeRunner | None = None
    why_no_runner: str = ""


@final
class Execute:
    """The step. `doors` is built from the contracts; `registry` holds the host's functions."""

    def __init__(self, registry: Registry, doors: Mapping[str, Door], watchers: Watchers) -> None:
        self._registry = registry
        self._doors = doors
        self._watchers = watchers

    def unready(self, tool: str) -> Refusal | None:
        """Why `tool` cannot be run in this process, or None. Asked before anything is claimed or promised."""
        door = self._doors[tool]
        if door.execution.sandbox is not None:
            if door.runner is not None:
                return None
            said = words.failure("sandbox_unavailable", door.why_no_runner)
            return Refusal(Step.EXECUTE, ReasonCode.SANDBOX_UNAVAILABLE, said.message, said.suggestion, said.detail)
        if self._registry.get(tool) is not None:
            return None
        detail = f"no function is registered as {tool!r}; call gateway.register"
        return Refusal(Step.EXECUTE, ReasonCode.NOT_REGISTERED, NOT_NOW, detail=detail)

    def contains(self, tool: str) -> bool:
        """Whether `tool` runs in a sandbox, or not at all."""
        return self._doors[tool].execution.sandbox is not None

    def sandbox_of(self, tool: str, ctx: CallContext) -> str | None:
        """In what `tool` would run for this caller now: profile, image and, if stateful, the state of the session."""
        door = self._doors[tool]
        if door.runner is None:
            return None
        session = {"session": door.runner.mark(asking(ctx))} if door.execution.stateful else {}
        return canonical({**door.runner.identity(), **session}).decode()

    def fallback(self, outcome: Outcome) -> str | None:
        """The tool to call instead, if this one ran, failed for good, and names one."""
        if not isinstance(outcome, Released) or outcome.failure is None:
            return None
        return self._doors[outcome.tool].execution.fallback

    def pause_before_retry(self, outcome: Released | Unknown, attempt: int) -> float | None:
        """Seconds to wait before attempt `attempt + 1`, or None if there will be none."""
        if isinstance(outcome, Unknown) or outcome.failure is None:
            return None
        execution = self._doors[outcome.tool].execution
        return RETRY_AFTER_S[attempt - 1] if attempt <= execution.retries else None

    async def __call__(self, call: StartedCall, waits: Waits) -> Executed | Ambiguous:
        tool, shaped = call.cleared.tool, call.cleared.shaped
        door = self._doors[tool]
        arguments = door.fresh(shaped.effective) if shaped is not None else as_sent(call.cleared)
        if door.execution.sandbox is not None:
            return await self._contained(call, door, arguments, waits)
        arguments.update(call.cleared.capabilities)
        registered = self._registry.get(tool)
        if registered is None:
            return _failed(call, "tool_failed", f"{tool} is not registered")
        key = shaped.serialize_key if shaped is not None else None
        held = call.ctx.held_keys if key is None else call.ctx.held_keys | {key}
        token = CURRENT.set(Running(call.ctx, held))
        began_ns = time.monotonic_ns()
        try:
            encoded = await _run(registered, door.execution, arguments, waits)
        except DeadlineExceeded as late:
            return _late(call, door, began=late.began)
        except Ended as ended:
            return Ambiguous(str(ended))
        except ToolEscaped as escaped:  # a `sys.exit(0)` may well come after the work is done
            error, detail = isinstance(escaped.cause, Exception), described(escaped.cause)
            if error or door.repeatable:
                return _failed(call, "tool_failed", detail, may_have_run=not error)
            return Ambiguous(f"{detail}: not an error, but an end")
        except Exception as error:  # whatever error a tool raises is its failure, recorded as such; the gateway lives
            return _failed(call, "tool_failed", described(error))
        except BaseException as gone:  # the caller was cancelled or interrupted, and the tool may still be at work
            return Ambiguous(f"its caller was gone while it ran ({type(gone).__name__})", gone)
        finally:
            CURRENT.reset(token)
        evidence: dict[str, object] = {"replaced": encoded.replaced} if encoded.replaced else {}
        took_s = (time.monotonic_ns() - began_ns) / 1e9
        if (
            took_s > door.execution.deadline_s
        ):  # an inline tool, or an async one that held its loop: nobody could stop it
            evidence["blocked_caller_s"] = round(took_s, 3)
            alarm().warning("tool_blocked_its_caller", tool=tool, call_id=call.ctx.id, seconds=round(took_s, 3))
        return Executed(call.ctx, call, encoded.body, None, evidence)

    async def _contained(
        self, call: StartedCall, door: Door, arguments: dict[str, Any], waits: Waits
    ) -> Executed | Ambiguous:
        runner = door.runner
        if runner is None:
            return _failed(call, "sandbox_unavailable", door.why_no_runner)
        opened = call.cleared.capabilities
        inputs = {name: file for name, file in opened.items() if isinstance(file, io.BufferedReader)}
        if inputs.keys() != opened.keys() or arguments.keys() - opened.keys() != {"code"}:
            return _failed(call, "tool_failed", "an argument is neither the code nor a file for it")
        limit, cancel = door.execution.deadline_s, threading.Event()
        hear = self._watchers.listener(call.ctx, call.cleared.tool)
        approved = call.cleared.permit.sandbox if isinstance(call.cleared, ClearedCall) else None
        job = CodeJob(arguments["code"], limit, asking(call.ctx), door.execution.stateful, inputs, hear, approved)
        try:
            run = await waits.worker(lambda: runner.run(job, cancel), limit + SANDBOX_GRACE_S)
        except SandboxInput as refused:
            return _failed(call, "input_refused", str(refused))
        except SandboxMoved as moved:
            return _failed(call, "approval_invalid", str(moved))
        except SandboxBusy as full:
            return _failed(call, "sandbox_overloaded", str(full))
        except SandboxUnavailable as fault:
            return _failed(call, "sandbox_unavailable", str(fault))
        except DeadlineExceeded as late:
            if not late.began:
                return _failed(call, "sandbox_overloaded", "no worker was free in time")
            return _failed(call, "code_sandbox_failed", "the sandbox did not answer in time", may_have_run=True)
        except asyncio.CancelledError as cancelled:
            return Ambiguous("cancelled while code ran in the sandbox", cancelled)
        finally:
            cancel.set()  # nobody waits any more: what still runs is ended
        body = encode_result(run.value).body
        # Code that fails has run: a model that prints what it wants to know and then fails would spend nothing.
        failure = None if run.ok else words.failure(run.code, run.code, may_have_run=True)
        return Executed(call.ctx, call, body, failure, run.evidence)


def longest_s(execution: Execution) -> float:
    """Seconds that one call may take: every attempt, the pauses between them, and a while for all the rest."""
    return (execution.retries + 1) * execution.deadline_s + sum(RETRY_AFTER_S[: execution.retries]) + GRACE_S


def as_sent(call: ClearedCall | ObservedCall) -> dict[str, Any]:
    """Only in observe mode: a fresh decode of what the model sent, which no contract has given a shape."""
    sent: dict[str, Any] = json.loads(call.parsed.wire or b"{}") if isinstance(call, ObservedCall) else {}
    return sent


def asking(ctx: CallContext) -> Caller:
    """Whose session the code of this call runs in."""
    return Caller(ctx.principal.id, None if ctx.on_behalf_of is None else ctx.on_behalf_of.id, ctx.conversation)


async def _run(registered: Registered, execution: Execution, arguments: dict[str, Any], waits: Waits) -> Encoded:
    """Call the tool, and encode what it gives in the same place, because that may run the value's own code (C081)."""
    if registered.is_async:

        async def awaited() -> Encoded:
            return encode_result(await registered.fn(**arguments))

        return await waits.awaitable(awaited, execution.deadline_s)

    def called() -> Encoded:
        value = registered.fn(**arguments)
        if inspect.iscoroutine(value):
            value.close()
            raise TypeError("it gave a coroutine, which nobody ran: register an `async def`")
        return encode_result(value)

    return contained(called) if execution.inline else await waits.worker(called, execution.deadline_s)


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
            may_have_run=began,
        ),
    )


def _failed(call: StartedCall, code: str, detail: str, *, may_have_run: bool = False) -> Executed:
    return Executed(call.ctx, call, b"", words.failure(code, detail, may_have_run=may_have_run))
