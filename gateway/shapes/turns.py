"""Reading a model's whole turn, in either API: what to keep, what to govern, or why the turn cannot be used.

Guarantees: a call of a turn that was cut off, filtered or refused is not read at all (C137 for the legacy shape);
what the provider executed on its own, or what nobody here can answer, ends the loop and is not passed over; what is
kept is accepted by the API when it is sent back, whatever names, numbers or half characters the model wrote.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from gateway.domain.call import ToolCall
from gateway.domain.decision import StopReason
from gateway.domain.errors import UsageError
from gateway.shapes.calls import (
    CALL_ITEMS,
    Format,
    chat_call,
    good_id,
    is_own_call,
    key_name,
    kind_of,
    own_call,
    plain,
)
from gateway.shapes.search import found, is_search_item

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")  # what both APIs take back in a call
_NO_NAME = "invalid_tool_name"
_CHAT_CALL = ("id", "type", "function", "custom")
_RUN_ELSEWHERE = ("audio", "executed_tools")  # parts of a chat message that hold no text of the model

Item = dict[str, Any]


@final
@dataclass(frozen=True, slots=True)
class Turn:
    """`kept` goes into the conversation before any answer. `calls` are in the model's order, their ids distinct."""

    kept: list[Item]
    calls: tuple[ToolCall, ...]
    text: str


@final
@dataclass(frozen=True, slots=True)
class Unusable:
    """Nothing of this turn is kept or run. `said` is the model's own refusal, unchecked."""

    reason: StopReason
    said: str = ""


def read_turn(
    format: Format, response: object, used: Iterable[str], deferred: frozenset[str] = frozenset()
) -> Turn | Unusable:
    """A `ChatCompletion` or a `Response`. `used` are the call ids that the conversation holds already.

    `deferred` are the tools that a search of the provider could find; it may have found no others.
    """
    try:
        body = plain(response)
        turn = _chat(body) if format == "chat" else _responses(body, deferred)
    except (UsageError, ValueError, RecursionError):  # no object of the API, or one that no JSON can hold
        return Unusable(StopReason.INVALID_TURN)
    if isinstance(turn, Turn):
        ids = [call.id for call in turn.calls]
        if not all(map(good_id, ids)) or len(set(ids)) != len(ids) or not set(ids).isdisjoint(used):
            return Unusable(StopReason.INVALID_TURN)
    return turn


def call_ids(items: Sequence[Item]) -> set[str]:
    """Every call id that stands in a conversation, of either API."""
    found = {item.get("call_id") for item in items}
    for item in items:
        found |= {call.get("id") for call in item.get("tool_calls") or () if isinstance(call, Mapping)}
    return {each for each in found if isinstance(each, str)}


def called_tools(items: Sequence[Item]) -> frozenset[str]:
    """The names of the tools that a conversation, of either API, has called."""
    found = {key_name(item.get("namespace"), item.get("name")) for item in items if kind_of(item) in CALL_ITEMS}
    for item in items:
        for call in item.get("tool_calls") or ():
            body = call.get(call.get("type") or "function") if isinstance(call, Mapping) else None
            found.add(body.get("name") if isinstance(body, Mapping) else None)
    return frozenset(each for each in found if isinstance(each, str))


def write_said(text: str) -> list[Item]:
    """The model's text as an item of a conversation, valid in both APIs."""
    return [{"role": "assistant", "content": text}]


# Chat Completions


def _chat(body: Item) -> Turn | Unusable:
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and len(choices) == 1 else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return Unusable(StopReason.INVALID_TURN)
    why_not = _chat_end(choice.get("finish_reason"), message)
    if why_not is not None:
        return why_not
    asked = message.get("tool_calls") or []
    text = _text(message.get("content"))
    if not isinstance(asked, list) or text is None or message.get("role") != "assistant":
        return Unusable(StopReason.INVALID_TURN)
    calls = [chat_call(item) if isinstance(item, dict) else None for item in asked]
    known = tuple(call for call in calls if call is not None)
    if len(known) != len(calls) or any(message.get(part) for part in _RUN_ELSEWHERE):
        return Unusable(StopReason.UNKNOWN_ITEM)
    kept = {key: value for key, value in message.items() if value is not None and key != "tool_calls"}
    if known:
        kept["tool_calls"] = [
            {"id": call.id, **_chat_spelled(call, item), **_more(item)} for call, item in zip(known, asked, strict=True)
        ]
    else:
        kept.setdefault("content", "")
    return Turn([_sound(kept)], known, text)


