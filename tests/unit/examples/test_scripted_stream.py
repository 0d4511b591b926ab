"""The scripted server's streams, read by the real client's own accumulators."""

from __future__ import annotations

import json

import httpx2
import openai
import pytest

from examples.scripted_openai import Call, CallTools, Raw, Say, call, in_order
from tests.unit.loop_bench import asked, chat_raw

BOTH = CallTools((Call("lookup", {"id": "A-1"}), Call("lookup", {"id": 'quote " and \u00e9'})), text="Looking.")
CHAT = [{"role": "user", "content": "go"}]


def test_chat_text_usage_and_two_calls_come_whole_out_of_the_clients_accumulator(serve) -> None:
    _, client = serve(in_order(BOTH))
    with client.chat.completions.stream(model="m", messages=CHAT, stream_options={"include_usage": True}) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        done = stream.get_final_completion()
    assert len(deltas) > 1
    assert "".join(deltas) == "Looking."
    calls = done.choices[0].message.tool_calls
    assert [json.loads(each.function.arguments)["id"] for each in calls] == ["A-1", 'quote " and \u00e9']
    assert done.choices[0].finish_reason == "tool_calls"
    assert done.usage.total_tokens > 0


def test_responses_text_and_two_calls_come_whole_out_of_the_clients_accumulator(serve) -> None:
    _, client = serve(in_order(BOTH))
    with client.responses.stream(model="m", input="go") as stream:
        kinds = [event.type for event in stream]
        done = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert kinds.count("response.function_call_arguments.done") == 2
    assert done.output_text == "Looking."
    assert [json.loads(each.arguments)["id"] for each in done.output[1:]] == ["A-1", 'quote " and \u00e9']


def test_a_streamed_response_is_stored(serve) -> None:
    _, client = serve(in_order(call("lookup", id="A-1"), Say("Found.")))
    first = list(client.responses.create(model="m", input="go", stream=True))[-1].response
    answer = {"type": "function_call_output", "call_id": first.output[0].call_id, "output": "{}"}
    second = client.responses.create(model="m", previous_response_id=first.id, input=[answer])
    assert second.output_text == "Found."


def test_a_cut_connection_is_seen_as_cut(serve) -> None:
    whole = chat_raw({"tool_calls": [asked("lookup")]}, "tool_calls")
    _, client = serve(in_order(Raw(whole.body, cut=200)))
    with pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError)):
        list(client.chat.completions.create(model="m", messages=CHAT, stream=True))
