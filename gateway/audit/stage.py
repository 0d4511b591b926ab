"""Step 6, record: evidence before effect (I3), and the record of every other end of a call.

Guarantees: an intent is durable before the tool is touched, an outcome is durable before a result is handed on, and
every denial is a record. If the log cannot be written, the call is denied and the fault rises in `healthy` and in
the process's own log. Nothing in a record is a secret: arguments come masked from step 4 (I10). Where a contract names
personal parameters, these and all that may repeat them (facts, details, previews) stand only as ciphertext under the
key of the person the call is made for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast, final

import orjson

from gateway.alarm import alarm
from gateway.audit.encode import clip, encode
from gateway.audit.errors import RecordRefused
from gateway.audit.kept import KeptResults
from gateway.audit.observed import observed_intent, observed_outcome, take_detail
from gateway.audit.port import Log, Position
from gateway.audit.space import Reservation
from gateway.audit.subjects import PersonalUnavailable, Subjects, personal_place
from gateway.domain.call import (
    AuthorizedCall,
    CallContext,
    ClearedCall,
    ContractRef,
    Executed,
    LimitedCall,
    ObservedCall,
    ParsedCall,
    RawCall,
    Released,
    ShapedCall,
    StartedCall,
    ValidatedCall,
)
from gateway.domain.decision import NOT_NOW, ReasonCode, Refusal, Step, public_code
from gateway.domain.errors import AuditUnavailable, ToolgateError
from gateway.domain.event import ApprovalRequested, CallDenied, CallIntent, CallOutcome, Event, Subject
from gateway.domain.ids import Principal
from gateway.domain.keyed import DigestKey
from gateway.domain.waits import Waits
from gateway.policy.documents import Observe

Sealable = CallIntent | CallOutcome | CallDenied | ApprovalRequested
Arguments = Callable[[bytes], dict[str, object] | None]
_MAY_REPEAT = ("facts", "detail", "preview")  # what rules saw, what errors quote, what the tool gave
Partial = RawCall | ParsedCall | AuthorizedCall | LimitedCall | ShapedCall | ValidatedCall | ClearedCall | ObservedCall
_NOTHING = orjson.Fragment(b"{}")
MAX_ROLES = 32  # of up to 64 characters each: a record stays small whatever the policy says
OUTCOME_BYTES = 64 * 1024  # an upper bound of one outcome record, reserved on disk before its intent


@final
class Record:
    """The step. `preview_chars` of each released result are kept; `sandboxes` says in what a tool will run."""

    def __init__(
        self,
        log: Log,
        key: DigestKey,
        *,
        preview_chars: int,
        sandboxes: Mapping[str, dict[str, object]],
        authority: Mapping[str, tuple[str, ...]],
        personal: Mapping[str, Arguments],
        subjects: Subjects,
        kept: Mapping[str, KeptResults],
        labels: Mapping[str, dict[str, str]],
        roles: Callable[[Principal], tuple[str, ...]],
        observe: Observe | None = None,
    ) -> None:
        """`personal` gives the personal arguments of tools that have any; `subjects` seals them.

        `kept` has the tools whose whole results are kept beside the log; `roles` says what a principal holds;
        `labels` knows every contract. `observe` is set in observe mode: every record says so.
        """
        self._log = log
        self._key = key
        self._preview = preview_chars
        self._sandboxes = sandboxes
        self._authority = authority
        self._personal = personal
        self._subjects = subjects
        self._kept = kept
        self._labels = labels
        self._roles = roles
        self._observe = observe
        self.healthy = True

    def subject(self, ctx: CallContext, tool: str) -> Subject:
        """The identity of a call, as every record about it carries it."""
        roles = self._roles(ctx.principal)
        if len(roles) > MAX_ROLES:
            roles = (*roles[:MAX_ROLES], f"... [{len(roles) - MAX_ROLES} more]")  # no role can be named like this
        return Subject(
            ctx.id,
            ctx.provider_call_id,
            ctx.principal.id,
            ctx.on_behalf_of.id if ctx.on_behalf_of is not None else None,
            ctx.conversation,
            tool,
            ctx.parent_id,
            ctx.depth,
            ctx.request_id,
            ctx.policy_digest,
            roles,
            tuple(orjson.Fragment(scope.spelled) for scope in ctx.scopes),
        )

    async def event(self, event: Event, waits: Waits) -> Position:
        """Append any event durably. Raises AuditUnavailable, loudly."""
        return await self._append(self._encode(event), waits)

    async def requested(self, event: ApprovalRequested, effective: bytes, waits: Waits) -> None:
        """Make durable that a call waits for people. Raises AuditUnavailable, loudly."""
        await self._apart(event, event.call.tool, effective, waits)
        await self._append(self._encode(event), waits)

    async def intent(self, call: ClearedCall | ObservedCall, attempt: int, waits: Waits) -> StartedCall | Refusal:
        """Reserve room for the outcome, then make the intent durable. Neither, nor: the call is denied."""
        event = self._intent(call, attempt) if isinstance(call, ClearedCall) else self._observed(call, attempt)
        try:
            await self._apart(event, call.tool, call.shaped.effective if call.shaped is not None else None, waits)
            reservation = self._log.reserve(OUTCOME_BYTES)
        except AuditUnavailable as fault:
            self._alarm(fault)
            return _unavailable(fault)
        try:
            position = await self._append(self._encode(event), waits)
        except AuditUnavailable as fault:
            reservation.release()
            return _unavailable(fault)
        return StartedCall(call.ctx, call, position.seq, reservation)

    def _observed(self, call: ObservedCall, attempt: int) -> CallIntent:
        return observed_intent(
            call,
            self.subject(call.ctx, call.tool),
            attempt,
            authority=self._authority.get(call.tool, ()),
            sandbox=self._sandboxes.get(call.tool),
            values=self._observe is not None and self._observe.arguments == "values",
        )

    def _intent(self, call: ClearedCall, attempt: int) -> CallIntent:
        shaped = call.validated.shaped
        contract = shaped.contract
        return CallIntent(
            call=self.subject(call.ctx, contract.name),
            contract=str(contract.source),
            contract_version=contract.version,
            contract_digest=contract.digest,
            risk=contract.risk,
            effect=contract.effect,
            grant=str(shaped.limited.authorized.grant),
            wire_digest=shaped.limited.parsed.wire_digest,
            effective_digest=shaped.digest,
            arguments=orjson.Fragment(shaped.masked),
            personal=None,
            authority=self._authority.get(contract.name, ()),
            facts=call.validated.facts,
            proofs=call.permit.proofs,
            effect_key=shaped.effect_key,
            attempt=attempt,
            sandbox=self._sandboxes.get(contract.name),
            charges=tuple(charge.as_record() for charge in call.validated.charges),
        )

    async def outcome(
        self,
        started: StartedCall,
        waits: Waits,
        executed: Executed,
        released: Released,
        steps_us: dict[str, int],
        spent: bool,
    ) -> None:
        """Make durable what became of an intent. Raises AuditUnavailable: then nothing may be handed on.

        `spent`: what the intent charged stays spent.
        """
        failure, call = released.failure, started.cleared
        event = CallOutcome(
            call=self.subject(started.ctx, released.tool),
            intent_seq=started.seq,
            status="released" if failure is None else "failed",
            code=failure.code if failure is not None else None,
            detail=clip(failure.detail) if failure is not None else "",
            result_digest=self._key.digest(executed.value, domain=b"result") if executed.value else None,
            result_bytes=len(executed.value),
            preview=clip(released.content, self._preview) if self._preview and self._may_show(released.tool) else "",
            labels=self._labels.get(released.tool, {}),
            evidence=executed.evidence,
            steps_us=steps_us,
            spent=spent if isinstance(call, ClearedCall) and call.validated.charges else None,
            observed=observed_outcome(released),
        )
        kept = self._kept.get(released.tool)
        if kept is not None:
            await waits.blocking(lambda: self._keep(kept, event, released.content))
        await self._last(started, event, waits)

    def _may_show(self, tool: str) -> bool:
        """Nobody has said what in the results of a tool without a contract is secret."""
        return tool in self._labels or (self._observe is not None and self._observe.arguments == "values")

    def _keep(self, kept: KeptResults, event: CallOutcome, content: str) -> None:
        """A result that cannot be kept does not hide what became of the call: the outcome says `kept: null`, loudly."""
        call = event.call
        try:
            event.kept = kept.keep(call.on_behalf_of or call.principal, call.call_id, event.intent_seq, content)
        except (OSError, ToolgateError) as fault:
            alarm().error("result_not_kept", call_id=call.call_id, tool=call.tool, fault=str(fault))

    async def unknown(self, started: StartedCall, waits: Waits, detail: str, steps_us: dict[str, int]) -> None:
        """Make durable that nobody can say what became of an intent. Raises AuditUnavailable."""
        tool = started.cleared.tool
        event = CallOutcome(
            self.subject(started.ctx, tool),
            started.seq,
            "unknown",
            "unknown_outcome",
            clip(detail),
            None,
            0,
            "",
            {},
            {},
            steps_us,
        )
        await self._last(started, event, waits)

    async def _last(self, started: StartedCall, event: CallOutcome, waits: Waits) -> None:
        try:
            await self._apart(event, event.call.tool, None, waits)
            await self._append(self._encode(event), waits, cast("Reservation", started.reservation))
        finally:
            started.reservation.release()

    async def denied(
        self, call: Partial, refusal: Refusal, counted: int, waits: Waits, steps_us: dict[str, int]
    ) -> None:
        """Record a denial, and that it stands for `counted` earlier ones.

        If even that fails the call stays denied, and the alarm says that a record is missing.
        """
        asked, parsed, contract, shaped = _seen(call)
        event = CallDenied(
            call=self.subject(call.ctx, shaped.contract.name if shaped is not None else ""),
            step=int(refusal.step),
            reason=refusal.reason,
            public=public_code(refusal.reason),
            detail=clip(refusal.detail),
            rule=str(refusal.rule) if refusal.rule is not None else None,
            asked=asked,
            wire_digest=parsed.wire_digest if parsed is not None else None,
            effective_digest=shaped.digest if shaped is not None else None,
            arguments=orjson.Fragment(shaped.masked) if shaped is not None else _NOTHING,
            facts=refusal.facts,
            coalesced=counted,
            steps_us=steps_us,
            contract_digest=contract.digest if contract is not None else None,
        )
        try:
            await self._apart(event, asked, shaped.effective if shaped is not None else None, waits)
            try:
                await self._append(self._encode(event), waits)
            except RecordRefused:  # what the call brought is too large for a record: then without it
                event.arguments, event.facts, event.personal = _NOTHING, {}, None
                await self._append(self._encode(event), waits)
        except AuditUnavailable as fault:
            alarm().error("denial_not_recorded", call_id=call.ctx.id, reason=refusal.reason, fault=str(fault))

    async def _apart(self, event: Sealable, tool: str, effective: bytes | None, waits: Waits) -> None:
        """Whatever may repeat a personal argument of this tool goes under its subject's key, the arguments too.

        Raises PersonalUnavailable. Of an outcome these parts are then left out: what became of a call matters more.
        """
        arguments = self._personal.get(tool)
        if arguments is not None:
            await waits.blocking(lambda: self._set_apart(event, arguments, effective))

    def _set_apart(self, event: Sealable, arguments: Arguments, effective: bytes | None) -> None:
        apart: dict[str, object] = {name: getattr(event, name) for name in _MAY_REPEAT if getattr(event, name, None)}
        if effective is not None and (given := arguments(effective)):
            apart["arguments"] = given
        if isinstance(event, CallIntent | CallOutcome):
            event.observed, said = take_detail(event.observed)
            if said:
                apart["observed"] = said
        if isinstance(event, CallOutcome):
            event.detail = event.preview = ""
        else:
            event.facts = {}
        if isinstance(event, CallDenied):
            event.detail = ""
        if not apart:
            return
        place = personal_place(event.kind, event.call.call_id)
        try:
            event.personal = self._subjects.seal(event.call.on_behalf_of or event.call.principal, place, apart)
        except PersonalUnavailable as fault:
            if not isinstance(event, CallOutcome):
                raise
            event.personal = {"not_kept": sorted(apart)}
            alarm().error("personal_data_not_kept", call_id=event.call.call_id, fault=str(fault))

    def _encode(self, event: Event) -> bytes:
        return encode(event, observe=self._observe is not None)

    async def _append(self, body: bytes, waits: Waits, room: Reservation | None = None) -> Position:
        log = self._log
        try:
            position = await waits.either(log.append, log.append_async, body, room)
        except AuditUnavailable as fault:
            self._alarm(fault)
            raise
        self.healthy = True
        return position

    def _alarm(self, fault: AuditUnavailable) -> None:
        self.healthy = False
        alarm().error("audit_unavailable", fault=str(fault), effect="every call is denied until the log can be written")


def _unavailable(fault: AuditUnavailable) -> Refusal:
    return Refusal(Step.RECORD, ReasonCode.AUDIT_UNAVAILABLE, NOT_NOW, detail=str(fault))


def _seen(call: Partial) -> tuple[str, ParsedCall | None, ContractRef | None, ShapedCall | None]:
    """The tool as asked for (clipped), and what was parsed, found and shaped, if the call came that far."""
    match call:
        case RawCall():
            asked = call.tool if isinstance(call.tool, str) else f"<{type(call.tool).__name__}>"
            return clip(asked, 128), None, None, None
        case ParsedCall():
            return clip(call.tool, 128), call, None, None
        case AuthorizedCall():
            return call.parsed.tool, call.parsed, call.contract, None
        case LimitedCall():
            return call.parsed.tool, call.parsed, call.authorized.contract, None
        case ShapedCall():
            return call.contract.name, call.limited.parsed, call.contract, call
        case ValidatedCall():
            return call.contract.name, call.shaped.limited.parsed, call.contract, call.shaped
        case ObservedCall():
            return call.tool, call.parsed, call.contract, call.shaped
        case ClearedCall():
            shaped = call.validated.shaped
            return shaped.contract.name, shaped.limited.parsed, shaped.contract, shaped
