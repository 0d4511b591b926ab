"""What a decision can be, and why. The words a model may read are separate from the words an operator reads (I7)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import final


class Step(IntEnum):
    """The numbered steps of `gateway/pipeline.py`; the same numbers stand in docs/architecture.md and in records."""

    ADMIT = 0
    PARSE = 1
    AUTHORIZE = 2
    LIMIT = 3
    VALIDATE = 4
    CLEAR = 5
    RECORD = 6
    EXECUTE = 7
    RELEASE = 8


class ReasonCode(StrEnum):
    """Why a call ended. Stable names: records, decision tables and dashboards use them."""

    # 0 admit
    KILL_SWITCH = "kill_switch"
    TOOL_OFF = "tool_off"
    TOO_MANY_DENIALS = "too_many_denials"
    OVERLOADED = "overloaded"
    DEPTH_EXCEEDED = "depth_exceeded"
    POLICY_STALE = "policy_stale"
    # 1 parse
    BAD_CALL = "bad_call"
    BAD_JSON = "bad_json"
    ARGUMENTS_TOO_LARGE = "arguments_too_large"
    # 2 authorize
    UNKNOWN_TOOL = "unknown_tool"
    NOT_GRANTED = "not_granted"
    DENY_RULE = "deny_rule"
    OUT_OF_SCOPE = "out_of_scope"
    # 3 limit
    RATE_LIMITED = "rate_limited"
    CALL_BUDGET = "call_budget"
    TOOL_BUDGET = "tool_budget"
    REPEATED_CALL = "repeated_call"
    # 4 validate
    SCHEMA = "schema"
    NUMBER_NOT_EXACT = "number_not_exact"
    GUARD = "guard"
    GUARD_FOUND = "guard_found"  # the spelling is right; what it leads to, a file or an address, is refused
    RULE = "rule"
    RULE_ERROR = "rule_error"
    SCOPE_BOUND = "scope_bound"
    FACT_UNAVAILABLE = "fact_unavailable"
    EFFECT_HELD = "effect_held"
    BUSY = "busy"
    # 5 clear
    APPROVAL_DENIED = "approval_denied"
    APPROVAL_EXPIRED = "approval_expired"
    APPROVAL_INVALID = "approval_invalid"
    APPROVALS_FULL = "approvals_full"
    GRANT_SPENT = "grant_spent"
    VALUE_BUDGET = "value_budget"
    REQUEST_UNKNOWN = "request_unknown"
    MAY_NOT_PARK = "may_not_park"
    NOT_CONFIRMED = "not_confirmed"
    # 6 record, and faults of components anywhere
    AUDIT_UNAVAILABLE = "audit_unavailable"
    STATE_UNAVAILABLE = "state_unavailable"
    # 7 execute
    NOT_REGISTERED = "not_registered"
    SANDBOX_UNAVAILABLE = "sandbox_unavailable"
    # anywhere
    CANCELLED = "cancelled"
    INTERNAL_ERROR = "internal_error"


# What the model is told. Forbidden and unknown read alike, and so do all faults (I7).
_PUBLIC: dict[ReasonCode, str] = {
    ReasonCode.UNKNOWN_TOOL: "tool_not_available",
    ReasonCode.NOT_GRANTED: "tool_not_available",
    ReasonCode.DENY_RULE: "tool_not_available",
    ReasonCode.OUT_OF_SCOPE: "tool_not_available",
    ReasonCode.BAD_CALL: "invalid_call",
    ReasonCode.BAD_JSON: "invalid_arguments",
    ReasonCode.SCHEMA: "invalid_arguments",
    ReasonCode.NUMBER_NOT_EXACT: "invalid_arguments",
    ReasonCode.ARGUMENTS_TOO_LARGE: "invalid_arguments",
    ReasonCode.RULE_ERROR: "temporarily_unavailable",
    ReasonCode.FACT_UNAVAILABLE: "temporarily_unavailable",
    ReasonCode.AUDIT_UNAVAILABLE: "temporarily_unavailable",
    ReasonCode.STATE_UNAVAILABLE: "temporarily_unavailable",
    ReasonCode.NOT_REGISTERED: "temporarily_unavailable",
    ReasonCode.INTERNAL_ERROR: "temporarily_unavailable",
    ReasonCode.OVERLOADED: "temporarily_unavailable",
    ReasonCode.POLICY_STALE: "temporarily_unavailable",
    ReasonCode.KILL_SWITCH: "temporarily_unavailable",
    ReasonCode.TOOL_OFF: "temporarily_unavailable",
    ReasonCode.RULE: "not_allowed",
    ReasonCode.SCOPE_BOUND: "not_allowed",
    ReasonCode.GUARD: "not_allowed",
    ReasonCode.GUARD_FOUND: "not_allowed",
}


def public_code(reason: ReasonCode) -> str:
    """The code a model may see for `reason`."""
    return _PUBLIC.get(reason, reason.value)


class StopReason(StrEnum):
    """Why a governed loop ended before the model's answer could be handed over. Stable names: records use them."""

    TURN_BUDGET = "turn_budget"
    CALL_BUDGET = "call_budget"
    TOO_MANY_DENIALS = "too_many_denials"
    REPEATED_DENIAL = "repeated_denial"
    KILL_SWITCH = "kill_switch"
    MODEL_REFUSED = "model_refused"
    MODEL_FAILED = "model_failed"
    TRUNCATED = "truncated"
    CONTENT_FILTER = "content_filter"
    LEGACY_CALL = "legacy_call"
    UNKNOWN_ITEM = "unknown_item"
    INVALID_TURN = "invalid_turn"
    ANSWER_REFUSED = "answer_refused"
    ANSWER_HELD = "answer_held"
    INVALID_ANSWER = "invalid_answer"
    HANDED_OVER = "handed_over"


