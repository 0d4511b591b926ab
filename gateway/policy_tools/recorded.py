"""Calls as the audit log has them: who asked for what, with which facts, and what was decided.

Reading proves nothing (that is `verify`): what is read here is judged again, never acted upon.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from gateway.audit.errors import LogDamaged
from gateway.audit.intents import origins_of_log
from gateway.audit.read import read_origin
from gateway.policy_tools.dry import Decision, Question

# Denials that say something about the policy; the others were about load, limits, grants or faults.
OF_POLICY: Final = frozenset(
    {"unknown_tool", "not_granted", "deny_rule", "schema", "guard", "guard_found", "rule", "rule_error"}
)
OF_ACCESS: Final = frozenset({"unknown_tool", "not_granted", "deny_rule"})  # denied before arguments were looked at
UNREADABLE: Final = "its record cannot be read (toolgate audit verify says more)"
DECIDED: Final = (b'"kind":"call.intent"', b'"kind":"call.denied"', b'"kind":"approval.requested"')


@final
@dataclass(slots=True)
class Recorded:
    """One call as the log has it: what was decided, or would have been by a gateway that only observed.

    `roles` are those the principal held, `rule` the line that decided. `argued` says that its arguments are recorded,
    `why_not` why it cannot be judged again, if so.
    """

    origin: str
    seq: int
    call_id: str
    decision: Decision
    reason: str
    question: Question
    argued: bool
    why_not: str = ""
    roles: tuple[str, ...] = ()
    rule: str = ""


@final
class Reader:
    """Reads the calls of one origin, each once: a call that is tried again has an intent for each attempt.

    `unreadable` counts what cannot be read, each of which may have been a call.
    """

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._intended: set[str] = set()
        self.unreadable = 0

    def __call__(self, seq: int, record: dict[str, Any] | None) -> Recorded | None:
        """The call that this record says was decided. `record` is None where a line is none."""
        if record is None:
            self.unreadable += 1
            return None
        try:
            call = read_recorded(self._origin, seq, record)
        except LogDamaged:
            self.unreadable += 1
            return None
        if call is None or call.call_id in self._intended:
            return None
        if record["kind"] == "call.intent":
            self._intended.add(call.call_id)
        return call


@final
class RecordedCalls:
    """Every call that was decided, in `origins` (None: all there are), once; gone through once.

    By its intent, its denial, or its request for approval. `unreadable` counts what could not be read, so far.
    """

    def __init__(self, audit_root: Path, origins: Iterable[str] | None = None) -> None:
        self._audit_root = audit_root
        self._origins = origins_of_log(audit_root) if origins is None else origins
        self.unreadable = 0

    def __iter__(self) -> Iterator[Recorded]:
        for origin in self._origins:
            reader = Reader(origin)
            for stored in read_origin(self._audit_root, origin, marks=DECIDED):
                call = reader(stored.seq, stored.record)
                if call is not None:
                    yield call
            self.unreadable += reader.unreadable


def read_recorded(origin: str, seq: int, record: dict[str, Any]) -> Recorded | None:
    """The call of a record that says what was decided; None for any other record. Raises LogDamaged."""
    try:
        return _read(origin, seq, record)
    except (KeyError, TypeError, AttributeError) as error:
        raise LogDamaged(origin, f"a record lacks what its kind must have ({error})", seq) from error


def _read(origin: str, seq: int, record: dict[str, Any]) -> Recorded | None:
    match record.get("kind"):
        case "approval.requested":
            return _recorded(origin, seq, record, "escalate", "")
        case "call.denied" if record.get("asked"):
            return _recorded(origin, seq, record, "deny", str(record.get("reason")))
        case "call.intent" if record["call"]["request_id"] is None:
            observed = record.get("observed") or {}
            decision: Decision = observed.get("decision") or "allow"
            return _recorded(origin, seq, record, decision, str(observed.get("reason") or ""))
        case _:
            return None


def _recorded(origin: str, seq: int, record: dict[str, Any], decision: Decision, reason: str) -> Recorded:
    about = record["call"]
    arguments = record.get("arguments") or {}
    named = (about["call_id"], about["principal"], about["conversation"])
    if not all(isinstance(each, str) for each in named) or not isinstance(arguments, dict):
        raise TypeError("a name is no text, or the arguments are no object")
    question = Question(
        principal=about["principal"],
        tool=str(about.get("tool") or record.get("asked")),
        arguments=arguments,
        on_behalf_of=about.get("on_behalf_of"),
        conversation=about["conversation"],
        facts=record.get("facts") or {},
        fallback=about.get("parent_id") is not None,
        calls=None,
        at=str(record.get("time")),
    )
    described = (record.get("observed") or {}).get("arguments") is not None
    argued = not described and not (record["kind"] == "call.denied" and reason in OF_ACCESS)
    why_not = _why_not(record, decision, reason, described=described, masked=_masked(arguments))
    roles = tuple(str(role) for role in about.get("roles") or ())
    asked_by = [each.get("rule") for each in record.get("obligations") or ()]
    rule = str(record.get("rule") or next(filter(None, asked_by), ""))
    return Recorded(origin, seq, about["call_id"], decision, reason, question, argued, why_not, roles, rule)


def _why_not(record: dict[str, Any], decision: Decision, reason: str, *, described: bool, masked: bool) -> str:
    if decision == "deny" and reason not in OF_POLICY:
        return f"it was denied for another reason than policy ({reason})"
    if (
        decision == "deny"
        and record.get("effective_digest") is None
        and reason in ("schema", "not_granted", "deny_rule")
    ):
        return "its arguments were not recorded"
    if described and reason not in OF_ACCESS:
        return "only the shape of its arguments was recorded"
    if record.get("personal"):
        return "some of its arguments are personal and stand apart"
    if masked:
        return "some of its arguments are secret"
    return ""


def _masked(value: object) -> bool:
    """Whether what stands in place of a secret is somewhere in it."""
    if type(value) is dict:
        if "$hmac" in value:
            return True
        items: Iterable[object] = value.values()
    elif type(value) is list:
        items = value
    else:
        return False
    return any(type(item) in (dict, list) and _masked(item) for item in items)
