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
# Responses output that asks for nothing; a search is the provider's, or of a host that answers it itself
NOT_CALLS = frozenset(("message", "reasoning", "tool_search_call", "tool_search_output"))
CALL_ITEMS = {"function_call": "arguments", "custom_tool_call": "input"}  # Responses: the kinds of calls of ours


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """The calls of one message, and the API whose shape they had, so that the answers can have it too.

    `custom` are the ids of free-text calls, which Responses answers in a shape of their own.
    """

    format: Format
    calls: tuple[ToolCall, ...]
    custom: frozenset[str] = frozenset()


def read_calls(items: Iterable[object] | None) -> Asked:
    """Chat Completions `message.tool_calls` (None too), or a Responses `output`, not mixed."""
    asked = [fields for item in items or () if not _asks_nothing(fields := plain(item))]
    found = [_read(fields) for fields in asked]
    formats = {each for each, _ in found}
    if len(formats) > 1:
        raise UsageError("tool calls of Chat Completions and of Responses stand in one list; dispatch them apart")
    return Asked(formats.pop() if formats else "chat", tuple(call for _, call in found), custom_ids(asked))


def custom_ids(items: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The ids of the free-text calls among Responses items."""
    return frozenset(str(item.get("call_id")) for item in items if item.get("type") == "custom_tool_call")


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


def is_own_call(item: Mapping[str, Any]) -> bool:
    """True for a Responses item that asks us, here and now, for a function or a free-text tool (no program does)."""
    caller = item.get("caller")
    elsewhere = caller is not None and not (isinstance(caller, Mapping) and caller.get("type") == "direct")
    return kind_of(item) in CALL_ITEMS and not (elsewhere or item.get("async"))


def own_call(item: Mapping[str, Any]) -> ToolCall:
    """A Responses item for which `is_own_call` holds, as a call. Free text becomes the one argument `input`."""
    text = item.get(CALL_ITEMS[item["type"]], "")
    arguments = text if item["type"] == "function_call" else {"input": text}
    return ToolCall(item.get("call_id"), key_name(item.get("namespace"), item.get("name")), arguments)  # type: ignore[arg-type]


def key_name(namespace: object, name: object) -> object:
    """The tool a call in a namespace asks for: the namespace is part of its name, so it can borrow nobody's rights."""
    if namespace is None or namespace == "":
        return name
    return f"{namespace}__{name}" if isinstance(namespace, str) and isinstance(name, str) else None


def kind_of(item: Mapping[str, Any]) -> str:
    """The item's `type`; empty where it has none that is text, whatever stands there instead."""
    kind = item.get("type")
    return kind if isinstance(kind, str) else ""


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
        call_id = _id(fields["call_id"])
        if is_own_call(fields):
            return "responses", own_call(fields)
        return "responses", ToolCall(call_id, None, fields.get("arguments", ""))
    if kind is not None and (not isinstance(kind, str) or kind not in fields):
        raise UsageError(f"a {str(kind)!a} item is not a call that could be answered; pass the model's calls only")
    call_id = _id(fields.get("id"))
    return "chat", chat_call(fields) or ToolCall(call_id, None, "")


def chat_call(fields: Mapping[str, Any]) -> ToolCall | None:
    """A call of a chat message. None for one that is neither a function nor a free-text tool."""
    kind = fields.get("type") or "function"
    body = fields.get(kind) if kind in ("function", "custom") else None
    if not isinstance(body, Mapping):
        return None
    arguments = body.get("arguments", "") if kind == "function" else {"input": body.get("input", "")}
    return ToolCall(fields.get("id"), body.get("name"), arguments)  # type: ignore[arg-type]


def _id(value: object) -> str:
    if not good_id(value):
        raise UsageError("a tool call without a usable id cannot be answered; pass the model's message unchanged")
    return str(value)
