"""Who may see, call or approve which tool: compiled at load, looked up per call (I2, I12).

The meaning is Casbin's RBAC with deny rows: a decision collects every row for the tool and action whose subject is the
user or a role the user holds, directly or through other roles; one deny row decides, else one allow row, else no. All
of that is worked out here once, so a decision is two dictionary look-ups however many rows there are. Only `user:<id>`
is ever a principal; a principal that happens to be called like a role is a user without rows (C027).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar, final

from gateway.domain.decision import Provenance
from gateway.policy.casbin_files import ACTIONS, POLICY, AccessPolicy, Action, GrantRow, RoleRow

T = TypeVar("T")

_USER = "user:"
_ROLE = "role:"


@final
@dataclass(frozen=True, slots=True)
class Granted:
    """Yes. `row` is the first allow row that says so."""

    row: Provenance


@final
@dataclass(frozen=True, slots=True)
class NotGranted:
    """No: nothing says yes."""


@final
@dataclass(frozen=True, slots=True)
class DeniedByRule:
    """No, whatever says yes. `row` is the first deny row that says so."""

    row: Provenance


Decision = Granted | NotGranted | DeniedByRule
Table = dict[str, dict[str, Granted | DeniedByRule]]  # action -> tool -> decision

NOT_GRANTED = NotGranted()


@final
@dataclass(frozen=True, slots=True)
class Rights:
    """What one principal, or several with the same roles, may do."""

    table: Table
    visible: tuple[str, ...]
    roles: tuple[str, ...]


_NONE = Rights({}, (), ())


@final
class Grants:
    """The compiled policy. Never changed after it was built, so any number of threads may ask it."""

    __slots__ = ("_rights",)

    def __init__(self, rights: dict[str, Rights]) -> None:
        self._rights = rights

    def decide(self, principal_id: object, tool: object, action: Action) -> Decision:
        """May this principal do this? Anything that is not a plain string is nobody, and nobody may (C028)."""
        if type(principal_id) is not str or type(tool) is not str:
            return NOT_GRANTED
        rights = self._rights.get(principal_id)
        if rights is None:
            return NOT_GRANTED
        tools = rights.table.get(action)
        if tools is None:
            return NOT_GRANTED
        return tools.get(tool, NOT_GRANTED)

    def visible(self, principal_id: object) -> tuple[str, ...]:
        """The tools that go into this principal's tool list: those it may both see and call, sorted (I7)."""
        return self._of(principal_id).visible

    def roles_of(self, principal_id: object) -> tuple[str, ...]:
        """Names (without `role:`) of every role this principal holds, through other roles too, sorted."""
        return self._of(principal_id).roles

    def principals(self) -> tuple[str, ...]:
        """Every principal that the policy names, sorted."""
        return tuple(sorted(self._rights))

    def _of(self, principal_id: object) -> Rights:
        return self._rights.get(principal_id, _NONE) if type(principal_id) is str else _NONE


def compile_grants(access: AccessPolicy) -> Grants:
    """Work out every principal's rights. The rows were read by `policy.casbin_files`: no circle, no unknown name."""
    rows = _grouped(access.grants, lambda row: row.subject)
    above = _grouped(access.roles, lambda row: row.member)
    users = {name for name in (*rows, *above) if name.startswith(_USER)}
    shared: dict[tuple[str, ...], Rights] = {}  # users with the same roles and no rows of their own share one table
    rights: dict[str, Rights] = {}
    for user in users:
        direct = tuple(sorted(link.role for link in above.get(user, ())))
        key = (*direct, user) if user in rows else direct
        if key not in shared:
            shared[key] = _rights(user, rows, above)
        rights[user.removeprefix(_USER)] = shared[key]
    return Grants(rights)


def _rights(user: str, rows: dict[str, list[GrantRow]], above: dict[str, list[RoleRow]]) -> Rights:
    subjects = _held(user, above)
    table: Table = {action: {} for action in ACTIONS}
    for row in sorted((row for subject in subjects for row in rows.get(subject, ())), key=lambda row: row.line):
        tools = table[row.action]
        source = Provenance(POLICY, row.line, row.subject)
        if not row.allow and not isinstance(tools.get(row.tool), DeniedByRule):
            tools[row.tool] = DeniedByRule(source)
        elif row.allow and row.tool not in tools:
            tools[row.tool] = Granted(source)
    may_call = table["call"]
    visible = [
        tool
        for tool, decision in table["see"].items()
        if isinstance(decision, Granted) and isinstance(may_call.get(tool), Granted)
    ]
    roles = sorted(name.removeprefix(_ROLE) for name in subjects if name.startswith(_ROLE))
    return Rights(table, tuple(sorted(visible)), tuple(roles))


def _held(user: str, above: dict[str, list[RoleRow]]) -> set[str]:
    """The user and every role above."""
    found = {user}
    waiting = [user]
    while waiting:
        for link in above.get(waiting.pop(), ()):
            if link.role not in found:
                found.add(link.role)
                waiting.append(link.role)
    return found


def _grouped(rows: Iterable[T], key: Callable[[T], str]) -> dict[str, list[T]]:
    groups: dict[str, list[T]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups
