"""The states of one call. Each step takes the type that the step before returned and gives the next (pipeline.py).

A state is built in its own stage and nowhere else, is never changed afterwards and never copied with
`dataclasses.replace` (tests/architecture holds this; `frozen=True` would cost 5 us a call). Later steps look at
`call.ctx` for who and when, and at the state before for what was found out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, final

from gateway.domain.charge import Charge
from gateway.domain.decision import Obligation, Permit, Provenance, Refusal, WouldBe
from gateway.domain.ids import Principal
from gateway.domain.instant import Instant
from gateway.domain.scope import Scope, together


class Reservation(Protocol):
    """Room in the log for one outcome; given back once the outcome is written or will never come."""

    def release(self) -> None: ...


@final
@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call as a model asked for it, in no provider's shape. `arguments` is text as sent, or a decoded object."""

    id: str
    name: object
    arguments: object


@final
@dataclass(slots=True)
class CallContext:
    """Who asks, where and when: fixed before step 0 and the same in every state.

    `id` is ours; `provider_call_id` is the model's and pairs the answer. `request_id` is set when this call redeems a
    parked one. `depth` counts nesting: a call made inside a tool has its parent's depth + 1. `scopes` must all agree.
    """

    id: str
    provider_call_id: str
    principal: Principal
    on_behalf_of: Principal | None
    conversation: str
    policy_digest: str
    at: Instant
    started_ns: int
    parent_id: str | None = None
    depth: int = 0
    request_id: str | None = None
    held_keys: frozenset[str] = frozenset()
    fallback: bool = False
    scopes: tuple[Scope, ...] = ()

    def nested(
        self,
        call_id: str,
        provider_call_id: str,
        policy_digest: str,
        held_keys: frozenset[str],
        *,
        fallback: bool,
        scopes: tuple[Scope, ...] = (),
    ) -> CallContext:
        """A call made on behalf of this one: the same principal and conversation, one level deeper (I14).

        `scopes` are more of them, never fewer.
        """
        return CallContext(
            call_id,
            provider_call_id,
            self.principal,
            self.on_behalf_of,
            self.conversation,
            policy_digest,
            self.at,
            self.started_ns,
            self.id,
            self.depth + 1,
            None,
            held_keys,
            fallback,
            together((*self.scopes, *scopes)),
        )

    def redeeming(self, request_id: str, scopes: tuple[Scope, ...]) -> CallContext:
        """The same call, found to redeem a request that was made in `scopes`. Those of this call hold too."""
        return CallContext(
            self.id,
            self.provider_call_id,
            self.principal,
            self.on_behalf_of,
            self.conversation,
            self.policy_digest,
            self.at,
            self.started_ns,
            request_id=request_id,
            scopes=together((*scopes, *self.scopes)),
        )


@final
@dataclass(frozen=True, slots=True)
class ContractRef:
    """Which contract governs the call. `digest` covers the contract and its declared code version."""

    name: str
    version: str
    digest: str
    risk: str
    effect: str
    source: Provenance


@final
@dataclass(slots=True)
class RawCall:
    """What the model sent. `arguments` is text, bytes or an already decoded object: all take the same path (C013).

    `redeems` says that they name a draft of the tool, in place of what the tool takes.
    """

    ctx: CallContext
    tool: object
    arguments: object
    redeems: bool = False


@final
@dataclass(slots=True)
class ParsedCall:
    """Strictly decoded once. `simple` says no float, non-ASCII key or large integer stands in `arguments`."""

    ctx: CallContext
    tool: str
    arguments: dict[str, object]
    simple: bool
    wire: bytes
    wire_digest: str


@final
@dataclass(slots=True)
class AuthorizedCall:
    """The principal may call this tool. `grant` is the line of policy.csv that says so."""

    ctx: CallContext
    parsed: ParsedCall
    contract: ContractRef
    grant: Provenance


@final
@dataclass(slots=True)
class LimitedCall:
    """Within every rate and budget. `charged` names what was counted, `calls` how many this conversation has made."""

    ctx: CallContext
    parsed: ParsedCall
    authorized: AuthorizedCall
    calls: int
    charged: tuple[str, ...]


