"""Task scope: what a session may do of all that its principal may do, as its host says (OWASP LLM06, least privilege).

Guarantee: a scope only takes away. It is asked after the policy has said yes, by the steps that ask the policy, and
several scopes (a resumed call's own and its session's, a tool's and its caller's) must all agree.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Self, final

import orjson

from gateway.domain.errors import UsageError

MAX_SPELLED: Final = 8192  # it stands in every record of the session
_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}")


@final
class Scope:
    """`tools` are the only ones there are (None: all that the principal has); `where` bounds the calls of some of them.

    A bound is a CEL expression over what the rules of that tool see: `Scope(where={"refund": "args.cents <= 5000"})`.
    An empty list of tools is no tool at all.
    """

    __slots__ = ("spelled", "tools", "where")

    def __init__(self, tools: Collection[str] | None = None, where: Mapping[str, str] | None = None) -> None:
        """Raises UsageError."""
        if isinstance(tools, str):
            raise UsageError("the tools of a scope are a list of names, not one text")
        self.tools = None if tools is None else frozenset(tools)
        self.where = dict(where or {})
        for name in (*(self.tools or ()), *self.where):
            if type(name) is not str or not _NAME.fullmatch(name):
                raise UsageError(f"{name!a} is no name of a tool")
        if any(type(bound) is not str for bound in self.where.values()):
            raise UsageError("a bound of a scope is the text of a CEL expression")
        outside = sorted(set(self.where) - self.tools) if self.tools is not None else []
        if outside:
            raise UsageError(f"the scope bounds {outside[0]!r}, which is not among its tools")
        listed = None if self.tools is None else sorted(self.tools)
        try:
            self.spelled = orjson.dumps({"tools": listed, "where": dict(sorted(self.where.items()))}).decode()
        except orjson.JSONEncodeError as error:
            raise UsageError(f"a scope stands in records as JSON, and this one cannot: {error}") from error
        if len(self.spelled) > MAX_SPELLED:
            raise UsageError(f"a scope has {MAX_SPELLED} characters at most, because every record holds it")

    @classmethod
    def read(cls, spelled: str) -> Self:
        """What `spelled` says. Raises UsageError."""
        try:
            found: dict[str, Any] = orjson.loads(spelled)
            return cls(found["tools"], found["where"])
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"no scope: {error}") from error

    def covers(self, tool: str) -> bool:
        """Whether `tool` is in it, whatever its arguments."""
        return self.tools is None or tool in self.tools

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scope) and other.spelled == self.spelled

    def __hash__(self) -> int:
        return hash(self.spelled)

    def __repr__(self) -> str:
        return f"Scope({self.spelled})"


def covered(scopes: Iterable[Scope], tool: str) -> bool:
    """Whether every scope has `tool`."""
    return all(scope.covers(tool) for scope in scopes)


def together(scopes: Iterable[Scope]) -> tuple[Scope, ...]:
    """Each of them once, in order."""
    return tuple(dict.fromkeys(scopes))
