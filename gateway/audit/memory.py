"""The log without a disk, for measurements and tests: same interface, same framing, same tree, no durability.

It survives nothing and proves nothing; `wiring` never builds one.
"""

from __future__ import annotations

import threading
from typing import final

from gateway.audit.errors import NotRecorded
from gateway.audit.framing import Framer, check_body
from gateway.audit.port import Position
from gateway.audit.space import Reservation, reserved_size
from gateway.audit.tree import Frontier, leaf_hash
from gateway.domain.instant import Clock


@final
class MemoryLog:
    """Keeps the stored lines in `lines`. Thread-safe."""

    def __init__(self, origin: str, clock: Clock) -> None:
        self.origin = origin
        self.lines: list[bytes] = []
        self._framer = Framer(origin, clock)
        self._frontier = Frontier()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def size(self) -> int:
        return self._frontier.size

    @property
    def concerns(self) -> tuple[str, ...]:
        return ()

    def root(self) -> bytes:
        """RFC 6962 root over `lines`."""
        return self._frontier.root()

    def append(self, body: bytes, reservation: Reservation | None = None) -> Position:
        check_body(body)
        with self._lock:
            self._check_open()
            seq = self._frontier.size
            line = self._framer.line(seq, body)
            leaf = leaf_hash(line)
            self._frontier.append(leaf)
            self.lines.append(line)
        if reservation is not None:
            reservation.release()
        return Position(seq, leaf)

    async def append_async(self, body: bytes, reservation: Reservation | None = None) -> Position:
        return self.append(body, reservation)

    def reserve(self, body_bytes: int) -> Reservation:
        self._check_open()
        return Reservation(None, reserved_size(body_bytes))

    def checkpoint(self) -> None:
        self._check_open()

    def close(self) -> None:
        self._closed = True

    def __enter__(self) -> MemoryLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise NotRecorded(self.origin, "the log was closed")
