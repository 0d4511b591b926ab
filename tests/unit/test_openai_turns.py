"""What a turn may be beside text and calls: in which order it is looked at, several choices, text after a call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from examples.scripted_openai import Raw, Say, call
from gateway.domain.decision import StopReason
from gateway.domain.errors import UsageError
from gateway.loop import Finished, Stopped
from gateway.shapes.incoming import ResponseRefused
from tests.unit.integrations.wrapped import ask
from tests.unit.loop_bench import (
    Api,
    Bench,
    How,
    answers,
    asked,
    assert_goes_on,
    chat_raw,
    each_api,
    each_way,
    function_call,
    responses_raw,
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path) as made:
        yield made


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


class Order(BaseModel):
    order: str


_CUT = '{"key": "a"}'
_LEGACY = {"function_call": {"name": "look_up", "arguments": _CUT}}
_CALLS = {"tool_calls": [asked("look_up", arguments=_CUT)]}
_ITEM = function_call("look_up", arguments=_CUT, id="fc_1")
_UNKNOWN = {"type": "telepathy", "id": "t_1"}


def said(text: str, kind: str = "output_text", number: int = 1) -> dict[str, Any]:
    part = {"type": kind, "refusal": text} if kind == "refusal" else {"type": kind, "text": text, "annotations": []}
    message = {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed"}
    return message | {"content": [part]}


def cut_off(why: str, *items: dict[str, Any]) -> Raw:
    return responses_raw(*items, status="incomplete", incomplete_details={"reason": why})


# Each turn has the fault that is named, and those that are looked for after it.
IN_ORDER: dict[Api, dict[StopReason, Raw]] = {
    "chat": {
        StopReason.MODEL_REFUSED: chat_raw({"refusal": "No."} | _LEGACY | _CALLS, "length"),
        StopReason.TRUNCATED: chat_raw({"content": "not json"} | _LEGACY, "length"),
        StopReason.CONTENT_FILTER: chat_raw({"content": "not json"} | _LEGACY, "content_filter"),
        StopReason.LEGACY_CALL: chat_raw({"content": "not json"} | _LEGACY, "stop"),
        StopReason.INVALID_ANSWER: chat_raw({"content": "not json"}, "stop"),
    },
    "responses": {
        StopReason.MODEL_REFUSED: cut_off("max_output_tokens", said("No.", "refusal"), _ITEM, _UNKNOWN),
        StopReason.TRUNCATED: cut_off("max_output_tokens", said("not json"), _ITEM, _UNKNOWN),
        StopReason.CONTENT_FILTER: cut_off("content_filter", said("not json"), _ITEM, _UNKNOWN),
        StopReason.UNKNOWN_ITEM: responses_raw(said("not json"), _ITEM, _UNKNOWN),
        StopReason.INVALID_ANSWER: responses_raw(said("not json")),
    },
}


@each_way
@each_api
def test_refusal_comes_before_truncation_before_the_filter_before_the_form(bench: Bench, api: Api, how: How) -> None:
    form = {"response_format" if api == "chat" else "text_format": Order}
    for reason, turn in IN_ORDER[api].items():
        ended = run(bench.serve(turn).run(bench.session(), api=api, how=how, **form))
        assert isinstance(ended, Stopped)
        assert ended.reason is reason
        assert_goes_on(bench, api, ended.messages)
    assert bench.done == []


@each_way
@each_api
def test_an_id_twice_is_neither_executed_nor_handed_over(bench: Bench, api: Api, how: How) -> None:
    twice = _CALLS["tool_calls"] * 2
    turn = chat_raw({"tool_calls": twice}, "tool_calls") if api == "chat" else responses_raw(_ITEM, _ITEM)
    ended = run(bench.serve(turn).run(bench.session(), api=api, how=how))
    assert isinstance(ended, Stopped)
    assert ended.reason is StopReason.INVALID_TURN
    assert_goes_on(bench, api, ended.messages)
    with pytest.raises(ResponseRefused):
        ask(bench, api, how, turn)[0]()
    [answer] = bench.session().dispatch_sync(twice if api == "chat" else [_ITEM, _ITEM])
    assert "invalid_call" in str(answer)
    assert bench.done == []


@each_way
def test_calls_of_a_forced_choice_end_with_stop_and_are_judged(bench: Bench, how: How) -> None:
    """The API ends such a turn with `stop`, not with `tool_calls`."""
    model = bench.serve(chat_raw(_CALLS, "stop"), Say("Done."))
    ended = run(model.run(bench.session(), how=how, tool_choice="required"))
    assert isinstance(ended, Finished)
    assert len(answers(ended.messages)) == 1
    assert bench.done == [("look_up", "a")]


@each_way
def test_text_after_a_call_in_one_turn_is_kept_and_the_call_is_made(bench: Bench, how: How) -> None:
    turn = responses_raw(said("Looking."), _ITEM, said("One moment.", number=2))
    model = bench.serve(turn, Say("Done."))
    ended = run(model.run(bench.session(), api="responses", how=how))
    assert isinstance(ended, Finished)
    assert ended.text == "Done."
    assert bench.done == [("look_up", "a")]
    sent = [item.get("type", "message") for item in model.sent[1]["input"]]
    assert sent == ["message", "message", "function_call", "message", "function_call_output"]
    client, _ = ask(bench, "responses", how, turn)
    text, calls = client()
    assert text == "Looking.One moment."
    assert [name for _, name, _ in calls] == ["look_up"]


@each_way
def test_several_choices_come_through_the_wrap_and_run_asks_for_one(bench: Bench, how: How) -> None:
    client, model = ask(bench, "chat", how, call("look_up", key="a"))
    answer = run(client.answer(n=3, tools=bench.session().tools()))
    assert model.sent[0]["n"] == 3
    ids = [choice.message.tool_calls[0].id for choice in answer.choices]
    assert len(set(ids)) == 3
    made = bench.session().dispatch_sync(answer.choices[1].message.tool_calls)
    assert list(answers(made)) == [ids[1]]
    assert bench.done == [("look_up", "a")]
    with pytest.raises(UsageError, match="`n` above 1"):
        run(model.run(bench.session(), how=how, n=2))
    assert len(model.server.requests) == 1
