"""The only door to the disk for the log's writer, so that tests can make it fail (C111, C112, C142).

Guarantee: descriptors are close-on-exec, files are private to their owner, `replace` is all or nothing and
durable, `reserve` sets disk aside beyond the end of a file without changing its size (fallocate(2),
FALLOC_FL_KEEP_SIZE). Every method raises OSError and never retries.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol, final

_KEEP_SIZE: Final = 0x01  # FALLOC_FL_KEEP_SIZE, linux/falloc.h


class Files(Protocol):
    """What the writer needs from a disk."""

    def open_append(self, path: Path) -> int:
        """A descriptor to append to `path`, created empty (and its name made durable) if absent."""
        ...

    def write(self, descriptor: int, data: bytes) -> int:
        """Bytes written, which may be fewer than given."""
        ...

    def fdatasync(self, descriptor: int) -> None: ...

    def truncate(self, descriptor: int, length: int) -> None: ...

    def reserve(self, descriptor: int, offset: int, length: int) -> None:
        """Set disk aside for that range; the file's size stays."""
        ...

    def close(self, descriptor: int) -> None: ...

    def patch(self, path: Path, offset: int, data: bytes, *, durable: bool = True) -> None:
        """Write `data` at `offset` of `path`, cut the file after it, and sync the file if it is to be durable."""
        ...

    def replace(self, path: Path, data: bytes) -> None:
        """Put `data` at `path`, atomically and durably (write aside, fsync, rename, fsync the folder)."""
        ...


@cache
def _fallocate() -> Any:
    function = ctypes.CDLL(None, use_errno=True).fallocate
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong)
    function.restype = ctypes.c_int
    return function


def sync_folder(folder: Path) -> None:
    """Make names created in or removed from `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    if written != len(data):
        raise OSError(f"short write: {written} of {len(data)} bytes")


@final
class OsFiles:
    """The real disk."""

    def open_append(self, path: Path) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                sync_folder(path.parent)
            except OSError:
                os.close(descriptor)
                raise
            return descriptor

    def write(self, descriptor: int, data: bytes) -> int:
        return os.write(descriptor, data)

    def fdatasync(self, descriptor: int) -> None:
        os.fdatasync(descriptor)

    def truncate(self, descriptor: int, length: int) -> None:
        os.ftruncate(descriptor, length)

    def reserve(self, descriptor: int, offset: int, length: int) -> None:
        if _fallocate()(descriptor, _KEEP_SIZE, offset, length) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def patch(self, path: Path, offset: int, data: bytes, *, durable: bool = True) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.lseek(descriptor, offset, os.SEEK_SET)
            _write_all(descriptor, data)
            os.ftruncate(descriptor, offset + len(data))
            if durable:
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def replace(self, path: Path, data: bytes) -> None:
        temporary = path.with_name(f".{path.name}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(temporary, flags, 0o600)
        try:
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        sync_folder(path.parent)
