"""Reading the tool calls of a model's message, in the shapes of both OpenAI APIs.

Items may be the `openai` client's own objects or plain dictionaries. An item that is not a function call but could be
answered under its id is read as a call of no tool, which step 1 refuses and which is answered under that id; an item
that could never be answered is an error of the caller, and so is what the provider has executed on its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

from gateway.domain.call import ToolCall
from gateway.domain.errors import UsageError

Format = Literal["chat", "responses"]

MAX_ID_CHARS = 256  # OpenAI allows 40 and 64; compatible servers make longer ones
NOT_CALLS = frozenset(("message", "reasoning"))  # Responses output that asks for nothing


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """The calls of one message, and the API whose shape they had, so that the answers can have it too."""

    format: Format
    calls: tuple[ToolCall, ...]


def read_calls(items: Iterable[object] | None) -> Asked:
    """Chat Completions `message.tool_calls` (None too), or a Responses `output`, not mixed."""
    found = [_read(fields) for item in items or () if not _asks_nothing(fields := plain(item))]
    formats = {each for each, _ in found}
    if len(formats) > 1:
        raise UsageError("tool calls of Chat Completions and of Responses stand in one list; dispatch them apart")
    return Asked(formats.pop() if formats else "chat", tuple(call for _, call in found))


def plain(item: object) -> dict[str, Any]:
    """The item as a dictionary under the API's own names. Objects of the `openai` client know how to become one."""
    if isinstance(item, ToolCall):
        return {"id": item.id, "type": "function", "function": {"name": item.name, "arguments": item.arguments}}
    if isinstance(item, Mapping):
        return dict(item)
    dump = getattr(item, "model_dump", None)
    if dump is None:
        raise UsageError(f"a {type(item).__name__} is neither an object of the `openai` client nor a dictionary")
    result: dict[str, Any] = dump(mode="json", by_alias=True, exclude_unset=True, warnings=False)
    return result


def is_own_function_call(item: Mapping[str, Any]) -> bool:
    """True for a Responses item that asks us, here and now, for a function (not a program or a namespace elsewhere)."""
    caller = item.get("caller")
    elsewhere = caller is not None and not (isinstance(caller, Mapping) and caller.get("type") == "direct")
    return item.get("type") == "function_call" and not (elsewhere or item.get("namespace") or item.get("async"))


def good_id(value: object) -> bool:
    """An id that an answer, and a record, can carry."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_CHARS:
        return False
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def _asks_nothing(fields: dict[str, Any]) -> bool:
    kind = fields.get("type")
    return isinstance(kind, str) and kind in NOT_CALLS


def _read(fields: dict[str, Any]) -> tuple[Format, ToolCall]:
    kind = fields.get("type")
    if "call_id" in fields:
        name = fields.get("name") if is_own_function_call(fields) else None
        return "responses", ToolCall(_id(fields["call_id"]), name, fields.get("arguments", ""))
    if kind is not None and (not isinstance(kind, str) or kind not in fields):
        raise UsageError(f"a {str(kind)!a} item is not a call that could be answered; pass the model's calls only")
    function = fields.get("function")
    if kind not in ("function", None) or not isinstance(function, Mapping):
        function = {}
    return "chat", ToolCall(_id(fields.get("id")), function.get("name"), function.get("arguments", ""))


def _id(value: object) -> str:
    if not good_id(value):
        raise UsageError("a tool call without a usable id cannot be answered; pass the model's message unchanged")
    return str(value)
