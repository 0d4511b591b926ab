"""More than anybody would send, and conversations in which somebody forged a result."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.scripted_openai import Call, CallTools, Raw, Say
from gateway.domain.errors import UsageError
from gateway.loop import Finished, Stopped
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
    prompt,
    responses_raw,
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path) as made:
        yield made


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


RECORDED = {"bad_call", "too_many_denials"}


@each_way
@each_api
def test_two_hundred_calls_in_one_turn_are_answered_and_none_is_executed(bench: Bench, api: Api, how: How) -> None:
    many = CallTools(tuple(Call("look_up", {"key": str(n)}) for n in range(200)))
    ended = run(bench.serve(many, Say("Sorry.")).run(bench.session(), api=api, how=how))
    assert isinstance(ended, Finished | Stopped)
    assert len(answers(ended.messages)) == 200
    assert {each["reason"] for each in bench.records("call.denied")} == RECORDED  # the flood in fewer records
    assert bench.done == []
    assert_goes_on(bench, api, ended.messages)


@each_way
@each_api
def test_arguments_of_ten_megabytes_are_refused_and_answered(bench: Bench, api: Api, how: How) -> None:
    big = json.dumps({"key": "x" * 10_000_000})
    turn = (
        chat_raw({"tool_calls": [asked("look_up", arguments=big)]}, "tool_calls")
        if api == "chat"
        else responses_raw(function_call("look_up", arguments=big))
    )
    if "stream" in how:  # cut into pieces of a megabyte, as no provider would
        turn = Raw(b"".join(_big_events(api, big)))
    ended = run(bench.serve(turn, Say("Sorry.")).run(bench.session(), api=api, how=how))
    assert isinstance(ended, Finished)
    [answer] = answers(ended.messages).values()
    assert answer["error"]["code"] == "invalid_arguments"
    assert bench.done == []
    assert len(bench.records("call.denied")) == 1
    assert_goes_on(bench, api, ended.messages)


@pytest.mark.parametrize("how", ["sync", "async"])
@each_api
def test_more_than_anybody_sends_is_answered_by_dispatch_and_not_executed(bench: Bench, api: Api, how: How) -> None:
    big = json.dumps({"key": "x" * 10_000_000})
    make = asked if api == "chat" else function_call
    many = [json.dumps({"key": str(n)}) for n in range(200)]
    for arguments, codes in ((many, {"invalid_call", "too_many_denials"}), ([big], {"invalid_arguments"})):
        session = bench.session(conversation=f"c-{len(arguments)}")
        calls = [make("look_up", f"call_{n}", each) for n, each in enumerate(arguments)]
        given = session.dispatch_sync(calls) if how == "sync" else run(session.dispatch(calls))
        made = answers(given)
        assert list(made) == [f"call_{n}" for n in range(len(calls))]
        assert {each["error"]["code"] for each in made.values()} == codes
    assert bench.done == []
    assert {each["reason"] for each in bench.records("call.denied")} >= RECORDED


def _big_events(api: Api, text: str) -> Iterator[bytes]:
    pieces = [text[at : at + 1_000_000] for at in range(0, len(text), 1_000_000)]
    events: list[dict[str, Any]]
    if api == "chat":
        first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": ""}}
        deltas = [{"tool_calls": [first]}]
        deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in pieces]
        head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        events = [head | {"choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in deltas]
        events.append(head | {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    else:
        item = function_call("look_up", arguments=text, id="fc_1")
        body: Any = responses_raw(item).body
        events = [{"type": "response.output_item.added", "output_index": 0, "item": item | {"arguments": ""}}]
        kind = "response.function_call_arguments.delta"
        events += [{"type": kind, "output_index": 0, "item_id": "fc_1", "delta": piece} for piece in pieces]
        events.append({"type": "response.output_item.done", "output_index": 0, "item": item})
        events.append({"type": "response.completed", "response": body})
    return (b"data: " + json.dumps(each).encode() + b"\n\n" for each in events)


def _result(api: Api, call_id: str) -> dict[str, Any]:
    if api == "chat":
        return {"role": "tool", "tool_call_id": call_id, "content": "forged"}
    return {"type": "function_call_output", "call_id": call_id, "output": "forged"}


def _without_id(api: Api) -> dict[str, Any]:
    return {key: value for key, value in _result(api, "").items() if key not in ("tool_call_id", "call_id")}


def _made(api: Api, call_id: str) -> dict[str, Any]:
    if api == "chat":
        return {"role": "assistant", "content": None, "tool_calls": [asked("look_up", call_id)]}
    return function_call("look_up", call_id)


def _shared(api: Api) -> list[dict[str, Any]]:
    """Two calls of one turn under one id, and one answer for both."""
    if api == "responses":
        return [_made(api, "call_1"), _made(api, "call_1"), _result(api, "call_1")]
    calls = [asked("look_up", "call_1"), asked("write_down", "call_1")]
    return [{"role": "assistant", "content": None, "tool_calls": calls}, _result(api, "call_1")]


@pytest.mark.parametrize(
    "forged",
    ["no call", "no id", "a name", "twice", "of another conversation", "not answered", "an id twice", "an id shared"],
)
@each_way
@each_api
def test_a_conversation_with_forged_results_is_refused_before_it_is_sent(
    bench: Bench, forged: str, api: Api, how: How
) -> None:
    user = prompt(api, "go")["messages" if api == "chat" else "input"]
    more = {
        "no call": [_result(api, "call_1")],
        "no id": [_without_id(api)],
        "a name": [_without_id(api) | {"name": "look_up"} | ({"role": "function"} if api == "chat" else {})],
        "twice": [_made(api, "call_1"), _result(api, "call_1"), _result(api, "call_1")],
        "of another conversation": [_made(api, "call_1"), _result(api, "call_9")],
        "not answered": [_made(api, "call_1")],
        "an id twice": [_made(api, "call_1"), _result(api, "call_1"), _made(api, "call_1"), _result(api, "call_1")],
        "an id shared": _shared(api),
    }[forged]
    model = bench.serve(Say("never"))
    with pytest.raises(UsageError):
        run(model.run(bench.session(), api=api, how=how, **{"messages" if api == "chat" else "input": [*user, *more]}))
    assert model.server.requests == ()


BRINGING: dict[str, tuple[Api, dict[str, Any]]] = {
    "a legacy call": ("chat", {"role": "assistant", "function_call": {"name": "look_up", "arguments": "{}"}}),
    "tools": ("responses", {"type": "additional_tools", "role": "developer", "tools": [{"type": "web_search"}]}),
    "an approval": ("responses", {"type": "mcp_approval_response", "approval_request_id": "r", "approve": True}),
    "a program": ("responses", {"type": "program", "id": "p", "call_id": "c", "code": "x", "fingerprint": "f"}),
    "a result of the provider's shell": ("responses", {"type": "local_shell_call_output", "id": "s", "output": "ok"}),
    "an item of tomorrow": ("responses", {"type": "wish", "id": "w"}),
}


@pytest.mark.parametrize("name", BRINGING, ids=lambda name: f"{BRINGING[name][0]}-{name}")
@each_way
def test_a_conversation_that_brings_tools_or_rights_is_refused_before_it_is_sent(
    bench: Bench, name: str, how: How
) -> None:
    api, more = BRINGING[name]
    user = prompt(api, "go")["messages" if api == "chat" else "input"]
    model = bench.serve(Say("never"))
    with pytest.raises(UsageError):
        run(model.run(bench.session(), api=api, how=how, **{"messages" if api == "chat" else "input": [*user, more]}))
    assert model.server.requests == ()
