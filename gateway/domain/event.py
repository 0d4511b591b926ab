"""What can stand in the audit log: one closed, versioned union of event kinds (docs/audit-format.md).

An event is encoded as the dataclass's fields, in order, plus `v` and `kind`. Every value in here is already masked:
events carry no secret and no raw argument. Names are stable; a field is added, never renamed or reused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

FORMAT_VERSION = 1


@final
@dataclass(slots=True)
class Subject:
    """The identity of a call: the same object in every record about it.

    `roles` are those the principal holds under that policy, without `role:`, sorted and bounded; `scopes` what the
    session was narrowed to.
    """

    call_id: str
    provider_call_id: str
    principal: str
    on_behalf_of: str | None
    conversation: str
    tool: str
    parent_id: str | None
    depth: int
    request_id: str | None
    policy_digest: str
    roles: tuple[str, ...] = ()
    scopes: tuple[object, ...] = ()


@final
@dataclass(slots=True)
class CallIntent:
    """Step 6: the call will run now. Durable before any effect.

    `observed` is what the policy would have decided, where the gateway only observes (docs/audit-format.md).
    """

    kind: ClassVar[str] = "call.intent"
    call: Subject
    contract: str
    contract_version: str
    contract_digest: str
    risk: str
    effect: str
    grant: str
    wire_digest: str
    effective_digest: str
    arguments: object
    personal: dict[str, object] | None
    authority: tuple[str, ...]
    facts: dict[str, object]
    proofs: tuple[dict[str, object], ...]
    effect_key: str | None
    attempt: int
    sandbox: dict[str, object] | None
    charges: tuple[dict[str, object], ...] = ()
    observed: dict[str, object] | None = None


@final
@dataclass(slots=True)
class CallOutcome:
    """What became of an intent. `status` is `released`, `failed` or `unknown`; durations are microseconds by step.

    `spent`: whether what the intent charged stays spent; null where it charged nothing, or where nobody knows.
    """

    kind: ClassVar[str] = "call.outcome"
    call: Subject
    intent_seq: int
    status: str
    code: str | None
    detail: str
    result_digest: str | None
    result_bytes: int
    preview: str
    labels: dict[str, str]
    evidence: dict[str, object]
    steps_us: dict[str, int]
    personal: dict[str, object] | None = None
    kept: str | None = None
    spent: bool | None = None
    observed: dict[str, object] | None = None


@final
@dataclass(slots=True)
class CallDenied:
    """The call ended before step 6 was passed. `asked` is the tool name as the model wrote it, bounded.

    `coalesced` counts earlier denials of the same breaker that have no record of their own.
    """

    kind: ClassVar[str] = "call.denied"
    call: Subject
    step: int
    reason: str
    public: str
    detail: str
    rule: str | None
    asked: str
    wire_digest: str | None
    effective_digest: str | None
    arguments: object
    facts: dict[str, object]
    coalesced: int
    steps_us: dict[str, int]
    personal: dict[str, object] | None = None
    contract_digest: str | None = None


@final
@dataclass(slots=True)
class ApprovalRequested:
    """Step 5: the call is parked. Durable before anybody is notified."""

    kind: ClassVar[str] = "approval.requested"
    call: Subject
    request_id: str
    request_digest: str
    contract_digest: str
    effective_digest: str
    arguments: object
    obligations: tuple[dict[str, object], ...]
    facts: dict[str, object]
    expires: str
    personal: dict[str, object] | None = None


@final
@dataclass(slots=True)
class ApprovalVoted:
    """A person said yes or no. `verdict` is `approve`, `deny` or `confirm`; `proof` signs the request's digest."""

    kind: ClassVar[str] = "approval.voted"
    request_id: str
    request_digest: str
    verdict: str
    voter: str
    key_id: str
    dev_key: bool
    comment: str
    proof: str


@final
@dataclass(slots=True)
class ApprovalExpired:
    kind: ClassVar[str] = "approval.expired"
    request_id: str
    request_digest: str


@final
@dataclass(slots=True)
class SecretRevealed:
    """Somebody looked at the secret parameters of a request, or at what is sealed about a call."""

    kind: ClassVar[str] = "secret.revealed"
    request_id: str | None
    by: str
    call_id: str | None = None


@final
@dataclass(slots=True)
class CallSettled:
    """A person said what an `unknown` really was. `finding` is `happened`, `did_not_happen` or `cannot_tell`."""

    kind: ClassVar[str] = "call.settled"
    call_id: str
    intent_origin: str
    intent_seq: int
    finding: str
    by: str
    why: str


