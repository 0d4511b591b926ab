"""Disk set aside ahead of the log's end, so that a call which was let run can always be accounted for (C142).

Guarantee: `allocated >= used + outstanding` at all times: what other records use never eats into what was
promised to the outcomes of admitted calls. The disk is asked in steps, so the usual cost is one comparison.
The promise holds on file systems whose fallocate(2) is binding (ext4, xfs, tmpfs); copy-on-write ones only try.
"""

from __future__ import annotations

import errno
import threading
from typing import Final, final

from gateway.audit.errors import RecordRefused
from gateway.audit.files import Files
from gateway.audit.framing import MAX_BODY_BYTES, MAX_FRAME_BYTES

STEP_BYTES: Final = 1 << 20
_BLOCK: Final = 4096
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@final
class Reservation:
    """Disk promised to one later record. Leaving the `with` block gives back what was not used."""

    __slots__ = ("_space", "held", "size")

    def __init__(self, space: Space | None, size: int) -> None:
        self._space = space
        self.size = size
        self.held = True

    def release(self) -> None:
        """Give the space back; harmless when used or released before."""
        if self._space is None:
            self.held = False
        else:
            self._space.give_back(self)

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def reserved_size(body_bytes: int) -> int:
    """Bytes on disk for a body of at most `body_bytes`. Raises RecordRefused."""
    if not 0 < body_bytes <= MAX_BODY_BYTES:
        raise RecordRefused(f"a reservation is for 1 to {MAX_BODY_BYTES} bytes, not {body_bytes}")
    return body_bytes + MAX_FRAME_BYTES


@final
class Space:
    """Accounts for one open segment. Thread-safe."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._used = 0
        self._allocated = 0
        self._outstanding = 0

    def attach(self, descriptor: int, length: int) -> None:
        """Start on a freshly opened segment, and set aside again what is promised. Raises OSError."""
        with self._lock:
            self._descriptor, self._used, self._allocated = descriptor, length, length
            try:
                self._grow(self._outstanding)
            except OSError as error:
                if error.errno not in _FULL or self._outstanding:
                    self._descriptor = None
                    raise

    def move(self, descriptor: int) -> None:
        """Go on in a new, empty segment, with everything promised set aside there first.

        Raises OSError, and then all stays where it was.
        """
        with self._lock:
            before = self._descriptor, self._used, self._allocated
            self._descriptor, self._used, self._allocated = descriptor, 0, 0
            try:
                self._grow(self._outstanding)
            except OSError:
                self._descriptor, self._used, self._allocated = before
                raise

    def detach(self) -> None:
        """The segment was closed. Promises stand and are made good by the next `attach`."""
        with self._lock:
            self._descriptor = None

    def reserve(self, size: int) -> Reservation:
        """Promise `size` bytes to a later record. Raises OSError when the disk has them not."""
        with self._lock:
            if self._descriptor is not None and self._used + self._outstanding + size > self._allocated:
                self._grow(self._outstanding + size)
            self._outstanding += size
        return Reservation(self, size)

    def give_back(self, reservation: Reservation) -> None:
        with self._lock:
            if reservation.held:
                reservation.held = False
                self._outstanding -= reservation.size

    def claim(self, need: int, promised: list[Reservation]) -> None:
        """Take `need` bytes for a batch that redeems `promised`. Raises OSError, and then nothing was taken."""
        with self._lock:
            redeemed = sum(reservation.size for reservation in promised)
            left = self._outstanding - redeemed
            if self._used + need + left > self._allocated:
                self._grow(need + left)
            for reservation in promised:
                reservation.held = False
            self._outstanding = left
            self._used += need

    def undo(self, promised: list[Reservation]) -> None:
        """The batch was not written: its promises stand again."""
        with self._lock:
            for reservation in promised:
                reservation.held = True
                self._outstanding += reservation.size

    def settle(self, length: int) -> None:
        """The log now ends at `length`."""
        with self._lock:
            self._used = length

    def _grow(self, need: int) -> None:
        assert self._descriptor is not None  # noqa: S101 -- for the type checker; callers hold the lock
        start = self._allocated
        whole = -(-max(need, 1) // STEP_BYTES) * STEP_BYTES
        exact = max(self._used + need - start, 1)
        try:
            self._files.reserve(self._descriptor, start, whole)
            self._allocated = start + whole
        except OSError as error:
            if error.errno not in _FULL:
                raise
            exact = -(-(start + exact) // _BLOCK) * _BLOCK - start
            self._files.reserve(self._descriptor, start, exact)
            self._allocated = start + exact
