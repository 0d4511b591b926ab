"""One request through a wrapped client, in each of the ways a host may make it."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import openai
import pytest
from openai.types.chat import ChatCompletionMessageFunctionToolCall

import gateway
from examples.scripted_openai import Say, Script
from examples.scripted_openai.script import Reply
from gateway.session import Session
from tests.unit.loop_bench import Api, Bench, Model, prompt

How = Literal["sync", "async", "stream", "async stream"]
APIS: tuple[Api, ...] = ("chat", "responses")
HOWS: tuple[How, ...] = ("sync", "async", "stream", "async stream")
each_api = pytest.mark.parametrize("api", APIS)
each_way = pytest.mark.parametrize("how", HOWS)


class Asked:
    """A request through the wrapped client, in one of the ways a host may make it: text and calls as it reads them."""

    def __init__(self, model: Model, session: Session, api: Api, how: How) -> None:
        self.where: dict[str, Any] = {"base_url": model.server.base_url, "api_key": model.server.api_key}
        self.session, self.api, self.how = session, api, how

    def __call__(self, **more: Any) -> tuple[str, list[tuple[str, str, str]]]:
        request = {"model": "scripted"} | ({} if more.keys() & {"messages", "input"} else prompt(self.api, "go")) | more
        if self.how.startswith("async"):
            return asyncio.run(self._awaited(request))
        with gateway.openai(openai.OpenAI(**self.where), self.session) as client:
            assert isinstance(client, openai.OpenAI)
            part: Any = client.chat.completions if self.api == "chat" else client.responses
            if self.how == "sync":
                return self._read(part.create(**request))
            with part.stream(**request) as stream:
                for _ in stream:
                    pass
                return self._read(stream.get_final_completion() if self.api == "chat" else stream.get_final_response())

    async def _awaited(self, request: dict[str, Any]) -> tuple[str, list[tuple[str, str, str]]]:
        async with gateway.openai(openai.AsyncOpenAI(**self.where), self.session) as client:
            part: Any = client.chat.completions if self.api == "chat" else client.responses
            if self.how == "async":
                return self._read(await part.create(**request))
            async with part.stream(**request) as stream:
                async for _ in stream:
                    pass
                last = stream.get_final_completion() if self.api == "chat" else stream.get_final_response()
                return self._read(await last)

    def _read(self, answer: Any) -> tuple[str, list[tuple[str, str, str]]]:
        if self.api == "responses":
            calls = [i for i in answer.output if i.type == "function_call"]
            return answer.output_text, [(c.call_id, c.name, c.arguments) for c in calls]
        message = answer.choices[0].message
        calls = [
            c for c in message.tool_calls or [] if isinstance(c, ChatCompletionMessageFunctionToolCall) or c.function
        ]
        return message.content or "", [(c.id, c.function.name, c.function.arguments) for c in calls]


def ask(bench: Bench, api: Api, how: How, *replies: Reply | Script, principal: str = "ana") -> tuple[Asked, Model]:
    model = bench.serve(*(replies or (Say("Hello."),)))
    return Asked(model, bench.session(principal=principal), api, how), model


def function(api: Api, name: str, **more: Any) -> dict[str, Any]:
    """A definition as a host program writes it, not as the contract does."""
    body = {"name": name, "description": "Mine.", "parameters": {"type": "object", "properties": {}}} | more
    return {"type": "function", "function": body} if api == "chat" else {"type": "function", **body}


def names(body: dict[str, Any]) -> list[str]:
    return [tool.get("name") or tool.get("function", tool).get("name") or tool["type"] for tool in body["tools"]]
