"""Step 5, clear: who must agree has agreed, and the grant is claimed, once (I4, I5; OWASP ASI09, LLM06).

Guarantees: a call with neither obligation, effect key, charge nor order to keep touches no database; a grant counts
only for the very call it was given for, judged anew by the policy of this moment, proven by signatures and not by rows;
of any number who redeem it at the same time one succeeds; what a call spends is reserved in the same transaction; and
everything that cannot be established denies. Deciding what an obligation is was step 4's work; recording the request,
between `Draft` and `park`, is the pipeline's.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import orjson

from gateway.clear import effects, order, refusals, votes
from gateway.clear.dossier import Dossier, as_record, display_digest
from gateway.clear.effects import Holder
from gateway.clear.port import Pinnable, Rules, Sealer
from gateway.clear.request import (
    BURNT,
    DENIED,
    DONE,
    FAILED,
    PENDING,
    UNKNOWN,
    Binding,
    StoredRequest,
    dossier_place,
    verdict_place,
    wire_place,
)
from gateway.clear.store import RequestStore
from gateway.domain.call import ClearedCall, Parked, ShapedCall, ValidatedCall
from gateway.domain.decision import Obligation, Permit, ReasonCode, Refusal
from gateway.domain.errors import StateUnavailable
from gateway.domain.event import ApprovalRequested, Subject
from gateway.domain.ids import Principal, new_id
from gateway.domain.instant import NS, Clock, Instant
from gateway.domain.scope import Scope
from gateway.domain.waits import Waits
from gateway.state.budgets import Exceeded

ENDS: Final = (DONE, FAILED, UNKNOWN, BURNT)
_FREELY: Final = Permit()


@final
@dataclass(frozen=True, slots=True)
class Draft:
    """A call that must wait for people and is not stored yet. Record `event(...)` first, then `Clear.park(draft)`."""

    parked: Parked
    request: StoredRequest
    obligations: tuple[dict[str, object], ...]
    facts: dict[str, object]

    def event(self, subject: Subject) -> ApprovalRequested:
        binding = self.request.binding
        return ApprovalRequested(
            call=subject,
            request_id=binding.id,
            request_digest=self.request.digest,
            contract_digest=binding.contract_digest,
            effective_digest=binding.effective_digest,
            arguments=orjson.Fragment(self.request.masked),
            obligations=self.obligations,
            facts=self.facts,
            expires=binding.expires.rfc3339(),
        )


@final
@dataclass(frozen=True, slots=True)
class Resumable:
    """A pending request's call as it was received: run it again from step 0."""

    request_id: str
    tool: str
    arguments: bytes
    provider_call_id: str
    conversation: str
    scopes: tuple[Scope, ...]


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a request that has ended. `content` is the released result, where there is one."""

    request_id: str
    tool: str
    provider_call_id: str
    conversation: str
    state: str
    content: str | None
    refusal: Refusal


@final
class Clear:
    """The step. One for each policy version; `origin` is this process's place in the log."""

    def __init__(
        self,
        store: RequestStore,
        rules: Rules,
        *,
        sealer: Sealer,
        clock: Clock,
        origin: str,
        newest_log_ns: Callable[[], int],
    ) -> None:
        """`newest_log_ns` gives the wall time, in ns, of the newest record of the log."""
        self._store = store
        self._rules = rules
        self._sealer = sealer
        self._clock = clock
        self._origin = origin
        self._newest_log_ns = newest_log_ns

    async def __call__(self, call: ValidatedCall, waits: Waits) -> ClearedCall | Refusal | Parked | Draft:
        """Raises StateUnavailable, which denies.

        `waits.blocking` ends what it began even if the caller is cancelled, so a claim is never made for nobody: the
        pipeline finishes it as `burnt`.
        """
        if call.ctx.request_id is not None:
            return await waits.blocking(lambda: self._redeem(call))
        obligations = call.obligations
        if self._rules.contracts[call.contract.name].ordered and call.ctx.depth == 0:
            elders = await waits.blocking(lambda: self._behind(call))
            obligations = obligations if elders is None else (*obligations, elders)
        if obligations:
            if call.ctx.depth > 0:
                return refusals.may_not_park()
            return await waits.blocking(lambda: self._draft(call, obligations))
        if call.shaped.effect_key is None and not call.charges:
            return ClearedCall(call.ctx, call, _FREELY)
        return await waits.blocking(lambda: self._hold(call))

    async def generation(self, shaped: ShapedCall, waits: Waits) -> int | Refusal:
        """The generation of the call's effect key, to be read before its facts; 0 without I/O where it has none."""
        if not shaped.effect_keys:
            return 0
        found = await waits.blocking(lambda: self._store.effects(shaped.effect_keys))
        states = {each.state for each in found}
        if effects.UNKNOWN in states:
            return refusals.effect_held()
        return refusals.busy() if effects.HELD in states else effects.generation(found)

    async def park(self, draft: Draft, waits: Waits) -> Parked | Refusal:
        """Make the request durable. Call it once the draft's event is durable in the log."""
        most = self._rules.pending_requests
        stored = await waits.blocking(lambda: self._store.insert(draft.request, most))
        return draft.parked if stored else refusals.full(most)

    async def finish(self, cleared: ClearedCall, state: str, content: str | None, waits: Waits) -> None:
        """Once the outcome is durable in the log: `done`, `failed` if it took no effect for certain, or `unknown`.

        `burnt` if there is no intent, so it never ran.

        `content` is what was released to the model; a spent id returns it. No I/O for a call that claimed nothing.
        """
        if state not in ENDS:
            raise ValueError(f"a claim ends as one of {ENDS}, not {state!r}")
        validated = cleared.validated
        if cleared.permit.request_id is None and validated.shaped.effect_key is None and not validated.charges:
            return
        await waits.blocking(lambda: self._finish(cleared, state, content))

    def look_up(
        self, request_id: str, principal: Principal, on_behalf_of: Principal | None = None
    ) -> Resumable | Verdict | Refusal:
        """What `resume(request_id)` by `principal` is about. Blocks. Not yours and not there read alike (C131)."""
        request = self._store.get(request_id)
        if request is None or not request.binding.asked_by(principal, on_behalf_of):
            return refusals.request_unknown("no such request of this principal")
        if not request.intact:
            return refusals.invalid("its row was changed by hand")
        binding = request.binding
        if request.state == PENDING and self._store.markers.spent(request_id):
            return refusals.spent(BURNT, "it is marked as spent: this database was restored from a backup")
        if request.state == PENDING and request.sealed_wire is not None:
            wire = self._sealer.unseal(request.sealed_wire, wire_place(request.digest, request.provider_call_id))
            return Resumable(
                request_id, binding.tool, wire, request.provider_call_id, binding.conversation, self._scopes(request)
            )
        content = None
        if request.state == DONE and request.sealed_verdict is not None:
            content = self._sealer.unseal(
                request.sealed_verdict, verdict_place(request.digest, request.provider_call_id)
            ).decode()
        return Verdict(
            request_id,
            binding.tool,
            request.provider_call_id,
            binding.conversation,
            request.state,
            content,
            self._ended(request),
        )

    def _scopes(self, request: StoredRequest) -> tuple[Scope, ...]:
        """Under which the request was made. Raises StateUnavailable."""
        if request.sealed_dossier is None:
            raise StateUnavailable(f"the row of request {request.binding.id!a} was changed by hand. It grants nothing.")
        dossier = Dossier.decode(self._sealer.unseal(request.sealed_dossier, dossier_place(request.digest)))
        return tuple(map(Scope.read, dossier.scopes))

    # without a grant

    def _hold(self, call: ValidatedCall) -> ClearedCall | Refusal:
        lost = self._store.claim(self._holder(call), None, _effect(call), call.charges, self._clock.now())
        if isinstance(lost, Exceeded):
            return refusals.over_budget(lost)
        if lost is not None:
            return refusals.busy()
        return ClearedCall(call.ctx, call, _FREELY)

    def _behind(self, call: ValidatedCall, own: StoredRequest | None = None) -> Obligation | None:
        return order.behind(self._store, self._rules, call.contract.name, call.ctx, self._clock.now(), own)

    def _draft(self, call: ValidatedCall, obligations: tuple[Obligation, ...]) -> Draft | Refusal:
        ctx, shaped, tool = call.ctx, call.shaped, call.contract.name
        now = self._clock.now()
        most = self._rules.pending_requests
        if self._store.pending_in(ctx.conversation, now) >= most:
            return refusals.full(most)
        if call.charges and (too_much := self._store.exceeded(call.charges, now)) is not None:
            return refusals.over_budget(too_much)  # nobody is asked about what cannot be
        contract = self._rules.contracts[tool]
        clearance = contract.clearance
        votes.needs_of(obligations, clearance)  # an obligation of an unknown kind fails here, not at redemption
        shown = call.facts if clearance.show_facts else {}
        try:
            pinned = _pinned(call, hold=False)
        except OSError as fault:
            return refusals.unreadable(fault)
        try:
            dossier = Dossier.make(
                effective=shaped.effective,
                masked=shaped.masked,
                secret=contract.secrets,
                authority=contract.authority,
                facts=shown,
                obligations=obligations,
                scopes=ctx.scopes,
                pinned=pinned,
                mutable={name: guard.mutable for name, guard in contract.guards.items() if guard.mutable},
            ).encode()
        except TypeError as error:
            return refusals.no(
                ReasonCode.FACT_UNAVAILABLE, "This call cannot be checked now.", f"a fact cannot be shown: {error}"
            )
        life = clearance.expires_s * NS
        binding = Binding(
            id=new_id("req"),
            nonce=secrets.token_hex(16),
            conversation=ctx.conversation,
            principal=ctx.principal.id,
            on_behalf_of=None if ctx.on_behalf_of is None else ctx.on_behalf_of.id,
            tool=tool,
            contract_digest=call.contract.digest,
            effective_digest=shaped.digest,
            sandbox=self._rules.sandbox_of(tool, ctx),
            expires=Instant(now.wall_ns + life, now.boot_ns + life, now.boot_id),
            display_digest=display_digest(dossier),
        )
        digest = binding.digest()
        request = StoredRequest(
            binding=binding,
            digest=digest,
            state=PENDING,
            created=now,
            policy_digest=ctx.policy_digest,
            provider_call_id=ctx.provider_call_id,
            masked=shaped.masked.decode(),
            sealed_wire=self._sealer.seal(shaped.limited.parsed.wire, wire_place(digest, ctx.provider_call_id)),
            sealed_dossier=self._sealer.seal(dossier, dossier_place(digest)),
            sealed_verdict=None,
            claim_origin=None,
            claim_call=None,
        )
        parked = Parked(ctx, tool, binding.id, obligations, binding.expires, draft=contract.prepare is not None)
        return Draft(parked, request, tuple(as_record(obligation) for obligation in obligations), shown)

    # with a grant

    def _redeem(self, call: ValidatedCall) -> ClearedCall | Refusal | Parked:
        ctx = call.ctx
        request = self._store.get(ctx.request_id or "")
        if request is None or request.binding.principal != ctx.principal.id:
            return refusals.request_unknown("no such request of this principal")
        if request.binding.conversation != ctx.conversation:
            return refusals.request_unknown("the request belongs to another conversation")
        if request.state != PENDING:
            return self._ended(request)
        binding = request.binding
        if self._store.markers.spent(binding.id):
            return refusals.spent(BURNT, "it is marked as spent: this database was restored from a backup")
        try:
            pinned = _pinned(call, hold=True)
        except OSError as fault:
            return refusals.unreadable(fault)
        difference = self._difference(call, request, pinned)
        if difference is not None:
            return refusals.invalid(difference)
        overdue = request.overdue(self._clock.now(), self._newest_log_ns)
        if overdue is not None:
            return refusals.expired(overdue)
        counted = votes.tally(self._store.ballots(binding.id), binding, request.digest, self._rules)
        if counted.denials:
            return refusals.denied(counted.denials[0].comment, counted.denials[0].voter)
        needs = votes.needs_of(call.obligations, self._rules.contracts[binding.tool].clearance)
        if not counted.meets(needs):
            return Parked(ctx, binding.tool, binding.id, call.obligations, binding.expires)
        elders = self._behind(call, request)
        if elders is not None:
            return Parked(ctx, binding.tool, binding.id, (elders,), binding.expires)
        lost = self._store.claim(self._holder(call), request.digest, _effect(call), call.charges, self._clock.now())
        if isinstance(lost, Exceeded):
            return refusals.over_budget(lost)  # the grant is not burnt: it may be redeemed once there is enough again
        if lost == "effect":
            return refusals.busy()
        if lost is not None:
            return self._ended(self._store.get(binding.id) or request)
        proofs = tuple(votes.proof(ballot) for ballot in (*counted.approvals, *counted.confirmations))
        return ClearedCall(ctx, call, Permit(binding.id, proofs, binding.sandbox))

    def _difference(
        self, call: ValidatedCall, request: StoredRequest, pinned: dict[str, dict[str, object]]
    ) -> str | None:
        """What makes this another call than the one people were asked about, or None (C054, C060, C087, C133)."""
        ctx, bound = call.ctx, request.binding
        if request.sealed_dossier is None or not request.intact:
            return "its row was changed by hand"
        dossier = self._sealer.unseal(request.sealed_dossier, dossier_place(request.digest))
        if display_digest(dossier) != bound.display_digest:
            return "what was displayed is not what was signed"
        # The bytes themselves, not the keyed digest: that one changes when the deployment's key is rotated.
        shown = Dossier.decode(dossier)
        if not hmac.compare_digest(shown.effective.encode(), call.shaped.effective):
            return "the arguments differ"
        if shown.pinned != pinned:
            moved = sorted(name for name in {*shown.pinned, *pinned} if shown.pinned.get(name) != pinned.get(name))
            return f"what it refers to has changed since it was asked: {', '.join(moved)}"
        if not {scope.spelled for scope in ctx.scopes}.issuperset(shown.scopes):
            return "it is redeemed outside of the scope it was made in"
        now = {
            "tool": (call.contract.name, bound.tool),
            "contract or tool code": (call.contract.digest, bound.contract_digest),
            "on_behalf_of": (None if ctx.on_behalf_of is None else ctx.on_behalf_of.id, bound.on_behalf_of),
            "sandbox": (self._rules.sandbox_of(bound.tool, ctx), bound.sandbox),
        }
        changed = [name for name, (present, asked) in now.items() if present != asked]
        return f"changed since it was asked: {', '.join(changed)}" if changed else None

    def _ended(self, request: StoredRequest) -> Refusal:
        if request.state == PENDING:  # a claim was lost, yet the row says pending: only the marker says it is spent
            return refusals.spent(BURNT, "it is marked as spent: this database was restored from a backup")
        comments: tuple[tuple[str, str], ...] = ()
        if request.state == DENIED:
            counted = votes.tally(self._store.ballots(request.binding.id), request.binding, request.digest, self._rules)
            comments = tuple((ballot.voter, ballot.comment) for ballot in counted.denials)
        return refusals.ended(request.state, comments)

    # claims

    def _holder(self, call: ValidatedCall) -> Holder:
        return Holder(self._origin, call.ctx.id, call.ctx.request_id)

    def _finish(self, cleared: ClearedCall, state: str, content: str | None) -> None:
        holder = Holder(self._origin, cleared.ctx.id, cleared.permit.request_id)
        sealed = None
        if holder.request_id is not None and content is not None:
            request = self._store.get(holder.request_id)
            if request is not None:
                place = verdict_place(request.digest, request.provider_call_id)
                sealed = self._sealer.seal(content.encode(), place)
        self._store.finish(holder, state, sealed)


def _pinned(call: ValidatedCall, *, hold: bool) -> dict[str, dict[str, object]]:
    """By argument, what the files it names hold. With `hold` the tool gets these very bytes. Raises OSError."""
    return {name: each.pinned(hold=hold) for name, each in call.capabilities.items() if isinstance(each, Pinnable)}


def _effect(call: ValidatedCall) -> tuple[tuple[str, ...], int] | None:
    keys = call.shaped.effect_keys
    return (keys, call.effect_generation) if keys else None
