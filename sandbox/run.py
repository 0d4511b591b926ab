"""One program in one started container, and the verdict on it.

Where the verdict comes from. The supervisor in the container reports what the kernel told it (exit status, OOM
kills) under a key that the code cannot read: such a report can only say that nothing was the matter, and is
believed only when it says so. Everything else - no report, a spoiled one, an OOM kill, SIGKILL, a cap, a deadline, a
lost daemon - is decided by Docker's State after the container has ended. What the code prints is a claim (C140).
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from dataclasses import dataclass
from typing import Final, Protocol

from sandbox import frame as framing
from sandbox.failure import InputRefused
from sandbox.result import Hear, SandboxResult, Shower, Verdict, shown
from sandbox.spec import SandboxSpec
from sandbox.stream import Channel, End, Report, Streams

STOP_TIMEOUT_S: Final = 10.0
SIGKILL_EXIT: Final = 128 + 9


@dataclass(frozen=True, slots=True)
class State:
    """The part of `inspect`'s State that decides."""

    running: bool
    exit_code: int | None
    oom_killed: bool
    error: str


class Lost(Exception):
    """The daemon does not answer any more; the text says how."""


class Started(Protocol):
    """A started, attached container. The methods raise `Lost`."""

    @property
    def id(self) -> str: ...

    @property
    def spec(self) -> SandboxSpec: ...

    @property
    def channel(self) -> Channel: ...

    def ended(self, until: float) -> bool:
        """Wait for its end, or until `until` on the monotonic clock."""
        ...

    def kill(self) -> None:
        """SIGKILL; one that runs no longer is no error."""
        ...

    def state(self) -> State: ...


def bounded(spec: SandboxSpec, deadline_s: float | None) -> float:
    """The deadline in force: a caller may only shorten the profile's. `InputRefused` where it is no time at all."""
    deadline = spec.profile.deadline_s if deadline_s is None else deadline_s
    if not 0 < deadline < math.inf:  # also refuses NaN, which no comparison would ever end
        raise InputRefused(f"deadline_s must be a positive number of seconds, not {deadline}")
    return min(deadline, spec.profile.deadline_s)


def perform(
    container: Started,
    request: bytes,
    *,
    deadline_s: float,
    keep: bool = False,
    first: bool = True,
    cancel: threading.Event | None = None,
    hear: Hear | None = None,
) -> SandboxResult:
    """Send an encoded request and judge what comes of it. The container is left to the caller, ended or not."""
    channel = container.channel
    if first:
        key = secrets.token_bytes(framing.KEY_BYTES)
        channel.key(key)
        request = key + request
    began = time.monotonic()
    until = began + deadline_s
    shower = None if hear is None else Shower(hear)
    streams = channel.exchange(request, cap=container.spec.output_cap, until=until, cancel=cancel, shower=shower)
    if shower is not None:
        shower.end()
    took = time.monotonic() - began
    report, fault = streams.report, ""
    exit_code: int | None = None
    if report is not None and _nothing_was_the_matter(report, keep, container):
        verdict, detail = Verdict.OK if report.exit_code == 0 else Verdict.CODE_FAILED, ""
        exit_code = report.exit_code
    else:
        state, end, fault = _settle(container, streams.end, until, cancel)
        verdict, detail = _judge(state, end, streams, len(request))
        exit_code = state.exit_code if state else None
    return SandboxResult(
        verdict=verdict,
        exit_code=exit_code,
        stdout=shown(bytes(streams.stdout)),
        stderr=shown(bytes(streams.stderr)),
        duration_s=took,
        image_id=container.spec.image_id,
        container_id=container.id,
        detail="; ".join(filter(None, (detail, fault))),
        value=None if streams.value is None else shown(streams.value),
        artifacts=streams.outputs.artifacts() if report is not None else (),
        left_out=tuple(shown(line.encode()) for line in report.left_out) if report is not None else (),
        cpu_s=report.cpu_ns / 1e9 if report is not None else None,
        peak_bytes=report.peak_bytes if report is not None else None,
        alive=keep and verdict in {Verdict.OK, Verdict.CODE_FAILED} and report is not None and not report.ended,
    )


def _nothing_was_the_matter(report: Report, keep: bool, container: Started) -> bool:
    if report.exit_code == SIGKILL_EXIT or not (keep or report.ended):
        return False
    if report.oom_kills is not None:
        return report.oom_kills == 0
    # gVisor's kernel does not count them; its host kills all of it, so what still runs has met none.
    return not report.ended and _runs_unharmed(container)


def _runs_unharmed(container: Started) -> bool:
    try:
        state = container.state()
    except Lost:
        return False
    return state.running and not state.oom_killed


def _settle(
    container: Started, end: End, until: float, cancel: threading.Event | None
) -> tuple[State | None, End, str]:
    """Wait for, or bring about, the container's end: its State (None: lost), why, and what went wrong."""
    try:
        if end in {End.REPORTED, End.CLOSED}:
            container.channel.half_close()
            patience = max(until, time.monotonic() + STOP_TIMEOUT_S) if end is End.REPORTED else until
            while not container.ended(patience):
                if cancel is not None and cancel.is_set():
                    end = End.CANCELLED
                    break
                if time.monotonic() >= patience:
                    end = End.DEADLINE
                    break
        if end not in {End.REPORTED, End.CLOSED}:
            container.channel.close()  # a kill stalls for many seconds behind output that nobody drains
            container.kill()
            stopped = time.monotonic() + STOP_TIMEOUT_S
            while not container.ended(stopped) and time.monotonic() < stopped:
                continue
        return container.state(), end, ""
    except Lost as error:
        return None, end, f"Docker was lost during the run: {error}"


def _judge(state: State | None, end: End, streams: Streams, needed: int) -> tuple[Verdict, str]:
    """The verdict and, for operators, its reason. Order: what the host knows, then what State says."""
    if state is None:
        return Verdict.SANDBOX_FAILED, ""
    if state.running:
        return Verdict.SANDBOX_FAILED, "the container survived SIGKILL"
    if state.error:
        return Verdict.SANDBOX_FAILED, shown(state.error.encode())
    match end:
        case End.CAPPED:
            return Verdict.OUTPUT_CAPPED, "stopped at the output cap"
        case End.CANCELLED:
            return Verdict.KILLED, "cancelled by the caller"
        case End.DEADLINE:
            return Verdict.TIMEOUT, "stopped at the deadline"
        case End.REPORTED | End.CLOSED | End.SPOILED:
            pass
    if state.oom_killed:
        return Verdict.OOM, "a process of the container was killed for memory"
    if end is End.SPOILED:
        return Verdict.KILLED, "the program wrote on its supervisor's stream; it was stopped there"
    if streams.sent < needed:
        return Verdict.SANDBOX_FAILED, "the container ended before it had received the code"
    if state.exit_code == SIGKILL_EXIT:
        return Verdict.KILLED, "killed from outside, or by itself"
    if state.exit_code != 0:
        return Verdict.CODE_FAILED, ""
    if streams.report is None:
        return Verdict.SANDBOX_FAILED, "the container ended without a report"
    return Verdict.OK, ""
