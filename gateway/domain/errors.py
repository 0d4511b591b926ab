"""One small tree of errors. A denial is a value; a fault of a component is a `ComponentFault`, and it denies.

`ToolgateError` carries data as attributes and a message that tells an operator what to do next. Nothing in
here is ever shown to a model: what a model may read is built in `domain.decision`.
"""

from __future__ import annotations


class ToolgateError(Exception):
    """Root of everything Toolgate raises on purpose."""


class UsageError(ToolgateError, ValueError):
    """The host program used the library wrongly: a programming mistake, so it is raised and never denied."""


class SettingsError(ToolgateError):
    """An unsafe or impossible start was refused."""


class PolicyError(ToolgateError):
    """A policy file cannot be used. `file` is relative to the policy folder; `line` and `column` count from 1."""

    def __init__(self, message: str, *, file: str = "", line: int = 0, column: int = 0) -> None:
        where = file + (f":{line}" if line else "") + (f":{column}" if column else "")
        super().__init__(f"{where}: {message}" if where else message)
        self.message = message
        self.file = file
        self.line = line
        self.column = column


class ContractMismatch(ToolgateError):
    """A tool's Python signature and its contract disagree."""


class ComponentFault(ToolgateError):
    """A disk, a database, a daemon or a fact source failed. The call in hand is denied."""


class AuditUnavailable(ComponentFault):
    """The audit log could not be made durable, so nothing may happen."""


class StateUnavailable(ComponentFault):
    """The state database could not answer, so nothing that needs it may happen."""


def described(error: BaseException) -> str:
    """`Type: message` for a record, also of an error whose own code cannot say it."""
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException:  # somebody else's class: whatever its `__str__` raises, its type is known
        return f"{type(error).__name__} (its message cannot be read)"
