"""What a candidate policy would have decided about calls that really happened: `toolgate policy impact`.

Each recorded call is judged again by the candidate, with the arguments, the facts and the time as they were recorded.
What the log cannot answer (a masked or personal argument, a fact that was never looked up, how many calls a
conversation had made, what a guard once found, a denial for a limit or a fault) is counted as undecidable and never
guessed. Limits and budgets of the candidate are not counted: no call is denied for one here.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

import orjson

from gateway.audit.intents import origins_of_log
from gateway.audit.read import read_origin
from gateway.domain.errors import PolicyError, UsageError
from gateway.policy.collecting import without_collecting
from gateway.policy.policy_set import PolicySet
from gateway.policy_tools.dry import Decision, DryRun, Question, Verdict

# Denials that say something about the policy; the others were about load, limits, grants or faults.
OF_POLICY: Final = frozenset(
    {"unknown_tool", "not_granted", "deny_rule", "schema", "guard", "guard_found", "rule", "rule_error"}
)
_OF_ACCESS: Final = frozenset({"unknown_tool", "not_granted", "deny_rule"})  # denied before arguments were looked at
_COLLECT_EVERY: Final = 5  # batches
_MOST_CALLS: Final = 10_000  # of one batch
_MOST_BYTES: Final = 32 << 20  # of arguments in one batch
_DECIDED: Final = (b'"kind":"call.intent"', b'"kind":"call.denied"', b'"kind":"approval.requested"')
_ORDER: Final = {("deny", "allow"): 0, ("deny", "escalate"): 1, ("escalate", "allow"): 2, ("allow", "escalate"): 3}


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
@dataclass(frozen=True, slots=True)
class Change:
    """A call that the candidate would decide otherwise.

    `rule` is the line of the candidate that decides, or the one that decided then and stops it no more.
    """

    call: Recorded
    after: Decision
    reason: str
    rule: str

    @property
    def kind(self) -> tuple[Decision, Decision]:
        return self.call.decision, self.after


@final
@dataclass(slots=True)
class Impact:
    """`same` and `judged` count calls; `undecidable` counts by reason. `changes` are the riskiest first."""

    judged: int = 0
    same: int = 0
    changes: list[Change] = field(default_factory=list)
    undecidable: Counter[str] = field(default_factory=Counter)

    def groups(self) -> list[tuple[tuple[str, str, str, str], int]]:
        """(before -> after, tool, roles, rule) and how many calls, riskiest and most frequent first.

        Somebody without a role stands for herself.
        """
        counted = Counter(
            (f"{c.call.decision} -> {c.after}", c.call.question.tool, _who(c.call), c.rule) for c in self.changes
        )
        order = {f"{a} -> {b}": number for (a, b), number in _ORDER.items()}
        return sorted(counted.items(), key=lambda item: (order.get(item[0][0], 9), -item[1], item[0]))


def _who(call: Recorded) -> str:
    return ", ".join(call.roles) if call.roles else f"user:{call.question.principal}"


def recorded_calls(audit_root: Path) -> Iterator[Recorded]:
    """Every call that was decided, in every origin, once: by its intent, its denial, or its request for approval."""
    for origin in origins_of_log(audit_root):
        asked: set[str] = set()
        for stored in read_origin(audit_root, origin, marks=_DECIDED):
            call = read_recorded(origin, stored.seq, stored.record) if stored.record is not None else None
            if call is None or call.call_id in asked:
                continue
            if stored.record is not None and stored.record["kind"] == "call.intent":
                asked.add(call.call_id)  # a retried call has an intent for each attempt
            yield call


def read_recorded(origin: str, seq: int, record: dict[str, Any]) -> Recorded | None:
    """The call of a record that says what was decided; None for any other record."""
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


def impact(candidate: PolicySet, calls: Iterable[Recorded]) -> Impact:
    """Judge every call again. Raises PolicyError only where the candidate cannot be compiled."""
    found = Impact()
    with without_collecting(), DryRun(candidate) as run:
        for number, batch in enumerate(_batches(calls, found), 1):
            for call, wire in batch:
                _judge(run, call, wire, found)
            if number % _COLLECT_EVERY == 0:
                gc.collect()  # by itself it would walk through the whole policy every few hundred calls
    found.changes.sort(key=lambda change: (_ORDER.get(change.kind, 9), change.call.origin, change.call.seq))
    return found


def _batches(calls: Iterable[Recorded], found: Impact) -> Iterator[list[tuple[Recorded, bytes]]]:
    """The calls that can be judged, with their arguments as JSON; the others are counted.

    In each batch the calls of one tool stand together, as no verdict depends on another: what was compiled of a
    contract then stays in the processor's caches (a third of the time with 1,000 contracts).
    """
    batch: list[tuple[Recorded, bytes]] = []
    size = 0
    for call in calls:
        if call.why_not:
            found.undecidable[call.why_not] += 1
            continue
        wire = orjson.dumps(call.question.arguments)
        batch.append((call, wire))
        size += len(wire)
        if len(batch) == _MOST_CALLS or size > _MOST_BYTES:
            batch.sort(key=_tool)
            yield batch
            batch, size = [], 0
    batch.sort(key=_tool)
    yield batch


def _tool(waiting: tuple[Recorded, bytes]) -> str:
    return waiting[0].question.tool


def _judge(run: DryRun, call: Recorded, wire: bytes, found: Impact) -> None:
    try:
        verdict = run.judge(call.question, wire)
    except (PolicyError, UsageError) as error:
        found.undecidable[str(error)] += 1
        return
    why = unanswered(run, call, verdict)
    if why:
        found.undecidable[why] += 1
        return
    found.judged += 1
    if verdict.decision == call.decision:
        found.same += 1
    else:
        rule = str(verdict.rules[0]) if verdict.rules else call.rule
        found.changes.append(Change(call, verdict.decision, verdict.reason, rule))


def unanswered(run: DryRun, call: Recorded, verdict: Verdict) -> str:
    """What the log would have to say for `verdict` to hold and does not; empty where it says enough."""
    tool, who = call.question.tool, call.question.principal
    if not call.argued and verdict.reason not in _OF_ACCESS:
        return f"{tool} is now granted to {who}; the arguments are not recorded"
    if verdict.reason == "fact_unavailable":
        return "the candidate asks for a fact that was not recorded"
    if call.reason == "guard_found" and verdict.decision != "deny" and run.looks(tool):
        return f"a guard of {tool} refused what it found then, a file or an address"
    return ""


def _recorded(origin: str, seq: int, record: dict[str, Any], decision: Decision, reason: str) -> Recorded:
    about = record["call"]
    arguments = record.get("arguments") or {}
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
    argued = not described and not (record["kind"] == "call.denied" and reason in _OF_ACCESS)
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
    if described and reason not in _OF_ACCESS:
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
