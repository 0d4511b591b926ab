"""Whole programs with no change but the wrap: the library's README, Azure, and loops a host writes itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from examples.scripted_openai import Call, CallTools, Rule, Say, Script, call
from tests.unit.integrations.wrapped import Asked, ask, done, every, function
from tests.unit.loop_bench import HIDDEN, Api, Bench, How, answers, each_api, each_way, prompt, responses_raw


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path) as made:
        yield made


# the library's README


PICTURE = "data:image/png;base64,iVBORw0KGgo="


def picture(api: Api) -> list[dict[str, Any]]:
    """A question about a picture, as each API writes it."""
    if api == "chat":
        parts: list[dict[str, Any]] = [{"type": "text", "text": "What is it?"}]
        return [{"role": "user", "content": [*parts, {"type": "image_url", "image_url": {"url": PICTURE}}]}]
    parts = [{"type": "input_text", "text": "What is it?"}, {"type": "input_image", "image_url": PICTURE}]
    return [{"role": "user", "content": parts}]


async def readme(client: Asked) -> None:
    """Text, a picture, a stream, options, raw and streaming responses, pages, errors."""
    wrapped, api = client.client(), client.api
    part = client.part(wrapped)
    said: dict[str, Any] = {"model": "m", "instructions": "Talk like a pirate.", "input": "Semicolons?"}
    if api == "chat":
        messages = [{"role": "developer", "content": "Talk like a pirate."}, {"role": "user", "content": "Semicolons?"}]
        said = {"model": "m", "messages": messages}
    wrong = {"messages" if api == "chat" else "input": []} if api == "chat" else {"input": [{"role": "nobody"}]}
    if "stream" in client.how:
        events = await every(await done(part.create(stream=True, **said)))
        if api == "chat":
            assert "".join(e.choices[0].delta.content or "" for e in events) == "Arrr."
        else:
            assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == "Arrr."
            assert events[-1].type == "response.completed"
        with pytest.raises(openai.BadRequestError):
            await done(part.create(stream=True, **said | wrong))
        await done(wrapped.close())
        return
    for request in (said, {"model": "m", "messages" if api == "chat" else "input": picture(api)}):
        assert client.read(await done(part.create(**request)))[0] == "Arrr."
    quick = client.part(wrapped.with_options(timeout=5, max_retries=1))
    assert client.read(await done(quick.create(**said)))[0] == "Arrr."
    raw = await done(part.with_raw_response.create(**said))
    assert raw.http_response.status_code == 200
    assert client.read(raw.parse())[0] == "Arrr."
    manager = part.with_streaming_response.create(**said)
    if client.how == "sync":
        with manager as response:
            lines = list(response.iter_lines())
    else:
        async with manager as response:
            lines = [line async for line in response.iter_lines()]
    assert "Arrr." in "".join(lines)
    with pytest.raises(openai.BadRequestError) as caught:
        await done(part.create(**said | wrong))
    assert caught.value.status_code == 400
    with pytest.raises(openai.AuthenticationError):
        await done(client.part(wrapped.copy(api_key="wrong")).create(**said))
    for no_model in (wrapped.fine_tuning.jobs.list, wrapped.models.list):  # they pass; the scripted server has none
        with pytest.raises(openai.APIStatusError):
            await done(no_model())
    await done(wrapped.close())


@each_way
@each_api
def test_programs_of_the_librarys_readme_run_with_no_change_but_the_wrap(bench: Bench, api: Api, how: How) -> None:
    client, model = ask(bench, api, how, Script([Rule(lambda _: True, Say("Arrr."))]))
    asyncio.run(readme(client))
    assert "OpenAI/Python" in model.server.requests[0].headers["user-agent"]


# other servers, and servers that fail


@each_way
@each_api
def test_azure_style_paths_are_governed(bench: Bench, api: Api, how: How) -> None:
    client, model = ask(bench, api, how, azure=True)
    assert client(tools=[function(api, HIDDEN)]) == ("Hello.", [])
    path, _, query = model.server.requests[0].path.partition("?")
    assert "/openai/" in path
    assert path.endswith("/chat/completions" if api == "chat" else "/responses")
    assert query == "api-version=2025-04-01"
    assert "tools" not in model.sent[0]


@each_way
@each_api
def test_retries_of_the_call_are_the_clients_own(bench: Bench, api: Api, how: How) -> None:
    client, model = ask(bench, api, how)
    model.server.fail_next(503)
    assert client() == ("Hello.", [])
    assert [each.status for each in model.server.requests] == [503, 200]


# loops that a host writes itself


@each_way
@each_api
def test_a_loop_of_the_hosts_own_goes_through_dispatch(bench: Bench, api: Api, how: How) -> None:
    both = CallTools((Call("look_up", {"key": "a"}), Call(HIDDEN, {"text": "x"}), Call("look_up", {"key": "b"})))
    client, _ = ask(bench, api, how, both, Say("Done."))
    tools = client.session.tools(api)

    async def go() -> tuple[list[dict[str, Any]], str]:
        items = next(iter(prompt(api, "go").values()))
        given = {"messages" if api == "chat" else "input": items, "tools": tools}
        first = await client.answer(**given)
        if api == "chat":
            items.append(first.choices[0].message.model_dump(exclude_none=True, exclude={"parsed"}))
        else:
            items += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in first.output]
        items += await client.dispatch(first)
        return items, client.read(await client.answer(**given))[0]

    items, text = asyncio.run(go())
    assert text == "Done."
    made = list(answers(items).values())
    assert [each.get("untrusted_result") for each in made] == ["value of a", None, "value of b"]
    assert made[1]["error"]["code"] == "tool_not_available"
    assert sorted(bench.done) == [("look_up", "a"), ("look_up", "b")]


@each_way
def test_c136_an_older_list_behind_a_response_id_gives_no_right(bench: Bench, how: How) -> None:
    client, model = ask(bench, "responses", how, call("look_up", key="a"), call(HIDDEN, text="x"))

    async def go() -> list[dict[str, Any]]:
        first = await client.answer(input="go", tools=client.session.tools("responses"))
        second = await client.answer(previous_response_id=first.id, input=await client.dispatch(first))
        return await client.dispatch(second)

    [answer] = asyncio.run(go())
    assert json.loads(answer["output"])["error"]["code"] == "tool_not_available"
    assert bench.done == [("look_up", "a")]
    assert "tools" not in model.sent[1]


@each_way
def test_a_stateless_conversation_carries_its_own_reasoning(bench: Bench, how: How) -> None:
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "opaque"}
    turn = responses_raw(reasoning, {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look_up"}
                         | {"arguments": '{"key": "a"}', "status": "completed"})  # fmt: skip
    client, model = ask(bench, "responses", how, turn, Say("Done."))

    async def go() -> str:
        given: list[Any] = prompt("responses", "go")["input"]
        stateless = {"store": False, "include": ["reasoning.encrypted_content"]}
        first = await client.answer(input=given, tools=client.session.tools("responses"), **stateless)
        kept = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in first.output]
        given += [*kept, *await client.dispatch(first)]
        return client.read(await client.answer(input=given, **stateless))[0]

    assert asyncio.run(go()) == "Done."
    assert model.sent[1]["input"][1]["encrypted_content"] == "opaque"
    assert bench.done == [("look_up", "a")]


# structured answers and pydantic tools


class Reply(BaseModel):
    order: str
    count: int


class LookUp(BaseModel):
    """Mine."""

    key: str


@each_way
@each_api
def test_parse_gives_the_pydantic_model(bench: Bench, api: Api, how: How) -> None:
    client, _ = ask(bench, api, how, Say('{"order": "A-1", "count": 2}'))
    form: dict[str, Any] = {"response_format" if api == "chat" else "text_format": Reply}

    async def go() -> Any:
        if "stream" in how:
            return await client.answer(**form)
        wrapped = client.client()
        answer = await done(client.part(wrapped).parse(model="m", **prompt(api, "go"), **form))
        await done(wrapped.close())
        return answer

    answer = asyncio.run(go())
    parsed = answer.choices[0].message.parsed if api == "chat" else answer.output_parsed
    assert parsed == Reply(order="A-1", count=2)


@each_way
@each_api
def test_a_pydantic_tool_is_sent_as_the_contract_and_parsed_as_the_model(bench: Bench, api: Api, how: How) -> None:
    client, model = ask(bench, api, how, call("look_up", key="a"))
    tool = openai.pydantic_function_tool(LookUp, name="look_up")

    async def go() -> Any:
        if "stream" in how:
            return await client.answer(tools=[tool])
        wrapped = client.client()
        answer = await done(client.part(wrapped).parse(model="m", tools=[tool], **prompt(api, "go")))
        await done(wrapped.close())
        return answer

    answer = asyncio.run(go())
    [made] = client.calls(answer)
    assert (made.function if api == "chat" else made).parsed_arguments == LookUp(key="a")
    assert model.sent[0]["tools"] == bench.session().tools(api, only={"look_up"})
