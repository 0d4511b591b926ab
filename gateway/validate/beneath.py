"""Open a file beneath a root, by descriptor: what was checked is what is read (CWE-22, CWE-367, CWE-59).

Guarantees: the file opened lies beneath the root, is a regular file and is no larger than allowed, whatever anybody
does to the directories meanwhile; a symlink swapped in afterwards changes nothing: the tool holds the open file.
The kernel's `openat2` with RESOLVE_BENEATH does it in one step; where it is missing, each component is opened with
O_NOFOLLOW relative to the one before. Both are held to the same tests. Hard links and bind mounts made by somebody
who may write beneath the root are beyond this check.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import io
import os
import stat
from collections.abc import Callable
from errno import EAGAIN, EFBIG, EINTR
from functools import cache
from typing import final

_SYS_OPENAT2 = 437  # the same on every architecture, see openat2(2)
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY  # a FIFO or device never blocks us
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_AGAIN = frozenset((EINTR, EAGAIN))  # EAGAIN: something was renamed meanwhile; openat2(2) says to try again
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
_CHUNK = 1 << 18  # bytes hashed at a time
_TRIES = 64  # so that somebody who renames without end is refused

OpenBeneath = Callable[[int, str], int]
"""Opens a relative path beneath an open folder and gives a descriptor. Raises OSError."""


class _How(ctypes.Structure):
    """struct open_how of openat2(2)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


@final
class OpenedFile(io.BufferedReader):
    """A regular file, open for reading, and a context manager. `name` is its path beneath the root, `size` in bytes.

    Reading past `max_bytes` raises OSError(EFBIG): a file that grows after the check is not read without end.
    """

    def __init__(self, fd: int, name: str, size: int, max_bytes: int) -> None:
        """Takes over `fd`."""
        super().__init__(_Capped(fd, max_bytes))
        self._name = name
        self._max_bytes = max_bytes
        self.size = size

    @property
    def name(self) -> str:
        """The path beneath the root, as it was asked for."""
        return self._name

    def __repr__(self) -> str:
        return f"<OpenedFile {self._name!r}>"

    def pinned(self, *, hold: bool) -> dict[str, object]:
        """What it holds: `sha256` in hex, and `bytes`. To be asked before anything is read. Raises OSError.

        With `hold`, the very bytes that were hashed are read from here on, whoever writes to the file: a sealed copy in
        memory (memfd_create(2), F_ADD_SEALS in fcntl(2)) takes its place behind the same descriptor.
        """
        if not hold:
            return self._hashed(lambda _: None)
        with os.fdopen(os.memfd_create("toolgate", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "wb") as copy:
            found = self._hashed(copy.write)
            copy.flush()
            fcntl.fcntl(copy, fcntl.F_ADD_SEALS, _SEALS)
            os.dup2(copy.fileno(), self.fileno(), inheritable=False)
        os.lseek(self.fileno(), 0, os.SEEK_SET)
        return found

    def _hashed(self, keep: Callable[[bytes], object]) -> dict[str, object]:
        digest, size = hashlib.sha256(), 0
        while part := os.pread(self.fileno(), _CHUNK, size):
            size += len(part)
            if size > self._max_bytes:
                raise OSError(EFBIG, "the file grew beyond what may be read")
            digest.update(part)
            keep(part)
        self.size = size
        return {"sha256": digest.hexdigest(), "bytes": size}


@final
class _Capped(io.FileIO):
    def __init__(self, fd: int, max_bytes: int) -> None:
        super().__init__(fd, "rb", closefd=True)
        self._max_bytes = max_bytes

    def readinto(self, buffer: bytearray | memoryview) -> int | None:  # type: ignore[override]
        count = super().readinto(buffer)
        if self.tell() > self._max_bytes:
            raise OSError(EFBIG, "the file grew beyond what may be read")
        return count

    def readall(self) -> bytes:
        chunks = []
        while chunk := self.read(1 << 16):
            chunks.append(chunk)
            if self.tell() > self._max_bytes:
                raise OSError(EFBIG, "the file grew beyond what may be read")
        return b"".join(chunks)


def open_file(root: str, path: str, max_bytes: int, how: OpenBeneath | None = None) -> OpenedFile:
    """Open the regular file `path` beneath the folder `root`. Raises OSError; nothing stays open then."""
    folder = os.open(root, _FOLDER)
    try:
        fd = (how or best_way())(folder, path)
    finally:
        os.close(folder)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"not a regular file: {stat.filemode(found.st_mode)}")
        if found.st_size > max_bytes:
            raise OSError(EFBIG, f"{found.st_size} bytes, at most {max_bytes} may be read")
    except BaseException:
        os.close(fd)
        raise
    return OpenedFile(fd, path, found.st_size, max_bytes)


def by_openat2(folder: int, path: str) -> int:
    """One system call (Linux 5.6)."""
    if "\0" in path:
        raise ValueError("a path holds no NUL; the kernel would stop reading there")
    how = _How(_FILE, 0, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS)
    for _ in range(_TRIES):
        fd: int = _syscall()(_SYS_OPENAT2, folder, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        if number not in _AGAIN:
            break
    raise OSError(number, os.strerror(number), path)


def by_component(folder: int, path: str) -> int:
    """Folder by folder, never through a link. `..` is refused before it comes here and here too."""
    parts = path.split("/")
    if not all(parts) or ".." in parts:
        raise OSError("not a plain path beneath a folder")
    current = os.dup(folder)
    try:
        for part in parts[:-1]:
            following = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=current)
            os.close(current)
            current = following
        return os.open(parts[-1], _FILE, dir_fd=current)
    finally:
        os.close(current)


@cache
def best_way() -> OpenBeneath:
    """`openat2` if this kernel (and its seccomp filter) lets us have it."""
    folder = os.open("/", _FOLDER)
    try:
        os.close(by_openat2(folder, "."))
    except OSError:
        return by_component
    finally:
        os.close(folder)
    return by_openat2


@cache
def _syscall() -> ctypes._NamedFuncPointer:
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    function.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)
    return function
