"""Guards: an argument that names something outside the call is turned into a capability, or checked (C050).

A path guard hands the tool the opened file (`beneath.OpenedFile`); the string is never used again. A mail guard is
advisory: it says that the text is one plain address, and the tool still gets the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import final

from gateway.domain.errors import PolicyError, ToolgateError
from gateway.policy.documents import EmailGuard, Guard, PathGuard
from gateway.validate.beneath import OpenBeneath, OpenedFile, open_file

MAX_PATH_CHARS = 1024
MAX_ADDRESS_CHARS = 254  # RFC 5321 section 4.5.3.1.3, without the angle brackets

_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ATOM = r"[A-Za-z0-9#$&'*+/=?^_`{|}~-]+"  # RFC 5322 atext without `%` and `!`, which some relays route on
_ADDRESS = re.compile(rf"(?=.{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})+")

_PLAIN_PATH = "Give a path beneath the folder, such as reports/q1.txt."


class GuardRefused(ToolgateError):
    """The argument may not be used. `message` and `suggestion` are for the model, `detail` for the record."""

    def __init__(self, message: str, suggestion: str, detail: str = "") -> None:
        super().__init__(detail or message)
        self.message = message
        self.suggestion = suggestion
        self.detail = detail


@final
class Guards:
    """The guards of one contract. `roots` gives the folder for each name a path guard may use.

    `opens` says that `apply` touches the file system.
    """

    def __init__(
        self, guards: Mapping[str, Guard], roots: Mapping[str, str], open_beneath: OpenBeneath | None = None
    ) -> None:
        """Raises PolicyError for a root nobody has given."""
        self._guards = dict(guards)
        self._roots = roots
        self._open_beneath = open_beneath
        for name, guard in guards.items():
            if isinstance(guard, PathGuard) and guard.root not in roots:
                raise PolicyError(f"guards/{name}: no root {guard.root!r}; name it under `roots` in settings.yaml")

        self.opens = any(isinstance(guard, PathGuard) for guard in guards.values())

    def __bool__(self) -> bool:
        return bool(self._guards)

    def apply(self, arguments: Mapping[str, object]) -> dict[str, OpenedFile]:
        """Check every guarded argument that is given, and open what is to be opened; the caller closes it.

        May block on the file system. Raises GuardRefused; nothing stays open then.
        """
        opened: dict[str, OpenedFile] = {}
        try:
            for name, guard in self._guards.items():
                value = arguments.get(name)
                if value is None:
                    continue
                match guard:
                    case PathGuard():
                        opened[name] = self._open(name, value, guard)
                    case EmailGuard():
                        _check_addresses(name, value)
        except BaseException:
            close(opened)
            raise
        return opened

    def _open(self, name: str, value: object, guard: PathGuard) -> OpenedFile:
        path = _plain_path(name, value)
        try:
            return open_file(self._roots[guard.root], path, guard.max_bytes, self._open_beneath)
        except (OSError, ValueError) as error:  # absent, not yours, a link, too large: one answer (I7)
            raise GuardRefused(f"{name}: there is no such file to read.", _PLAIN_PATH, f"{name}: {error}") from error


def close(opened: Mapping[str, object]) -> None:
    """Close what a guard opened. Closing twice does no harm."""
    for capability in opened.values():
        if isinstance(capability, OpenedFile):
            capability.close()


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


def _check_addresses(name: str, value: object) -> None:
    for address in value if isinstance(value, list) else [value]:
        if not isinstance(address, str) or len(address) > MAX_ADDRESS_CHARS or not _ADDRESS.fullmatch(address):
            raise GuardRefused(
                f"{name}: must be one plain mail address.",
                "Write it like name@example.org, without a display name and without further addresses.",
            )
