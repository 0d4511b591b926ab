"""One live process at a time holds an origin (C118). The kernel drops the lock when that process dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import final

from gateway.audit.errors import OriginBusy


@final
class OriginLock:
    """flock(2) on the origin's `lock` file, which names the holder for messages only."""

    __slots__ = ("_descriptor",)

    def __init__(self, path: Path, origin: str) -> None:
        """Raises OriginBusy, OSError."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).strip()
            os.close(descriptor)
            raise OriginBusy(origin, int(holder) if holder.isdigit() else None) from error
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Unlock for every copy of the descriptor, a forked child's included."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def drop(self) -> None:
        """In a forked child: close the copy and leave the parent's lock alone."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def held(path: Path) -> bool:
    """Whether a live process holds the lock at `path` at this moment."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
