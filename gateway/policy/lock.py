"""The lock: the digests of the policy files that somebody has applied (I6).

Once `toolgate policy apply` has written it, only files that match it are ever loaded: a half-saved edit, or one that
nobody checked, changes nothing. The lock is replaced in one step, and is no policy itself: the digest of a policy set
does not cover it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import orjson

from gateway.domain.errors import PolicyError
from gateway.policy.custody import Custody
from gateway.policy.policy_set import PolicyErrors

LOCK: Final = "policy.lock"
_MAX_BYTES: Final = 4 << 20
_FORMAT: Final = 1
_MEND: Final = "Run `toolgate policy apply` to check and apply it, or undo the edit"


@final
@dataclass(frozen=True, slots=True)
class Lock:
    """What was applied: the digest of the set, of each file by name, and by whom and when (RFC 3339)."""

    digest: str
    files: Mapping[str, str]
    applied_by: str
    applied_at: str


def read_lock(folder: Path) -> Lock | None:
    """The lock of a policy folder, or None where nothing was ever applied. Raises PolicyError if it cannot be used."""
    if not os.path.lexists(folder / LOCK):
        return None
    raw, _ = Custody(folder).read(LOCK, _MAX_BYTES)
    try:
        found = orjson.loads(raw)
        if found["format"] != _FORMAT:
            raise ValueError(f"format {found['format']}")
        files = {str(name): str(digest) for name, digest in found["files"].items()}
        return Lock(str(found["digest"]), files, str(found["applied_by"]), str(found["applied_at"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PolicyError(f"it is damaged ({error}). Apply the policy again", file=LOCK) from error


def check_lock(lock: Lock, files: Mapping[str, str]) -> None:
    """Raise PolicyErrors, one for each file, unless `files` (name to digest) are exactly those applied."""
    errors = [PolicyError(f"it was applied, and is missing now. {_MEND}", file=n) for n in lock.files if n not in files]
    errors += [PolicyError(f"it was never applied. {_MEND}", file=n) for n in files if n not in lock.files]
    errors += [
        PolicyError(f"it has changed since it was applied. {_MEND}", file=name)
        for name, digest in files.items()
        if lock.files.get(name, digest) != digest
    ]
    if errors:
        raise PolicyErrors(tuple(errors))


def write_lock(folder: Path, lock: Lock) -> None:
    """Replace the lock in one step, durably."""
    body = orjson.dumps(
        {
            "format": _FORMAT,
            "digest": lock.digest,
            "applied_by": lock.applied_by,
            "applied_at": lock.applied_at,
            "files": dict(lock.files),
        },
        option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE,
    )
    draft = folder / f".{LOCK}.{os.getpid()}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        os.write(descriptor, body)
        os.fchmod(descriptor, 0o644)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.replace(folder / LOCK)
