"""The scripted server's Chat Completions, through the real client."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest

from examples.scripted_openai import (
    Call,
    CallTools,
    Conversation,
    Raw,
    Rule,
    Say,
    Script,
    ScriptedOpenAI,
    call,
    in_order,
    scene,
)

USER = {"role": "user", "content": "where is A-1?"}
TOOL = {
    "type": "function",
    "function": {
        "name": "lookup",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"id": {"type": "string"}},
            "required": ["id"],
            "additionalProperties": False,
        },
    },
}


def calling(*ids: str, name: str = "lookup") -> dict[str, Any]:
    calls = [{"id": i, "type": "function", "function": {"name": name, "arguments": "{}"}} for i in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(call_id: str, content: str = "{}") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def refused(client: openai.OpenAI, messages: list[Any], **more: Any) -> openai.BadRequestError:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="scripted", messages=messages, **more)
    return caught.value


def test_a_loop_in_which_a_later_call_uses_an_earlier_result(serve) -> None:
    def second(conversation: Conversation) -> CallTools:
        found = conversation.result("lookup")
        assert isinstance(found, dict)
        return call("ship", order=found["order"])

    script = Script([scene("A-1", call("lookup", id="A-1"), second, Say("On its way."))])
    server, client = serve(script)
    messages: list[Any] = [USER]
    names = []
    while True:
        answer = client.chat.completions.create(model="scripted", messages=messages, tools=[TOOL])
        choice = answer.choices[0]
        messages.append(choice.message.model_dump(exclude_none=True))
        if not choice.message.tool_calls:
            break
        assert choice.finish_reason == "tool_calls"
        for made in choice.message.tool_calls:
            names.append((made.function.name, json.loads(made.function.arguments)))
            messages.append(result(made.id, '{"order": "O-7"}'))
    assert names == [("lookup", {"id": "A-1"}), ("ship", {"order": "O-7"})]
    assert choice.message.content == "On its way."
    assert choice.finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert len(server.requests) == 3
    assert all("authorization" not in request.headers for request in server.requests)
    assert server.requests[0].body is not None
    assert server.requests[0].body["tools"] == [TOOL]


def test_ids_are_unique_and_the_same_for_the_same_conversation(serve) -> None:
    parallel = CallTools((Call("lookup"), Call("lookup")), text="Two at once.")
    _, client = serve(Script([Rule(lambda _: True, parallel)]))

    def ids(text: str) -> list[str]:
        user: Any = {"role": "user", "content": text}
        message = client.chat.completions.create(model="m", messages=[user]).choices[0].message
        assert message.content == "Two at once."
        return [made.id for made in message.tool_calls or []]

    assert ids("one") == ids("one")
    assert len({*ids("one"), *ids("two")}) == 4


def test_a_call_of_a_tool_that_is_not_offered_and_arguments_that_are_no_json(serve) -> None:
    _, client = serve(in_order(CallTools((Call("drop_tables", "{not json", call_id="call_x"),))))
    made = client.chat.completions.create(model="m", messages=[USER], tools=[TOOL]).choices[0].message
    assert made.tool_calls is not None
    assert made.tool_calls[0].id == "call_x"
    assert made.tool_calls[0].function.name == "drop_tables"
    assert made.tool_calls[0].function.arguments == "{not json"


async def _ask_async(server: ScriptedOpenAI) -> str | None:
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key=server.api_key) as client:
        user: Any = USER
        answers = await asyncio.gather(*(client.chat.completions.create(model="m", messages=[user]) for _ in range(4)))
        return answers[-1].choices[0].message.content


def test_the_async_client_in_parallel() -> None:
    with ScriptedOpenAI(in_order(Say("hello"))) as server:
        assert asyncio.run(_ask_async(server)) == "hello"
        assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        pytest.param([USER, result("call_1")], "must be a response to a preceding", id="orphan result"),
        pytest.param(
            [USER, calling("call_1"), result("call_1"), result("call_1")],
            "Duplicate value for 'tool_call_id'",
            id="answered twice",
        ),
        pytest.param([USER, calling("call_1"), result("call_2")], "answers none", id="result of another call"),
        pytest.param(
            [USER, calling("call_1"), result("call_1"), USER, result("call_1")],
            "Duplicate value",
            id="answered again later",
        ),
        pytest.param([USER, calling("call_1", "call_1"), result("call_1")], "Duplicate tool call id", id="ids"),
        pytest.param([USER, calling("call_1")], "must be followed by tool messages", id="no result at the end"),
        pytest.param(
            [USER, calling("call_1", "call_2"), result("call_1"), USER, result("call_2")],
            "No response for: call_2",
            id="user speaks before the second result",
        ),
        pytest.param(
            [USER, calling("call_1"), {"role": "assistant", "content": "hm"}, result("call_1")],
            "must be followed",
            id="assistant speaks before the result",
        ),
        pytest.param([{"role": "robot", "content": "hi"}], "Invalid value: 'robot'", id="unknown role"),
        pytest.param([USER, {"role": "assistant", "content": None}], "expected a string, got null", id="empty turn"),
        pytest.param([USER, {"role": "assistant", "tool_calls": []}], "empty array", id="no calls in the list"),
        pytest.param([], "empty array", id="no messages"),
        pytest.param(
            [USER, calling("call_1", name="not a name"), result("call_1")], "does not match pattern", id="name"
        ),
        pytest.param([USER, calling("c" * 41), result("c" * 41)], "too long", id="id of 41 characters"),
        pytest.param([{"role": "user", "content": [{"type": "input_audio"}]}], "text and pictures only", id="sound"),
        pytest.param([{"role": "user"}], "Missing required parameter: 'messages[0].content'", id="no content"),
    ],
)
def test_messages_the_real_api_refuses(serve, messages: list[Any], says: str) -> None:
    server, client = serve(Script([Rule(lambda _: True, Say("accepted"))]))
    error = refused(client, messages)
    assert says in error.message
    assert error.type == "invalid_request_error"
    assert len(server.requests) == 1, "a refusal is not retried"
    assert server.requests[0].status == 400


def test_every_id_answered_once_in_any_order_is_accepted(serve) -> None:
    _, client = serve(Script([Rule(lambda _: True, Say("ok"))]))
    messages: Any = [
        {"role": "developer", "content": "Be brief."},
        USER,
        calling("call_1", "call_2"),
        result("call_2"),
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "{}"}]},
        USER,
    ]
    assert client.chat.completions.create(model="m", messages=messages).choices[0].message.content == "ok"


def tool(name: object = "lookup", **parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **parameters}}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        pytest.param({"tools": [tool(), tool()]}, "used twice", id="duplicate name"),
        pytest.param({"tools": [tool("no spaces")]}, "does not match pattern", id="name with a space"),
        pytest.param({"tools": [tool("lookup\n")]}, "does not match pattern", id="name with a line end"),
        pytest.param({"tools": [tool("x" * 65)]}, "too long", id="name of 65 characters"),
        pytest.param({"tools": [tool(7)]}, "expected a string", id="name is a number"),
        pytest.param({"tools": []}, "empty array", id="empty list"),
        pytest.param({"tools": [tool(f"t{i}") for i in range(129)]}, "array too long", id="129 tools"),
        pytest.param({"tools": [{"type": "function", "name": "flat"}]}, "'tools[0].function'", id="flat shape"),
        pytest.param({"tools": [{"type": "web_search"}]}, "Invalid value: 'web_search'", id="hosted tool"),
        pytest.param({"tools": [tool(parameters={"type": "string"})]}, "'type: \"object\"'", id="no object"),
        pytest.param(
            {"tools": [tool(strict=True, parameters={"type": "object", "properties": {}})]},
            "Invalid schema for function 'lookup': In context=(), 'additionalProperties'",
            id="invalid strict schema",
        ),
        pytest.param({"tools": [tool(strict=True)]}, "Invalid schema for function", id="strict without schema"),
        pytest.param({"tool_choice": "auto"}, "only allowed when 'tools'", id="choice without tools"),
        pytest.param({"parallel_tool_calls": False}, "only allowed when 'tools'", id="parallel without tools"),
        pytest.param(
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "absent"}}},
            "Tool choice 'absent' not found",
            id="forced tool absent",
        ),
        pytest.param(
            {
                "tools": [TOOL],
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [tool("absent")]},
                },
            },
            "Tool choice 'absent' not found",
            id="allowed tool absent",
        ),
        pytest.param({"tools": [TOOL], "tool_choice": "always"}, "Invalid value: 'always'", id="unknown choice"),
        pytest.param({"stream_options": {}}, "only allowed when 'stream'", id="stream options without stream"),
        pytest.param({"functions": [{"name": "f"}]}, "use 'tools'", id="legacy functions"),
    ],
)
def test_tools_and_choices_the_real_api_refuses(serve, more: dict[str, Any], says: str) -> None:
    _, client = serve(Script([Rule(lambda _: True, Say("accepted"))]))
    assert says in refused(client, [USER], **more).message


@pytest.mark.parametrize(
    "choice",
    [
        "none",
        "required",
        {"type": "function", "function": {"name": "lookup"}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [tool()]}},
    ],
)
def test_choices_of_a_tool_on_offer_are_accepted(serve, choice: Any) -> None:
    _, client = serve(in_order(Say("ok")))
    tools: Any = [TOOL]
    answer = client.chat.completions.create(model="m", messages=[USER], tools=tools, tool_choice=choice)
    assert answer.choices[0].message.content == "ok"


def test_a_wrong_or_missing_key_is_refused(serve) -> None:
    server, client = serve(in_order(Say("ok")))
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-other").chat.completions.create(model="m", messages=[USER])
    with pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model="m", messages=[USER], extra_headers={"Authorization": openai.Omit()})
    assert [request.status for request in server.requests] == [401, 401]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_the_client_retries_a_queued_fault_and_gets_the_same_turn(serve, status: int) -> None:
    server, client = serve(in_order(Say("ok")))
    server.fail_next(status, times=2)
    answer = client.chat.completions.create(model="m", messages=[USER])
    assert answer.choices[0].message.content == "ok"
    assert [request.status for request in server.requests] == [status, status, 200]


def test_a_fault_is_raised_where_retries_are_spent(serve) -> None:
    server, client = serve(in_order(Say("ok")))
    server.fail_next(429)
    with pytest.raises(openai.RateLimitError):
        client.with_options(max_retries=0).chat.completions.create(model="m", messages=[USER])


def test_a_script_without_a_fitting_rule_says_so_once(serve) -> None:
    server, client = serve(Script([scene("something else", Say("never"))]))
    with pytest.raises(openai.InternalServerError, match=r"no rule of the script fits.*where is A-1\?"):
        client.chat.completions.create(model="m", messages=[USER])
    assert len(server.requests) == 1


def test_a_raw_reply_goes_out_as_it_stands(serve) -> None:
    legacy = {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": "function_call",
                "message": {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
            }
        ],
    }
    _, client = serve(in_order(Raw(legacy)))
    choice = client.chat.completions.create(model="m", messages=[USER]).choices[0]
    assert choice.finish_reason == "function_call"
    assert choice.message.function_call is not None

    _, client = serve(in_order(Raw(b"<html>", status=502)))
    with pytest.raises(openai.InternalServerError):
        client.with_options(max_retries=0).chat.completions.create(model="m", messages=[USER])


def test_a_scene_starts_anew_with_each_user_message(serve) -> None:
    script = Script([scene("first", call("lookup"), Say("one")), scene("second", Say("two"))])
    _, client = serve(script)
    first: Any = {"role": "user", "content": "the first thing"}
    second: Any = {"role": "user", "content": "the second thing"}
    history: Any = [first, calling("call_1"), result("call_1"), {"role": "assistant", "content": "one"}, second]
    assert client.chat.completions.create(model="m", messages=history).choices[0].message.content == "two"
    assert client.chat.completions.create(model="m", messages=history[:3]).choices[0].message.content == "one"
