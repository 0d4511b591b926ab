"""Step 0, admit: the cheapest no comes first, so that a flood of calls stays cheap (OWASP LLM10, ASI08, ASI10).

Guarantees: a thrown kill switch stops the next call of every process that shares the state, a principal's also the
calls that others make on her behalf; a conversation that has
collected too many denials in a row gets nothing more for a while; no more calls run at once than were allowed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, final

from gateway.domain.call import CallContext, RawCall
from gateway.domain.decision import NOT_NOW, ReasonCode, Refusal, Step
from gateway.domain.errors import StateUnavailable
from gateway.domain.instant import NS

DENIAL_COOLDOWN_NS = 30 * NS
COALESCED = 100  # denials of an open breaker in one record
MAX_CONVERSATIONS = 10_000  # conversations whose denials are remembered; the longest idle one is forgotten first


class KillSwitch(Protocol):
    """Says why a call must not happen, or None. Raises StateUnavailable.

    `applied` is the digest of the policy that every process must run, as `thrown` found it last; None if any will do.
    """

    @property
    def applied(self) -> str | None: ...

    def thrown(self, principal: str) -> str | None: ...

    def off(self, tool: str) -> str | None:
        """The same for a tool's own switch, as of the last look."""
        ...


@final
@dataclass(slots=True)
class _Streak:
    denials: int = 0
    opened_ns: int = 0
    unrecorded: int = 0


@final
class Breaker:
    """Counts denials in a row, per principal and conversation."""

    def __init__(self) -> None:
        self.most = 1  # the policy in force sets it
        self._guard = threading.Lock()
        self._streaks: OrderedDict[tuple[str, str], _Streak] = OrderedDict()

    def is_open(self, ctx: CallContext) -> bool:
        """True while it is open. Once the cool-down is over, one call may try again."""
        streak = self._streaks.get((ctx.principal.id, ctx.conversation))
        if streak is None or streak.denials < self.most:
            return False
        with self._guard:
            if ctx.started_ns - streak.opened_ns >= DENIAL_COOLDOWN_NS:
                streak.opened_ns = ctx.started_ns
                return False
            return True

    def denied(self, ctx: CallContext) -> None:
        """Count a denial; one too many opens the breaker."""
        key = (ctx.principal.id, ctx.conversation)
        with self._guard:
            streak = self._streaks.setdefault(key, _Streak())
            self._streaks.move_to_end(key)
            while len(self._streaks) > MAX_CONVERSATIONS:
                self._streaks.popitem(last=False)
            streak.denials += 1
            if streak.denials == self.most:
                streak.opened_ns = ctx.started_ns

    def allowed(self, ctx: CallContext) -> None:
        """A call got through: the streak is over. What was not recorded yet stays counted."""
        if self._streaks:
            key = (ctx.principal.id, ctx.conversation)
            with self._guard:
                streak = self._streaks.get(key)
                if streak is not None and streak.unrecorded:
                    streak.denials = 0
                elif streak is not None:
                    del self._streaks[key]

    def coalesce(self, ctx: CallContext) -> int | None:
        """A denial while open: how many to record now, or None to keep counting. The first stands for itself (0)."""
        with self._guard:
            streak = self._streaks.setdefault((ctx.principal.id, ctx.conversation), _Streak())
            streak.unrecorded += 1
            if streak.unrecorded % COALESCED == 1:
                return 0 if streak.unrecorded == 1 else COALESCED - 1
            return None

    def drain(self) -> list[tuple[str, str, int]]:
        """Denials counted and not recorded yet, as (principal, conversation, count); they count as recorded now."""
        with self._guard:
            kept = [(key, streak.unrecorded) for key, streak in self._streaks.items() if streak.unrecorded]
            for streak in self._streaks.values():
                streak.unrecorded = 0
        return [(*key, left) for key, counted in kept if (left := (counted - 1) % COALESCED)]


