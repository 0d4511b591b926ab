"""What a candidate policy would have decided about calls that really happened: `toolgate policy impact`.

Each recorded call is judged again by the candidate, with the arguments, the facts and the time as they were recorded.
What the log cannot answer (a masked or personal argument, a fact that was never looked up, how many calls a
conversation had made, what a guard once found, a denial for a limit or a fault) is counted as undecidable and never
guessed. Limits and budgets of the candidate are not counted: no call is denied for one here.
"""

from __future__ import annotations

import gc
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Final, final

import orjson

from gateway.audit.intents import origins_of_log
from gateway.audit.read import decoded, marked_lines
from gateway.domain.errors import PolicyError, UsageError
from gateway.policy.collecting import without_collecting
from gateway.policy.policy_set import PolicySet
from gateway.policy_tools.dry import Decision, DryRun, Verdict
from gateway.policy_tools.recorded import DECIDED, OF_ACCESS, UNREADABLE, Reader, Recorded

_COLLECT_EVERY: Final = 5  # batches
_MOST_BYTES: Final = 32 << 20  # of one batch
_TOOL: Final = re.compile(rb'"tool":"([^"]*)"').search
_ORDER: Final = {("deny", "allow"): 0, ("deny", "escalate"): 1, ("escalate", "allow"): 2, ("allow", "escalate"): 3}


@final
@dataclass(slots=True)
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
    """`same` and `judged` count calls; `undecidable` counts by reason. `changes` are the riskiest first.

    A record that cannot be read stands under `undecidable`: it may have been a call.
    """

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


def impact(candidate: PolicySet, audit_root: Path, origins: Iterable[str] | None = None) -> Impact:
    """Judge every recorded call of `origins` (None: all there are) again.

    Raises PolicyError only where the candidate cannot be compiled.
    """
    found = Impact()
    readers: dict[str, Reader] = {}
    with without_collecting(), DryRun(candidate) as run:
        for number, batch in enumerate(_batches(audit_root, origins), 1):
            for _, origin, seq, line in batch:
                reader = readers.get(origin) or readers.setdefault(origin, Reader(origin))
                call = reader(seq, decoded(line))
                if call is not None:
                    _judge(run, call, found)
            if number % _COLLECT_EVERY == 0:
                gc.collect()  # by itself it would walk through the whole policy every few hundred calls
    unreadable = sum(reader.unreadable for reader in readers.values())
    if unreadable:
        found.undecidable[UNREADABLE] = unreadable
    found.changes.sort(key=lambda change: (_ORDER.get(change.kind, 9), change.call.origin, change.call.seq))
    return found


def _batches(audit_root: Path, origins: Iterable[str] | None) -> Iterator[list[tuple[bytes, str, int, bytes]]]:
    """(tool, origin, seq, line) of every line that says what was decided, not decoded yet.

    In each batch the calls of one tool stand together, in the order of the log, as no verdict depends on another: what
    was compiled of a contract then stays in the processor's caches (a third of the time with 1,000 contracts). A tool
    that is read wrongly off its line costs time and nothing else.
    """
    batch: list[tuple[bytes, str, int, bytes]] = []
    size = 0
    for origin in origins_of_log(audit_root) if origins is None else origins:
        for seq, line in marked_lines(audit_root, origin, DECIDED):
            tool = _TOOL(line)
            batch.append((tool[1] if tool is not None else b"", origin, seq, line))
            size += len(line)
            if size > _MOST_BYTES:
                batch.sort(key=_first)
                yield batch
                batch, size = [], 0
    batch.sort(key=_first)
    yield batch


_first = itemgetter(0)


def _judge(run: DryRun, call: Recorded, found: Impact) -> None:
    if call.why_not:
        found.undecidable[call.why_not] += 1
        return
    try:
        verdict = run.judge(call.question, orjson.dumps(call.question.arguments))
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
        rules = verdict.rules
        rule = str(rules[0]) if rules else call.rule
        found.changes.append(Change(call, verdict.decision, verdict.reason, rule))


def unanswered(run: DryRun, call: Recorded, verdict: Verdict) -> str:
    """What the log would have to say for `verdict` to hold and does not; empty where it says enough."""
    if verdict.refusal is None and call.argued and call.decision != "deny":
        return ""
    tool, who = call.question.tool, call.question.principal
    if not call.argued and verdict.reason not in OF_ACCESS:
        return f"{tool} is now granted to {who}; the arguments are not recorded"
    if verdict.reason == "fact_unavailable":
        return "the candidate asks for a fact that was not recorded"
    if call.reason == "guard_found" and verdict.decision != "deny" and run.looks(tool):
        return f"a guard of {tool} refused what it found then, a file or an address"
    return ""
