"""Files that code gave back, for the host to fetch by their digest once a result names them.

Guarantee: bounded in bytes, oldest forgotten first, never on disk. Whoever knows a digest has seen the released result
(or the content); the model itself gets name, type, size and digest, and small texts as text.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import final

MOST_BYTES = 64 << 20


@final
class Files:
    """Content by the SHA-256 of itself, in hex. Thread-safe."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._guard = threading.Lock()
        self._held: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    def keep(self, content: bytes) -> str:
        """The digest under which `content` can be fetched for now."""
        digest = hashlib.sha256(content).hexdigest()
        with self._guard:
            old = self._held.pop(digest, None)
            self._size -= len(old) if old is not None else 0
            self._held[digest] = content
            self._size += len(content)
            while self._size > self._most:
                _, gone = self._held.popitem(last=False)
                self._size -= len(gone)
        return digest

    def get(self, digest: str) -> bytes | None:
        with self._guard:
            return self._held.get(digest)
