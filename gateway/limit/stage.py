"""Step 3, limit: how often and how many (OWASP LLM10 Unbounded Consumption).

Guarantees: a conversation makes no more calls than it may, a tool is called no more often a minute and a
conversation than its contract says, and the very same call is not repeated for ever. A redeemed request was
charged when it was first made and is not charged again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import final

import orjson

from gateway.domain.call import AuthorizedCall, LimitedCall
from gateway.domain.decision import ReasonCode, Refusal, Step
from gateway.limit.counters import Counters, Usage
from gateway.policy.documents import Limits, LoopLimits

_NONE = Limits()


@final
class Limit:
    """The step. `contracts` gives each tool's own limits."""

    def __init__(
        self,
        loop: LoopLimits,
        contracts: Mapping[str, Limits],
        counters: Counters,
        lines: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        """`lines` gives for a tool that replaces others it and them: versions are counted as one tool."""
        self._lines = lines or {}
        self._loop = loop
        self._contracts = contracts
        self._counters = counters

    def __call__(self, call: AuthorizedCall, *, redeems: bool = False) -> LimitedCall | Refusal:
        """`redeems`: it names a draft, which was counted against its tool's own limits when it was prepared."""
        ctx = call.ctx
        own = _NONE if redeems else self._contracts[call.contract.name]
        tool = self._lines.get(call.contract.name, (call.contract.name,))[-1]
        if ctx.request_id is not None:
            return self.regardless(call)
        same = hash(tool) ^ hash(orjson.dumps(call.parsed.arguments, option=orjson.OPT_SORT_KEYS))
        with self._counters.guard:
            usage = self._counters.of(ctx.principal.id, ctx.conversation)
            minute = None if own.per_minute is None else self._counters.minute(ctx.principal.id, tool, ctx.started_ns)
            refusal = self._exceeded(tool, own, usage, usage.same.get(same, 0), minute)
            if refusal is not None:
                return refusal
            usage.calls += 1
            usage.tools[tool] = usage.tools.get(tool, 0) + (not redeems)
            usage.same[same] = usage.same.get(same, 0) + 1
            if minute is None:
                return LimitedCall(ctx, call.parsed, call, usage.calls, ("conversation",))
            minute.append(ctx.started_ns)
            return LimitedCall(ctx, call.parsed, call, usage.calls, ("conversation", "minute"))

    def regardless(self, call: AuthorizedCall) -> LimitedCall:
        """The call, uncounted: a redeemed request was charged before, and observe mode goes on past a limit."""
        ctx = call.ctx
        with self._counters.guard:
            calls = self._counters.of(ctx.principal.id, ctx.conversation).calls
        return LimitedCall(ctx, call.parsed, call, calls, ())

    def _exceeded(
        self, tool: str, own: Limits, usage: Usage, same: int, minute: Collection[int] | None
    ) -> Refusal | None:
        if usage.calls >= self._loop.calls_per_conversation:
            return Refusal(
                Step.LIMIT,
                ReasonCode.CALL_BUDGET,
                f"This conversation has used all its tool calls ({self._loop.calls_per_conversation}).",
                "Stop calling tools and answer with what you have.",
            )
        if own.per_conversation is not None and usage.tools.get(tool, 0) >= own.per_conversation:
            return Refusal(
                Step.LIMIT,
                ReasonCode.TOOL_BUDGET,
                f"This tool may be called {_times(own.per_conversation)} in a conversation.",
                "Go on without it.",
            )
        most = own.repeats if own.repeats is not None else self._loop.repeats
        if same >= most:
            return Refusal(
                Step.LIMIT,
                ReasonCode.REPEATED_CALL,
                f"The same call was made {_times(same)} already.",
                "Use the earlier result, or change the arguments.",
            )
        if minute is not None and own.per_minute is not None and len(minute) >= own.per_minute:
            return Refusal(
                Step.LIMIT,
                ReasonCode.RATE_LIMITED,
                f"This tool may be called {_times(own.per_minute)} a minute.",
                "Wait a minute, or go on without it.",
            )
        return None


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
