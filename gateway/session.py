"""What an agent holds: one conversation of one principal, and the only public way to a tool (I11).

`dispatch` takes the tool calls of a model's message and gives back the messages that answer them, every id exactly
once. `judge` does the same with typed outcomes. `run` is the whole loop. Nothing here decides: every call goes
through `pipeline.Passage`, under one policy version from its first step to its last.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, final

from gateway.answer import CheckedAnswer, check_answer
from gateway.audit.encode import clip
from gateway.audit.stage import Record
from gateway.clear.desk import Desk
from gateway.clear.port import Sealer
from gateway.clear.refusals import request_unknown
from gateway.clear.stage import Resumable, Verdict
from gateway.clear.view import RequestView
from gateway.domain.call import CallContext, Outcome, Parked, RawCall, ToolCall
from gateway.domain.decision import NOT_NOW, ReasonCode, Refusal, Step
from gateway.domain.errors import StateUnavailable, UsageError
from gateway.domain.event import Event, RequestGoverned
from gateway.domain.ids import Principal, new_id
from gateway.domain.instant import Clock
from gateway.domain.keyed import DigestKey
from gateway.domain.scope import Scope, together
from gateway.domain.waits import Waits
from gateway.execute.stage import CURRENT
from gateway.pipeline import Passage, Stages
from gateway.shapes.answers import write_answers, write_late
from gateway.shapes.calls import MAX_ID_CHARS, Asked, Format, good_id, read_calls
from gateway.shapes.instructions import instructions
from gateway.shapes.models import RequestRules
from gateway.shapes.search import defer
from gateway.shapes.tools import ToolCost, ToolLists, tool_cost
from gateway.waiting import Awaited, Blocking, OwnLoop, Workers, drive

if TYPE_CHECKING:
    from gateway.loop import Ended

Defer = Literal["answer", "pause"]

MAX_CALLS_A_TURN = 128  # calls in one model message; more are refused one and all


class CallsParked(UsageError):
    """`dispatch` of a session with `defer="pause"` met a call that waits for a person. Use `run`, or "answer"."""

    def __init__(self, request_ids: tuple[str, ...], outcomes: tuple[Outcome, ...]) -> None:
        super().__init__(f"waiting for a person: {', '.join(request_ids)}; use session.run, or defer='answer'")
        self.request_ids = request_ids
        self.outcomes = outcomes


@final
@dataclass(frozen=True, slots=True)
class Policy:
    """One policy version as sessions need it: the stages and the tool lists (I6).

    `passage` is how its calls go through the stages: `Passage`, unless the whole process only observes. `faces` are the
    names that belong to tools with `prepare` (`policy.prepare.faces`); a draft is one in both modes.
    """

    stages: Stages
    tools: ToolLists
    desk: Desk
    inline: Mapping[str, bool]
    turns_per_run: int
    repeats: int
    on_secret: Literal["refuse", "mask", "hand_over"]
    deliver_with: str | None
    requests: RequestRules
    faces: Mapping[str, tuple[str, bool]]
    passage: type[Passage]

    @property
    def observing(self) -> bool:
        """True in observe mode: nothing is refused, in requests and answers neither."""
        return self.passage is not Passage


@final
@dataclass(frozen=True, slots=True)
class Engine:
    """What every session of one gateway shares. `policy` gives the version in force and is read once a call."""

    policy: Callable[[], Policy]
    clock: Clock
    key: DigestKey
    workers: Workers
    own: Executor
    own_loop: OwnLoop
    host_key_id: str
    host_sign: Callable[[bytes], bytes]
    seal: Sealer
    record: Record


@final
class Session:
    """One conversation. Cheap to make; all that lasts is shared by every session of the same names."""

    def __init__(
        self,
        engine: Engine,
        principal: Principal,
        conversation: str,
        on_behalf_of: Principal | None,
        defer: Defer,
        scope: Scope | None = None,
    ) -> None:
        self._engine = engine
        self.principal = principal
        self.conversation = conversation
        self.on_behalf_of = on_behalf_of
        self.defer = defer
        self.scope = scope
        self._scopes = () if scope is None else (scope,)

    def tools(
        self,
        format: Format = "chat",
        *,
        tags: Collection[str] = (),
        only: Collection[str] | None = None,
        called: Collection[str] = (),
        deferred: Collection[str] = (),
    ) -> list[Any]:
        """The tools this principal may see and call, in a stable order, ready for `tools=` of the API named.

        Each is a dictionary; `Any` to a type checker, because each API of the `openai` client has types of its own.

        `tags` keeps those whose contract has at least one of them, `only` those named. Of versions of one tool the
        newest is listed, or one of `called`: what the conversation has called before. Nothing here adds a right.

        `deferred` are tags: such tools are left to the provider's tool search, which stands in the list then (Responses
        only, of models that have it). Raises UsageError for them in Chat Completions.
        """
        if deferred and format == "chat":
            raise UsageError("Chat Completions has no tool search: leave `deferred` out, or use Responses")
        policy = self._engine.policy()
        names = policy.tools.subset(self.visible(policy), tags, only, called, deferred)
        tools = policy.tools.render(names, format)
        return defer(tools, policy.tools.tagged(names, deferred)) if deferred else tools

    def tool_cost(self, format: Format = "chat", **subset: Any) -> ToolCost:
        """About how many tokens each tool of that list costs in every request, and the whole list. An estimate."""
        return tool_cost(self.tools(format, **subset))

    def instructions(self) -> str:
        """Text for the system prompt: who is asking, and the rules of this gateway. It names no tool."""
        return instructions(self.principal.id, self._engine.policy().stages.authorize.roles(self.principal))

    async def dispatch(self, tool_calls: Iterable[object]) -> list[Any]:
        """Answer the tool calls of a model's message. Returns the messages to append, in the calls' own shape.

        Each is a dictionary (`Any` as in `tools`).

        Raises UsageError for what is no message of a model's that could be answered; that is recorded.
        """
        try:
            asked = read_calls(tool_calls)
        except UsageError as unreadable:
            await self.note(self._refused(unreadable))
            raise
        return self._answers(asked, await self.judge(asked.calls))

    def dispatch_sync(self, tool_calls: Iterable[object]) -> list[Any]:
        """`dispatch` for programs without an event loop; works inside a running one too, and then blocks it."""
        try:
            asked = read_calls(tool_calls)
        except UsageError as unreadable:
            self.note_sync(self._refused(unreadable))
            raise
        return self._answers(asked, self.judge_sync(asked.calls))

    async def judge(self, calls: Sequence[ToolCall]) -> list[Outcome]:
        """Take each call through the pipeline; two or more at once. One outcome a call, in order."""
        policy = self._engine.policy()
        _check_ids(calls)
        passages = [self._passage(call, calls, policy, self._awaited()) for call in calls]
        with Passage.in_order(passages):
            if len(passages) == 1:
                return [await passages[0].govern()]
            return list(await asyncio.gather(*(each.govern() for each in passages)))

    def judge_sync(self, calls: Sequence[ToolCall]) -> list[Outcome]:
        """`judge`, blocking. One call, or calls of inline tools only, run on this very thread."""
        policy = self._engine.policy()
        _check_ids(calls)
        if len(calls) > 1 and not all(isinstance(call.name, str) and policy.inline[call.name] for call in calls):
            if self._engine.own_loop.is_current():
                raise UsageError("dispatch_sync was called on the gateway's own loop; use `await dispatch` there")
            return self._engine.own_loop.submit(self.judge(calls)).result()
        passages = [self._passage(call, calls, policy, self._blocking()) for call in calls]
        with Passage.in_order(passages):
            return [drive(each.govern()) for each in passages]

    def _passage(self, call: ToolCall, batch: Sequence[ToolCall], policy: Policy, waits: Waits) -> Passage:
        """One call of a batch. In a batch that cannot be answered properly it becomes a call of nothing, refused."""
        sound = len(batch) == 1 or (len(batch) <= MAX_CALLS_A_TURN and call.id not in _shared_ids(batch))
        name = call.name if sound else None
        face = policy.faces.get(name) if isinstance(name, str) else None
        tool, redeems = face if face is not None else (name, False)
        raw = RawCall(self._context(policy, call.id), tool, call.arguments, redeems)
        return (policy.passage if face is None else Passage)(raw, policy.stages, waits)

    async def resume(self, request_id: str) -> Outcome:
        """Redeem one parked request: every step again, under today's policy. A spent id returns its verdict (I4)."""
        return await self._resume(request_id, self._awaited())

    def resume_sync(self, request_id: str) -> Outcome:
        """`resume`, blocking."""
        return drive(self._resume(request_id, self._blocking()))

    def confirm(self, request_id: str) -> None:
        """The requester agrees, through the host application that asked her. Never call this on a model's word."""
        _not_inside_a_tool("confirm")
        desk = self._engine.policy().desk
        ballot = desk.confirm(
            request_id,
            self.principal,
            self.on_behalf_of,
            key_id=self._engine.host_key_id,
            sign_with=self._engine.host_sign,
        )
        drive(self._engine.record.event(desk.event(ballot), self._blocking()))
        desk.cast(ballot)

    def show(self, request_id: str) -> RequestView:
        """What waits, for the user to read before she confirms it: never the model's account of it."""
        return self._engine.policy().desk.show_to(request_id, self.principal, self.on_behalf_of)

    def late_message(self, outcome: Outcome) -> Any:
        """The message that brings a deferred result into the conversation, after its call was answered `pending`."""
        return write_late(outcome)

    async def check_answer(self, text: str, *, whole: bool = True) -> CheckedAnswer:
        """What a user may read of a model's final answer; `run` asks this itself (`gateway.answer`)."""
        return await check_answer(self, text, self._awaited(), whole=whole)

    def check_answer_sync(self, text: str) -> CheckedAnswer:
        """`check_answer`, blocking."""
        return drive(check_answer(self, text, self._blocking()))

    async def run(self, client: Any, **request: Any) -> Ended:
        """The whole governed loop: `run(client, model=..., messages=...)`; see `gateway.loop.run`."""
        from gateway.loop import run  # only programs that leave the loop to us need it

        return await run(self, client, **request)

    # what the loop and the wrapped client need beside

    def visible(self, policy: Policy) -> tuple[str, ...]:
        """The tools there are in this session, under that policy, as a model calls them."""
        return policy.tools.faces(policy.stages.authorize.visible(self.principal, self._scopes))

    @property
    def engine(self) -> Engine:
        """What all sessions of this gateway share; for `loop` and the wrapped client."""
        return self._engine

    async def deliver(self, text: str, waits: Waits) -> Outcome | None:
        """Ask for a held answer to be brought to the user: a call of the policy's own tool, or None if it names none.

        Like a fallback it is the gateway's call and not the model's, so the principal needs `call` on it and no `see`.
        """
        policy = self._engine.policy()
        if policy.deliver_with is None:
            return None
        ctx = self._context(policy, new_id("answer"), fallback=True)
        call = RawCall(ctx, policy.deliver_with, {"text": text})
        return await policy.passage(call, policy.stages, waits).govern()

    async def note(self, event: Event) -> None:
        """Record what happened to the conversation as a whole."""
        await self._engine.record.event(event, self._awaited())

    def note_sync(self, event: Event) -> None:
        """`note`, blocking."""
        drive(self._engine.record.event(event, self._blocking()))

    # one call

    async def _resume(self, request_id: str, waits: Waits) -> Outcome:
        outcome = await self._redeem(request_id, waits)
        if (gone := waits.interrupted()) is not None:
            raise gone
        return outcome

    async def _redeem(self, request_id: str, waits: Waits) -> Outcome:
        _not_inside_a_tool("resume")
        policy = self._engine.policy()
        clear = policy.stages.clear
        found: Resumable | Verdict | Refusal
        named = request_id if good_id(request_id) else ""  # what no record could hold is no request either
        try:
            found = await waits.blocking(lambda: clear.look_up(named, self.principal, self.on_behalf_of))
        except StateUnavailable as fault:
            found = Refusal(Step.CLEAR, ReasonCode.STATE_UNAVAILABLE, NOT_NOW, detail=str(fault))
        if not isinstance(found, Refusal) and found.conversation != self.conversation:
            found = request_unknown("the request belongs to another conversation")
        if isinstance(found, Refusal):
            raw = RawCall(self._context(policy, named, named), "", b"")
            return await Passage(raw, policy.stages, waits).deny(found)
        by_us = found.tool == policy.deliver_with
        made_in = found.scopes if isinstance(found, Resumable) else ()
        ctx = self._context(policy, found.provider_call_id, request_id, fallback=by_us, made_in=made_in)
        raw = RawCall(ctx, found.tool, b"")
        if isinstance(found, Resumable):
            redeemed = Passage(RawCall(raw.ctx, found.tool, found.arguments), policy.stages, waits)
            with Passage.in_order((redeemed,)):
                return await redeemed.govern()
        if found.content is not None:
            return policy.stages.release.again(raw.ctx, found.tool, found.content)
        return await Passage(raw, policy.stages, waits).deny(found.refusal)

    def _context(
        self,
        policy: Policy,
        provider_call_id: str,
        request_id: str | None = None,
        *,
        fallback: bool = False,
        made_in: tuple[Scope, ...] = (),
    ) -> CallContext:
        """Who asks comes from the host (I14); inside a running tool, from the call that runs it.

        `made_in`: the scopes in which the call was made, when it is resumed. This session's own hold too.
        """
        running = CURRENT.get()
        if running is not None:
            digest = policy.stages.digest
            return running.ctx.nested(
                new_id("call"), provider_call_id, digest, running.held_keys, fallback=False, scopes=self._scopes
            )
        return CallContext(
            new_id("call"),
            provider_call_id,
            self.principal,
            self.on_behalf_of,
            self.conversation,
            policy.stages.digest,
            self._engine.clock.now(),
            self._engine.clock.monotonic_ns(),
            request_id=request_id,
            fallback=fallback,
            scopes=together((*made_in, *self._scopes)),
        )

    def _answers(self, asked: Asked, outcomes: list[Outcome]) -> list[dict[str, Any]]:
        parked = tuple(each.request_id for each in outcomes if isinstance(each, Parked) and not each.draft)
        if parked and self.defer == "pause":
            raise CallsParked(parked, tuple(outcomes))
        return write_answers(asked.format, outcomes, asked.custom)

    def _refused(self, unreadable: UsageError) -> RequestGoverned:
        """Calls that can be neither judged nor answered: whoever made them, the attempt is evidence."""
        return RequestGoverned(
            self.principal.id, self.conversation, "dispatch", "response_refused", clip(str(unreadable))
        )

    def _awaited(self) -> Awaited:
        return Awaited(self._engine.workers, self._engine.own)

    def _blocking(self) -> Blocking:
        return Blocking(self._engine.workers, self._engine.own_loop)


def _check_ids(calls: Sequence[ToolCall]) -> None:
    """Before any of them runs: an id that no record could hold is not the model's, so the host is told."""
    for call in calls:
        if not good_id(call.id):
            raise UsageError(f"a tool call needs an id of 1 to {MAX_ID_CHARS} characters, so that it can be answered")


def _not_inside_a_tool(what: str) -> None:
    """A tool runs on a model's word, and neither agreeing nor redeeming is the model's to do (I4)."""
    if CURRENT.get() is not None:
        raise UsageError(f"{what} is for the host application; a running tool cannot call it")


def _shared_ids(calls: Sequence[ToolCall]) -> frozenset[str]:
    """Ids that more than one call has: nobody could say which of them an answer is for, so none is made."""
    return frozenset(each for each, times in Counter(call.id for call in calls).items() if times > 1)
