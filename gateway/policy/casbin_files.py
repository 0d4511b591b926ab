"""`model.conf` and `policy.csv`: the language is Casbin's, the reading is strict.

Casbin itself drops what it cannot use: a short row, `DENY`, a row of an unknown type, the rest of a matcher after
`#`. Each of these would change who may do what without a word, so each is an error here (C017, C019-C027), with
file and line. Only one model is accepted, RBAC with deny rows, because only that one is compiled (authorize/grants.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeGuard, final, get_args

from gateway.domain.errors import PolicyError, UsageError
from gateway.domain.ids import check_id
from gateway.policy.text import decode, did_you_mean

MODEL: Final = "model.conf"
POLICY: Final = "policy.csv"
MAX_MODEL_BYTES: Final = 8 * 1024
MAX_POLICY_BYTES: Final = 32 * 1024 * 1024  # some 500,000 rows
MAX_ROLE_LINKS: Final = 9  # Casbin's role manager looks at 10 levels, the user's own included, and then says no

Action = Literal["see", "call", "approve"]
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)

# Section -> key -> text. Casbin compares the effect as text, so its spaces count.
_RBAC: Final = {
    "request_definition": {"r": "sub, obj, act"},
    "policy_definition": {"p": "sub, obj, act, eft"},
    "role_definition": {"g": "_, _"},
    "policy_effect": {"e": "some(where (p.eft == allow)) && !some(where (p.eft == deny))"},
    "matchers": {"m": "g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act"},
}
_ROLE = re.compile(r"role:[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
_FORBIDDEN = re.compile(r"""["'`#;\\()\[\]{}]""")


@final
@dataclass(frozen=True, slots=True)
class GrantRow:
    """`p, subject, tool, action, allow|deny`. `subject` is `user:<id>` or `role:<name>`."""

    subject: str
    tool: str
    action: Action
    allow: bool
    line: int


@final
@dataclass(frozen=True, slots=True)
class RoleRow:
    """`g, member, role`: the member holds the role, and every role that role holds."""

    member: str
    role: str
    line: int


@final
@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """Who may do what, as written. The texts are kept for Casbin itself, which checks what the rows compile to."""

    grants: tuple[GrantRow, ...]
    roles: tuple[RoleRow, ...]
    model_text: str
    policy_text: str


def read_model(raw: bytes) -> str:
    """The text of model.conf, if it is the model that Toolgate compiles. Raises PolicyError."""
    text = decode(raw, file=MODEL, max_bytes=MAX_MODEL_BYTES)
    section = ""
    seen: set[tuple[str, str]] = set()
    for number, line in _lines(text):
        if line.startswith("["):
            section = line.removeprefix("[").removesuffix("]")
            if line != f"[{section}]" or section not in _RBAC:
                raise _model_error(f"{line!r} is not a section of this model.{did_you_mean(section, _RBAC)}", number)
            continue
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals or key not in _RBAC.get(section, {}):
            raise _model_error(f"{key!r} has no place in the section [{section}]", number)
        if (section, key) in seen:
            raise _model_error(f"{key!r} stands here a second time. Casbin would keep the last one. Remove one", number)
        seen.add((section, key))
        wanted = _RBAC[section][key]
        if value != wanted and (section == "policy_effect" or _squeezed(value) != _squeezed(wanted)):
            raise _model_error(f"{_why_not(value)}. Write exactly: {key} = {wanted}", number)
    for name, keys in _RBAC.items():
        for key, wanted in keys.items():
            if (name, key) not in seen:
                raise _model_error(f"[{name}] is missing. Add it, with: {key} = {wanted}", 0)
    return text


def read_policy(raw: bytes, model_text: str, tools: frozenset[str], *, may_be_empty: bool = False) -> AccessPolicy:
    """The rows of policy.csv. `tools` are the names that have a contract. Raises PolicyError.

    Without a p row nobody may do anything, which is taken for a mistake unless it `may_be_empty`.
    """
    text = decode(raw, file=POLICY, max_bytes=MAX_POLICY_BYTES)
    grants: list[GrantRow] = []
    roles: list[RoleRow] = []
    seen: dict[tuple[str, ...], int] = {}
    subjects: set[str] = set()  # those found to be well written: few, in many rows
    for number, line in _lines(text):
        strange = _FORBIDDEN.search(line)
        if strange:
            what = "a comment needs a line of its own" if strange[0] == "#" else "names are written without it"
            raise _row_error(f"the character {strange[0]} has no meaning here: {what}", number)
        fields = tuple([field.strip(" \t") for field in line.split(",")])  # a list is faster; there may be 500,000
        match fields:
            case ("p", subject, tool, action, effect):
                grants.append(_grant(subject, tool, action, effect, number, tools, subjects))
            case ("g", member, role):
                roles.append(_role(member, role, number, subjects))
            case ("p", *rest):
                message = f"a p row is `p, subject, tool, action, effect`; this one has {len(rest) + 1} fields, not 5"
                raise _row_error(message, number)
            case ("g", *rest):
                message = f"a g row is `g, member, role`; this one has {len(rest) + 1} fields, not 3"
                raise _row_error(message, number)
            case _:
                raise _row_error(f"a row begins with p or g, not with {fields[0]!a}", number)
        if fields in seen:
            raise _row_error(f"the same row stands on line {seen[fields]}. Remove one", number)
        seen[fields] = number
    if not grants and not may_be_empty:
        raise _row_error("no p row: nobody may do anything. An empty policy is taken for a mistake", 0)
    _refuse_cycles_and_depth(roles)
    return AccessPolicy(tuple(grants), tuple(roles), model_text, text)


