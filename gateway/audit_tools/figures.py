"""What the log amounts to over some hours: calls, denials by reason, approvals, and how long each step took.

Records of origins that nobody enrolled are counted apart and enter no other figure.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, final

from gateway.audit_tools.facts import NOT_A_RECORD
from gateway.audit_tools.index import Index
from gateway.audit_tools.tallies import WHOLE, percentile
from gateway.domain.decision import Step


@final
@dataclass(slots=True)
class Figures:
    """Counts by name; `steps` are (how many, p50, p99) in microseconds by step, in the order of the steps."""

    records: int = 0
    untrusted: int = 0
    misfits: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    denials: Counter[str] = field(default_factory=Counter)
    coalesced: int = 0
    would_deny: Counter[str] = field(default_factory=Counter)
    would_park: int = 0
    shadow: Counter[str] = field(default_factory=Counter)
    tools: Counter[str] = field(default_factory=Counter)
    approvals: Counter[str] = field(default_factory=Counter)
    settled: Counter[str] = field(default_factory=Counter)
    intents: int = 0
    by_hour: Counter[int] = field(default_factory=Counter)
    steps: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        """Calls that were judged: those that ran and those that were denied."""
        return self.intents + self.denials.total() + self.coalesced

    def as_json(self) -> dict[str, Any]:
        return {
            "records": self.records,
            "records_of_unenrolled_origins": self.untrusted,
            "lines_that_are_no_records": self.misfits,
            "calls": self.calls,
            "ran": self.intents,
            "outcomes": dict(self.outcomes),
            "denials": dict(self.denials.most_common()),
            "denials_without_a_record": self.coalesced,
            "would_have_been_denied": dict(self.would_deny.most_common()),
            "would_have_waited_for_a_person": self.would_park,
            "shadow": dict(self.shadow.most_common()),
            "tools": dict(self.tools.most_common()),
            "approvals": dict(self.approvals),
            "settled": dict(self.settled),
            "steps_us": {step: {"count": n, "p50": p50, "p99": p99} for step, (n, p50, p99) in self.steps.items()},
        }


def figures(index: Index, since: int, until: int) -> Figures:
    """Over the hours that `since` and `until` (microseconds since 1970) lie in."""
    found = Figures()
    for hour, origin, what, name, n in index.counts(since, until):
        if not index.is_enrolled(origin):
            found.untrusted += n if what == "kind" else 0
            continue
        match what:
            case "kind":
                found.records += n
                _kind(found, name, hour, n)
            case "outcome":
                found.outcomes[name] += n
            case "denied":
                found.denials[name] += n
            case "coalesced":
                found.coalesced += n
            case "shadow":
                found.shadow[name] += n
            case "would_deny":
                found.would_deny[name] += n
            case "would_park":
                found.would_park += n
            case "tool":
                found.tools[name or "(none)"] += n
            case "vote":
                found.approvals[name] += n
            case "settled":
                found.settled[name] += n
            case _:
                pass
    spent: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for _, origin, step, bucket, n in index.spans(since, until):
        if index.is_enrolled(origin):
            spent[step][bucket] = spent[step].get(bucket, 0) + n
    for step in sorted(spent, key=_order):
        buckets = spent[step]
        found.steps[step] = (sum(buckets.values()), percentile(buckets, 0.5), percentile(buckets, 0.99))
    return found


def _kind(found: Figures, kind: str, hour: int, n: int) -> None:
    if kind == NOT_A_RECORD:
        found.misfits += n
    if kind == "call.intent":
        found.intents += n
    if kind in ("call.intent", "call.denied"):
        found.by_hour[hour] += n
    if kind == "approval.requested":
        found.approvals["requested"] += n
    if kind == "approval.expired":
        found.approvals["expired"] += n


_ORDER = {step.name.lower(): int(step) for step in Step} | {WHOLE: 100}


def _order(step: str) -> tuple[int, str]:
    return _ORDER.get(step, 99), step
