"""`POST /v1/chat/completions`: what the API refuses about the messages, and the shape of its answer.

The rule that matters most to an agent: an assistant message with tool calls is followed, before anything
else, by exactly one tool message for each of its ids, and a tool message answers nothing else.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping

from examples.scripted_openai.conversation import Answered, Called, Conversation, Said, Turn
from examples.scripted_openai.errors import ApiError
from examples.scripted_openai.fields import as_list, as_object, content_text, required, required_text
from examples.scripted_openai.rules import check_name, check_tools
from examples.scripted_openai.script import CallTools, Say

ROLES = ("system", "developer", "user", "assistant", "tool")
MAX_CHOICES = 128  # API reference, n
MAX_CALL_ID = 40  # as reported by the API: "Expected a string with maximum length 40"


def read_chat(body: dict[str, object]) -> Conversation:
    """The conversation of one request. Raises ApiError where the real API answers 400."""
    model = required_text(body, "model", "model")
    if body.get("stream_options") is not None and not body.get("stream"):
        raise ApiError(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    if body.get("n") not in (None, *range(1, MAX_CHOICES + 1)):
        raise ApiError(f"Invalid value for 'n': expected 1 to {MAX_CHOICES}.", param="n", code="invalid_value")
    for old, new in {"functions": "tools", "function_call": "tool_choice"}.items():
        if old in body:
            raise ApiError(f"The scripted server does not know '{old}' any more; use '{new}'.", param=old)
    messages = as_list(required(body, "messages", "messages"), "messages")
    if not messages:
        raise ApiError(
            "Invalid 'messages': empty array. Expected an array with minimum length 1.",
            param="messages",
            code="empty_array",
        )
    tools = check_tools(body, "chat")
    reader = _Messages()
    for index, raw in enumerate(messages):
        reader.read(as_object(raw, f"messages[{index}]"), f"messages[{index}]")
    reader.close_calls(f"messages[{len(messages)}]")
    return Conversation("chat", model, tuple(reader.turns), tools)


class _Messages:
    """Walks the messages; `waiting` holds the calls of the newest assistant message not answered yet."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.waiting: dict[str, Called] = {}
        self.seen: set[str] = set()
        self.answered: set[str] = set()

    def read(self, message: dict[str, object], at: str) -> None:
        role = required_text(message, "role", f"{at}.role")
        if role not in ROLES:
            raise ApiError(
                f"Invalid value: '{role}'. Supported values are: {', '.join(map(repr, ROLES))}.",
                param=f"{at}.role",
                code="invalid_value",
            )
        if role == "tool":
            self._tool(message, at)
            return
        self.close_calls(at)
        if role == "assistant":
            self._assistant(message, at)
        else:
            text = content_text(required(message, "content", f"{at}.content"), f"{at}.content")
            self.turns.append(Said("user" if role == "user" else "system", text))

    def close_calls(self, at: str) -> None:
        """Refuse unless every call made so far is answered."""
        if self.waiting:
            raise ApiError(
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
                f"'tool_call_id'. No response for: {', '.join(self.waiting)}",
                param=f"{at}.role",
            )

    def _tool(self, message: dict[str, object], at: str) -> None:
        call_id = required_text(message, "tool_call_id", f"{at}.tool_call_id")
        text = content_text(required(message, "content", f"{at}.content"), f"{at}.content")
        call = self.waiting.pop(call_id, None)
        if call is None and call_id in self.answered:
            raise ApiError(f"Duplicate value for 'tool_call_id' of '{call_id}'.", param=f"{at}.tool_call_id")
        if call is None:
            raise ApiError(
                "Invalid parameter: messages with role 'tool' must be a response to a preceding message with "
                f"'tool_calls'; '{call_id}' answers none.",
                param=f"{at}.role",
            )
        self.answered.add(call_id)
        self.turns.append(Answered(call, text))

    def _assistant(self, message: dict[str, object], at: str) -> None:
        calls = message.get("tool_calls")
        content = message.get("content")
        refusal = message.get("refusal")
        if content is not None:
            self.turns.append(Said("assistant", content_text(content, f"{at}.content")))
        elif isinstance(refusal, str):
            self.turns.append(Said("assistant", refusal))
        elif calls is None:
            raise ApiError(f"Invalid value for '{at}.content': expected a string, got null.", param=f"{at}.content")
        if calls is None:
            return
        items = as_list(calls, f"{at}.tool_calls")
        if not items:
            raise ApiError(
                f"Invalid '{at}.tool_calls': empty array. Expected an array with minimum length 1.",
                param=f"{at}.tool_calls",
                code="empty_array",
            )
        for index, raw in enumerate(items):
            where = f"{at}.tool_calls[{index}]"
            self._call(as_object(raw, where), where)

    def _call(self, item: dict[str, object], at: str) -> None:
        call_id = required_text(item, "id", f"{at}.id")
        kind = required_text(item, "type", f"{at}.type")
        if kind not in ("function", "custom"):
            raise ApiError(f"Invalid value: '{kind}'.", param=f"{at}.type", code="invalid_value")
        if len(call_id) > MAX_CALL_ID:
            raise ApiError(
                f"Invalid '{at}.id': string too long. Expected at most {MAX_CALL_ID}, got {len(call_id)}.",
                param=f"{at}.id",
                code="string_above_max_length",
            )
        text = "arguments" if kind == "function" else "input"
        body = as_object(required(item, kind, f"{at}.{kind}"), f"{at}.{kind}")
        name = required_text(body, "name", f"{at}.{kind}.name")
        check_name(name, f"{at}.{kind}.name")
        arguments = required_text(body, text, f"{at}.{kind}.{text}")
        if call_id in self.seen:
            raise ApiError(f"Duplicate tool call id '{call_id}'.", param=f"{at}.id", code="invalid_value")
        self.seen.add(call_id)
        call = Called(call_id, name, arguments)
        self.waiting[call_id] = call
        self.turns.append(call)


def chat_answer(reply: Say | CallTools, conversation: Conversation, choices: object = None) -> dict[str, object]:
    """The body of a `chat.completion`; of several choices all say the same, under call ids of their own."""
    made = [_choice(reply, conversation, index) for index in range(choices if isinstance(choices, int) else 1)]
    prompt, completion = tokens(conversation), sum(tokens(each) for each in made)
    return {
        "id": f"chatcmpl-{fingerprint(conversation)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": conversation.model,
        "choices": made,
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": "default",
        "system_fingerprint": "fp_scripted",
    }


def _choice(reply: Say | CallTools, conversation: Conversation, number: int) -> dict[str, object]:
    calls = reply.calls if isinstance(reply, CallTools) else ()
    message: dict[str, object] = {
        "role": "assistant",
        "content": reply.text,
        "refusal": None,
        "annotations": [],
    }
    if calls:
        message["tool_calls"] = [
            {
                "id": made.call_id or conversation.call_id(index + number * len(calls)),
                "type": "function",
                "function": {"name": made.name, "arguments": made.arguments_text(conversation)},
            }
            for index, made in enumerate(calls)
        ]
    finish = "tool_calls" if calls else "stop"
    return {"index": number, "message": message, "logprobs": None, "finish_reason": finish}


def tokens(what: Conversation | Mapping[str, object]) -> int:
    """A stand-in for a token count: a quarter of the characters, at least 1."""
    return max(1, len(repr(what)) // 4)


def fingerprint(conversation: Conversation) -> str:
    """24 hex characters that name this conversation."""
    return hashlib.sha256(repr(conversation.turns).encode()).hexdigest()[:24]
