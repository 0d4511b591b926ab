"""`identifier`: a prefix and ASCII characters of one kind, from end to end (C045: no `$`, no Unicode digits).

Linear whatever is sent: the length is looked at first and the pattern has one way to match. Advisory.
"""

from __future__ import annotations

import re
from typing import Final, final

from gateway.policy.guard_documents import IdentifierGuard
from gateway.validate.guards.refusal import GuardRefused

_CHARS: Final = {"digits": "0-9", "hex": "0-9a-f", "letters": "A-Za-z", "alphanumeric": "A-Za-z0-9"}


@final
class IdentifierCheck:
    """Each name of the argument."""

    def __init__(self, guard: IdentifierGuard) -> None:
        one = f"[{_CHARS[guard.chars]}]"
        between = f"(?:[{re.escape(guard.separators)}]{one}+)*" if guard.separators else ""
        self._pattern = re.compile(f"{one}+{between}")
        self._prefix = guard.prefix
        self._least = len(guard.prefix) + guard.min_chars
        self._most = len(guard.prefix) + guard.max_chars
        also = f", with {' '.join(guard.separators)} between" if guard.separators else ""
        after = f" after {guard.prefix}" if guard.prefix else ""
        self._form = f"{guard.min_chars} to {guard.max_chars} {guard.chars}{also}{after}"

    def __call__(self, name: str, value: object) -> None:
        for one in value if isinstance(value, list) else [value]:
            if (
                not isinstance(one, str)
                or not self._least <= len(one) <= self._most
                or not one.startswith(self._prefix)
                or not self._pattern.fullmatch(one, len(self._prefix))
            ):
                raise GuardRefused(f"{name}: must be {self._form}.", "Copy it exactly as it was given.")
