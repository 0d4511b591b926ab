"""What the pipeline holds of the audit log: one port, on disk (`AuditLog`) or in memory (`MemoryLog`)."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from gateway.audit.space import Reservation


class Position(NamedTuple):
    """Where a durable record stands: `seq` counts from 0 in its origin, `leaf_hash` has 32 bytes."""

    seq: int
    leaf_hash: bytes


class Log(Protocol):
    """Append-only, one origin. Every method raises AuditUnavailable when evidence cannot be kept."""

    @property
    def origin(self) -> str: ...

    @property
    def concerns(self) -> tuple[str, ...]:
        """What an operator should look at though records are still written."""
        ...

    def append(self, body: bytes, reservation: Reservation | None = None) -> Position:
        """Record one JSON object; durable on return. Blocks. `body` is compact JSON on one line."""
        ...

    async def append_async(self, body: bytes, reservation: Reservation | None = None) -> Position:
        """The same without blocking the loop. A cancelled caller's record is still written."""
        ...

    def reserve(self, body_bytes: int) -> Reservation:
        """Set disk aside for a later body of at most `body_bytes`."""
        ...

    def checkpoint(self) -> None:
        """Sign what is recorded so far."""
        ...

    def close(self) -> None:
        """Sign, and let the origin go. Later appends raise."""
        ...
