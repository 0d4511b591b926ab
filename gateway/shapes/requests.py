"""What is sent to the model: the caller's parameters without anything that would lead around the gateway.

Guarantees: no parameter that brings tools of its own, or lets an answer leave in a form that is not checked, is passed
on; and a conversation in which calls and results do not pair up, forged or mistaken, is refused before anything is
sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.domain.errors import UsageError
from gateway.shapes.calls import Format, plain
from gateway.shapes.known import CLIENT_OPTIONS, input_kind
from gateway.shapes.models import RequestRules
from gateway.shapes.outgoing import check_choice, check_input_item, check_parameters
from gateway.shapes.search import refreshed
from gateway.shapes.tools import name_of

_TOOLS = "the session offers its own tools: register the tool, give it a contract, and leave this out"
_UNCHECKED = "the answer would leave in a form that is not checked: leave this out"
_REFUSED: dict[str, str] = {
    "tools": _TOOLS,
    "functions": _TOOLS,
    "function_call": "this is the legacy form of `tool_choice`: use that",
    "web_search_options": _TOOLS,
    "prompt": "a stored prompt can bring tools of its own: send its text as messages",
    "conversation": "the loop keeps the conversation itself: pass its items as `input`",
    "background": "the loop waits for each turn: leave this out",
    "messages": "this stands in the request already",
    "input": "this stands in the request already",
    "audio": _UNCHECKED,
    "modalities": _UNCHECKED,
}
_NEEDS_TOOLS = ("tool_choice", "parallel_tool_calls")  # refused by the API where no tool is offered


def check_params(params: Mapping[str, object], rules: RequestRules) -> dict[str, Any]:
    """The parameters of the model call, of JSON types only so that a paused run can hold them. Raises UsageError."""
    extra = params.get("extra_body")
    named = [*(name for name in params if name not in CLIENT_OPTIONS), *(extra if isinstance(extra, Mapping) else ())]
    for name in named:
        if name in _REFUSED:
            raise UsageError(f"`{name}` cannot be given to run(): {_REFUSED[name]}")
    check_parameters(named, rules)
    if params.get("n") not in (None, 1):
        raise UsageError("`n` above 1 cannot be given to run(): a conversation goes on from one choice")
    for name, value in params.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"`{name}` is not plain JSON, so a paused run could not keep it: {error}") from error
    return dict(params)


def read_items(format: Format, given: object) -> list[dict[str, Any]]:
    """`messages=` or `input=` as a list of our own; the caller's is never changed. Raises UsageError."""
    if isinstance(given, str) and format == "responses":
        return [{"role": "user", "content": given}]
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise UsageError("`messages` and `input` are lists of messages or items")
    items = [plain(item) for item in given]
    try:
        copy: list[dict[str, Any]] = json.loads(json.dumps(items))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"the messages are not plain JSON: {error}") from error
    return copy


def check_pairs(format: Format, items: Iterable[Mapping[str, Any]], *, stored: bool = False) -> None:
    """Every call answered once, after it was made, and every result the answer to a call. Raises UsageError.

    `stored`: the provider keeps what went before, so a result may answer a call that does not stand here.
    """
    open_calls: set[str] = set()
    answered: set[str] = set()
    for item in items:
        if _is_result(format, item):
            result = item.get("tool_call_id" if format == "chat" else "call_id")
            if not isinstance(result, str):
                raise UsageError("a result names no call that it answers")
            _settle(result, open_calls, answered, stored=stored)
        elif format == "chat" and open_calls:
            raise UsageError(f"a message stands where the results of {sorted(open_calls)!a} belong")
        else:
            _open(format, item, open_calls, answered)
    if open_calls:
        raise UsageError(f"the calls {sorted(open_calls)!a} are not answered: dispatch them, and append the answers")


def _is_result(format: Format, item: Mapping[str, Any]) -> bool:
    """True for the result of a call. Raises UsageError for what brings tools, rights, or the legacy form of a call."""
    if format == "responses":
        check_input_item(item, RequestRules())  # what the provider would go on with is not the loop's
        if item.get("type") == "additional_tools":
            raise UsageError(f"`additional_tools` cannot be given to run(): {_TOOLS}")
        return input_kind(item).endswith("_call_output")
    if item.get("role") == "function" or item.get("function_call"):
        raise UsageError("a message calls, or answers, in the legacy form of `tool_calls`: use that")
    return item.get("role") == "tool"


def _settle(call_id: str, open_calls: set[str], answered: set[str], *, stored: bool) -> None:
    if call_id in answered or not (stored or call_id in open_calls):
        raise UsageError(f"the result for {call_id!a} answers no call of this conversation, or is its second")
    open_calls.discard(call_id)
    answered.add(call_id)


def _open(format: Format, item: Mapping[str, Any], open_calls: set[str], answered: set[str]) -> None:
    if format == "chat":
        asked = item.get("tool_calls") if item.get("role") == "assistant" else None
        made = [each.get("id") for each in asked or () if isinstance(each, Mapping)]
    else:
        own = str(item.get("type")) in ("function_call", "custom_tool_call")
        made = [item.get("call_id")] if own else []
    for call_id in map(str, made):
        if call_id in open_calls or call_id in answered:
            raise UsageError(f"two calls have the id {call_id!a}: nobody could say which of them is answered")
        open_calls.add(call_id)


def request_body(
    format: Format,
    model: str,
    items: list[dict[str, Any]],
    tools: list[dict[str, Any]],
    params: Mapping[str, Any],
    rules: RequestRules,
    *,
    first: bool,
) -> dict[str, Any]:
    """Arguments for `create`. A `tool_choice` that forces a call holds for the first turn, or no turn would be last.

    Raises RequestRefused for a `tool_choice` that forces what is not in `tools`.
    """
    body = dict(params) | {"model": model}
    names = tuple(map(name_of, tools))
    choice = check_choice(format, body.get("tool_choice"), lambda named: name_of(named) in names)
    if not tools:
        for name in _NEEDS_TOOLS:
            body.pop(name, None)
    else:
        body["tools"] = tools
        if choice is not None:
            body["tool_choice"] = choice
    if not first and body.get("tool_choice") not in ("auto", "none"):
        body.pop("tool_choice", None)
    rules.settle_parallel(body, names)
    return body | ({"messages": list(items)} if format == "chat" else {"input": refreshed(items, tools)})
