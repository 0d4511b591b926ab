"""One request through a wrapped client, in each of the ways a host may make it."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import openai

import gateway
from examples.scripted_openai import Say, Script
from examples.scripted_openai.script import Reply
from gateway.session import Session
from tests.unit.loop_bench import Api, Bench, How, Model, prompt

Calls = list[tuple[str, str, str]]


async def done(value: Any) -> Any:
    """What a method of the client gives, blocking or awaited."""
    return await value if inspect.isawaitable(value) else value


async def every(stream: Any) -> list[Any]:
    """All events of a stream, blocking or awaited."""
    return [event async for event in stream] if hasattr(stream, "__aiter__") else list(stream)


class Asked:
    """A request through the wrapped client, in one of the ways a host may make it: text and calls as it reads them."""

    def __init__(self, model: Model, session: Session, api: Api, how: How, *, azure: bool = False) -> None:
        self.where: dict[str, Any] = {"base_url": model.server.base_url, "api_key": model.server.api_key}
        self.session, self.api, self.how, self.azure = session, api, how, azure

    def client(self) -> Any:
        """A governed client of the kind that `how` needs."""
        awaited = self.how.startswith("async")
        if not self.azure:
            made: Any = openai.AsyncOpenAI(**self.where) if awaited else openai.OpenAI(**self.where)
        else:
            kind = openai.AsyncAzureOpenAI if awaited else openai.AzureOpenAI
            made = kind(
                azure_endpoint=self.where["base_url"].removesuffix("/v1"), api_version="2025-04-01",
                azure_deployment="gpt", api_key="k",
                default_headers={"Authorization": f"Bearer {self.where['api_key']}"},
            )  # fmt: skip
        wrapped = gateway.openai(made, self.session)
        assert isinstance(wrapped, type(made))
        return wrapped

    def part(self, client: Any) -> Any:
        return client.chat.completions if self.api == "chat" else client.responses

    def __call__(self, **more: Any) -> tuple[str, Calls]:
        return self.read(asyncio.run(self.answer(**more)))

    async def answer(self, **more: Any) -> Any:
        """The whole answer; a streamed one as the client puts it together."""
        request = {"model": "scripted"} | ({} if more.keys() & {"messages", "input"} else prompt(self.api, "go")) | more
        client = self.client()
        part = self.part(client)
        try:
            if "stream" not in self.how:
                return await done(part.create(**request))
            if request.keys() & {"functions", "function_call"}:  # which the library's own `stream` does not take
                return await every(await done(part.create(stream=True, **request)))
            if self.how == "stream":
                with part.stream(**request) as stream:
                    return self._last(stream, list(stream))
            async with part.stream(**request) as awaited:
                return await self._last(awaited, [event async for event in awaited])
        finally:
            await done(client.close())

    def _last(self, stream: Any, _: list[Any]) -> Any:
        return stream.get_final_completion() if self.api == "chat" else stream.get_final_response()

    def read(self, answer: Any) -> tuple[str, Calls]:
        if self.api == "responses":
            items = [i for i in answer.output if i.type == "function_call"]
            return answer.output_text, [(c.call_id, c.name, c.arguments) for c in items]
        message = answer.choices[0].message
        calls = [c for c in message.tool_calls or [] if c.function]
        return message.content or "", [(c.id, c.function.name, c.function.arguments) for c in calls]

    def calls(self, answer: Any) -> Any:
        """What the host hands to `dispatch`."""
        return answer.output if self.api == "responses" else answer.choices[0].message.tool_calls

    async def dispatch(self, answer: Any) -> list[dict[str, Any]]:
        """`dispatch` or `dispatch_sync`, as fits the client."""
        calls = self.calls(answer)
        return await self.session.dispatch(calls) if self.how.startswith("async") else self.session.dispatch_sync(calls)


def ask(
    bench: Bench, api: Api, how: How, *replies: Reply | Script, principal: str = "ana", azure: bool = False
) -> tuple[Asked, Model]:
    model = bench.serve(*(replies or (Say("Hello."),)))
    return Asked(model, bench.session(principal=principal), api, how, azure=azure), model


def function(api: Api, name: str, **more: Any) -> dict[str, Any]:
    """A definition as a host program writes it, not as the contract does."""
    body = {"name": name, "description": "Mine.", "parameters": {"type": "object", "properties": {}}} | more
    return {"type": "function", "function": body} if api == "chat" else {"type": "function", **body}


def names(body: dict[str, Any]) -> list[str]:
    return [tool.get("name") or tool.get("function", tool).get("name") or tool["type"] for tool in body["tools"]]
