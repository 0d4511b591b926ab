"""Keyed digests: what stands for a value where the value itself must not stand (I10).

HMAC-SHA-256 (RFC 2104) under the deployment key. A plain digest of a PIN falls in a second; this one does not fall
without the key. The key's id is part of every digest, so old ones stay checkable after a rotation.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Protocol, final

from gateway.domain.errors import SettingsError

KEY_BYTES = 32
BLOCK_BYTES = 64  # of SHA-256


class Digests(Protocol):
    """What a step needs of a key: a name for a value, in place of the value."""

    def digest(self, data: bytes, *, domain: bytes = b"") -> str: ...


class Spellings(Protocol):
    """The same under every key of the deployment, the current one first: a rotated key forgets nothing."""

    def __call__(self, data: bytes, *, domain: bytes) -> tuple[str, ...]: ...


@final
class DigestKey:
    """One deployment key. `digest` gives `hmac-sha256:<key id>:<64 hex digits>`.

    Both halves of HMAC begin with a block made of the key alone (RFC 2104 section 4), so that block is hashed once for
    all calls: half the time of `hmac.digest`, and the same bytes.
    """

    __slots__ = ("_inner", "_outer", "_prefix", "id")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise SettingsError(f"a digest key has {KEY_BYTES} bytes, this one {len(key)}")
        block = key.ljust(BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))
        self.id = hashlib.sha256(b"toolgate digest key id\0" + key).hexdigest()[:8]
        self._prefix = f"hmac-sha256:{self.id}:"

    def digest(self, data: bytes, *, domain: bytes = b"") -> str:
        """`domain` keeps digests made for different purposes apart: equal values then do not show as equal."""
        inner = self._inner.copy()
        inner.update(domain + b"\0" + data)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return self._prefix + outer.hexdigest()

    def matches(self, data: bytes, digest: str, *, domain: bytes = b"") -> bool:
        return hmac.compare_digest(self.digest(data, domain=domain), digest)

    def __repr__(self) -> str:
        return f"DigestKey(id={self.id!r})"
