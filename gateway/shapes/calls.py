"""Reading the tool calls of a model's message, in the shapes of both OpenAI APIs.

Items may be the `openai` client's own objects or plain dictionaries. An item that is not a function call but carries
an id is read as a call of no tool, which step 1 refuses and which is answered under its id; an item that could
never be answered is an error of the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

from gateway.domain.call import ToolCall
from gateway.domain.errors import UsageError

Format = Literal["chat", "responses"]


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """The calls of one message, and the API whose shape they had, so that the answers can have it too."""

    format: Format
    calls: tuple[ToolCall, ...]


def read_calls(items: Iterable[object]) -> Asked:
    """Chat Completions `message.tool_calls`, or the `function_call` items of a Responses output, not mixed."""
    found: list[tuple[Format, ToolCall]] = [_read(item) for item in items]
    formats = {each for each, _ in found}
    if len(formats) > 1:
        raise UsageError("tool calls of Chat Completions and of Responses stand in one list; dispatch them apart")
    return Asked(formats.pop() if formats else "chat", tuple(call for _, call in found))


def plain(item: object) -> dict[str, Any]:
    """The item as a dictionary. Objects of the `openai` client know how to become one."""
    if isinstance(item, ToolCall):
        return {"id": item.id, "type": "function", "function": {"name": item.name, "arguments": item.arguments}}
    if isinstance(item, Mapping):
        return dict(item)
    dump = getattr(item, "model_dump", None)
    if dump is None:
        raise UsageError(f"a {type(item).__name__} is not a tool call; pass `message.tool_calls` or response items")
    result: dict[str, Any] = dump(exclude_none=True)
    return result


def _read(item: object) -> tuple[Format, ToolCall]:
    fields = plain(item)
    kind = fields.get("type")
    if "call_id" in fields:
        known = kind == "function_call"
        return "responses", ToolCall(
            _id(fields["call_id"]), fields.get("name") if known else None, fields.get("arguments", "")
        )
    function = fields.get("function")
    known = kind in ("function", None) and isinstance(function, Mapping)
    name = function.get("name") if known and isinstance(function, Mapping) else None
    arguments = function.get("arguments", "") if isinstance(function, Mapping) else ""
    return "chat", ToolCall(_id(fields.get("id")), name, arguments)


def _id(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError("a tool call without an id cannot be answered; pass the model's message unchanged")
    return value