@final
@dataclass(slots=True)
class ShapedCall:
    """The arguments satisfy the contract's schema; `effective` is their one canonical spelling (I1).

    `serialize_key` is the in-process lock to hold until release. `effect_keys` are what an `unknown` outcome holds: one
    thing, spelled with each digest key of the deployment, the current one first, so that a rotated key lets go of
    nothing. All are keyed digests, so none reveals a value.
    """

    ctx: CallContext
    limited: LimitedCall
    contract: ContractRef
    effective: bytes
    digest: str
    masked: bytes
    serialize_key: str | None
    effect_keys: tuple[str, ...]

    @property
    def effect_key(self) -> str | None:
        """As records name it; None where the contract names no effect."""
        return self.effect_keys[0] if self.effect_keys else None


@final
@dataclass(slots=True)
class ValidatedCall:
    """Rules and guards agree. `facts` are what the rules saw, `obligations` what must be cleared.

    `capabilities` are opened resources handed to the tool in place of the named arguments; the pipeline closes them.
    `effect_generation` is the effect key's generation read before the facts: a claim succeeds only if nobody
    acted on that key since (I13). `charges` are what it would spend; step 5 reserves it.
    """

    ctx: CallContext
    shaped: ShapedCall
    contract: ContractRef
    facts: dict[str, object]
    obligations: tuple[Obligation, ...]
    capabilities: dict[str, object]
    effect_generation: int
    charges: tuple[Charge, ...] = ()


@final
@dataclass(slots=True)
class ClearedCall:
    """Nothing stands in the way any more; a grant, where one was needed, has been claimed and is burnt."""

    ctx: CallContext
    validated: ValidatedCall
    permit: Permit

    @property
    def tool(self) -> str:
        return self.validated.contract.name

    @property
    def capabilities(self) -> dict[str, object]:
        return self.validated.capabilities

    @property
    def shaped(self) -> ShapedCall:
        return self.validated.shaped


@final
@dataclass(slots=True)
class ObservedCall:
    """In observe mode, in the place of a `ClearedCall`: the call will run, whatever `would` says of it.

    `shaped` and `contract` are None where there is none; the tool then gets what was sent, and `described` says of it
    what may be recorded. `grant` is empty where no row grants the call.
    """

    ctx: CallContext
    tool: str
    parsed: ParsedCall
    contract: ContractRef | None
    shaped: ShapedCall | None
    capabilities: dict[str, object]
    facts: dict[str, object]
    grant: str
    would: WouldBe
    described: dict[str, object] | None


@final
@dataclass(slots=True)
class StartedCall:
    """The intent is durable at `seq` of this process's origin. From here on an end without an outcome is `unknown`.

    `reservation` is the disk space promised to the outcome.
    """

    ctx: CallContext
    cleared: ClearedCall | ObservedCall
    seq: int
    reservation: Reservation


@final
@dataclass(frozen=True, slots=True)
class Failure:
    """The tool ran and failed, in words fit for the model. `detail` is for the record only.

    `may_have_run` says that it may have taken effect all the same, so what it charged stays spent.
    """

    code: str
    message: str
    suggestion: str = ""
    detail: str = ""
    may_have_run: bool = False


@final
@dataclass(slots=True)
class Executed:
    """The tool was run. Exactly one of `value` (already safely encoded JSON bytes) and `failure` counts.

    `evidence` holds what containment says of the run (image digest, exit code, verdict, bytes, truncation).
    """

    ctx: CallContext
    started: StartedCall
    value: bytes
    failure: Failure | None
    evidence: dict[str, object] = field(default_factory=dict)


@final
@dataclass(slots=True)
class Released:
    """The end of a call that ran: outcome durable, `content` redacted, bounded and safe to hand to the model.

    `let_through` is why the result would have been withheld, had the call not only been observed.
    """

    ctx: CallContext
    tool: str
    content: str
    failure: Failure | None
    let_through: Failure | None = None


@final
@dataclass(slots=True)
class Denied:
    """The end of a call that did not run, already recorded."""

    ctx: CallContext
    tool: str
    refusal: Refusal


@final
@dataclass(slots=True)
class Parked:
    """The end, for now, of a call that waits for a person. `request_id` is what `resume` and `confirm` take.

    `draft`: the model prepared it, reads the id as its draft, and carries it out itself once it was confirmed.
    """

    ctx: CallContext
    tool: str
    request_id: str
    obligations: tuple[Obligation, ...]
    expires: Instant
    draft: bool = False


@final
@dataclass(slots=True)
class Unknown:
    """The call began and nobody can say whether it took effect. It is never retried; a person settles it."""

    ctx: CallContext
    tool: str
    detail: str


Outcome = Released | Denied | Parked | Unknown
