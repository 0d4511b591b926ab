"""The governed loop: ask the model, take its calls through the gateway, answer them, until it says something final.

Guarantees: every call id is answered exactly once, after the message that made it, or the turn is not kept at all, so
the conversation handed back is always one that the API accepts (C134, C135); a turn that was cut off, or that holds
anything but text and calls of ours, is not executed (C137); and no final answer leaves before it was checked (LLM02).
A streamed turn is put together first and read as a whole. What the model says beside its calls, and its reasoning,
stays in the conversation unchecked: show users `text`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from gateway.domain.call import Denied, Outcome, Parked, Released, ToolCall
from gateway.domain.decision import ReasonCode, StopReason
from gateway.domain.errors import AuditUnavailable, ComponentFault, UsageError
from gateway.domain.event import LoopEnded
from gateway.paused import Held, Paused, PausedRefused, Progress, open_paused, pause
from gateway.shapes.answers import content, write_answer
from gateway.shapes.calls import custom_ids
from gateway.shapes.incoming import ResponseRefused
from gateway.shapes.requests import check_pairs, check_params, read_items, request_body
from gateway.shapes.search import deferred_names
from gateway.shapes.stream import BadStream, assembler
from gateway.shapes.structured import Form, NotAsAsked, form_of, parse_answer, take_reply_model
from gateway.shapes.turns import Turn, Unusable, call_ids, called_tools, read_turn, write_said

if TYPE_CHECKING:
    from gateway.session import Session

_SORRY = "The assistant could not finish this request."
_TELL_USER: dict[StopReason, str] = {
    StopReason.TURN_BUDGET: "The assistant took too many steps and was stopped.",
    StopReason.CALL_BUDGET: "The assistant used all the actions it may take in this conversation.",
    StopReason.TOO_MANY_DENIALS: "The assistant kept asking for things it may not do and was stopped.",
    StopReason.REPEATED_DENIAL: "The assistant kept asking for one thing that it may not do and was stopped.",
    StopReason.KILL_SWITCH: "The assistant's actions are switched off at the moment.",
    StopReason.MODEL_REFUSED: "The assistant declined this request.",
    StopReason.ANSWER_REFUSED: "The assistant's answer was held back because it held something confidential.",
    StopReason.ANSWER_HELD: "A person looks at the assistant's answer first and will get back to you.",
    StopReason.HANDED_OVER: "This conversation was handed to a person, who will get back to you.",
}
_ENDS: dict[ReasonCode, StopReason] = {
    ReasonCode.CALL_BUDGET: StopReason.CALL_BUDGET,
    ReasonCode.TOO_MANY_DENIALS: StopReason.TOO_MANY_DENIALS,
    ReasonCode.KILL_SWITCH: StopReason.KILL_SWITCH,
}
_TOKEN_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")


@final
@dataclass(frozen=True, slots=True)
class Finished:
    """The model's answer, checked. `messages` is the conversation to go on from (Responses: its items).

    `pending` are requests that were answered "pending", or with a draft, and waited when they were. `turns` and `calls`
    count this run. `form` says what the provider promised about the text (`json_object` is weaker than `json_schema`:
    JSON of any shape), and `parsed` is the text as a value of that form, or of the pydantic model that was asked for.
    """

    text: str
    messages: list[dict[str, Any]]
    pending: tuple[str, ...]
    turns: int
    calls: int
    form: Form = "text"
    parsed: Any = None


@final
@dataclass(frozen=True, slots=True)
class Stopped:
    """The run was ended before an answer could be handed over; recorded. `message_for_user` may be shown.

    `messages` leaves out a turn that could not be used, so the conversation is valid and may go on. `for_person` is an
    answer that was held back for a person to read (`answer: {on_secret: hand_over}`): never show it to the user. With
    `deliver_with` the last of `pending` is the request to deliver it, which approvers see and `resume` redeems.
    """

    reason: StopReason
    message_for_user: str
    messages: list[dict[str, Any]]
    pending: tuple[str, ...]
    turns: int
    calls: int
    for_person: str = ""


Ended = Finished | Paused | Stopped
MODEL_UNAVAILABLE, PAUSED_REFUSED = "model_unavailable", "paused_refused"  # how records name an end by exception


class ModelUnavailable(ComponentFault):
    """The model could not be asked; the client's own error is `__cause__`.

    `messages` is the conversation so far, with all that was executed: run again from it, not from the beginning.
    """

    def __init__(self, cause: Exception, messages: list[dict[str, Any]]) -> None:
        super().__init__(f"the model could not be asked ({type(cause).__name__}); go on from `messages` of this error")
        self.messages = messages


async def run(
    session: Session,
    client: Any,
    *,
    model: str,
    messages: object = None,
    input: object = None,
    paused: Paused | None = None,
    tags: Collection[str] = (),
    only: Collection[str] | None = None,
    deferred: Collection[str] = (),
    on_unchecked_text: Callable[[str], None] | None = None,
    **params: Any,
) -> Ended:
    """Run one governed conversation with an `openai.AsyncOpenAI` or `openai.OpenAI` client (the latter in a thread).

    Give exactly one of `messages` (Chat Completions), `input` (Responses; items are sent again each turn, so with
    `store=False` a reasoning model needs `include=["reasoning.encrypted_content"]`) and `paused`. Other parameters go
    to the model; with `paused` they come on top of those the run began with. `response_format` (chat) and `text_format`
    (Responses) may be a pydantic model. `tags`, `only` and `deferred` are those of `Session.tools`.

    With `stream=True` turns are streamed; `on_unchecked_text` then gets each piece of text before anything was checked,
    and with a blocking client it is called in another thread. Raises UsageError, ModelUnavailable, PausedRefused.
    """
    if sum(given is not None for given in (messages, input, paused)) != 1:
        raise UsageError("give run() exactly one of messages=, input= and paused=")
    if paused is not None:
        try:
            progress = open_paused(paused, session.engine.seal, _place(session))
        except PausedRefused:
            await _ended(session, PAUSED_REFUSED, 0, 0)
            raise
        api = progress.format
    else:
        api = "chat" if input is None else "responses"
        progress = Progress(api, read_items(api, messages if input is None else input), {})
        check_pairs(api, progress.items, stored="previous_response_id" in params)
    reply_model = take_reply_model(api, params)
    progress.params |= check_params(params, session.engine.policy().requests)
    if on_unchecked_text is not None and not progress.params.get("stream"):
        raise UsageError("`on_unchecked_text` needs `stream=True`")
    subset = {"tags": tags, "only": only, "deferred": deferred}
    return await _Loop(session, client, model, progress, subset, on_unchecked_text, reply_model).go()


@final
class _Loop:
    def __init__(
        self,
        session: Session,
        client: Any,
        model: str,
        progress: Progress,
        subset: dict[str, Any],
        on_unchecked_text: Callable[[str], None] | None,
        reply_model: Any,
    ) -> None:
        self._session = session
        self._client = client
        self._model = model
        self._so_far = progress
        self._subset = subset
        self._deferred: frozenset[str] = frozenset()  # in the request at hand
        self._heard = on_unchecked_text
        self._reply_model = reply_model
        self._asked_again = 0  # of the turn at hand

    async def go(self) -> Ended:
        ended = await self._settle() if self._so_far.held else None
        while ended is None:
            ended = await self._turn()
        return ended

    async def _turn(self) -> Ended | None:
        """One turn of the model. None: go on."""
        now = self._so_far
        if now.turns >= self._session.engine.policy().turns_per_run:
            return await self._stop(StopReason.TURN_BUDGET)
        response = await self._ask()
        now.turns += 1
        cut = isinstance(response, Unusable)
        used = call_ids(now.items)
        turn = response if isinstance(response, Unusable) else read_turn(now.format, response, used, self._deferred)
        if isinstance(turn, Unusable):
            if turn.reason is StopReason.TRUNCATED and not cut and self._may_ask_again():
                self._asked_again += 1
                return None
            said = (await self._session.check_answer(turn.said, whole=False)).text if turn.said else None
            return await self._stop(turn.reason, said)
        self._asked_again = 0
        if not turn.calls:
            return await self._finish(turn)
        now.items += turn.kept
        now.calls += len(turn.calls)
        outcomes = await self._session.judge(turn.calls)
        now.held = [
            Held(call.id, outcome.tool, outcome.request_id, None)
            if isinstance(outcome, Parked) and not outcome.draft
            else Held(call.id, outcome.tool, "", content(outcome))
            for call, outcome in zip(turn.calls, outcomes, strict=True)
        ]
        now.pending += [each.request_id for each in outcomes if isinstance(each, Parked) and each.draft]
        return await self._go_on(outcomes, repeated=self._repeated(turn.calls, outcomes))

    def _repeated(self, calls: Sequence[ToolCall], outcomes: Sequence[Outcome]) -> bool:
        """Count each denial of this run; True once the very same call got the same no as often as it may be made."""
        engine, counted = self._session.engine, self._so_far.denied
        most = 0
        for call, outcome in zip(calls, outcomes, strict=True):
            if isinstance(outcome, Denied):
                asked = repr((call.name, call.arguments, outcome.refusal.reason.value))
                key = engine.key.digest(asked.encode("utf-8", "backslashreplace"), domain=b"denied")
                counted[key] = counted.get(key, 0) + 1
                most = max(most, counted[key])
        return most >= engine.policy().repeats

    def _may_ask_again(self) -> bool:
        """A turn that our own token limit cut off may be asked for once more, with twice as many."""
        limited = any(isinstance(self._so_far.params.get(name), int) for name in _TOKEN_LIMITS)
        return limited and self._asked_again < self._session.engine.policy().requests.truncated_retries

    async def _settle(self) -> Ended | None:
        """After a pause: redeem what was waited for. Whatever is decided is done now, even if others still wait."""
        outcomes = []
        for index, each in enumerate(self._so_far.held):
            if each.content is None:
                outcome = await self._session.resume(each.request_id)
                outcomes.append(outcome)
                if not isinstance(outcome, Parked):
                    self._so_far.held[index] = Held(each.call_id, each.tool, each.request_id, content(outcome))
        return await self._go_on(outcomes)

    async def _go_on(self, outcomes: Sequence[Outcome], *, repeated: bool = False) -> Ended | None:
        """Answer the turn that is held, in the model's order, or keep holding it while somebody has to decide."""
        now = self._so_far
        reasons = [each.refusal.reason for each in outcomes if isinstance(each, Denied)]
        ends = [_ENDS[reason] for reason in reasons if reason in _ENDS]
        if repeated:
            ends.append(StopReason.REPEATED_DENIAL)
        hands_over = self._session.engine.policy().requests.hands_over
        if any(isinstance(each, Released) and each.failure is None and each.tool in hands_over for each in outcomes):
            ends.append(StopReason.HANDED_OVER)
        waiting = [each for each in outcomes if isinstance(each, Parked) and not each.draft]
        if waiting and not ends and self._session.defer == "pause":
            return pause(now, self._session.engine.seal, _place(self._session))
        pending = {each.request_id: content(each) for each in waiting}
        custom = custom_ids(now.items)
        for each in now.held:
            text = pending[each.request_id] if each.content is None else each.content
            now.items.append(write_answer(now.format, each.call_id, text, custom))
        now.held = []
        now.pending += pending
        return await self._stop(ends[0]) if ends else None

    async def _ask(self) -> object:
        """One request to the model: its answer, or why a streamed one cannot be used.

        A blocking client is called in a thread; what can be awaited is awaited here.
        """
        now, session = self._so_far, self._session
        tools = session.tools(now.format, called=called_tools(now.items), **self._subset)
        self._deferred = deferred_names(tools)
        rules = session.engine.policy().requests
        body = request_body(now.format, self._model, now.items, tools, now.params, rules, first=now.turns == 0)
        for name in _TOKEN_LIMITS:
            if isinstance(body.get(name), int):
                body[name] *= 2**self._asked_again
        try:
            api = self._client.chat.completions if now.format == "chat" else self._client.responses
            create = api.create
        except AttributeError as error:
            raise UsageError("run() takes an openai.AsyncOpenAI or openai.OpenAI client") from error
        try:
            answer = await asyncio.to_thread(self._create, create, body)
            if inspect.isawaitable(answer):
                answer = await answer
            return await self._joined(answer) if hasattr(answer, "__aiter__") else answer
        except (BadStream, ResponseRefused) as bad:  # the latter by a wrapped client, which reads it first
            return Unusable(bad.reason)
        except UsageError:
            raise  # a wrapped client refuses a request as we do
        except Exception as error:
            await _ended(session, MODEL_UNAVAILABLE, now.turns, now.calls)
            raise ModelUnavailable(error, now.items) from error

    def _create(self, create: Callable[..., Any], body: dict[str, Any]) -> Any:
        answer = create(**body)
        if not body.get("stream") or inspect.isawaitable(answer):
            return answer
        whole = assembler(self._so_far.format)
        with answer:  # closed as soon as it is known to be bad
            for event in answer:
                self._hear(whole.add(event))
        return whole.result()

    async def _joined(self, stream: Any) -> object:
        whole = assembler(self._so_far.format)
        async with stream:
            async for event in stream:
                self._hear(whole.add(event))
        return whole.result()

    def _hear(self, text: str) -> None:
        if text and self._heard is not None:
            self._heard(text)

    async def _finish(self, turn: Turn) -> Ended:
        now = self._so_far
        checked = await self._session.check_answer(turn.text)
        text = checked.text
        if text is None:
            if checked.request_id is not None:
                now.pending.append(checked.request_id)
            if checked.verdict == "handed_over":
                return await self._stop(StopReason.ANSWER_HELD, for_person=turn.text)
            return await self._stop(StopReason.ANSWER_REFUSED)
        form = form_of(now.format, now.params)
        try:
            parsed = parse_answer(text, form, self._reply_model)
        except NotAsAsked:
            return await self._stop(StopReason.INVALID_ANSWER)
        now.items += turn.kept if text == turn.text else write_said(text)
        return Finished(text, now.items, tuple(now.pending), now.turns, now.calls, form, parsed)

    async def _stop(self, reason: StopReason, said: str | None = None, *, for_person: str = "") -> Stopped:
        now, session = self._so_far, self._session
        await _ended(session, reason, now.turns, now.calls)
        message = said or _TELL_USER.get(reason, _SORRY)
        return Stopped(reason, message, now.items, tuple(now.pending), now.turns, now.calls, for_person)


async def _ended(session: Session, reason: str, turns: int, calls: int) -> None:
    with suppress(AuditUnavailable):  # the record has raised its alarm, and a loop may always stop
        await session.note(LoopEnded(session.principal.id, session.conversation, reason, turns, calls))


def _place(session: Session) -> tuple[str, str | None, str]:
    behalf = session.on_behalf_of
    return session.principal.id, behalf.id if behalf is not None else None, session.conversation
