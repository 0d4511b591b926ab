"""What comes back through a wrapped client, and what the host then does with it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

import gateway
from examples.scripted_openai import Raw, Say, call
from examples.scripted_openai.stream import chat_events, responses_events
from gateway.domain.decision import StopReason
from gateway.loop import Stopped
from gateway.shapes.incoming import ResponseRefused
from tests.unit.integrations.wrapped import ask, done
from tests.unit.loop_bench import (
    Api,
    Bench,
    How,
    asked,
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


_ITEM = function_call("look_up", arguments='{"key": "a"}')
_CALL = asked("look_up", arguments='{"key": "a"}')
_MCP = {"type": "mcp_call", "id": "m", "name": "x", "server_label": "s", "arguments": "{}", "output": "done"}
BACK: dict[str, tuple[Api, Raw]] = {
    "searched": ("responses", responses_raw({"type": "web_search_call", "id": "ws_1", "status": "completed"})),
    "an item of tomorrow": ("responses", responses_raw({"type": "telepathy", "id": "t"}, _ITEM)),
    "a program's call": ("responses", responses_raw(_ITEM | {"caller": {"type": "program", "caller_id": "p"}})),
    "cut off, items": (
        "responses",
        responses_raw(_ITEM, status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
    ),
    "an id twice, items": ("responses", responses_raw(_ITEM, _ITEM)),
    "cut off": ("chat", chat_raw({"tool_calls": [_CALL]}, "length")),
    "legacy": ("chat", chat_raw({"function_call": {"name": "look_up", "arguments": "{}"}}, "function_call")),
    "executed": ("chat", chat_raw({"content": "ok", "executed_tools": [{"type": "python"}]})),
    "a call of tomorrow": ("chat", chat_raw({"tool_calls": [{"id": "c", "type": "wish", "wish": {}}]}, "tool_calls")),
    "items that pose as a completion": ("responses", responses_raw(_MCP, object="chat.completion")),
    "items beside choices": ("responses", responses_raw(_MCP, object="chat.completion", choices=[])),
    "an id twice": ("chat", chat_raw({"tool_calls": [_CALL, _CALL]}, "tool_calls")),
}


@pytest.mark.parametrize("name", BACK, ids=lambda name: f"{BACK[name][0]}-{name}")
@each_way
def test_an_answer_no_contract_can_govern_is_not_handed_over(bench: Bench, name: str, how: How) -> None:
    api, raw = BACK[name]
    client, _ = ask(bench, api, how, raw)
    with pytest.raises(ResponseRefused):
        client(tools=bench.session().tools(api))
    assert [record["verdict"] for record in bench.records("request.governed")] == ["response_refused"]


@each_way
@pytest.mark.parametrize("finish", ["function_call", "stop"])
def test_c137_a_legacy_call_is_not_handed_over(bench: Bench, how: How, finish: str) -> None:
    legacy = {"content": "Hm.", "function_call": {"name": "look_up", "arguments": "{}"}}
    client, _ = ask(bench, "chat", how, chat_raw(legacy, finish))
    with pytest.raises(ResponseRefused, match="legacy") as caught:
        client()
    assert caught.value.reason is StopReason.LEGACY_CALL
    assert [record["verdict"] for record in bench.records("request.governed")] == ["response_refused"]


DOTTED = "/chat/completions/%2e"  # which clients leave as it is and servers take away


@pytest.mark.parametrize("path", ["/chat/completions", "/chat//completions", "/Chat/completions", DOTTED])
def test_c137_every_spelling_of_a_path_is_looked_at(bench: Bench, path: str) -> None:
    legacy = chat_raw({"function_call": {"name": "look_up", "arguments": "{}"}}, "function_call").body
    whole = legacy if path == "/chat/completions" else {"object": "list", "data": [legacy], "has_more": False}
    sent: list[bytes] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.read())
        return httpx2.Response(200, json=whole)

    inner = openai.OpenAI(
        api_key="k",
        base_url="http://localhost/v1",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
    )
    client = gateway.openai(inner, bench.session())
    asked_for = {"model": "m", "messages": [], "tools": [{"type": "function", "function": {"name": "hidden"}}]}
    with pytest.raises(ResponseRefused, match="legacy"):
        client.post(path, cast_to=object, body=asked_for)
    assert b"hidden" not in sent[0]
    with pytest.raises(ResponseRefused, match="legacy"):
        client.get(path, cast_to=object)


@each_api
def test_a_cut_off_text_is_the_hosts_own_affair(bench: Bench, api: Api) -> None:
    said = {"type": "message", "id": "msg_1", "role": "assistant", "status": "incomplete"}
    said["content"] = [{"type": "output_text", "text": "Once upon", "annotations": []}]
    raw = chat_raw({"content": "Once upon"}, "length") if api == "chat" else responses_raw(said, status="incomplete")
    client, _ = ask(bench, api, "sync", raw)
    assert client()[0] == "Once upon"


def test_a_client_of_another_kind_is_refused(bench: Bench) -> None:
    with pytest.raises(gateway.UsageError):
        gateway.openai(object(), bench.session())  # type: ignore[type-var]


@each_way
@each_api
def test_run_goes_through_a_wrapped_client(bench: Bench, api: Api, how: How) -> None:
    client, _ = ask(bench, api, how, call("look_up", key="a"), Say("Done."))
    more = {"stream": True} if "stream" in how else {}

    async def go() -> Any:
        wrapped = client.client()
        ended = await client.session.run(wrapped, model="m", **prompt(api, "go"), **more)
        await done(wrapped.close())
        return ended

    assert asyncio.run(go()).text == "Done."
    assert bench.done == [("look_up", "a")]


@pytest.mark.parametrize("name", BACK, ids=lambda name: f"{BACK[name][0]}-{name}")
@each_way
def test_run_stops_where_the_wrap_hands_nothing_over(bench: Bench, name: str, how: How) -> None:
    api, raw = BACK[name]
    client, _ = ask(bench, api, how, raw)

    async def go() -> Any:
        wrapped = client.client()
        ended = await client.session.run(wrapped, model="m", stream="stream" in how, **prompt(api, "go"))
        await done(wrapped.close())
        return ended

    ended = asyncio.run(go())
    assert isinstance(ended, Stopped)
    assert ended.messages == next(iter(prompt(api, "go").values()))
    assert [record["reason"] for record in bench.records("loop.ended")] == [ended.reason]
    assert [record["verdict"] for record in bench.records("request.governed")] == ["response_refused"]
    assert bench.done == []


@pytest.mark.parametrize("kind", ["application/json", "text/plain", ""])
@each_api
def test_a_stream_that_calls_itself_something_else_is_not_handed_over(bench: Bench, api: Api, kind: str) -> None:
    turn: Any = chat_raw({"tool_calls": [_CALL]}, "tool_calls") if api == "chat" else responses_raw(_ITEM)
    events = b"".join(chat_events(turn.body) if api == "chat" else responses_events(turn.body))

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": kind}, content=events)

    inner = httpx2.Client(transport=httpx2.MockTransport(answer))
    client = gateway.openai(openai.OpenAI(api_key="k", http_client=inner), bench.session())
    part: Any = client.chat.completions if api == "chat" else client.responses
    with pytest.raises(ResponseRefused):
        list(part.create(model="m", stream=True, **prompt(api, "go")))


def test_what_no_model_said_passes_untouched(bench: Bench) -> None:
    speech = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=b"data: not json\n\n")
    inner = httpx2.Client(transport=httpx2.MockTransport(lambda _: speech))
    client = gateway.openai(openai.OpenAI(api_key="k", http_client=inner), bench.session())
    assert client.audio.speech.create(model="m", voice="v", input="x").read() == b"data: not json\n\n"
