"""Reading calls and writing answers, for loops that hosts write themselves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from openai.types.chat import ChatCompletionMessage
from openai.types.responses import Response

from gateway.domain.call import ToolCall
from gateway.domain.errors import UsageError
from gateway.shapes.calls import MAX_ID_CHARS, read_calls
from tests.unit.loop_bench import asked, function_call


def test_chat_calls_as_objects_of_the_client_and_as_dictionaries() -> None:
    calls = [asked("look_up", "call_1", '{"key": 1}'), asked("pay", "call_2")]
    message = ChatCompletionMessage.model_validate({"role": "assistant", "tool_calls": calls})
    for items in (calls, message.tool_calls):
        read = read_calls(items)
        assert read.format == "chat"
        assert read.calls == (ToolCall("call_1", "look_up", '{"key": 1}'), ToolCall("call_2", "pay", "{}"))


def test_a_whole_responses_output_may_be_given() -> None:
    output = [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "message", "id": "msg_1", "role": "assistant", "content": [], "status": "completed"},
        function_call("look_up"),
    ]
    whole = Response.model_construct(output=output)
    assert read_calls(whole.output) == read_calls(output)
    read = read_calls(output)
    assert (read.format, read.calls) == ("responses", (ToolCall("call_1", "look_up", "{}"),))


@pytest.mark.parametrize("nothing", [None, [], ()])
def test_no_calls(nothing: Any) -> None:
    assert read_calls(nothing).calls == ()


@pytest.mark.parametrize(
    "item",
    [
        {"id": "c", "type": "custom", "custom": {}, "function": {"name": "look_up", "arguments": "{}"}},
        {"id": "c", "function": "look_up"},
        {"type": "computer_call", "call_id": "c", "name": "look_up"},
        function_call("look_up", "c", caller={"type": "program", "caller_id": "p"}),
        {"call_id": "c", "name": "look_up", "arguments": "{}"},
    ],
    ids=str,
)
def test_what_can_be_answered_but_is_no_call_of_ours_calls_nothing(item: dict[str, Any]) -> None:
    [call] = read_calls([item]).calls
    assert (call.id, call.name) == ("c", None)


@pytest.mark.parametrize(
    "item",
    [
        {"id": "c", "type": "custom", "custom": {"name": "look_up", "input": "x"}},
        {"type": "custom_tool_call", "call_id": "c", "name": "look_up", "input": "x"},
    ],
    ids=["chat", "responses"],
)
def test_free_text_is_the_argument_input(item: dict[str, Any]) -> None:
    [call] = read_calls([item]).calls
    assert (call.id, call.name, call.arguments) == ("c", "look_up", {"input": "x"})


def test_a_namespace_is_part_of_the_name() -> None:
    [call] = read_calls([function_call("look_up", "c", namespace="files")]).calls
    assert call.name == "files__look_up"


@pytest.mark.parametrize(
    "item",
    [
        asked("look_up", ""),
        asked("look_up", "x" * (MAX_ID_CHARS + 1)),
        asked("look_up", "\ud800"),
        {"type": "function", "function": {"name": "look_up", "arguments": "{}"}},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "mcp_call", "id": "mcp_1", "name": "look_up", "arguments": "{}"},
        function_call("look_up", ""),
        "look_up",
        SimpleNamespace(id="c"),
    ],
    ids=["empty", "long", "half a character", "none", "searched", "mcp", "empty, items", "a string", "an object"],
)
def test_what_could_never_be_answered_is_an_error_of_the_caller(item: object) -> None:
    with pytest.raises(UsageError):
        read_calls([item])


def test_the_two_apis_are_not_mixed() -> None:
    with pytest.raises(UsageError):
        read_calls([asked("look_up"), function_call("look_up", "call_2")])
