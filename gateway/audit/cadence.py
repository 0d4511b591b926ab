"""When a log signs and when it begins a new segment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

CHECKPOINT_RECORDS: Final = 64  # a signature and its syncs cost about one record's sync
CHECKPOINT_S: Final = 10.0
ROTATE_BYTES: Final = 64 << 20  # some 100,000 records: read back in well under a second
ROTATE_S: Final = 24 * 3600.0


@final
@dataclass(frozen=True, slots=True)
class Cadence:
    """The window no signature protects is `records` - 1 and one batch, or `seconds`, whichever ends first.

    A segment ends at the first checkpoint at which it is `rotate_bytes` long or its first record `rotate_seconds` old.
    """

    records: int = CHECKPOINT_RECORDS
    seconds: float = CHECKPOINT_S
    rotate_bytes: int = ROTATE_BYTES
    rotate_seconds: float = ROTATE_S
