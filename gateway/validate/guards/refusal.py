"""What a guard says when it refuses, and what a guard is."""

from __future__ import annotations

from collections.abc import Callable

from gateway.domain.decision import ReasonCode
from gateway.domain.errors import ToolgateError


class GuardRefused(ToolgateError):
    """The argument may not be used. `message` and `suggestion` are for the model, `detail` for the record.

    `found`: refused for what it led to at that moment (a file, an address), and not for how it is written.
    """

    def __init__(self, message: str, suggestion: str, detail: str = "", *, found: bool = False) -> None:
        super().__init__(detail or message)
        self.message = message
        self.suggestion = suggestion
        self.detail = detail
        self.reason = ReasonCode.GUARD_FOUND if found else ReasonCode.GUARD


Check = Callable[[str, object], object]
"""A guard, compiled: (parameter, value) -> what the tool gets instead; None leaves the value. Raises GuardRefused."""
