"""When a log signs and when it begins a new segment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

CHECKPOINT_RECORDS: Final = 64
CROWD: Final = 8  # a checkpoint costs two or three syncs: once in 8 of them, no crowd of callers feels it
CHECKPOINT_S: Final = 10.0
ROTATE_BYTES: Final = 64 << 20  # some 100,000 records: read back in well under a second
ROTATE_S: Final = 24 * 3600.0


@final
@dataclass(frozen=True, slots=True)
class Cadence:
    """No signature protects the last `records` - 1 where callers come one after the other, or the last `seconds`.

    Callers who come at once share a sync, which counts as one record; but the batch that reaches CROWD times `records`
    is signed before the next is written. A segment ends at the first checkpoint at which it is `rotate_bytes` long or
    its first record `rotate_seconds` old.
    """

    records: int = CHECKPOINT_RECORDS
    seconds: float = CHECKPOINT_S
    rotate_bytes: int = ROTATE_BYTES
    rotate_seconds: float = ROTATE_S

    def due(self, records: int, syncs: int) -> bool:
        """Whether so many records since the last checkpoint, written with so many syncs, are to be signed now."""
        return syncs >= self.records or records >= CROWD * self.records
