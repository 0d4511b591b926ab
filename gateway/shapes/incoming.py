"""What a provider answered, looked at before a host program gets it: kinds of calls, not their contents.

Guarantees: an answer that holds a call in the legacy shape, a call of a kind no contract can govern, or the traces of
something the provider executed without the policy's leave is not handed over; and calls whose ids could not be
answered are not either. A call of a function is handed over unchanged, allowed or not: dispatch judges it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from gateway.domain.decision import StopReason
from gateway.domain.errors import ToolgateError
from gateway.shapes.calls import Format, chat_call, good_id, is_own_call, kind_of
from gateway.shapes.known import ITEMS_WITH_TOOLS, TRACE_OF
from gateway.shapes.models import RequestRules
from gateway.shapes.search import SEARCH_ITEMS, found

_HARMLESS = frozenset(("message", "reasoning", "compaction", *SEARCH_ITEMS, *ITEMS_WITH_TOOLS))
# web_search_call, shell_call_output, mcp_list_tools: what a provider-executed tool leaves in the output
_TRACES = re.compile(r"_(?:call_output|call|output|list_tools|approval_request)\Z")


class ResponseRefused(ToolgateError):
    """An answer of the model that is not handed over. `reason` is stable; nothing of the answer is in the message."""

    def __init__(self, reason: StopReason, why: str) -> None:
        super().__init__(f"the model's answer is not handed over: {why}")
        self.reason = reason
        self.why = why


def check_response(format: Format, body: object, rules: RequestRules, visible: Collection[str] = ()) -> None:
    """A whole `chat.completion` or `response`. Raises ResponseRefused. Errors of the API itself pass."""
    if not isinstance(body, Mapping):
        raise ResponseRefused(StopReason.INVALID_TURN, "it is no object of the API")
    ids = list(_chat(body) if format == "chat" else _responses(body, rules, visible))
    if not all(map(good_id, ids)) or len(set(ids)) != len(ids):
        raise ResponseRefused(StopReason.INVALID_TURN, "calls share an id, or have none")


def _chat(body: Mapping[str, Any]) -> Iterator[object]:
    choices = body.get("choices", [])
    for choice in choices if isinstance(choices, list) else [None]:
        message = choice.get("message") if isinstance(choice, Mapping) else None
        if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
            raise ResponseRefused(StopReason.INVALID_TURN, "a choice holds no message")
        check_chat_message(message)
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list):
            raise ResponseRefused(StopReason.INVALID_TURN, "its calls are no list")
        if calls and choice.get("finish_reason") not in ("stop", "tool_calls"):
            raise ResponseRefused(StopReason.TRUNCATED, "a turn that makes calls was cut off or filtered")
        for call in calls:
            read = chat_call(call) if isinstance(call, Mapping) else None
            if read is None:
                raise ResponseRefused(StopReason.UNKNOWN_ITEM, "it holds a call of an unknown kind")
            yield read.id


def check_chat_message(message: Mapping[str, Any]) -> None:
    """A message, or a delta of one, without what no contract can govern. Raises ResponseRefused."""
    if message.get("function_call"):
        raise ResponseRefused(StopReason.LEGACY_CALL, "it calls in the legacy shape")
    if message.get("executed_tools"):
        raise ResponseRefused(StopReason.UNKNOWN_ITEM, "the provider executed tools of its own")


def _responses(body: Mapping[str, Any], rules: RequestRules, visible: Collection[str]) -> Iterator[object]:
    output = body.get("output", [])
    over = body.get("status", "completed") == "completed"
    items: list[Any] = output if isinstance(output, list) else [None]
    for item in items:
        if check_item(item, rules, visible):
            if not over or item.get("status", "completed") != "completed":
                raise ResponseRefused(StopReason.TRUNCATED, "a turn that makes calls was cut off or is not over")
            yield item.get("call_id")


def check_item(item: Any, rules: RequestRules, visible: Collection[str] = ()) -> bool:
    """One output item of Responses: True for a call of ours. `visible` are the tools that an item may bring.

    Raises ResponseRefused.
    """
    if not isinstance(item, Mapping):
        raise ResponseRefused(StopReason.INVALID_TURN, "an item is no object")
    kind = kind_of(item)
    if kind in ITEMS_WITH_TOOLS and not all(name in visible for name in found(item)):
        raise ResponseRefused(
            StopReason.UNKNOWN_ITEM, "a search found, or an item brings, a tool that is not available in this session"
        )
    if kind in _HARMLESS:
        return False
    if is_own_call(item):
        return True
    name = _TRACES.sub("", kind)
    if not (rules.provides(name) or rules.provides(TRACE_OF.get(name, name))):
        raise ResponseRefused(StopReason.UNKNOWN_ITEM, "it holds an item of a kind that no policy allows")
    return False
