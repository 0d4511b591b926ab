"""The words for what is wrong with a log."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import final


@final
class Kind(StrEnum):
    """What was done to the log. Stable names: scripts read them."""

    EDITED = "edited"
    INSERTED = "inserted"
    DELETED = "deleted"
    REORDERED = "reordered"
    TRUNCATED = "truncated"
    TORN = "torn"
    MALFORMED = "malformed"
    FORK = "fork"
    CHECKPOINT_MISSING = "checkpoint-missing"
    CHECKPOINT_INVALID = "checkpoint-invalid"
    RETIREMENT_INVALID = "retirement-invalid"
    ROLLED_BACK = "rolled-back"
    UNKNOWN_ORIGIN = "unknown-origin"


@final
@dataclass(frozen=True, slots=True)
class Damage:
    """One finding. `seq` is the first bad record, where that can be said."""

    kind: Kind
    seq: int | None
    detail: str
