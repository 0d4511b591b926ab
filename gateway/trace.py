"""How long each step of one call took, for records and timelines. Costs one clock read a step."""

from __future__ import annotations

import time
from typing import final

from gateway.domain.decision import Step


@final
class Trace:
    """Marks made at the end of each step. A step passed twice (a retry) adds up."""

    __slots__ = ("_began", "_marks")

    def __init__(self) -> None:
        self._began = time.monotonic_ns()
        self._marks: list[tuple[Step, int]] = []

    def mark(self, step: Step) -> None:
        self._marks.append((step, time.monotonic_ns()))

    def elapsed_ns(self) -> int:
        return time.monotonic_ns() - self._began

    def us(self) -> dict[str, int]:
        """Microseconds by step name, in the order the steps were passed."""
        spent: dict[str, int] = {}
        before = self._began
        for step, at in self._marks:
            name = _NAMES[step]
            spent[name] = spent.get(name, 0) + (at - before) // 1000
            before = at
        return spent


_NAMES = tuple(step.name.lower() for step in Step)  # by number