def _chat_end(finish: object, message: Item) -> Unusable | None:
    refusal = message.get("refusal")
    if refusal:
        return Unusable(StopReason.MODEL_REFUSED, str(refusal))
    if finish == "length":
        return Unusable(StopReason.TRUNCATED)
    if finish == "content_filter":
        return Unusable(StopReason.CONTENT_FILTER)
    if message.get("function_call") or finish == "function_call":
        return Unusable(StopReason.LEGACY_CALL)
    return None if finish in ("stop", "tool_calls") else Unusable(StopReason.INVALID_TURN)


def _chat_spelled(call: ToolCall, item: Item) -> Item:
    kind = "custom" if item.get("type") == "custom" else "function"
    return {"type": kind, kind: {"name": _spelled_name(call.name), **_spelled(call, custom=kind == "custom")}}


def _more(item: Item) -> Item:
    """What a provider hangs on a call beside the standard fields, and may want back (signatures of its reasoning)."""
    return {key: value for key, value in item.items() if key not in _CHAT_CALL and value is not None}


# Responses


def _responses(body: Item, deferred: frozenset[str]) -> Turn | Unusable:
    output = body.get("output")
    items: list[Any] = output if isinstance(output, list) else [None]
    parts = [part for item in items if isinstance(item, dict) for part in _parts(item)]
    refusals = [str(part.get("refusal", "")) for part in parts if part.get("type") == "refusal"]
    if refusals:
        return Unusable(StopReason.MODEL_REFUSED, "".join(refusals))
    why_not = _responses_end(body, items, deferred)
    if why_not is not None:
        return why_not
    kept: list[Item] = []
    calls: list[ToolCall] = []
    texts: list[str] = []
    for sent in items:
        item = {key: value for key, value in sent.items() if value is not None}
        if kind_of(item) in CALL_ITEMS:
            call = own_call(item)
            calls.append(call)
            item |= {"name": _spelled_name(item.get("name"))}
            item |= _spelled(call, custom=item["type"] == "custom_tool_call")
        elif item["type"] == "message":
            text = _text(item.get("content", []))
            if text is None or item.get("role") != "assistant":
                return Unusable(StopReason.INVALID_TURN)
            texts.append(text)
        kept.append(_sound(item))
    if not calls and not texts:
        kept = []  # the API takes no reasoning back without what followed from it
    return Turn(kept, tuple(calls), "".join(texts))


def _responses_end(body: Item, items: list[Any], deferred: frozenset[str]) -> Unusable | None:
    status = body.get("status")
    if status == "failed" or body.get("error"):
        return Unusable(StopReason.MODEL_FAILED)
    if status == "incomplete":
        details = body.get("incomplete_details")
        filtered = isinstance(details, dict) and details.get("reason") == "content_filter"
        return Unusable(StopReason.CONTENT_FILTER if filtered else StopReason.TRUNCATED)
    if status != "completed" or not all(isinstance(item, dict) for item in items):
        return Unusable(StopReason.INVALID_TURN)
    for item in items:
        searched = is_search_item(item) and deferred and deferred.issuperset(_found(item))
        if not (item.get("type") in ("message", "reasoning") or is_own_call(item) or searched):
            return Unusable(StopReason.UNKNOWN_ITEM)
        if item.get("status") not in ("completed", None):
            return Unusable(StopReason.TRUNCATED)
    return None


def _found(item: Item) -> Iterable[str]:
    return found(item) if item["type"] == "tool_search_output" else ()


# both


def _parts(item: Item) -> list[Item]:
    content = item.get("content")
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def _text(content: object) -> str | None:
    """The text of a message, or None if it holds anything else."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        return None
    texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") in _TEXTS]
    whole = [text for text in texts if isinstance(text, str)]
    return "".join(whole) if len(whole) == len(content) else None


_TEXTS = ("text", "output_text")


def _spelled(call: ToolCall, *, custom: bool) -> dict[str, str]:
    """The arguments as the API takes them back. What is governed is the call as it came, not this."""
    given = call.arguments["input"] if custom and isinstance(call.arguments, dict) else call.arguments
    return {"input" if custom else "arguments": given if isinstance(given, str) else json.dumps(given)}


def _spelled_name(name: object) -> str:
    """The name as the API takes it back."""
    return name if isinstance(name, str) and _NAME.match(name) else _NO_NAME


def _sound(item: Item) -> Item:
    """A copy made of JSON's types alone, with `?` for halves of characters, which no request could carry."""
    sound: Item = json.loads(json.dumps(item, ensure_ascii=False).encode("utf-8", "replace"))
    return sound
