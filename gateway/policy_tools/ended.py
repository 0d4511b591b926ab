"""A live call that has ended, as far as it is needed to judge it again by another policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from gateway.audit.stage import Partial
from gateway.domain.call import (
    AuthorizedCall,
    CallContext,
    ClearedCall,
    Denied,
    LimitedCall,
    ObservedCall,
    Outcome,
    Parked,
    ParsedCall,
    RawCall,
    ShapedCall,
    ValidatedCall,
)
from gateway.policy_tools.dry import Decision
from gateway.policy_tools.recorded import OF_POLICY


@final
@dataclass(frozen=True, slots=True)
class Ended:
    """`facts` are those that its rules saw, by their names in its contract."""

    ctx: CallContext
    tool: str
    wire: bytes
    effective: bytes | None
    calls: int
    facts: Mapping[str, object]
    decided: Decision
    reason: str


def ended_call(seen: Partial, outcome: Outcome) -> Ended | None:
    """None for a call that says nothing about policy: not readable, redeemed, or refused for load, limits or faults."""
    found = _parsed(seen)
    ctx = seen.ctx
    if found is None or ctx.request_id is not None:
        return None
    parsed, shaped, facts = found
    decided: Any = "allow"
    reason = ""
    if isinstance(seen, ObservedCall):
        decided, refusal = seen.would.decision, seen.would.refusal
        reason = refusal.reason.value if refusal is not None else ""
    elif isinstance(outcome, Denied):
        decided, reason, facts = "deny", outcome.refusal.reason.value, outcome.refusal.facts
    elif isinstance(outcome, Parked):
        decided = "escalate"
    if decided == "deny" and (reason not in OF_POLICY or ctx.scopes):
        return None  # a session's own scope is no part of any policy
    calls = shaped.limited.calls if shaped is not None else 1
    effective = shaped.effective if shaped is not None else None
    return Ended(ctx, parsed.tool, parsed.wire, effective, calls, facts, decided, reason)


def _parsed(seen: Partial) -> tuple[ParsedCall, ShapedCall | None, Mapping[str, object]] | None:
    match seen:
        case RawCall():
            return None
        case ParsedCall():
            return seen, None, {}
        case AuthorizedCall() | LimitedCall():
            return seen.parsed, None, {}
        case ShapedCall():
            return seen.limited.parsed, seen, {}
        case ValidatedCall():
            return seen.shaped.limited.parsed, seen.shaped, seen.facts
        case ClearedCall():
            return seen.shaped.limited.parsed, seen.shaped, seen.validated.facts
        case ObservedCall():
            return seen.parsed, seen.shaped, seen.facts
