"""What a `sql` guard hands to a tool. Apart from its parser, which takes a while to load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Statement:
    """One statement to run, without parameters, on a read-only connection. `tables` are those it reads."""

    text: str
    tables: frozenset[str]

    def __str__(self) -> str:
        return self.text
