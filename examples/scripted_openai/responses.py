"""`POST /v1/responses`: what the API refuses about the input items, stored responses, shape of its answer.

Every `function_call` has exactly one `function_call_output` after it, and every output its call, looking at
the input together with what `previous_response_id` stands for.
"""

from __future__ import annotations

import itertools
import threading
import time
from typing import cast

from examples.scripted_openai.chat import fingerprint, tokens
from examples.scripted_openai.conversation import Answered, Called, Conversation, Said, Turn
from examples.scripted_openai.errors import ApiError
from examples.scripted_openai.fields import as_list, as_object, content_text, required, required_text
from examples.scripted_openai.rules import check_name, check_tool, check_tools, functions
from examples.scripted_openai.script import CallTools, Say

ROLES = ("system", "developer", "user", "assistant")
ITEM_PREFIX = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fc",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctc",
    "reasoning": "rs",
    "tool_search_call": "tsc",
    "tool_search_output": "tso",
}
CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
MAX_CALL_ID = 64  # API reference, function_call.call_id
MOVED = {
    "messages": "input",
    "response_format": "text.format",
    "functions": "tools",
    "function_call": "tool_choice",
}

Item = dict[str, object]


class ResponseStore:
    """Stored responses: id -> every item of the conversation up to and with that response."""

    def __init__(self) -> None:
        self._items: dict[str, list[Item]] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def new_id(self, conversation: Conversation) -> str:
        with self._lock:
            return f"resp_{next(self._numbers):06d}{fingerprint(conversation)}"

    def keep(self, response_id: str, items: list[Item]) -> None:
        with self._lock:
            self._items[response_id] = items

    def items(self, response_id: str) -> list[Item]:
        """The items behind an id. Raises ApiError `previous_response_not_found`."""
        with self._lock:
            if response_id in self._items:
                return list(self._items[response_id])
        raise ApiError(
            f"Previous response with id '{response_id}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        )


def read_responses(body: Item, store: ResponseStore) -> tuple[Conversation, list[Item]]:
    """The conversation of one request, and all its items, stored ones first. Raises ApiError."""
    model = required_text(body, "model", "model")
    for old, now in MOVED.items():
        if old in body:
            raise ApiError(
                f"Unsupported parameter: '{old}'. In the Responses API it is '{now}'.",
                param=old,
                code="unsupported_parameter",
            )
    tools = check_tools(body, "responses")
    previous = body.get("previous_response_id")
    stored = store.items(previous) if isinstance(previous, str) else []
    given = required(body, "input", "input")
    if isinstance(given, str):
        given = [{"type": "message", "role": "user", "content": given}]
    reader = _Items()
    for item in stored:
        reader.read(item, "input")
    items = list(stored)
    for index, raw in enumerate(as_list(given, "input")):
        item = as_object(raw, f"input[{index}]")
        reader.read(item, f"input[{index}]")
        items.append(item)
    reader.close_calls()
    turns = list(reader.turns)
    if body.get("instructions") is not None:
        # Not carried over by previous_response_id: they belong to this request alone.
        turns.insert(0, Said("system", required_text(body, "instructions", "instructions")))
    return Conversation("responses", model, tuple(turns), tools), items


class _Items:
    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.calls: dict[str, Called] = {}
        self.kinds: dict[str, str] = {}
        self.answered: set[str] = set()
        self.item_ids: set[str] = set()
        self.searching = False

    def read(self, item: Item, at: str) -> None:
        kind = item.get("type", "message")
        if kind == "message":
            self._message(item, at)
        elif kind in CALLS:
            self._call(item, at, CALLS[str(kind)])
        elif kind in ("function_call_output", "custom_tool_call_output"):
            self._output(item, at, str(kind).removesuffix("_output"))
        elif kind == "tool_search_output":
            if not self.searching:
                raise ApiError("No tool search found for tool search output.", param=at)
            self.searching = False
            for index, tool in enumerate(as_list(required(item, "tools", f"{at}.tools"), f"{at}.tools")):
                check_tool(as_object(tool, f"{at}.tools[{index}]"), f"{at}.tools[{index}]", "responses")
        elif kind == "tool_search_call":
            self.searching = True
        elif kind != "reasoning":
            raise ApiError(f"Invalid value: '{kind}'.", param=f"{at}.type", code="invalid_value")
        self._item_id(item, str(kind), at)

    def close_calls(self) -> None:
        """Refuse unless every call is answered."""
        for call_id in self.calls:
            if call_id not in self.answered:
                raise ApiError(f"No tool output found for function call {call_id}.", param="input")

    def _item_id(self, item: Item, kind: str, at: str) -> None:
        item_id = item.get("id")
        if not isinstance(item_id, str):
            return
        prefix = ITEM_PREFIX[kind]
        if not item_id.startswith(prefix):
            raise ApiError(
                f"Invalid '{at}.id': '{item_id}'. Expected an ID that begins with '{prefix}'.",
                param=f"{at}.id",
                code="invalid_value",
            )
        if item_id in self.item_ids:
            raise ApiError(f"Duplicate item found with id {item_id}.", param="input")
        self.item_ids.add(item_id)

    def _message(self, item: Item, at: str) -> None:
        role = required_text(item, "role", f"{at}.role")
        if role not in ROLES:
            raise ApiError(
                f"Invalid value: '{role}'. Supported values are: {', '.join(map(repr, ROLES))}.",
                param=f"{at}.role",
                code="invalid_value",
            )
        text = content_text(required(item, "content", f"{at}.content"), f"{at}.content")
        if role == "assistant":
            self.turns.append(Said("assistant", text))
        else:
            self.turns.append(Said("user" if role == "user" else "system", text))

    def _call(self, item: Item, at: str, text: str) -> None:
        call_id = required_text(item, "call_id", f"{at}.call_id")
        name = required_text(item, "name", f"{at}.name")
        check_name(name, f"{at}.name")
        if len(call_id) > MAX_CALL_ID:
            raise ApiError(
                f"Invalid '{at}.call_id': longer than {MAX_CALL_ID} characters ({len(call_id)}).",
                param=f"{at}.call_id",
                code="string_above_max_length",
            )
        if call_id in self.calls:
            raise ApiError(f"Duplicate function call id '{call_id}'.", param="input")
        self.calls[call_id] = Called(call_id, name, required_text(item, text, f"{at}.{text}"))
        self.kinds[call_id] = str(item["type"])
        self.turns.append(self.calls[call_id])

    def _output(self, item: Item, at: str, kind: str) -> None:
        call_id = required_text(item, "call_id", f"{at}.call_id")
        text = content_text(required(item, "output", f"{at}.output"), f"{at}.output")
        if self.kinds.get(call_id) != kind:
            raise ApiError(f"No tool call found for function call output with call_id {call_id}.", param="input")
        if call_id in self.answered:
            raise ApiError(f"Duplicate function_call_output for call_id '{call_id}'.", param="input")
        self.answered.add(call_id)
        self.turns.append(Answered(self.calls[call_id], text))


def responses_answer(
    reply: Say | CallTools, conversation: Conversation, body: Item, store: ResponseStore, items: list[Item]
) -> Item:
    """The body of a `response`; stored under its id unless the request says `store: false`."""
    response_id = store.new_id(conversation)
    suffix = response_id.removeprefix("resp_")
    output: list[Item] = []
    if reply.text is not None:
        part = {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
        message = {"id": f"msg_{suffix}", "type": "message", "status": "completed", "role": "assistant"}
        output.append({**message, "content": [part]})
    if isinstance(reply, CallTools) and reply.searched:
        output += _searched(reply.searched, body, suffix)
    for index, made in enumerate(reply.calls if isinstance(reply, CallTools) else ()):
        output.append(
            {
                "id": f"fc_{suffix}{index}",
                "type": "function_call",
                "status": "completed",
                **({} if made.namespace is None else {"namespace": made.namespace}),
                "call_id": made.call_id or conversation.call_id(index),
                "name": made.name,
                "arguments": made.arguments_text(conversation),
            }
        )
    now = int(time.time())
    read, written = tokens(conversation), tokens({"output": output})
    answer: Item = {
        "id": response_id,
        "object": "response",
        "created_at": now,
        "completed_at": now,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata") or {},
        "model": conversation.model,
        "output": output,
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": body.get("previous_response_id"),
        "store": body.get("store", True),
        "temperature": 1.0,
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools", []),
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": read + written,
        },
    }
    store_answer(answer, body, store, items)
    return answer


def _searched(names: tuple[str, ...], body: Item, suffix: str) -> list[Item]:
    """What the server's own tool search leaves in the output: the call, and the definitions it loaded."""
    deferred = {
        tool["name"]: tool
        for _, tool in functions(cast("list[object]", body.get("tools", [])))
        if tool.get("defer_loading")
    }
    head: Item = {"execution": "server", "call_id": None, "status": "completed"}
    return [
        {"id": f"tsc_{suffix}", "type": "tool_search_call", "arguments": {"paths": list(names)}, **head},
        {"id": f"tso_{suffix}", "type": "tool_search_output", "tools": [deferred[name] for name in names], **head},
    ]


def store_answer(answer: Item, body: Item, store: ResponseStore, items: list[Item]) -> None:
    """Keep a response for a later `previous_response_id`, as far as the request and its shape allow."""
    response_id, output = answer.get("id"), answer.get("output")
    if body.get("store") is not False and isinstance(response_id, str) and isinstance(output, list):
        store.keep(response_id, [*items, *cast("list[Item]", output)])