@final
@dataclass(slots=True)
class AnswerChecked:
    """The agent's final answer was refused or masked before anybody saw it."""

    kind: ClassVar[str] = "answer.checked"
    principal: str
    conversation: str
    verdict: str
    detail: str
    answer_digest: str


@final
@dataclass(slots=True)
class LoopEnded:
    """A governed loop was stopped by us and not by the model: budget, breaker, refusal or truncation."""

    kind: ClassVar[str] = "loop.ended"
    principal: str
    conversation: str
    reason: str
    turns: int
    calls: int


@final
@dataclass(slots=True)
class RequestGoverned:
    """A request to a model, or its answer, was changed, refused, or let a provider-executed tool through.

    `verdict` is `sent`, `request_refused` or `response_refused`. `stripped` and `allowed` name tools, as the host wrote
    them; `sent` and refused requests are recorded before anything leaves.
    """

    kind: ClassVar[str] = "request.governed"
    principal: str
    conversation: str
    api: str
    verdict: str
    detail: str
    stripped: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()


@final
@dataclass(slots=True)
class ProcessStarted:
    kind: ClassVar[str] = "process.started"
    pid: int
    host: str
    version: str
    policy_digest: str
    key_id: str
    notes: tuple[str, ...] = ()


@final
@dataclass(slots=True)
class ProcessStopped:
    kind: ClassVar[str] = "process.stopped"
    reason: str = "closed"


@final
@dataclass(slots=True)
class PolicyLoaded:
    kind: ClassVar[str] = "policy.loaded"
    policy_digest: str
    files: dict[str, str]


@final
@dataclass(slots=True)
class PolicyRefused:
    """A newer policy could not be taken over: `policy_digest` stays in force in this process."""

    kind: ClassVar[str] = "policy.refused"
    policy_digest: str
    why: str


@final
@dataclass(slots=True)
class PolicyApplied:
    """Somebody made a policy the one that every process must run."""

    kind: ClassVar[str] = "policy.applied"
    policy_digest: str
    before: str | None
    by: str
    files: dict[str, str]


@final
@dataclass(slots=True)
class PolicyShadow:
    """A candidate policy would have decided a call otherwise. Nothing came of it: `decided` is what counted."""

    kind: ClassVar[str] = "policy.shadow"
    call: Subject
    shadow_digest: str
    decided: str
    decided_reason: str
    would: str
    reason: str
    rule: str


@final
@dataclass(slots=True)
class LogRepaired:
    """A torn last line, or lines nobody was told are durable, were set aside. Never silent, never a new genesis."""

    kind: ClassVar[str] = "log.repaired"
    detail: str
    quarantined: tuple[str, ...] = ()


@final
@dataclass(slots=True)
class KillSwitchSet:
    kind: ClassVar[str] = "kill_switch.set"
    scope: str
    subject: str
    on: bool
    by: str
    why: str


@final
@dataclass(slots=True)
class SubjectErased:
    """Somebody's personal data can no longer be read: `keys` are the ids of the keys that were destroyed."""

    kind: ClassVar[str] = "subject.erased"
    subject: str
    name: str
    keys: tuple[str, ...]
    by: str
    why: str


@final
@dataclass(slots=True)
class SegmentsRetired:
    """The first `records` records of an origin are being removed on purpose; `first_kept` is the first segment left."""

    kind: ClassVar[str] = "segments.retired"
    of: str
    records: int
    first_kept: str
    by: str
    why: str


@final
@dataclass(slots=True)
class KeyRotated:
    """An origin was handed on to another signing key after `records` records."""

    kind: ClassVar[str] = "key.rotated"
    of: str
    records: int
    old_key_id: str
    new_key_id: str
    by: str
    why: str


@final
@dataclass(slots=True)
class DenialsCoalesced:
    """What an open breaker still had to count when the process stopped: `count` denials without a record."""

    kind: ClassVar[str] = "denials.coalesced"
    principal: str
    conversation: str
    count: int


Event = (
    CallIntent
    | CallOutcome
    | CallDenied
    | ApprovalRequested
    | ApprovalVoted
    | ApprovalExpired
    | SecretRevealed
    | CallSettled
    | AnswerChecked
    | LoopEnded
    | RequestGoverned
    | ProcessStarted
    | ProcessStopped
    | PolicyLoaded
    | PolicyRefused
    | PolicyApplied
    | PolicyShadow
    | LogRepaired
    | KillSwitchSet
    | SubjectErased
    | SegmentsRetired
    | KeyRotated
    | DenialsCoalesced
)
