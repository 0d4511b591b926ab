"""One figure and what it should be. There is no way to write down a figure here: both sides are counted in the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """`got` of `of`; `missed` names what fell short, for people. Met if nothing fell short and there was something."""

    question: str
    got: int
    of: int
    missed: tuple[str, ...] = ()

    @property
    def met(self) -> bool:
        return self.got == self.of > 0


def tally(question: str, results: Mapping[str, bool]) -> Check:
    """How many of the named results are good."""
    missed = tuple(name for name, good in results.items() if not good)
    return Check(question, len(results) - len(missed), len(results), missed)
