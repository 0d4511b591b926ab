"""The README's loop as a typed program writes it, for both of OpenAI's APIs; mypy --strict has nothing to say of it."""

from __future__ import annotations

from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam
from openai.types.responses import ResponseInputParam

from gateway import Session


def chat(session: Session, client: OpenAI, text: str) -> str:
    """One question through Chat Completions, to its answer."""
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": text}]
    while True:
        answer = client.chat.completions.create(model="gpt-4.1", messages=messages, tools=session.tools())
        message = answer.choices[0].message
        messages.append(message.to_dict())  # type: ignore[arg-type]  # the client's own: a message is no parameter
        if not message.tool_calls:
            return message.content or ""
        messages += session.dispatch_sync(message.tool_calls)


def responses(session: Session, client: OpenAI, text: str) -> str:
    """The same question through Responses."""
    items: ResponseInputParam = [{"role": "user", "content": text}]
    previous: str | None = None
    while True:
        answer = client.responses.create(
            model="gpt-4.1", input=items, tools=session.tools("responses"), previous_response_id=previous
        )
        items, previous = session.dispatch_sync(answer.output), answer.id
        if not items:
            return answer.output_text
