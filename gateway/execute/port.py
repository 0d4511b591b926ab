"""The door to containment: what step 7 asks of a sandbox, whoever builds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final


@final
@dataclass(frozen=True, slots=True)
class CodeRun:
    """What became of one run of model-written code. `value` is a JSON-able summary for the model.

    `ok` is False when the code failed; a failure of the sandbox itself is raised, never returned.
    """

    ok: bool
    code: str
    value: dict[str, object]
    evidence: dict[str, object]


class CodeRunner(Protocol):
    """Runs code in one profile. Blocking. Raises SandboxUnavailable: then nothing ran, or nothing can be said."""

    def run(self, code: str, deadline_s: float) -> CodeRun: ...

    def identity(self) -> dict[str, object]:
        """Profile and image digest, as grants bind them and records carry them."""
        ...
