"""Whole results kept beside the log, where a contract asks for it (`result: {keep: true}`).

Guarantee: what was released is on the disk before its outcome is, encrypted under the key of the person the call was
made for, so erasing that person erases it too; the outcome holds the digest of the encrypted file, so it cannot be
exchanged. Secrets are masked in it as they were for the model.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any, final

import orjson

from gateway.audit.subjects import SubjectKeys
from gateway.keys import read_private, write_private

MOST = 16 << 20  # the largest result and its encoding


@final
class KeptResults:
    """One folder, a file for each outcome."""

    def __init__(self, folder: Path, subjects: SubjectKeys) -> None:
        self._folder = folder
        self._subjects = subjects

    def keep(self, subject: str, call_id: str, intent_seq: int, content: str) -> str:
        """Durable on return: the digest for the outcome. Raises ToolgateError, OSError."""
        sealed = self._subjects.seal(subject, _place(call_id), {"content": content})
        data = orjson.dumps(sealed)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self._path(call_id, intent_seq), data)
        return _digest(data)

    def read(self, call_id: str, intent_seq: int, digest: str) -> str | None:
        """What was released; None once its subject was erased. Raises ToolgateError, ValueError if it was exchanged."""
        data = read_private(self._path(call_id, intent_seq), MOST)
        if _digest(data) != digest:
            raise ValueError("the kept result is not the one that the outcome names")
        stored: dict[str, Any] = orjson.loads(data)
        fields = self._subjects.read(stored, _place(call_id))
        return None if fields is None else str(fields["content"])

    def _path(self, call_id: str, intent_seq: int) -> Path:
        return self._folder / f"{sha256(call_id.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}-{intent_seq}"


def _place(call_id: str) -> bytes:
    return b"result\0" + call_id.encode("utf-8", "surrogatepass")


def _digest(data: bytes) -> str:
    return "sha256:" + sha256(data).hexdigest()
