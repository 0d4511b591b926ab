"""One call, top to bottom. The numbers are `domain.decision.Step` and stand in docs/architecture.md.

    0 admit      -> RawCall         4 validate -> ShapedCall, ValidatedCall   8 release -> Released
    1 parse      -> ParsedCall      5 clear    -> ClearedCall | Draft
    2 authorize  -> AuthorizedCall  6 record   -> StartedCall
    3 limit      -> LimitedCall     7 execute  -> Executed | Ambiguous

Each step takes the type that the step before gave, or ends the call with a `Refusal`. Before an intent is durable, a
surprise denies; after it, whatever is not a durable outcome is `Unknown` (I2, I3). Two stores, one order (I5):
claim and charges (database, 5), intent (log, 6), execute (7), outcome (log, 8), done (database, 8).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, final

from gateway.admit import Admit
from gateway.alarm import alarm
from gateway.audit.stage import Partial, Record
from gateway.authorize.stage import Authorize
from gateway.clear import refusals
from gateway.clear.stage import Clear, Draft, Verdict
from gateway.domain.call import (
    CallContext,
    ClearedCall,
    Denied,
    Executed,
    LimitedCall,
    ObservedCall,
    Outcome,
    Parked,
    RawCall,
    Released,
    ShapedCall,
    StartedCall,
    Unknown,
    ValidatedCall,
)
from gateway.domain.decision import NOT_NOW, ReasonCode, Refusal, Step
from gateway.domain.errors import AuditUnavailable, StateUnavailable, described
from gateway.domain.ids import new_id
from gateway.domain.session_view import SessionView
from gateway.domain.waits import Waits
from gateway.execute.stage import Ambiguous, Execute
from gateway.limit.stage import Limit
from gateway.parse.stage import Parse
from gateway.release import Release
from gateway.serialize import KeyedLocks, Order, Place
from gateway.trace import Trace
from gateway.validate.draft import named_draft
from gateway.validate.stage import Validate

TURN_S = 30.0  # the longest wait for another call on the same thing
LOOK_AGAIN_NS = 1_000_000  # a call younger than this was asked about the kill switch just now


class Beside(Protocol):
    """Another policy, judged beside this one. Takes a call that has ended; never raises, never waits."""

    def __call__(self, seen: Partial, outcome: Outcome) -> None: ...


@final
@dataclass(frozen=True, slots=True)
class Stages:
    """Everything compiled from one policy version (I6), and what outlives it.

    `ordered` are the tools whose calls keep the model's order, and for how many seconds one of their calls may run.
    """

    digest: str
    admit: Admit
    parse: Parse
    authorize: Authorize
    limit: Limit
    validate: Validate
    clear: Clear
    record: Record
    execute: Execute
    release: Release
    locks: KeyedLocks
    order: Order
    ordered: Mapping[str, float]
    beside: Beside | None = None


class Passage:
    """One call on its way through the steps. `seen` is the furthest state it reached, for the record of a denial.

    `observe.Observing` alone is another one, and takes its place only where the host and the policy both ask for it.
    """

    __slots__ = ("begun", "by_draft", "place", "raw", "seen", "to", "tool", "trace", "waits")

    def __init__(self, raw: RawCall, to: Stages, waits: Waits) -> None:
        self.raw = raw
        self.seen: Partial = raw
        self.tool = raw.tool if isinstance(raw.tool, str) else ""
        self.to = to
        self.waits = waits
        self.trace = Trace()
        self.place: Place | None = None
        self.begun = False
        self.by_draft = raw.redeems

    @classmethod
    @contextmanager
    def in_order(cls, passages: Sequence[Passage]) -> Iterator[None]:
        """Around `govern` of the calls of one turn: ordered ones among them take their places now, one after the other.

        A call that was never begun, because its caller was gone, gives its place up at the end.
        """
        for each in passages:
            longest_s = each.to.ordered.get(each.tool)
            if longest_s is not None and each.raw.ctx.depth == 0:  # nested: code asks, in its caller's place
                each.place = each.to.order.join(_conversation(each.raw.ctx), longest_s)
        try:
            yield
        finally:
            for each in passages:
                if each.place is not None and not each.begun:
                    each.to.order.leave(each.place)

    async def govern(self) -> Outcome:
        """Every end is recorded before it is returned; a pause for a person is an end for now."""
        self.begun = True
        try:
            refusal = self.admitted_by()
            outcome = await (self.deny(refusal) if refusal is not None else self.admitted(self.raw))
            if self.to.beside is not None and not self.by_draft:  # what it says of policy, its preparing said
                self.to.beside(self.seen, outcome)
            if (gone := self.waits.interrupted()) is not None:
                raise gone
            fallback = self.to.execute.fallback(outcome)
            return outcome if fallback is None else await self.instead(fallback, outcome)
        finally:
            if self.place is not None:
                self.to.order.leave(self.place)

    def admitted_by(self) -> Refusal | None:
        return self.to.admit(self.raw)  # 0

    async def admitted(self, raw: RawCall) -> Outcome:
        """Steps 1 to 8, and a recorded denial for whatever goes wrong before an intent is durable (I2)."""
        try:
            return await self.decide(raw)
        except AuditUnavailable as fault:
            return await self.deny(faulty(ReasonCode.AUDIT_UNAVAILABLE, str(fault)))
        except StateUnavailable as fault:
            return await self.deny(faulty(ReasonCode.STATE_UNAVAILABLE, str(fault)))
        except Exception as surprise:  # what nobody foresaw denies; nothing of the kind comes out of `run`
            return await self.deny(faulty(ReasonCode.INTERNAL_ERROR, described(surprise)))
        except BaseException:  # the caller gave up; `run` has recorded what it began itself
            if not isinstance(self.seen, ClearedCall | ObservedCall):
                await self.deny(CANCELLED)
            raise
        finally:
            self.to.admit.leave(raw.ctx)

    async def instead(self, fallback: str, failed: Outcome) -> Outcome:
        """The fallback of a tool that failed: a call of its own, from step 0, with the same arguments."""
        above = self.raw.ctx
        ctx = above.nested(new_id("call"), above.provider_call_id, self.to.digest, above.held_keys, fallback=True)
        outcome = await type(self)(RawCall(ctx, fallback, self.raw.arguments), self.to, self.waits).govern()
        return failed if isinstance(outcome, Denied) else outcome

    async def decide(self, raw: RawCall) -> Outcome:
        """Steps 1 to 4, as far as they look at nothing but the call; then the turn on whatever it touches (I13)."""
        to = self.to
        parsed = to.parse(raw)  # 1
        if isinstance(parsed, Refusal):
            return await self.deny(parsed)
        self.seen = parsed
        self.trace.mark(Step.PARSE)
        authorized = to.authorize(parsed)  # 2
        if isinstance(authorized, Refusal):
            return await self.deny(authorized)
        self.seen = authorized
        off = to.admit.switched_off(authorized.contract.name)  # said only of a tool that this principal knows (I7)
        if off is not None:
            return await self.deny(off)
        self.trace.mark(Step.AUTHORIZE)
        limited = to.limit(authorized, redeems=raw.redeems)  # 3
        if isinstance(limited, Refusal):
            return await self.deny(limited)
        self.seen = limited
        self.trace.mark(Step.LIMIT)
        if raw.redeems:
            return await self.redeem(limited)
        shaped = to.validate.shape(limited)  # 4, schema and normalisation
        if isinstance(shaped, Refusal):
            return await self.deny(shaped)
        self.seen = shaped
        full = to.release.remember(raw.ctx, to.validate.secret_values(shaped))
        if full is not None:
            return await self.deny(full)
        if self.place is not None and not await to.order.come(self.place, self.waits):
            return await self.deny(EARLIER)
        key = shaped.serialize_key
        if key is None:
            return await self.judge(shaped)
        if key in raw.ctx.held_keys or not await to.locks.acquire(key, self.waits, TURN_S):
            return await self.deny(BUSY)
        try:
            return await self.judge(shaped)
        finally:
            to.locks.release(key)

    async def redeem(self, named: LimitedCall) -> Outcome:
        """The draft that the call names, as it was prepared: every step again, from step 1, once people have agreed."""
        to, ctx = self.to, named.ctx
        draft = named_draft(named)  # 4
        if isinstance(draft, Refusal):
            return await self.deny(draft)
        if ctx.depth > 0:
            return await self.deny(refusals.may_not_park())
        found = await self.waits.blocking(lambda: to.clear.look_up(draft, ctx.principal, ctx.on_behalf_of))
        if not isinstance(found, Refusal) and (found.conversation, found.tool) != (ctx.conversation, self.tool):
            found = refusals.request_unknown("the request belongs to another conversation, or to another tool")
        if isinstance(found, Refusal):
            return await self.deny(found)
        if isinstance(found, Verdict):
            denied = await self.deny(found.refusal)  # recorded so, also where the model reads what came of it
            return denied if found.content is None else to.release.again(ctx, found.tool, found.content)
        self.raw = RawCall(ctx.redeeming(found.request_id, found.scopes), found.tool, found.arguments)
        return await self.decide(self.raw)

    async def judge(self, shaped: ShapedCall) -> Outcome:
        """The rest of step 4, under the turn: facts, guards and rules; then whether a person must agree."""
        to = self.to
        generation = await to.clear.generation(shaped, self.waits)
        if isinstance(generation, Refusal):
            return await self.deny(generation)
        ctx = shaped.ctx
        view = SessionView(ctx.conversation, shaped.limited.calls, to.authorize.roles(ctx.principal))
        validated = await to.validate.judge(shaped, self.waits, view, generation)  # 4, facts, guards and rules
        if isinstance(validated, Refusal):
            return await self.deny(validated)
        self.seen = validated
        self.trace.mark(Step.VALIDATE)
        try:
            return await self.clear(validated)
        finally:
            to.validate.close(validated)

    async def clear(self, validated: ValidatedCall) -> Outcome:
        """Step 5. A request is recorded before it is stored, and stored before anybody is told."""
        to = self.to
        why_not = to.execute.unready(validated.contract.name)
        if why_not is not None:
            return await self.deny(why_not)
        cleared = await to.clear(validated, self.waits)  # 5
        if isinstance(cleared, Refusal):
            return await self.deny(cleared)
        if isinstance(cleared, Parked):
            return await self.deny(refusals.unconfirmed()) if self.by_draft else cleared
        if isinstance(cleared, Draft):
            event = cleared.event(to.record.subject(validated.ctx, validated.contract.name))
            await to.record.requested(event, validated.shaped.effective, self.waits)
            parked = await to.clear.park(cleared, self.waits)
            return await self.deny(parked) if isinstance(parked, Refusal) else parked
        self.seen = cleared
        self.trace.mark(Step.CLEAR)
        return await self.run(cleared)

    async def run(self, cleared: ClearedCall | ObservedCall) -> Outcome:
        """Steps 6 to 8, again after a pause while an idempotent call fails; each attempt has an intent of its own.

        A call is denied only if it never ran: what keeps a later attempt from happening leaves the earlier one's end.
        """
        to = self.to
        attempt, verdict = 0, "burnt"
        content: str | None = None
        outcome: Released | Unknown | None = None
        spent = False  # whether an attempt may have taken effect
        try:
            while True:
                attempt += 1
                refusal = self.stopped(cleared)
                if refusal is not None:
                    return await self.deny(refusal) if outcome is None else outcome
                started = await to.record.intent(cleared, attempt, self.waits)  # 6
                if isinstance(started, Refusal):
                    return await self.deny(started) if outcome is None else outcome
                verdict = "unknown"
                self.trace.mark(Step.RECORD)
                executed = await self.execute(started)  # 7
                self.trace.mark(Step.EXECUTE)
                spent = spent or _may_have_run(executed)
                outcome = await self.end(started, executed, spent)  # 8
                if isinstance(executed, Ambiguous) and executed.cancelled is not None:
                    raise executed.cancelled
                if isinstance(outcome, Released):
                    verdict, content = "done" if spent else "failed", outcome.content
                    to.admit.allowed(self.raw.ctx)
                pause = to.execute.pause_before_retry(outcome, attempt)
                if pause is None:
                    return outcome
                await self.waits.sleep(pause)
        finally:
            await self.finish(cleared, verdict, content)

    def stopped(self, cleared: ClearedCall | ObservedCall) -> Refusal | None:
        """Whether the caller gave up, or somebody threw a switch, while the call waited for its turn or its facts."""
        if self.waits.interrupted() is not None:
            return CANCELLED
        if self.trace.elapsed_ns() < LOOK_AGAIN_NS:
            return None
        return self.to.admit.stopped(cleared.ctx) or self.to.admit.switched_off(cleared.tool)

    async def execute(self, started: StartedCall) -> Executed | Ambiguous:
        """Step 7, with no way out but its two results."""
        try:
            return await self.to.execute(started, self.waits)
        except Exception as surprise:  # after an intent it is never a denial: nobody can say what it means
            return Ambiguous(described(surprise))

    async def end(self, started: StartedCall, executed: Executed | Ambiguous, spent: bool) -> Released | Unknown:
        """Step 8. A result whose outcome is not durable is withheld, and the call is `Unknown` (I3).

        `spent` says that what the call charged stays spent, this attempt or one before it having perhaps run.
        """
        tool = started.cleared.tool
        try:
            if isinstance(executed, Executed):
                released = self.to.release(executed)
                self.trace.mark(Step.RELEASE)
                await self.to.record.outcome(started, self.waits, executed, released, self.trace.us(), spent)
                return released
            await self.to.record.unknown(started, self.waits, executed.detail, self.trace.us())
            return Unknown(started.ctx, tool, executed.detail)
        except Exception as fault:  # a missing outcome reads as unknown, whatever kept it from the log
            started.reservation.release()
            alarm().error("outcome_not_recorded", call_id=started.ctx.id, tool=tool, fault=described(fault))
            return Unknown(started.ctx, tool, described(fault))

    async def finish(self, cleared: ClearedCall | ObservedCall, verdict: str, content: str | None) -> None:
        """Close the claim. If that fails the claim stays, and the log explains it at the next start (I5)."""
        if isinstance(cleared, ObservedCall):
            return  # it claimed nothing
        try:
            await self.to.clear.finish(cleared, verdict, content, self.waits)
        except Exception as fault:  # what became of the call is decided; a row that lags behind changes nothing of it
            alarm().error("claim_not_closed", call_id=cleared.ctx.id, verdict=verdict, fault=described(fault))

    async def deny(self, refusal: Refusal) -> Denied:
        """Record the denial, then say so."""
        self.trace.mark(refusal.step)
        counted = self.to.admit.denied(self.raw.ctx, refusal.reason)
        if counted is not None:
            await self.to.record.denied(self.seen, refusal, counted, self.waits, self.trace.us())
        return Denied(self.raw.ctx, self.tool, refusal)


def _conversation(ctx: CallContext) -> tuple[str, str | None, str]:
    return ctx.principal.id, None if ctx.on_behalf_of is None else ctx.on_behalf_of.id, ctx.conversation


def _may_have_run(executed: Executed | Ambiguous) -> bool:
    """Only a tool that failed for certain has spent nothing."""
    return isinstance(executed, Ambiguous) or executed.failure is None or executed.failure.may_have_run


def faulty(reason: ReasonCode, detail: str) -> Refusal:
    return Refusal(Step.RECORD, reason, NOT_NOW, detail=detail)


CANCELLED = Refusal(Step.RECORD, ReasonCode.CANCELLED, "The caller gave up before the call began.")
BUSY = Refusal(
    Step.VALIDATE,
    ReasonCode.BUSY,
    "Another call is working on the same thing.",
    "Wait for its result before you try again.",
)
EARLIER = Refusal(
    Step.VALIDATE,
    ReasonCode.BUSY,
    "An earlier call of this conversation has not ended.",
    "Wait for its result before you try again.",
)
