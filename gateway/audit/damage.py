"""The words for what is wrong with a log."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, final


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


_EVIDENCE: Final = (
    "change nothing and copy the folders aside; what stands before that record is good. See who could write there, "
    "and whether a backup has the record. Service goes on under a new origin"
)
_OTHER: Final = (
    "change nothing and copy the folders aside; somebody put another history here, or used the key. Ask the witness "
    "and the backups for the one that was signed. Service goes on under a new origin"
)
_NEXT: Final = {
    Kind.TRUNCATED: (
        "change nothing and copy the folders aside; what is left is good. Look for the rest in a backup: put back as "
        "it was, it verifies"
    ),
    Kind.TORN: "nothing to do: nobody was told that it is durable, and the next start sets it aside",
    Kind.MALFORMED: "the writer itself signed this: keep it, and report it as a fault of this version",
    Kind.FORK: _OTHER,
    Kind.CHECKPOINT_MISSING: (
        "put the checkpoint back from a backup or from the witness, then verify again; never make a new one"
    ),
    Kind.CHECKPOINT_INVALID: (
        "compare the trust folder and the checkpoint with copies; if one of them was replaced, put the copy back and "
        "verify again"
    ),
    Kind.RETIREMENT_INVALID: "put the .retired file back from a backup, then verify again",
    Kind.ROLLED_BACK: (
        "change nothing and copy the folders aside; an older state was put back. Look for the newer one in a backup, "
        "and see who could restore it"
    ),
    Kind.UNKNOWN_ORIGIN: (
        "if this log is yours, put its .pub file back into the trust folder; if not, it proves nothing: take it away"
    ),
}


@final
@dataclass(frozen=True, slots=True)
class Damage:
    """One finding. `seq` is the first bad record, where that can be said."""

    kind: Kind
    seq: int | None
    detail: str

    @property
    def next(self) -> str:
        """What an operator does now."""
        return _NEXT.get(self.kind, _EVIDENCE)
