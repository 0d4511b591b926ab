"""A disk that fails on command. With nothing armed it is the real disk, held to the same behaviour suite."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from gateway.audit.files import OsFiles


class FaultyFiles:
    """`arm("write", errno.EIO)` makes that method fail until `heal()`; `short` lets a write land in part.

    `lands`: bytes of a failing write that reach the file all the same. `calls` counts every method.
    """

    def __init__(self) -> None:
        self._real = OsFiles()
        self._faults: dict[str, int] = {}
        self.lands = 0
        self.short = False
        self.descriptors: list[int] = []
        self.calls: dict[str, int] = {}

    def arm(self, method: str, code: int = errno.EIO) -> None:
        self._faults[method] = code

    def heal(self) -> None:
        self._faults.clear()
        self.short = False
        self.lands = 0

    def _enter(self, method: str) -> None:
        self.calls[method] = self.calls.get(method, 0) + 1
        code = self._faults.get(method)
        if code is not None:
            raise OSError(code, os.strerror(code))

    def open_append(self, path: Path) -> int:
        self._enter("open_append")
        descriptor = self._real.open_append(path)
        self.descriptors.append(descriptor)
        return descriptor

    def write(self, descriptor: int, data: bytes) -> int:
        if "write" in self._faults and self.lands:
            self._real.write(descriptor, data[: self.lands])
        self._enter("write")
        if self.short:
            return self._real.write(descriptor, data[: len(data) // 2])
        return self._real.write(descriptor, data)

    def fdatasync(self, descriptor: int) -> None:
        self._enter("fdatasync")
        self._real.fdatasync(descriptor)

    def truncate(self, descriptor: int, length: int) -> None:
        self._enter("truncate")
        self._real.truncate(descriptor, length)

    def reserve(self, descriptor: int, offset: int, length: int) -> None:
        self._enter("reserve")
        self._real.reserve(descriptor, offset, length)

    def close(self, descriptor: int) -> None:
        self._real.close(descriptor)
        self._enter("close")

    def patch(self, path: Path, offset: int, data: bytes, *, durable: bool = True) -> None:
        self._enter("patch")
        self._real.patch(path, offset, data, durable=durable)

    def replace(self, path: Path, data: bytes) -> None:
        self._enter("replace")
        self._real.replace(path, data)