@final
class Admit:
    """The step. `leave` must be called once for every admitted call, whatever became of it."""

    def __init__(
        self,
        kill_switch: KillSwitch,
        breaker: Breaker,
        *,
        concurrent_calls: int,
        depth: int,
        lines: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        """`lines` gives for a tool that replaces others it and them: the switch of an older version stops it too."""
        self._lines = lines or {}
        self._kill_switch = kill_switch
        self._breaker = breaker
        self._free = concurrent_calls
        self._guard = threading.Lock()
        self._depth = depth

    def __call__(self, raw: RawCall) -> Refusal | None:
        ctx = raw.ctx
        halted = self._halted(ctx)
        if halted is not None:
            return halted
        if ctx.depth > self._depth:
            return _no(ReasonCode.DEPTH_EXCEEDED, "A tool may not call tools this deeply.", f"depth {ctx.depth}")
        if ctx.request_id is None and self._breaker.is_open(ctx):
            return _no(
                ReasonCode.TOO_MANY_DENIALS,
                "Too many calls in a row were refused.",
                "circuit breaker open",
                "Stop calling tools and tell the user what you could not do.",
            )
        # A redeemed grant and a nested call hold a place already, or were promised one.
        if ctx.request_id is None and ctx.depth == 0:
            with self._guard:
                if self._free == 0:
                    return _no(ReasonCode.OVERLOADED, "Too many calls are running.", "", "Try again in a moment.")
                self._free -= 1
        return None

    def regardless(self, raw: RawCall) -> Refusal | None:
        """For observe mode: what holds there too. A streak of denials, depth and load are not looked at."""
        ctx = raw.ctx
        halted = self._halted(ctx)
        if halted is None and ctx.request_id is None and ctx.depth == 0:
            with self._guard:
                self._free -= 1
        return halted

    def _halted(self, ctx: CallContext) -> Refusal | None:
        """Whether nobody may call anything now, or not under this policy."""
        stopped = self.stopped(ctx)
        if stopped is not None:
            return stopped
        applied = self._kill_switch.applied
        if applied is None or applied == ctx.policy_digest:
            return None
        detail = f"this process runs {ctx.policy_digest}, applied is {applied}; see `toolgate policy status`"
        return _no(ReasonCode.POLICY_STALE, NOT_NOW, detail)

    def stopped(self, ctx: CallContext) -> Refusal | None:
        """Whether a kill switch stops this call now. Asked again right before its intent: facts and turns take time."""
        try:
            why = self._kill_switch.thrown(ctx.principal.id)
            if why is None and ctx.on_behalf_of is not None:
                why = self._kill_switch.thrown(ctx.on_behalf_of.id)
        except StateUnavailable as fault:
            return _no(ReasonCode.STATE_UNAVAILABLE, NOT_NOW, str(fault))
        return None if why is None else _no(ReasonCode.KILL_SWITCH, NOT_NOW, why)

    def switched_off(self, tool: str) -> Refusal | None:
        """Whether this tool has a switch that is thrown. Asked for a tool that may be called: it exists (I7)."""
        for version in self._lines.get(tool, (tool,)):
            why = self._kill_switch.off(version)
            if why is not None:
                return _no(ReasonCode.TOOL_OFF, NOT_NOW, why, "Go on without it.")
        return None

    def denied(self, ctx: CallContext, reason: ReasonCode) -> int | None:
        """Count a denial. None says that it needs no record of its own; else how many it stands for beside itself."""
        if reason is ReasonCode.TOO_MANY_DENIALS:
            return self._breaker.coalesce(ctx)
        if reason is not ReasonCode.CANCELLED:
            self._breaker.denied(ctx)
        return 0

    def allowed(self, ctx: CallContext) -> None:
        """A call ran: the streak of denials is over."""
        self._breaker.allowed(ctx)

    def leave(self, ctx: CallContext) -> None:
        if ctx.request_id is None and ctx.depth == 0:
            with self._guard:
                self._free += 1


def _no(reason: ReasonCode, message: str, detail: str, suggestion: str = "") -> Refusal:
    return Refusal(Step.ADMIT, reason, message, suggestion, detail)
