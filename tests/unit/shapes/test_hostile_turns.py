"""Turns of a model, or of a server in its place, that no honest one gives: nothing of them is run or kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.scripted_openai import Raw, call
from gateway.domain.decision import StopReason
from gateway.loop import Finished, Stopped
from tests.unit.loop_bench import (
    SECRET,
    Api,
    Bench,
    How,
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


_CUT = '{"key": "a"}'
_CALL = asked("look_up", arguments=_CUT)
_ITEM = function_call("look_up", arguments=_CUT)
_SAID = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
HOSTILE: dict[str, tuple[Api, Raw, StopReason]] = {
    "cut off": ("chat", chat_raw({"tool_calls": [_CALL]}, "length"), StopReason.TRUNCATED),
    "filtered": ("chat", chat_raw({"tool_calls": [_CALL]}, "content_filter"), StopReason.CONTENT_FILTER),
    "an end nobody knows": ("chat", chat_raw({"tool_calls": [_CALL]}, None), StopReason.INVALID_TURN),
    "refused, with calls": (
        "chat",
        chat_raw({"refusal": "I will not.", "tool_calls": [_CALL]}, "tool_calls"),
        StopReason.MODEL_REFUSED,
    ),
    "a call of tomorrow": (
        "chat",
        chat_raw({"tool_calls": [{"id": "c", "type": "wish", "wish": {"name": "x", "input": ""}}]}, "tool_calls"),
        StopReason.UNKNOWN_ITEM,
    ),
    "run by the provider": (
        "chat",
        chat_raw({"content": "ok", "executed_tools": [{"type": "python"}]}),
        StopReason.UNKNOWN_ITEM,
    ),
    "spoken": ("chat", chat_raw({"audio": {"id": "a", "data": "", "transcript": ""}}), StopReason.UNKNOWN_ITEM),
    "an id twice": ("chat", chat_raw({"tool_calls": [_CALL, _CALL]}, "tool_calls"), StopReason.INVALID_TURN),
    "a legacy end without a call": ("chat", chat_raw({"content": "ok"}, "function_call"), StopReason.LEGACY_CALL),
    "no id": ("chat", chat_raw({"tool_calls": [_CALL | {"id": ""}]}, "tool_calls"), StopReason.INVALID_TURN),
    "the user's words": ("chat", chat_raw({"role": "user", "content": "yes"}), StopReason.INVALID_TURN),
    "two choices": ("chat", Raw({"choices": [{}, {}]}), StopReason.INVALID_TURN),
    "no object": ("chat", Raw(b'"hello"'), StopReason.INVALID_TURN),
    "incomplete": (
        "responses",
        responses_raw(_ITEM, status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        StopReason.TRUNCATED,
    ),
    "an incomplete call": ("responses", responses_raw(_ITEM | {"status": "incomplete"}), StopReason.TRUNCATED),
    "incomplete, filtered": (
        "responses",
        responses_raw(_ITEM, status="incomplete", incomplete_details={"reason": "content_filter"}),
        StopReason.CONTENT_FILTER,
    ),
    "failed": (
        "responses",
        responses_raw(_ITEM, status="failed", error={"code": "server_error", "message": "x"}),
        StopReason.MODEL_FAILED,
    ),
    "still running": ("responses", responses_raw(_ITEM, status="in_progress"), StopReason.INVALID_TURN),
    "refused in parts": (
        "responses",
        responses_raw(_SAID | {"content": [{"type": "refusal", "refusal": "I will not."}]}, _ITEM),
        StopReason.MODEL_REFUSED,
    ),
    "searched by the provider": (
        "responses",
        responses_raw({"type": "web_search_call", "id": "ws_1", "status": "completed"}, _ITEM),
        StopReason.UNKNOWN_ITEM,
    ),
    "an item of tomorrow": (
        "responses",
        responses_raw({"type": "telepathy", "id": "t"}, _ITEM),
        StopReason.UNKNOWN_ITEM,
    ),
    "a call in the background": ("responses", responses_raw(_ITEM | {"async": True}), StopReason.UNKNOWN_ITEM),
    "a kind that is no text": ("responses", responses_raw(_ITEM, {"type": ["message"]}), StopReason.UNKNOWN_ITEM),
    "a program's call": (
        "responses",
        responses_raw(_ITEM | {"caller": {"type": "program", "caller_id": "p"}}),
        StopReason.UNKNOWN_ITEM,
    ),
    "an id twice, items": ("responses", responses_raw(_ITEM, _ITEM), StopReason.INVALID_TURN),
    "an image for an answer": (
        "responses",
        responses_raw(_SAID | {"content": [{"type": "output_image", "data": ""}]}),
        StopReason.INVALID_TURN,
    ),
}


# Where the pieces of a stream already say so, they say it in their own way.
STREAMED = {
    "an end nobody knows": StopReason.TRUNCATED,
    "an incomplete call": StopReason.TRUNCATED,
    "still running": StopReason.INVALID_TURN,
}


@each_way
@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: f"{HOSTILE[name][0]}-{name}")
def test_a_turn_that_cannot_be_used_is_not_executed_and_not_kept(bench: Bench, name: str, how: How) -> None:
    api, turn, reason = HOSTILE[name]
    stream = "stream" in how
    model = bench.serve(call("look_up", key="first"), turn)
    if stream and name in ("no object", "two choices"):
        pytest.skip("no stream can say this")
    ended = run(model.run(bench.session(), api=api, how=how))
    assert isinstance(ended, Stopped)
    assert ended.reason is (STREAMED.get(name, reason) if stream else reason)
    reason = ended.reason
    assert ended.message_for_user
    assert bench.done == [("look_up", "first")]
    assert [record["reason"] for record in bench.records("loop.ended")] == [reason]
    assert_goes_on(bench, api, ended.messages)


@each_way
@pytest.mark.parametrize("finish", ["function_call", "stop"])
def test_c137_a_legacy_function_call_is_refused_and_recorded(bench: Bench, finish: str, how: How) -> None:
    legacy = {"function_call": {"name": "look_up", "arguments": _CUT}}
    ended = run(bench.serve(chat_raw(legacy, finish)).run(bench.session(), how=how))
    assert isinstance(ended, Stopped)
    assert ended.reason is StopReason.LEGACY_CALL
    assert bench.done == []
    assert [record["reason"] for record in bench.records("loop.ended")] == ["legacy_call"]


@each_way
@each_api
def test_an_id_of_an_earlier_turn_is_not_used_again(bench: Bench, api: Api, how: How) -> None:
    turn = chat_raw({"tool_calls": [_CALL]}, "tool_calls") if api == "chat" else responses_raw(_ITEM)
    ended = run(bench.serve(turn, turn).run(bench.session(), api=api, how=how))
    assert isinstance(ended, Stopped)
    assert ended.reason is StopReason.INVALID_TURN
    assert bench.done == [("look_up", "a")]


def test_the_models_refusal_is_what_the_user_reads(bench: Bench) -> None:
    ended = run(bench.serve(chat_raw({"refusal": "I will not."})).run(bench.session()))
    assert isinstance(ended, Stopped)
    assert ended.message_for_user == "I will not."


def test_a_refusal_is_checked_like_an_answer(bench: Bench) -> None:
    ended = run(bench.serve(chat_raw({"refusal": f"Not with {SECRET}."})).run(bench.session()))
    assert isinstance(ended, Stopped)
    assert SECRET not in str(ended)


def test_reasoning_that_led_nowhere_is_not_sent_back(bench: Bench) -> None:
    """The API refuses reasoning without the item that followed from it."""
    turn = responses_raw({"type": "reasoning", "id": "rs_1", "summary": []})
    ended = run(bench.serve(turn).run(bench.session(), api="responses"))
    assert isinstance(ended, Finished)
    assert ended.text == ""
    assert [item.get("type") for item in ended.messages] == [None]
