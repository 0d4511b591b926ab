"""The door to containment: what step 7 asks of a sandbox, whoever builds it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Protocol, final


@final
@dataclass(frozen=True, slots=True)
class Caller:
    """Whose code it is: turns are shared out by `principal`, and a session belongs to all three together."""

    principal: str
    on_behalf_of: str | None
    conversation: str


@final
@dataclass(frozen=True, slots=True)
class CodeJob:
    """What is to run: `code` for at most `deadline_s` seconds, in the caller's session if `stateful`.

    `inputs` are open files by the name under which the code finds them. `hear`, where somebody watches, is told
    `stdout` or `stderr` and a piece of safe text as it comes; it does not block. `approved`, where people were asked,
    is what they agreed to, as `Execute.sandbox_of` wrote it: a session in another state runs nothing.
    """

    code: str
    deadline_s: float
    caller: Caller
    stateful: bool
    inputs: Mapping[str, BinaryIO]
    hear: Callable[[str, str], None] | None = None
    approved: str | None = None


@final
@dataclass(frozen=True, slots=True)
class CodeRun:
    """What became of one run of model-written code. `value` is a JSON-able summary for the model.

    `ok` is False when the code failed, or the sandbox while it ran; a fault before the code began is raised.
    """

    ok: bool
    code: str
    value: dict[str, object]
    evidence: dict[str, object]


class CodeRunner(Protocol):
    """Runs code in one profile. Blocking. Raises SandboxUnavailable: then nothing ran."""

    def run(self, job: CodeJob, cancel: threading.Event) -> CodeRun:
        """Setting `cancel` ends the run and its container."""
        ...

    def identity(self) -> dict[str, object]:
        """Profile and image digest, as grants bind them and records carry them."""
        ...

    def mark(self, caller: Caller) -> dict[str, object] | None:
        """Which state of the caller's session a run would find now; None where it would find none."""
        ...

    def artifact(self, sha256: str) -> bytes | None:
        """A file that a run of this process gave back, by the digest in its result; None once it is forgotten."""
        ...

    def close(self) -> None:
        """End every container. Idempotent."""
        ...
