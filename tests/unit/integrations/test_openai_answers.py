"""What comes back through a wrapped client, and what the host then does with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from pydantic import BaseModel

import gateway
from examples.scripted_openai import Raw, Rule, Say, Script, call
from examples.scripted_openai.stream import chat_events, responses_events
from gateway.shapes.incoming import ResponseRefused
from tests.unit.integrations.wrapped import How, ask, each_api, each_way
from tests.unit.loop_bench import HIDDEN, Api, Bench, asked, chat_raw, function_call, prompt, responses_raw


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path) as made:
        yield made


_ITEM = function_call("look_up", arguments='{"key": "a"}')
_CALL = asked("look_up", arguments='{"key": "a"}')
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


@each_api
def test_a_cut_off_text_is_the_hosts_own_affair(bench: Bench, api: Api) -> None:
    said = {"type": "message", "id": "msg_1", "role": "assistant", "status": "incomplete"}
    said["content"] = [{"type": "output_text", "text": "Once upon", "annotations": []}]
    raw = chat_raw({"content": "Once upon"}, "length") if api == "chat" else responses_raw(said, status="incomplete")
    client, _ = ask(bench, api, "sync", raw)
    assert client()[0] == "Once upon"


def test_c136_an_older_list_behind_a_response_id_gives_no_right(bench: Bench) -> None:
    client, model = ask(bench, "responses", "sync", call("look_up", key="a"), call(HIDDEN, text="x"))
    session = client.session
    with gateway.openai(openai.OpenAI(**client.where), session) as wrapped:
        first = wrapped.responses.create(model="m", input="go", tools=session.tools("responses"))
        second = wrapped.responses.create(
            model="m", previous_response_id=first.id, input=session.dispatch_sync(first.output)
        )
        [answer] = session.dispatch_sync(second.output)
    assert json.loads(answer["output"])["error"]["code"] == "tool_not_available"
    assert bench.done == [("look_up", "a")]
    assert "tools" not in model.sent[1]


def test_a_client_of_another_kind_is_refused(bench: Bench) -> None:
    with pytest.raises(gateway.UsageError):
        gateway.openai(object(), bench.session())  # type: ignore[type-var]


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
@each_api
def test_run_goes_through_a_wrapped_client(bench: Bench, api: Api, sync: bool) -> None:
    model = bench.serve(call("look_up", key="a"), Say("Done."))
    session = bench.session()
    where: dict[str, Any] = {"base_url": model.server.base_url, "api_key": model.server.api_key}

    async def go() -> Any:
        client = openai.OpenAI(**where) if sync else openai.AsyncOpenAI(**where)
        return await session.run(bench.gateway.openai(client, session), model="m", stream=True, **prompt(api, "go"))

    assert asyncio.run(go()).text == "Done."
    assert bench.done == [("look_up", "a")]


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


class Reply(BaseModel):
    order: str
    count: int


class LookUp(BaseModel):
    """Mine."""

    key: str


PARSED = Say('{"order": "A-1", "count": 2}')


@pytest.mark.parametrize("how", ["sync", "async"])
@each_api
def test_parse_gives_the_pydantic_model(bench: Bench, api: Api, how: How) -> None:
    client, _ = ask(bench, api, how, PARSED)
    more: dict[str, Any] = prompt(api, "go") | {"response_format" if api == "chat" else "text_format": Reply}

    async def go() -> Any:
        if how == "async":
            wrapped = gateway.openai(openai.AsyncOpenAI(**client.where), client.session)
            part: Any = wrapped.chat.completions if api == "chat" else wrapped.responses
            return await part.parse(model="m", **more)
        blocking = gateway.openai(openai.OpenAI(**client.where), client.session)
        part = blocking.chat.completions if api == "chat" else blocking.responses
        return part.parse(model="m", **more)

    answer = asyncio.run(go())
    parsed = answer.choices[0].message.parsed if api == "chat" else answer.output_parsed
    assert parsed == Reply(order="A-1", count=2)


@each_api
def test_a_pydantic_tool_is_sent_as_the_contract_and_parsed_as_the_model(bench: Bench, api: Api) -> None:
    client, model = ask(bench, api, "sync", call("look_up", key="a"))
    tool = openai.pydantic_function_tool(LookUp, name="look_up")
    with gateway.openai(openai.OpenAI(**client.where), client.session) as wrapped:
        if api == "chat":
            message = wrapped.chat.completions.parse(model="m", tools=[tool], **prompt(api, "go")).choices[0].message
            assert message.tool_calls
            arguments: Any = message.tool_calls[0].function.parsed_arguments
        else:
            answer = wrapped.responses.parse(model="m", tools=[tool], **prompt(api, "go"))
            arguments = answer.output[0].parsed_arguments  # type: ignore[union-attr]
    assert arguments == LookUp(key="a")
    assert model.sent[0]["tools"] == bench.session().tools(api, only={"look_up"})


def test_programs_of_the_librarys_readme_run_with_no_change_but_the_wrap(bench: Bench) -> None:
    """Its shapes: a response, a chat, streams, options, raw and streaming responses, errors and request ids."""
    client, model = ask(bench, "responses", "sync", Script([Rule(lambda _: True, Say("Arrr."))]))
    with gateway.openai(openai.OpenAI(**client.where), client.session) as wrapped:
        said = wrapped.responses.create(model="m", instructions="Talk like a pirate.", input="Semicolons?")
        assert said.output_text == "Arrr."
        chat = wrapped.chat.completions.create(
            model="m", messages=[{"role": "developer", "content": "x"}, {"role": "user", "content": "y"}]
        )
        assert chat.choices[0].message.content == "Arrr."
        events = [event.type for event in wrapped.responses.create(model="m", input="x", stream=True)]
        assert events[-1] == "response.completed"
        quick = wrapped.with_options(timeout=5, max_retries=1)
        assert quick.responses.create(model="m", input="x").output_text == "Arrr."
        raw = wrapped.responses.with_raw_response.create(model="m", input="x")
        assert raw.http_response.status_code == 200
        assert raw.parse().output_text == "Arrr."
        with wrapped.chat.completions.with_streaming_response.create(
            model="m", messages=[{"role": "user", "content": "y"}]
        ) as response:
            assert "Arrr." in "".join(response.iter_lines())
        with pytest.raises(openai.BadRequestError):
            wrapped.chat.completions.create(model="m", messages=[])
        with pytest.raises(openai.AuthenticationError):
            wrapped.copy(api_key="wrong").responses.create(model="m", input="x")
    assert model.server.requests[0].headers["user-agent"].startswith("OpenAI/Python")
