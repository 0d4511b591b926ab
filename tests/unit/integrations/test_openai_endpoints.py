"""The rest of the library's client, wrapped: other endpoints, stored conversations, copies, websockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import httpx2
import openai
import pytest

import gateway
from gateway.domain.errors import UsageError
from gateway.shapes.incoming import ResponseRefused
from gateway.shapes.outgoing import RequestRefused
from tests.unit.integrations.wrapped import ask, done, function
from tests.unit.loop_bench import HIDDEN, Api, Bench, each_api, function_call, prompt, responses_raw

Way = Literal["sync", "async"]
each_blocking = pytest.mark.parametrize("how", ["sync", "async"])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path) as made:
        yield made


class Provider:
    """Answers every request with one body, and keeps what was sent."""

    def __init__(self, body: object) -> None:
        self._body = body
        self.sent: list[tuple[str, Any]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        content = request.read()
        self.sent.append((request.url.path.removeprefix("/v1"), json.loads(content) if content else None))
        return httpx2.Response(200, json=self._body)

    def client(self, bench: Bench, how: Way) -> Any:
        transport = httpx2.MockTransport(self)
        if how == "sync":
            return gateway.openai(
                openai.OpenAI(api_key="k", http_client=httpx2.Client(transport=transport)), bench.session()
            )
        client = openai.AsyncOpenAI(api_key="k", http_client=httpx2.AsyncClient(transport=transport))
        return gateway.openai(client, bench.session())


@each_blocking
def test_other_endpoints_pass_or_are_refused(bench: Bench, how: Way) -> None:
    client, _ = ask(bench, "chat", how)

    async def go() -> None:
        wrapped = client.client()
        with pytest.raises(openai.NotFoundError):  # it passed: the scripted server does not have it
            await done(wrapped.embeddings.create(model="m", input="x"))
        with pytest.raises(openai.NotFoundError):
            await done(wrapped.completions.create(model="m", prompt="x"))
        refused: tuple[Callable[[], Any], ...] = (
            lambda: wrapped.batches.create(input_file_id="f", endpoint="/v1/responses", completion_window="24h"),
            lambda: wrapped.beta.assistants.create(model="m", tools=[{"type": "code_interpreter"}]),
            lambda: wrapped.beta.threads.runs.create(thread_id="t", assistant_id="a"),
            lambda: wrapped.containers.create(name="c"),
            lambda: wrapped.post("/foo", cast_to=object, body={}),
            lambda: wrapped.post("/agents/completions", cast_to=object, body={"tools": []}),
            lambda: wrapped.put("/foo", cast_to=object, body={}),
            lambda: wrapped.realtime,
        )
        for attempt in refused:
            with pytest.raises(RequestRefused):
                await done(attempt())
        await done(wrapped.close())

    asyncio.run(go())


def parts(client: Any, depth: int = 4) -> Iterator[tuple[str, Any]]:
    """Every part of a client that has methods of its own, by its path; one that is shut has none."""
    for name in (n for kind in type(client).__mro__ for n in vars(kind) if not n.startswith(("_", "with_"))):
        try:
            part = getattr(client, name)
        except RequestRefused:
            continue
        if type(part).__module__.startswith("openai.resources"):
            yield name, part
            if depth:
                yield from ((f"{name}.{inner}", found) for inner, found in parts(part, depth - 1))


@each_blocking
def test_no_websocket_of_any_part_can_be_opened(bench: Bench, how: Way) -> None:
    wrapped = Provider({}).client(bench, how)
    for client in (wrapped, wrapped.with_options(timeout=3), wrapped.copy()):
        found = dict(parts(client))
        assert {"chat.completions", "responses", "beta.responses", "beta.threads.runs"} <= found.keys()
        sockets = [part.connect for part in found.values() if hasattr(part, "connect")]
        assert len(sockets) == 2  # of `responses` and `beta.responses`
        for connect in (
            *sockets,
            lambda client=client: client.beta.realtime.connect(model="m"),
            lambda client=client: client.live,
        ):
            with pytest.raises(RequestRefused):
                connect()


@each_blocking
def test_a_copy_is_governed_too(bench: Bench, how: Way) -> None:
    provider = Provider(responses_raw().body)
    wrapped = provider.client(bench, how)

    async def go() -> None:
        for client in (wrapped.with_options(timeout=5), wrapped.copy(base_url="https://other.example/v1"), wrapped):
            raw = client.responses.with_raw_response
            for create in (client.responses.create, raw.create, client.beta.responses.create):
                await done(create(model="m", input="x", tools=[function("responses", HIDDEN)]))
        other = httpx2.Client() if how == "sync" else httpx2.AsyncClient()
        with pytest.raises(UsageError, match="past the gateway"):
            wrapped.copy(http_client=other)
        twice = gateway.openai(wrapped, bench.session())
        await done(twice.responses.create(model="m", input="x", tools=[function("responses", HIDDEN)]))

    asyncio.run(go())
    assert len(provider.sent) == 10
    assert all("tools" not in body for _, body in provider.sent)


@each_api
@each_blocking
def test_a_request_written_by_hand_is_governed(bench: Bench, api: Api, how: Way) -> None:
    provider = Provider({"id": "x"})
    wrapped = provider.client(bench, how)
    body = {"model": "m", **prompt(api, "go"), "tools": [function(api, HIDDEN), {"type": "web_search"}]}
    path = "/chat/completions" if api == "chat" else "/responses"
    asyncio.run(_done(lambda: wrapped.post(path, cast_to=object, body=body)))
    [(_, sent)] = provider.sent
    assert sent == {"model": "m", **prompt(api, "go")}


async def _done(ask: Callable[[], Any]) -> Any:
    return await done(ask())


@each_blocking
def test_a_stored_conversation_takes_no_tool_that_is_not_offered(bench: Bench, how: Way) -> None:
    provider = Provider({"id": "conv_1", "object": "conversation", "created_at": 1, "metadata": {}})
    wrapped = provider.client(bench, how)
    more = {
        "type": "additional_tools",
        "role": "developer",
        "tools": [function("responses", HIDDEN), {"type": "shell"}],
    }
    said = {"role": "user", "content": "go"}
    asyncio.run(_done(lambda: wrapped.conversations.create(items=[said, more])))
    asyncio.run(_done(lambda: wrapped.conversations.items.create("conv_1", items=[more])))
    emptied = more | {"tools": []}
    assert provider.sent == [
        ("/conversations", {"items": [said, emptied]}),
        ("/conversations/conv_1/items", {"items": [emptied]}),
    ]
    with pytest.raises(RequestRefused):
        asyncio.run(_done(lambda: wrapped.conversations.create(items=[{"type": "mcp_approval_response"}])))


@each_blocking
def test_counting_and_compacting_are_governed(bench: Bench, how: Way) -> None:
    more = {"type": "additional_tools", "role": "developer", "tools": [{"type": "shell"}]}
    counted = Provider({"object": "response.input_tokens", "input_tokens": 7})
    wrapped = counted.client(bench, how)
    count = asyncio.run(_done(lambda: wrapped.responses.input_tokens.count(model="m", input=[more])))
    assert count.input_tokens == 7
    kept = {"id": "c", "object": "response.compaction", "created_at": 1, "usage": None}
    summary = {"type": "compaction", "id": "cmp_1", "encrypted_content": "opaque"}
    for output in ([summary], [summary, {"type": "shell_call", "id": "s", "call_id": "c"}]):
        compacted = Provider(kept | {"output": output})
        wrapped = compacted.client(bench, how)
        if len(output) > 1:
            with pytest.raises(ResponseRefused):
                asyncio.run(_done(lambda wrapped=wrapped: wrapped.responses.compact(model="m", input=[more])))
        else:
            made = asyncio.run(_done(lambda wrapped=wrapped: wrapped.responses.compact(model="m", input=[more])))
            assert made.output[0].encrypted_content == "opaque"
        assert compacted.sent[0][1]["input"][0]["tools"] == []


@each_blocking
def test_an_answer_that_is_fetched_later_is_looked_at(bench: Bench, how: Way) -> None:
    call: Any = responses_raw(function_call("look_up", arguments='{"key": "a"}')).body
    wrapped = Provider(call).client(bench, how)
    assert asyncio.run(_done(lambda: wrapped.responses.retrieve("resp_1"))).output[0].name == "look_up"
    wrapped = Provider(call | {"output": [{"type": "telepathy", "id": "t"}]}).client(bench, how)
    with pytest.raises(ResponseRefused):
        asyncio.run(_done(lambda: wrapped.responses.retrieve("resp_1")))