@final
@dataclass(frozen=True, slots=True)
class Provenance:
    """The line of policy that decided: `file` relative to the policy folder, `line` from 1, `id` the rule's name."""

    file: str
    line: int
    id: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" + (f" ({self.id})" if self.id else "")


@final
@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a stage says no; the pipeline makes it a `Denied` of that call.

    `message` and `suggestion` are for the model and must hold nothing it may not know; `detail` is for operators and
    the record only.
    """

    step: Step
    reason: ReasonCode
    message: str
    suggestion: str = ""
    detail: str = ""
    rule: Provenance | None = None
    facts: dict[str, object] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True)
class Obligation:
    """Something that must be true before the call may run: an approval by others or a confirmation by the requester.

    `kind` is `approval`, `confirmation` or `order` (earlier calls that wait come first, and nobody is asked); `why` is
    for people; `rule` says which line of policy asked for it.
    """

    kind: str
    why: str
    rule: Provenance | None = None


@final
@dataclass(frozen=True, slots=True)
class Permit:
    """The call may run. `request_id` names the redeemed request, `proofs` the votes that were verified (I4).

    `sandbox` is in what people agreed that it runs: profile, image and, if stateful, the state of the session.
    """

    request_id: str | None = None
    proofs: tuple[dict[str, object], ...] = ()
    sandbox: str | None = None


@final
@dataclass(frozen=True, slots=True)
class WouldBe:
    """What the policy would have decided about a call that is only observed.

    `refusal` is the first one met; without it, `obligations` are what people would have been asked for.
    """

    refusal: Refusal | None = None
    obligations: tuple[Obligation, ...] = ()

    @property
    def decision(self) -> str:
        return "deny" if self.refusal is not None else "escalate" if self.obligations else "allow"


ORDER = "order"
TOOL_NOT_AVAILABLE = "This tool is not available to you."
USE_THE_LIST = "Use a tool of your list, or say that you cannot do this."
NOT_NOW = "The service cannot take this call now."  # whatever component is at fault: all of them read alike (I7)
