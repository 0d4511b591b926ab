"""Counts and durations by the hour, so that figures over millions of records are read and not reckoned anew.

A duration is kept in a bucket of a logarithmic scale (as HDR histograms do): at most 3.2 % off, in bounded space.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, Final, final

from gateway.audit_tools.facts import Facts, text
from gateway.audit_tools.moment import HOUR_US

_SUB_BITS: Final = 5  # 32 buckets between two powers of two
_LONGEST_US: Final = 1 << 50
_MAX_STEPS: Final = 32  # of one record; there are nine
WHOLE: Final = "whole call"


def bucket_of(us: int) -> int:
    """The bucket of a duration."""
    us = min(us, _LONGEST_US)
    shift = max(0, us.bit_length() - _SUB_BITS - 1)
    return (shift << _SUB_BITS) + (us >> shift)


def middle_of(bucket: int) -> int:
    """A duration in the middle of the bucket, in microseconds."""
    shift = max(0, (bucket >> _SUB_BITS) - 1)
    low = (bucket - (shift << _SUB_BITS)) << shift
    return low + ((1 << shift) >> 1)


def percentile(buckets: dict[int, int], share: float) -> int:
    """The duration (microseconds) that `share` of the counted ones do not exceed; 0 if there are none."""
    wanted, seen = share * sum(buckets.values()), 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen >= wanted:
            return middle_of(bucket)
    return 0


@final
class Tallies:
    """What one batch of records adds. `counts` by (hour, what, name), durations in microseconds by (hour, step)."""

    __slots__ = ("_spent", "counts")

    def __init__(self) -> None:
        self.counts: defaultdict[tuple[int, str, str], int] = defaultdict(int)
        self._spent: defaultdict[tuple[int, str], list[int]] = defaultdict(list)

    def add(self, us: int, facts: Facts, record: dict[str, Any] | None) -> None:
        hour = us // HOUR_US
        counts = self.counts
        counts[hour, "kind", facts.kind] += 1
        if record is None:
            return
        match facts.kind:
            case "call.intent":
                counts[hour, "tool", facts.tool] += 1
                if facts.decision.startswith("would_"):
                    counts[hour, facts.decision, facts.reason] += 1
            case "call.outcome":
                counts[hour, "outcome", facts.decision] += 1
                self._time(hour, record.get("steps_us"))
            case "call.denied":
                counts[hour, "denied", facts.reason] += 1
                counts[hour, "tool", facts.tool] += 1
                more = record.get("coalesced")
                if type(more) is int and 0 < more < 1 << 40:
                    counts[hour, "coalesced", ""] += more
            case "policy.shadow":
                counts[hour, "shadow", f"{text(record.get('decided'))} -> {text(record.get('would'))}"] += 1
            case "approval.voted":
                counts[hour, "vote", facts.decision] += 1
            case "call.settled":
                counts[hour, "settled", facts.decision] += 1
            case _:
                pass

    def _time(self, hour: int, steps: object) -> None:
        if not isinstance(steps, dict) or len(steps) > _MAX_STEPS:
            return
        spent, total = self._spent, 0
        for step, us in steps.items():
            if us.__class__ is int and us >= 0:
                spent[hour, step].append(us)
                total += us
        spent[hour, WHOLE].append(total)

    def spans(self) -> dict[tuple[int, str, int], int]:
        """How many durations by (hour, step, bucket)."""
        found: Counter[tuple[int, str, int]] = Counter()
        for (hour, step), spent in self._spent.items():
            for us, n in Counter(spent).items():
                found[hour, text(step), bucket_of(us)] += n
        return found
