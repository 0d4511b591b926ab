"""A trial: one guard, hostile values and harmless ones, and two oracles that share no code with the guard.

`harm(value)` tries the value without a guard, `harm_through(value, capability)` what the tool got for it; both tell the
harm that was done, or nothing. Only values that do harm without the guard count as hostile: lists hold harmless lines.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.policy.documents import Guard
from gateway.validate.guards import GuardRefused, Guards, close
from gateway.validate.guards.network import Network, StandIn

KINDS = ("sql", "nosql", "xss", "command", "path")


@dataclass(frozen=True)
class Data:
    """The folder given: hostile strings by kind, harmless ones by origin."""

    payloads: dict[str, list[str]]
    arguments: list[str]
    retail: list[str]

    @classmethod
    def read(cls, folder: Path) -> Data:
        """Raises OSError if the folder is another one."""
        payloads = {
            kind: (folder / "payloads" / f"{kind}.txt").read_text("utf-8", "surrogateescape").split("\n")
            for kind in KINDS
        }
        given = [
            [json.loads(line) for line in (folder / "benign" / name).read_text("utf-8").splitlines()]
            for name in ("bfcl_arguments.jsonl", "tau_retail.jsonl")
        ]
        return cls({kind: [one for one in lines if one] for kind, lines in payloads.items()}, *given)

    @property
    def harmless(self) -> list[str]:
        """Every harmless string once."""
        return list(dict.fromkeys(self.arguments + self.retail))

    @property
    def hostile(self) -> list[str]:
        """Every payload once."""
        return list(dict.fromkeys(one for lines in self.payloads.values() for one in lines))


@dataclass
class Result:
    """Counts of one trial."""

    guard: str
    tried: int = 0
    hostile: int = 0
    harmed: int = 0
    harmless: int = 0
    refused: int = 0
    through: list[str] = field(default_factory=list)
    turned_away: list[str] = field(default_factory=list)

    @property
    def stopped_percent(self) -> float:
        return 100 * (1 - self.harmed / self.hostile) if self.hostile else 0.0

    @property
    def refused_percent(self) -> float:
        return 100 * self.refused / self.harmless if self.harmless else 100.0


class Guarded:
    """One argument behind one guard."""

    def __init__(self, guard: Guard, root: str = "/", network: Network | None = None) -> None:
        self._guards = Guards({"value": guard}, {"root": root}, network=network or StandIn())

    def __call__(self, value: object, use: Callable[[object], str]) -> str | None:
        """What `use` says of what the tool would get; None if the guard refuses."""
        try:
            handed = self._guards.apply({"value": value})
        except GuardRefused:
            return None
        try:
            return use(handed.get("value", value))
        finally:
            close(handed)


def attack(
    result: Result,
    guarded: Guarded,
    values: Iterable[object],
    harm: Callable[[object], str],
    harm_through: Callable[[object], str],
) -> None:
    """Count what each value does without the guard and behind it. An empty string is no harm."""
    for value in values:
        result.tried += 1
        behind = guarded(value, harm_through)
        if not behind and not harm(value):
            continue
        result.hostile += 1
        if behind:
            result.harmed += 1
            result.through.append(f"{value!a}: {behind}")


def serve(result: Result, guarded: Guarded, values: Sequence[object], wrong: Callable[[object, object], str]) -> None:
    """Count harmless values that are refused, or that the tool gets changed: `wrong(value, got)` tells how."""
    for value in values:
        result.harmless += 1
        said = guarded(value, lambda got, value=value: wrong(value, got) or "right")  # type: ignore[misc]
        if said != "right":
            result.refused += 1
            result.turned_away.append(f"{value!a}: {said or 'refused'}")
