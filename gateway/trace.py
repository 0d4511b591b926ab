"""How long each step of one call took, for records and timelines. Costs one clock read a step."""

from __future__ import annotations

import time
from typing import final

from gateway.domain.decision import Step


@final
class Trace:
    """Marks made at the end of each step. A step passed twice (a retry) adds up."""

    __slots__ = ("_last", "_spent")

    def __init__(self) -> None:
        self._last = time.monotonic_ns()
        self._spent: list[tuple[Step, int]] = []

    def mark(self, step: Step) -> None:
        now = time.monotonic_ns()
        self._spent.append((step, now - self._last))
        self._last = now

    def us(self) -> dict[str, int]:
        """Microseconds by step name, in the order the steps were passed."""
        spent: dict[str, int] = {}
        for step, ns in self._spent:
            name = _NAMES[step]
            spent[name] = spent.get(name, 0) + ns // 1000
        return spent


_NAMES = {step: step.name.lower() for step in Step}
