"""A whole answer as the server-sent events that the real API would have streamed it in.

Chat Completions: `chat.completion.chunk` deltas, an argument string in pieces, then `[DONE]`. Responses: an event for
every item, part and delta, with sequence numbers, then the terminal event that carries the whole response. An answer
that no honest model gives is cut into the same events, so that hostile turns can be streamed too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import cast

PIECE = 7  # characters a delta: small, and prime, so that pieces end inside words, escapes and numbers
DONE = b"data: [DONE]\n\n"
TERMINAL = {"incomplete": "response.incomplete", "failed": "response.failed"}

Item = dict[str, object]


def chat_events(body: Mapping[str, object], *, usage: bool = False) -> Iterator[bytes]:
    """The events of one `chat.completion` body."""
    head = {key: body[key] for key in ("id", "created", "model", "service_tier", "system_fingerprint") if key in body}
    head["object"] = "chat.completion.chunk"
    for raw in cast("list[Item]", body.get("choices", [])):
        index, message = raw.get("index", 0), cast("Item", raw.get("message", {}))
        for delta in _chat_deltas(message):
            yield _chat_event(head | {"choices": [{"index": index, "delta": delta, "finish_reason": None}]})
        if raw.get("finish_reason") is not None:
            last = {"index": index, "delta": {}, "finish_reason": raw["finish_reason"]}
            yield _chat_event(head | {"choices": [last]})
    if usage:
        yield _chat_event(head | {"choices": [], "usage": body.get("usage")})
    yield DONE


def _chat_deltas(message: Item) -> Iterator[Item]:
    yield {"role": message.get("role", "assistant"), "content": None if message.get("tool_calls") else ""}
    for key, value in message.items():
        if key in ("content", "refusal") and isinstance(value, str):
            for piece in _pieces(value):
                yield {key: piece}
        elif key == "tool_calls" and isinstance(value, list):
            for index, call in enumerate(value):
                yield from _chat_call(index, call)
        elif key not in ("role", "content", "refusal", "annotations") and value is not None:
            yield {key: value}


def _chat_call(index: int, call: Item) -> Iterator[Item]:
    kind = "custom" if "custom" in call else "function"
    holder = call.get(kind)
    field = "input" if kind == "custom" else "arguments"
    text = holder.get(field) if isinstance(holder, dict) else None
    if not isinstance(holder, dict) or not isinstance(text, str):
        yield {"tool_calls": [{"index": index, **call}]}
        return
    yield {"tool_calls": [{"index": index, **call, kind: {**holder, field: ""}}]}
    for piece in _pieces(text):
        yield {"tool_calls": [{"index": index, kind: {field: piece}}]}


def _chat_event(chunk: Item) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def responses_events(body: Mapping[str, object]) -> Iterator[bytes]:
    """The events of one `response` body."""
    output = cast("list[Item]", body.get("output", []))
    begun = {**body, "status": "in_progress", "output": []}
    events: list[Item] = [{"type": f"response.{kind}", "response": begun} for kind in ("created", "in_progress")]
    for index, item in enumerate(output):
        events += ({"output_index": index, **event} for event in _item_events(item))
    events.append({"type": TERMINAL.get(str(body.get("status")), "response.completed"), "response": dict(body)})
    for number, event in enumerate(events):
        yield f"event: {event['type']}\ndata: {json.dumps({'sequence_number': number, **event})}\n\n".encode()


def _item_events(item: Item) -> Iterator[Item]:
    kind, item_id = item.get("type"), item.get("id", "")
    field = {"function_call": "arguments", "custom_tool_call": "input"}.get(str(kind))
    parts = item.get("content") if kind == "message" else None
    started = {**item, "status": "in_progress"}
    if field:
        started[field] = ""
    if isinstance(parts, list):
        started["content"] = []
    yield {"type": "response.output_item.added", "item": started}
    text = item.get(field) if field else None
    if field and isinstance(text, str):
        name = "function_call_arguments" if field == "arguments" else "custom_tool_call_input"
        for piece in _pieces(text):
            yield {"type": f"response.{name}.delta", "item_id": item_id, "delta": piece}
        yield {"type": f"response.{name}.done", "item_id": item_id, "name": item.get("name"), field: text}
    for index, part in enumerate(parts if isinstance(parts, list) else ()):
        for event in _part_events(cast("Item", part)):
            yield {"item_id": item_id, "content_index": index, **event}
    yield {"type": "response.output_item.done", "item": item}


def _part_events(part: Item) -> Iterator[Item]:
    field = "refusal" if part.get("type") == "refusal" else "text"
    name = "refusal" if field == "refusal" else "output_text"
    text = part.get(field)
    yield {"type": "response.content_part.added", "part": {**part, field: ""}}
    if isinstance(text, str):
        logprobs: Item = {"logprobs": []} if field == "text" else {}
        for piece in _pieces(text):
            yield {"type": f"response.{name}.delta", "delta": piece, **logprobs}
        yield {"type": f"response.{name}.done", field: text, **logprobs}
    yield {"type": "response.content_part.done", "part": part}


def _pieces(text: str) -> Iterator[str]:
    return (text[start : start + PIECE] for start in range(0, len(text), PIECE))
