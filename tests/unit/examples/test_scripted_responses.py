"""The scripted server's Responses API, through the real client."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from examples.scripted_openai import (
    Call,
    CallTools,
    Conversation,
    Raw,
    Rule,
    Said,
    Say,
    Script,
    ScriptedOpenAI,
    call,
    in_order,
)

USER = {"role": "user", "content": "where is A-1?"}
TOOL = {
    "type": "function",
    "name": "lookup",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"id": {"type": ["string", "null"]}},
        "required": ["id"],
        "additionalProperties": False,
    },
}


def calling(call_id: str, **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "lookup", "arguments": "{}", **more}


def result(call_id: str, output: str = '{"order": "O-7"}') -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def chain(conversation: Conversation) -> CallTools:
    found = conversation.result("lookup")
    assert isinstance(found, dict)
    return call("ship", order=found["order"])


def two_rounds() -> Script:
    return in_order(CallTools((Call("lookup", {"id": "A-1"}), Call("lookup")), text="Looking."), chain, Say("Done."))


def refused(client: openai.OpenAI, given: Any, **more: Any) -> openai.BadRequestError:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="scripted", input=given, **more)
    return caught.value


def test_a_stateless_loop_that_sends_every_item_back(serve) -> None:
    _, client = serve(two_rounds())
    items: list[Any] = [USER]
    names = []
    while True:
        answer = client.responses.create(model="m", input=items, tools=[TOOL], store=False)
        items += [item.model_dump(exclude_none=True) for item in answer.output]
        calls = [item for item in answer.output if item.type == "function_call"]
        if not calls:
            break
        for made in calls:
            names.append((made.name, made.arguments))
            items.append(result(made.call_id))
    assert names == [("lookup", '{"id": "A-1"}'), ("lookup", "{}"), ("ship", '{"order": "O-7"}')]
    assert answer.output_text == "Done."
    assert answer.status == "completed"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


def test_a_loop_over_previous_response_id(serve) -> None:
    _, client = serve(two_rounds())
    first = client.responses.create(model="m", input="where is A-1?", tools=[TOOL])
    assert first.output_text == "Looking."
    ids = [item.call_id for item in first.output if item.type == "function_call"]
    second = client.responses.create(
        model="m", previous_response_id=first.id, input=[result(ids[0]), result(ids[1])], tools=[TOOL]
    )
    assert second.previous_response_id == first.id
    assert second.output[0].type == "function_call"
    assert second.output[0].arguments == '{"order": "O-7"}'
    last = client.responses.create(model="m", previous_response_id=second.id, input=[result(second.output[0].call_id)])
    assert last.output_text == "Done."


async def _ask_async(server: ScriptedOpenAI) -> str:
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key=server.api_key) as client:
        return (await client.responses.create(model="m", input="hi")).output_text


def test_the_async_client() -> None:
    with ScriptedOpenAI(in_order(Say("hello"))) as server:
        assert asyncio.run(_ask_async(server)) == "hello"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        pytest.param([USER, result("call_1")], "No tool call found for function call output", id="orphan output"),
        pytest.param([USER, calling("call_1")], "No tool output found for function call call_1", id="no output"),
        pytest.param(
            [USER, calling("call_1"), result("call_1"), result("call_1")],
            "Duplicate function_call_output",
            id="answered twice",
        ),
        pytest.param(
            [USER, calling("call_1"), calling("call_1"), result("call_1")], "Duplicate function call id", id="ids"
        ),
        pytest.param([USER, result("call_1"), calling("call_1")], "No tool call found", id="output before call"),
        pytest.param(
            [USER, calling("call_1", id="fc_1"), result("call_1"), calling("call_2", id="fc_1"), result("call_2")],
            "Duplicate item found with id fc_1",
            id="item id twice",
        ),
        pytest.param(
            [USER, calling("call_1", id="call_1"), result("call_1")], "begins with 'fc'", id="call id as item id"
        ),
        pytest.param([{"role": "tool", "content": "x"}], "Invalid value: 'tool'", id="role of the other API"),
        pytest.param([{"type": "surprise"}], "Invalid value: 'surprise'", id="unknown item"),
        pytest.param([USER, calling("c" * 65), result("c" * 65)], "longer than 64", id="id of 65 characters"),
        pytest.param(
            [USER, {**calling("call_1"), "name": "no name"}, result("call_1")], "does not match pattern", id="name"
        ),
    ],
)
def test_input_the_real_api_refuses(serve, given: list[Any], says: str) -> None:
    server, client = serve(Script([Rule(lambda _: True, Say("accepted"))]))
    assert says in refused(client, given).message
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("more", "says"),
    [
        pytest.param({"tools": [{**TOOL, "strict": True, "parameters": None}]}, "Invalid schema", id="no schema"),
        pytest.param({"tools": [TOOL, TOOL]}, "used twice", id="duplicate name"),
        pytest.param(
            {"tools": [{"type": "function", "function": {"name": "nested"}}]}, "'tools[0].name'", id="nested shape"
        ),
        pytest.param(
            {"tools": [TOOL], "tool_choice": {"type": "function", "name": "absent"}}, "not found", id="forced"
        ),
        pytest.param({"tool_choice": "required"}, "not found", id="required without tools"),
        pytest.param(
            {"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}},
            "Tool choice 'mcp' not found",
            id="allowed tool absent",
        ),
        pytest.param({"extra_body": {"messages": []}}, "it is 'input'", id="parameter of the other API"),
        pytest.param({"previous_response_id": "resp_none"}, "not found", id="unknown response"),
    ],
)
def test_requests_the_real_api_refuses(serve, more: dict[str, Any], says: str) -> None:
    _, client = serve(Script([Rule(lambda _: True, Say("accepted"))]))
    assert says in refused(client, "hi", **more).message


def test_what_a_stored_response_holds_is_checked_together_with_the_input(serve) -> None:
    _, client = serve(two_rounds())
    first = client.responses.create(model="m", input="hi")
    calls = [item for item in first.output if item.type == "function_call"]
    ids = [item.call_id for item in calls]
    assert "No tool output found" in refused(client, [result(ids[0])], previous_response_id=first.id).message
    assert "No tool output found" in refused(client, "and?", previous_response_id=first.id).message
    again = [calls[0].model_dump(exclude_none=True), result(ids[0]), result(ids[1])]
    assert "Duplicate" in refused(client, again, previous_response_id=first.id).message


def test_a_response_with_store_false_cannot_be_continued(serve) -> None:
    _, client = serve(in_order(Say("hi")))
    first = client.responses.create(model="m", input="hi", store=False)
    error = refused(client, "and?", previous_response_id=first.id)
    assert error.code == "previous_response_not_found"


def test_instructions_are_a_system_turn_and_are_not_carried_over(serve) -> None:
    seen: list[tuple[object, ...]] = []

    def look(conversation: Conversation) -> Say:
        seen.append(conversation.turns)
        return Say("ok")

    _, client = serve(Script([Rule(lambda _: True, look)]))
    first = client.responses.create(model="m", input="hi", instructions="Be brief.")
    client.responses.create(model="m", input="and?", previous_response_id=first.id)
    assert seen[0] == (Said("system", "Be brief."), Said("user", "hi"))
    assert seen[1] == (Said("user", "hi"), Said("assistant", "ok"), Said("user", "and?"))


def test_hosted_tools_arrive_and_can_be_seen(serve) -> None:
    server, client = serve(in_order(Say("ok")))
    client.responses.create(model="m", input="hi", tools=[{"type": "web_search"}, TOOL])
    assert server.requests[0].body is not None
    assert server.requests[0].body["tools"][0] == {"type": "web_search"}


def test_a_raw_response_is_stored_under_its_id(serve) -> None:
    raw = {
        "id": "resp_raw",
        "object": "response",
        "created_at": 0,
        "model": "m",
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "output": [calling("call_1", id="fc_1"), calling("call_1", id="fc_2")],
    }
    _, client = serve(Script([Rule(lambda _: True, Raw(raw))]))
    answer = client.responses.create(model="m", input="hi")
    assert [item.call_id for item in answer.output] == ["call_1", "call_1"]
    assert "Duplicate" in refused(client, [result("call_1")], previous_response_id="resp_raw").message
