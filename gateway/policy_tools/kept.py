"""A copy of the files that were applied, so that the next `toolgate policy apply` can say what changes.

For people to read, never to decide by: no gateway loads it, and it counts only while it is exactly what the lock names.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Final

from gateway.domain.errors import PolicyError
from gateway.policy.loader import load
from gateway.policy.lock import Lock
from gateway.policy.policy_set import PolicySet

FOLDER: Final = "applied"


def keep(policies: Path, found: PolicySet, state: Path) -> None:
    """Replace the copy in `state` by the files of `found` as they stand in `policies`."""
    draft = Path(tempfile.mkdtemp(prefix=f".{FOLDER}-", dir=state))
    try:
        for name in found.files:
            target = draft / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((policies / name).read_bytes())
            target.chmod(0o600)
        shutil.rmtree(state / FOLDER, ignore_errors=True)
        draft.rename(state / FOLDER)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def kept(state: Path, lock: Lock | None) -> PolicySet | None:
    """The set that `lock` names, or None where there is no copy of exactly that."""
    if lock is None or not (state / FOLDER).is_dir():
        return None
    try:
        found = load(state / FOLDER, locked=False)
    except PolicyError:
        return None  # written by an older version, or by somebody else: it says nothing about what was applied
    return found if found.digest == lock.digest else None
