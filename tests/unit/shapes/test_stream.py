"""Streams put together, cut at every byte, and bent: in the loop, and at the gate of the wrapped client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gateway
from examples.scripted_openai import Call, CallTools, Raw, Say
from examples.scripted_openai.stream import chat_events, responses_events
from gateway.domain.decision import StopReason
from gateway.loop import Ended, Finished, ModelUnavailable, Stopped
from gateway.shapes.stream import BadStream, ChatStream, ResponsesStream
from gateway.shapes.turns import Unusable
from tests.unit.loop_bench import (
    Api,
    Bench,
    How,
    answers,
    asked,
    assert_goes_on,
    chat_raw,
    each_api,
    function_call,
    prompt,
    responses_raw,
)

GIVEN = {"key": 'a "quote", a \u00e9 and a \\ '}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path) as made:
        yield made


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


def whole(api: Api, *ids: str, text: str = "Looking.") -> dict[str, Any]:
    """One honest answer: text, then calls of `look_up`."""
    arguments = json.dumps(GIVEN)
    if api == "chat":
        raw = chat_raw({"content": text, "tool_calls": [asked("look_up", i, arguments) for i in ids]}, "tool_calls")
    else:
        said = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
        said["content"] = [{"type": "output_text", "text": text, "annotations": []}]
        raw = responses_raw(said, *(function_call("look_up", i, arguments, id=f"fc_{i}") for i in ids))
    assert isinstance(raw.body, dict)
    return raw.body


def events(api: Api, body: dict[str, Any]) -> list[bytes]:
    return list(chat_events(body) if api == "chat" else responses_events(body))


# the loop


@pytest.mark.parametrize("how", ["stream", "async stream"])
@each_api
def test_a_streamed_conversation_is_the_same_conversation(bench: Bench, api: Api, how: How) -> None:
    both = CallTools((Call("look_up", GIVEN), Call("look_up", {"key": "b"})), text="Looking.")
    ended = {}
    ways: dict[bool, How] = {False: "sync" if how == "stream" else "async", True: how}
    for stream, way in ways.items():
        model = bench.serve(both, Say("Done."))
        ended[stream] = run(model.run(bench.session(conversation=f"c-{stream}"), api=api, how=way))
        assert isinstance(ended[stream], Finished)
    assert [k for k, _ in answers(ended[True].messages).items()] == [
        k for k, _ in answers(ended[False].messages).items()
    ]
    assert ended[True].text == ended[False].text == "Done."
    assert sorted(map(str, bench.done)) == sorted(map(str, [("look_up", GIVEN["key"]), ("look_up", "b")] * 2))
    assert_goes_on(bench, api, ended[True].messages)


@pytest.mark.parametrize("how", ["stream", "async stream"])
@each_api
def test_unchecked_text_is_heard_in_its_order(bench: Bench, api: Api, how: How) -> None:
    heard: list[str] = []
    model = bench.serve(CallTools((Call("look_up", {"key": "b"}),), text="One moment. "), Say("All of it is done."))
    ended = run(model.run(bench.session(), api=api, how=how, on_unchecked_text=heard.append))
    assert isinstance(ended, Finished)
    assert "".join(heard) == "One moment. All of it is done."
    assert len(heard) > 3


def over_http(bench: Bench, api: Api, body: bytes, how: How = "stream", *, wrapped: bool = False) -> Ended:
    """Run a conversation whose model answers with these bytes, through the real client and no socket."""

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)

    session, transport = bench.session(), httpx2.MockTransport(answer)
    client: Any
    if how == "stream":
        client = openai.OpenAI(api_key="k", max_retries=0, http_client=httpx2.Client(transport=transport))
    else:
        client = openai.AsyncOpenAI(api_key="k", max_retries=0, http_client=httpx2.AsyncClient(transport=transport))
    if wrapped:
        client = gateway.openai(client, session)
    result: Ended = run(session.run(client, model="m", stream=True, **prompt(api, "go")))
    return result


def assert_executes_nothing(bench: Bench, api: Api, body: bytes, how: How, *, wrapped: bool) -> None:
    """Whatever the stream was, the conversation is as long as it was."""
    try:
        ended: Ended | ModelUnavailable = over_http(bench, api, body, how, wrapped=wrapped)
    except ModelUnavailable as unavailable:
        ended = unavailable
    if isinstance(ended, ModelUnavailable) and wrapped:  # the client stumbles over nothing but an error of the API
        assert isinstance(ended.__cause__, openai.APIError), body[-200:]
    assert isinstance(ended, Stopped | ModelUnavailable), body[-200:]
    assert (len(ended.messages), bench.done) == (1, []), body[-200:]


def assert_recorded(bench: Bench, times: int, *, wrapped: bool) -> None:
    """Each of so many bad streams ended its loop on record, and the wrap has said of some what it held back."""
    assert len(bench.records("loop.ended")) == times
    assert bool(bench.records("request.governed")) == wrapped
    assert bench.records("call.intent") == []


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "wrapped"])
@pytest.mark.parametrize("how", ["stream", "async stream"])
@each_api
def test_a_stream_cut_anywhere_executes_nothing(bench: Bench, api: Api, how: How, wrapped: bool) -> None:
    made = events(api, whole(api, "call_1", text="Hm."))
    complete = b"".join(made)
    # the last event that matters: the one that ends the turn; what comes after it is no part of it
    end = len(complete) - (len(made[-1]) if api == "chat" else 0)
    last = len(b"".join(made[: -2 if api == "chat" else -1]))
    cuts = (*range(0, last, 101), *range(last, end - 2, 23), end - 3)  # each byte of a call: test_bytes.py
    for cut in cuts:
        assert_executes_nothing(bench, api, complete[:cut], how, wrapped=wrapped)
    assert_recorded(bench, len(cuts), wrapped=wrapped)


@each_api
def test_a_connection_cut_between_events_executes_nothing_and_the_conversation_goes_on(bench: Bench, api: Api) -> None:
    body = whole(api, "call_1")
    sizes = [len(each) for each in events(api, body)]
    for number in range(0, len(sizes) - 1, 3):
        model = bench.serve(Raw(body, cut=sum(sizes[:number]) + 5))
        with pytest.raises(ModelUnavailable) as caught:
            run(model.run(bench.session(), api=api, stream=True))
        assert bench.done == []
    assert_goes_on(bench, api, caught.value.messages)


# the assemblers


Event = dict[str, Any]


def data(raw: bytes) -> Event:
    found: Event = json.loads(next(line for line in raw.splitlines() if line.startswith(b"data:"))[5:])
    return found


def assemble(api: Api, given: list[Event]) -> Any:
    made = ChatStream() if api == "chat" else ResponsesStream()
    for each in given:
        made.add(each)
    return made.result()


def honest(api: Api) -> list[Event]:
    return [data(each) for each in events(api, whole(api, "call_1", "call_2")) if b"[DONE]" not in each]


@each_api
def test_what_was_cut_into_events_comes_together_again(api: Api) -> None:
    body = assemble(api, honest(api))
    if api == "chat":
        calls = [(c["id"], c["function"]["arguments"]) for c in body["choices"][0]["message"]["tool_calls"]]
    else:
        calls = [(c["call_id"], c["arguments"]) for c in body["output"][1:]]
    assert calls == [("call_1", json.dumps(GIVEN)), ("call_2", json.dumps(GIVEN))]


def _with(events: list[Event], at: int, event: Event) -> list[Event]:
    return [*events[:at], event, *events[at:]]


def _chunk(delta: Any, finish: Any = None, index: Any = 0) -> Event:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


def _call(**more: Any) -> Event:
    return _chunk({"tool_calls": [more]})


BENT_CHAT: dict[str, Event] = {
    "another id": _call(index=1, id="call_9", function={"arguments": ""}),
    "another name": _call(index=1, function={"name": "pay", "arguments": ""}),
    "another type": _call(index=1, type="custom", custom={"input": ""}),
    "a place too far": _call(index=7, id="call_9", function={"name": "pay", "arguments": "{}"}),
    "a place before the first": _call(index=-1, function={"arguments": "x"}),
    "a place that is no number": _call(index="0", function={"arguments": "x"}),
    "a place that is true": _call(index=True, function={"arguments": "x"}),
    "no place": _call(function={"arguments": "x"}),
    "a beginning without an id": _call(index=2, function={"name": "pay", "arguments": "{}"}),
    "a piece that is no text": _call(index=1, function={"arguments": {"x": 1}}),
    "a body that is no object": _call(index=1, function="{}"),
    "a call that is no object": _chunk({"tool_calls": ["x"]}),
    "calls that are no list": _chunk({"tool_calls": {"0": {}}}),
    "a delta that is no object": _chunk("x"),
    "a delta that is a list": _chunk([1]),
    "content that is no text": _chunk({"content": ["x"]}),
    "another choice": _chunk({"content": "x"}, index=1),
    "another role": _chunk({"role": "tool"}),
    "another end": _chunk({}, "stop"),
    "two choices": {"choices": [{}, {}]},
    "no choices": {"object": "chat.completion.chunk"},
}


@pytest.mark.parametrize("name", BENT_CHAT, ids=lambda name: f"chat-{name}")
def test_a_chat_stream_that_contradicts_itself_is_bad(name: str) -> None:
    good = honest("chat")
    at = len(good) if name == "another end" else len(good) - 1
    with pytest.raises(BadStream):
        assemble("chat", _with(good, at, BENT_CHAT[name]))


LATE: dict[str, Event] = {
    "a call": _call(index=2, id="call_9", type="function", function={"name": "pay", "arguments": "{}"}),
    "a piece": _call(index=1, function={"arguments": " "}),
    "text": _chunk({"content": "more"}),
    "a legacy call": _chunk({"function_call": {"name": "pay"}}),
}


@pytest.mark.parametrize("late", LATE.values(), ids=[f"chat-{name}" for name in LATE])
def test_nothing_is_said_after_finish_reason(late: Event) -> None:
    with pytest.raises(BadStream):
        assemble("chat", [*honest("chat"), late])


def test_an_empty_last_chunk_and_the_usage_are_no_contradiction() -> None:
    more = [_chunk({"content": ""}, "tool_calls"), {"choices": [], "usage": {"total_tokens": 1}}]
    assert not isinstance(assemble("chat", [*honest("chat"), *more]), Unusable)


def _of(kind: str, **more: Any) -> Event:
    return {"type": f"response.{kind}", **more}


BENT_RESPONSES: dict[str, Event] = {
    "a piece of nothing": _of("function_call_arguments.delta", output_index=9, delta="x"),
    "a piece of a message": _of("function_call_arguments.delta", output_index=0, delta="x"),
    "a piece of what is done": _of("function_call_arguments.delta", output_index=1, delta="x"),
    "a piece without a place": _of("function_call_arguments.delta", delta="x"),
    "a piece that is no text": _of("function_call_arguments.delta", output_index=2, delta=7),
    "done twice": _of("output_item.done", output_index=1, item=function_call("look_up")),
    "an item out of place": _of("output_item.added", output_index=7, item=function_call("pay", "call_9")),
    "an item that is none": _of("output_item.added", output_index=3, item="x"),
    "a call that was never done": _of("output_item.added", output_index=3, item=function_call("pay", "call_9")),
    "an end without a response": _of("completed"),
    "an order of its own": _of("in_progress", sequence_number=0),
    "an error": {"type": "error", "message": "x"},
}


@pytest.mark.parametrize("name", BENT_RESPONSES, ids=lambda name: f"responses-{name}")
def test_a_responses_stream_that_contradicts_itself_is_bad(name: str) -> None:
    good = honest("responses")
    with pytest.raises(BadStream):
        assemble("responses", _with(good, len(good) - 1, BENT_RESPONSES[name]))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("response.function_call_arguments.done", {"arguments": "{}"}),
        ("response.function_call_arguments.delta", {"item_id": "fc_call_2"}),
        ("response.output_item.done", {"item": function_call("look_up", "call_9", json.dumps(GIVEN))}),
        ("response.output_item.done", {"item": function_call("pay", "call_1", json.dumps(GIVEN))}),
        ("response.output_item.done", {"item": function_call("look_up", "call_1", "{}")}),
        ("response.output_item.done", {"item": {"type": "message", "content": []}}),
    ],
    ids=[f"responses-{which}" for which in ("arguments", "item id", "call id", "name", "arguments again", "kind")],
)
def test_an_item_ends_as_it_began(kind: str, change: Event) -> None:
    good = honest("responses")
    at = next(i for i, each in enumerate(good) if each["type"] == kind and each["output_index"] == 1)
    last = good[-1] | {"response": good[-1]["response"] | {"output": []}}  # as servers write it that only stream
    with pytest.raises(BadStream):
        assemble("responses", [*good[:at], good[at] | change, *good[at + 1 : -1], last])


def test_the_last_word_must_hold_what_was_streamed() -> None:
    good = honest("responses")
    body = good[-1]["response"]
    for output in ([*body["output"], function_call("pay", "call_9")], body["output"][:2], ["x"], "x"):
        with pytest.raises(BadStream):
            assemble("responses", [*good[:-1], good[-1] | {"response": body | {"output": output}}])
    assert (
        assemble("responses", [*good[:-1], good[-1] | {"response": body | {"output": []}}])["output"] == body["output"]
    )


@each_api
def test_a_stream_without_its_end_is_cut_off(api: Api) -> None:
    assert assemble(api, honest(api)[:-1]) == Unusable(StopReason.TRUNCATED)


def test_nothing_comes_after_the_last_word() -> None:
    with pytest.raises(BadStream):
        assemble("responses", [*honest("responses"), _of("in_progress", sequence_number=999)])


KEYS = (
    *("choices", "index", "delta", "tool_calls", "function", "arguments", "id", "name", "finish_reason", "type"),
    *("item", "output_index", "response", "output", "status", "call_id", "sequence_number", "content", "role"),
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 5) | st.sampled_from(["", "x", "call_1", "function", "assistant"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)
KINDS = st.sampled_from(
    (
        "error",
        "response.output_item.added",
        "response.output_item.done",
        "response.completed",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_text.delta",
    )
)


@given(st.lists(st.tuples(KINDS, JSON_VALUES), max_size=6))
def test_no_events_surprise_an_assembler(given: list[tuple[str, Any]]) -> None:
    for made in (ChatStream(), ResponsesStream()):
        try:
            for kind, value in given:
                made.add({"type": kind, **value} if isinstance(value, dict) else {"type": kind, "choices": value})
        except BadStream:
            continue
        assert isinstance(made.result(), dict | Unusable)