def _grant(
    subject: str, tool: str, action: str, effect: str, line: int, tools: frozenset[str], subjects: set[str]
) -> GrantRow:
    _check_subject(subject, line, subjects)
    if tool not in tools:
        message = "each tool is named: patterns are not used here" if "*" in tool else "it has no contract in tools/"
        raise _row_error(f"unknown tool {tool!a}: {message}.{did_you_mean(tool, tools)}", line)
    if not _is_action(action):
        raise _row_error(f"unknown action {action!a}; it is one of {', '.join(ACTIONS)}", line)
    if effect not in ("allow", "deny"):
        raise _row_error(f"the effect is `allow` or `deny` in lower case, not {effect!a}", line)
    return GrantRow(subject, tool, action, effect == "allow", line)


def _role(member: str, role: str, line: int, subjects: set[str]) -> RoleRow:
    _check_subject(member, line, subjects)
    if not _ROLE.fullmatch(role):
        raise _row_error(f"what is held is a role, written `role:name` in lower case, not {role!a}", line)
    return RoleRow(member, role, line)


def can_be_written(user: str) -> bool:
    """True if policy.csv has a way to write `user:<user>`."""
    return "," not in user and not _FORBIDDEN.search(user) and not user.startswith(("user:", "role:"))


def _check_subject(subject: str, line: int, known: set[str]) -> None:
    if subject not in known:
        _check_new_subject(subject, line)
        known.add(subject)


def _check_new_subject(subject: str, line: int) -> None:
    kind, _, name = subject.partition(":")
    if kind == "role" and _ROLE.fullmatch(subject):
        return
    if kind != "user":
        raise _row_error(f"a subject is `user:<id>` or `role:<name>`, with a lower case name, not {subject!a}", line)
    if name.startswith(("user:", "role:")):
        raise _row_error(f"{subject!a} names a person like a {name.partition(':')[0]}. Remove one prefix", line)
    try:
        check_id("a user id", name)
    except UsageError as error:
        raise _row_error(str(error), line) from error


def _refuse_cycles_and_depth(rows: list[RoleRow]) -> None:
    """Each role's longest way up, roles without parents first (Kahn, 1962): no recursion, linear."""
    held: dict[str, list[RoleRow]] = {}
    waiting: dict[str, int] = {}
    for row in rows:
        held.setdefault(row.role, []).append(row)
        waiting[row.member] = waiting.get(row.member, 0) + 1
    height: dict[str, int] = {}
    ready = [role for role in held if role not in waiting]
    while ready:
        role = ready.pop()
        for row in held.get(role, ()):
            height[row.member] = max(height.get(row.member, 0), height.get(role, 0) + 1)
            if height[row.member] > MAX_ROLE_LINKS:
                message = f"more than {MAX_ROLE_LINKS} roles above each other: Casbin would silently stop looking"
                raise _row_error(f"{row.member} stands below {message}. Flatten the roles", row.line)
            waiting[row.member] -= 1
            if not waiting[row.member]:
                ready.append(row.member)
    stuck = {row.member: row for row in rows if waiting.get(row.member) and waiting.get(row.role)}
    if stuck:
        way: list[str] = [next(iter(stuck))]
        while (above := stuck[way[-1]].role) not in way:
            way.append(above)
        circle = way[way.index(above) :]
        line = max(stuck[name].line for name in circle)
        shown = " -> ".join([*circle, above])
        raise _row_error(f"these roles hold each other in a circle: {shown}. Remove this row", line)


def _lines(text: str) -> list[tuple[int, str]]:
    """Numbered lines that say something. A comment is a line that begins with #."""
    stripped = ((number, line.strip(" \t")) for number, line in enumerate(text.split("\n"), 1))
    return [(number, line) for number, line in stripped if line and not line.startswith("#")]


def _why_not(value: str) -> str:
    if "#" in value:
        return "Casbin drops everything after # in this line"
    if re.search(r"eval|match|glob|regex", value, re.IGNORECASE):
        return "this function can grant more than a reader sees"
    return "only the model that Toolgate ships is compiled and checked"


def _squeezed(value: str) -> str:
    return "".join(value.split())


def _is_action(action: str) -> TypeGuard[Action]:
    return action in ACTIONS


def _model_error(message: str, line: int) -> PolicyError:
    return PolicyError(message, file=MODEL, line=line)


def _row_error(message: str, line: int) -> PolicyError:
    return PolicyError(message, file=POLICY, line=line)
