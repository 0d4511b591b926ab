"""`path`: a relative path in one plain spelling, opened beneath its root (C050; CWE-22, CWE-59, CWE-367).

The tool gets the open file; the string is never used again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import final

from gateway.domain.errors import PolicyError
from gateway.policy.guard_documents import PathGuard
from gateway.validate.beneath import OpenBeneath, OpenedFile, open_file
from gateway.validate.guards.refusal import GuardRefused

MAX_PATH_CHARS = 1024

_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_PLAIN_PATH = "Give a path beneath the folder, such as reports/q1.txt."


@final
class PathCheck:
    """Opens what the argument names. May block on the file system."""

    def __init__(self, guard: PathGuard, roots: Mapping[str, str], open_beneath: OpenBeneath | None) -> None:
        """Raises PolicyError for a root nobody has given."""
        if guard.root not in roots:
            raise PolicyError(f"no root {guard.root!r}; name it under `roots` in settings.yaml")
        self._root = roots[guard.root]
        self._max_bytes = guard.max_bytes
        self._open_beneath = open_beneath

    def __call__(self, name: str, value: object) -> OpenedFile:
        path = _plain_path(name, value)
        try:
            return open_file(self._root, path, self._max_bytes, self._open_beneath)
        except (OSError, ValueError) as error:  # absent, not yours, a link, too large: one answer (I7)
            why = f"{name}: {error}"
            raise GuardRefused(f"{name}: there is no such file to read.", _PLAIN_PATH, why, found=True) from error


def _plain_path(name: str, value: object) -> str:
    """The path, if it is spelled in the one way accepted. Raises GuardRefused."""
    if not isinstance(value, str) or not value or len(value) > MAX_PATH_CHARS:
        raise GuardRefused(f"{name}: must be a path of 1 to {MAX_PATH_CHARS} characters.", _PLAIN_PATH)
    if _CONTROL.search(value) or "\\" in value or _ENCODED.search(value):
        raise GuardRefused(f"{name}: must have no backslash, percent-encoding or control character.", _PLAIN_PATH)
    if value.startswith("/"):
        raise GuardRefused(f"{name}: must be relative, without a leading slash.", _PLAIN_PATH)
    if any(part in ("", ".", "..") for part in value.split("/")):
        raise GuardRefused(f"{name}: must have no empty part, `.` or `..`.", _PLAIN_PATH)
    return value
