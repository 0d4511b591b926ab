"""What the linter says: one thing to look at, where it stands, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from gateway.policy.casbin_files import POLICY, GrantRow, RoleRow
from gateway.policy.policy_set import LoadedContract

Level = Literal["error", "warning"]


@final
@dataclass(frozen=True, slots=True, order=True)
class At:
    """A place in a policy file; line and column from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to look at. `code` is stable; `mend` says what to do."""

    level: Level
    code: str
    place: At
    what: str
    mend: str


def in_contract(
    loaded: LoadedContract, level: Level, code: str, what: str, mend: str, *path: str | int, key: bool = False
) -> Finding:
    """A finding about `path` in a contract's file; `key`: about its name, not its value."""
    place = loaded.document.place(path, key=key)
    return Finding(level, code, At(loaded.document.file, place.line, place.column), what, mend)


def in_rows(
    lines: list[str], row: GrantRow | RoleRow, level: Level, code: str, what: str, mend: str, about: str = ""
) -> Finding:
    """A finding about one row of policy.csv, whose `lines` are given; `about` is the field that is meant."""
    text = lines[row.line - 1]
    column = max(0, text.find(about)) if about else len(text) - len(text.lstrip())
    return Finding(level, code, At(POLICY, row.line, column + 1), what, mend)
