"""What goes into a log's store and what comes out of it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from gateway.audit.framing import MAX_FRAME_BYTES
from gateway.audit.port import Position
from gateway.audit.space import Reservation
from gateway.audit.tree import Frontier


class Quarantine(NamedTuple):
    """Bytes that were set aside: `size` bytes that stood where record `seq` belongs, now in `path`."""

    path: Path
    seq: int
    size: int


class Signed(NamedTuple):
    """A checkpoint as it was written: the note, and the tree it is about."""

    note: bytes
    frontier: Frontier


class Entry:
    """One record on its way. `outcome` is set by the store."""

    __slots__ = ("body", "outcome", "reservation")

    def __init__(self, body: bytes, reservation: Reservation | None) -> None:
        self.body = body
        self.reservation = reservation
        self.outcome: Position | Exception | None = None

    def covered(self) -> bool:
        """Whether the disk for this record was set aside beforehand."""
        promise = self.reservation
        return promise is not None and promise.held and len(self.body) + MAX_FRAME_BYTES <= promise.size
