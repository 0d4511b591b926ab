"""Observe mode, for agents that already run: nothing is denied, all is decided, and recorded as it would have been.

Guarantees: the stages that enforce are the ones that decide here (I2), and what they would have refused is durable in
the intent before the call runs (I3). What holds in this mode too: a kill switch, a policy of which this process is
behind, a log that cannot be written; a call that cannot be read or whose tool nobody registered; code without its
sandbox (I8); a guard that has nothing to hand to a tool that takes a file and not a name; a tool with `prepare`, since
to let a draft through would be to act. Nobody else is asked, nothing else is claimed, and a parked request is redeemed
by `Passage` alone. A model reads the same words in both modes (I7).

Only this file takes a step `regardless` of what it says (tests/architecture).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, TypeVar, final

import orjson

from gateway.alarm import alarm
from gateway.clear import refusals
from gateway.domain.call import (
    AuthorizedCall,
    LimitedCall,
    ObservedCall,
    Outcome,
    ParsedCall,
    RawCall,
    ShapedCall,
    ValidatedCall,
)
from gateway.domain.decision import NOT_NOW, Obligation, ReasonCode, Refusal, Step, WouldBe
from gateway.domain.errors import PolicyError, StateUnavailable, described
from gateway.domain.session_view import SessionView
from gateway.execute.stage import Door
from gateway.pipeline import BUSY, EARLIER, TURN_S, Passage, faulty
from gateway.policy.documents import Execution, Observe, Result
from gateway.policy.folder import SETTINGS
from gateway.policy.policy_set import PolicySet
from gateway.release import Exit
from gateway.validate import guards
from gateway.validate.guards import GuardRefused

V = TypeVar("V")

MOST_BYTES = 4 * 1024 * 1024  # the most any contract may let out
LONGEST_S = 86_400.0  # and the longest it may let a tool run


@final
class Observing(Passage):
    """One call on its way through the steps, and on, whatever they say. `would` keeps the first refusal."""

    __slots__ = ("facts", "obligations", "refusal", "turn")

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.refusal: Refusal | None = None
        self.obligations: tuple[Obligation, ...] = ()
        self.facts: dict[str, object] = {}
        self.turn = True

    def admitted_by(self) -> Refusal | None:
        return self.to.admit.regardless(self.raw)

    async def decide(self, raw: RawCall) -> Outcome:
        """What is decided about the call, and then the call."""
        to = self.to
        parsed = to.parse(raw)
        if isinstance(parsed, Refusal):
            return await self.deny(parsed)
        self.seen = parsed
        self.trace.mark(Step.PARSE)
        with ExitStack() as held:
            try:
                found = await self.judged(parsed, held)
            except Exception as surprise:  # our own mistake must not stop a call that nobody wants stopped; it is told
                alarm().error("observing_failed", call_id=raw.ctx.id, tool=parsed.tool, fault=described(surprise))
                self.note(faulty(ReasonCode.INTERNAL_ERROR, described(surprise)))
                found = parsed
            call = await self.let_through(parsed, found, held)
            if isinstance(call, Refusal):
                return await self.deny(call)
            self.seen = call
            self.trace.mark(Step.CLEAR)
            return await self.run(call)

    def note(self, refusal: Refusal) -> None:
        """What a step would have said; the first one would have been the answer."""
        if self.refusal is None:
            self.refusal, self.facts = refusal, refusal.facts

    async def judged(
        self, parsed: ParsedCall, held: ExitStack
    ) -> ParsedCall | AuthorizedCall | ShapedCall | ValidatedCall:
        """Steps 2 to 5, as far as the call can be taken. `held` lets go of the turn it waits for and what is opened."""
        to, ctx = self.to, parsed.ctx
        authorized = self.passed(to.authorize(parsed)) or to.authorize.regardless(parsed)
        if authorized is None:
            return parsed
        self.trace.mark(Step.AUTHORIZE)
        limited: LimitedCall = self.passed(to.limit(authorized)) or to.limit.regardless(authorized)
        self.trace.mark(Step.LIMIT)
        shaped = self.passed(to.validate.shape(limited))
        if shaped is None:
            return authorized
        self.seen = shaped
        to.release.regardless(ctx, to.validate.secret_values(shaped))
        await self.take_turn(shaped, held)
        try:
            generation = self.passed(await to.clear.generation(shaped, self.waits)) or 0
        except StateUnavailable as fault:
            self.note(faulty(ReasonCode.STATE_UNAVAILABLE, str(fault)))
            generation = 0
        view = SessionView(ctx.conversation, limited.calls, to.authorize.roles(ctx.principal))
        validated = self.passed(await to.validate.judge(shaped, self.waits, view, generation))
        self.trace.mark(Step.VALIDATE)
        if validated is None:
            return shaped
        held.callback(to.validate.close, validated)
        if self.refusal is None:
            self.facts, self.obligations = validated.facts, validated.obligations
        if validated.obligations and ctx.depth > 0:
            self.note(refusals.may_not_park())
        return validated

    def passed(self, found: V | Refusal) -> V | None:
        if not isinstance(found, Refusal):
            return found
        self.note(found)
        return None

    async def take_turn(self, shaped: ShapedCall, held: ExitStack) -> None:
        """Calls take turns here too: a rule must see what it would have seen (I13)."""
        if self.place is not None and not await self.to.order.come(self.place, self.waits):
            self.note(EARLIER)
        key, locks = shaped.serialize_key, self.to.locks
        if key is None:
            return
        if key in shaped.ctx.held_keys or not await locks.acquire(key, self.waits, TURN_S):
            self.turn = False
            self.note(BUSY)
        else:
            held.callback(locks.release, key)

    async def let_through(
        self, parsed: ParsedCall, found: ParsedCall | AuthorizedCall | ShapedCall | ValidatedCall, held: ExitStack
    ) -> ObservedCall | Refusal:
        """The call as it will run, or why it cannot be run at all."""
        to, tool = self.to, parsed.tool
        off = to.admit.switched_off(tool)
        if off is not None:
            return off
        missing = to.execute.unready(tool)
        if missing is not None:
            return self.refusal or Refusal(Step.EXECUTE, missing.reason, NOT_NOW, detail=missing.detail)
        shaped = found.shaped if isinstance(found, ValidatedCall) else found if isinstance(found, ShapedCall) else None
        # Code waits for its turn in its session, and a tool that takes a file cannot be given a name.
        if shaped is None and (to.execute.contains(tool) or to.validate.needs_shape(tool)):
            return self.refusal or faulty(ReasonCode.INTERNAL_ERROR, "the arguments have no shape")
        if not self.turn and to.execute.contains(tool):
            return self.refusal or BUSY
        capabilities: dict[str, object] = {}
        if isinstance(found, ValidatedCall):
            capabilities = found.capabilities
        elif shaped is not None:
            try:
                capabilities = await to.validate.handed(shaped, self.waits)
            except GuardRefused as refused:
                refusal = Refusal(Step.VALIDATE, refused.reason, refused.message, refused.suggestion, refused.detail)
                return self.refusal or refusal
            held.callback(guards.close, capabilities)
        authorized = to.authorize.regardless(parsed)
        granted = shaped.limited.authorized.grant if shaped is not None else None
        return ObservedCall(
            parsed.ctx,
            tool,
            parsed,
            authorized.contract if authorized is not None else None,
            shaped,
            capabilities,
            self.facts,
            str(granted) if granted is not None and granted.file else "",
            WouldBe(self.refusal, self.obligations),
            to.validate.described(parsed) if shaped is None else None,
        )


def permission(policy: PolicySet) -> Observe:
    """What the policy says of observe mode. Raises PolicyError where it does not permit it."""
    if policy.settings.observe is None:
        raise PolicyError(
            "this gateway was started with observe=True, and the policy does not permit that: start it without, or "
            "add `observe: {arguments: shapes}`",
            file=SETTINGS,
        )
    return policy.settings.observe


class Uncontracted(dict[str, V]):
    """What is known by tool, and one value for every tool that no contract knows."""

    def __init__(self, known: Mapping[str, V], otherwise: V) -> None:
        super().__init__(known)
        self._otherwise = otherwise

    def __missing__(self, _: str) -> V:
        return self._otherwise


def open_door() -> Door:
    """How a tool without a contract is run: as it was before, on its caller's thread, with what was sent."""
    return Door(Execution(inline=True, deadline_s=LONGEST_S), repeatable=False, fresh=orjson.loads)


def open_exit(*, values: bool) -> Exit:
    """How its results leave: whole. What it says when it fails may quote anything: without `values`, only its type."""

    def quotable(detail: str) -> str:
        kind, _, _ = detail.partition(": ")
        return detail if values else f"{kind} (not quoted: no contract)" if kind.isidentifier() else "(not quoted)"

    return Exit(Result(max_bytes=MOST_BYTES), None, quotable)
