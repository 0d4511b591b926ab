"""What is sent to the model: the caller's parameters without anything that would lead around the gateway.

Guarantee: no parameter that brings tools of its own, hands a turn over in pieces before it was judged, or lets an
answer leave in a form that is not checked is passed on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.domain.errors import UsageError
from gateway.shapes.calls import Format, plain

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


def check_params(params: Mapping[str, object]) -> dict[str, Any]:
    """The parameters of the model call, of JSON types only so that a paused run can hold them. Raises UsageError."""
    extra = params.get("extra_body")
    for name in [*params, *(extra if isinstance(extra, Mapping) else ())]:
        if name in _REFUSED:
            raise UsageError(f"`{name}` cannot be given to run(): {_REFUSED[name]}")
    if params.get("stream"):
        raise UsageError("`stream` cannot be given to run(): a turn is judged whole and an answer checked first")
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


def request_body(
    format: Format,
    model: str,
    items: list[dict[str, Any]],
    tools: list[dict[str, Any]],
    params: Mapping[str, Any],
    *,
    first: bool,
) -> dict[str, Any]:
    """Arguments for `create`. A `tool_choice` that forces a call holds for the first turn, or no turn would be last."""
    body = dict(params)
    if not tools:
        for name in _NEEDS_TOOLS:
            body.pop(name, None)
    else:
        body["tools"] = tools
    if not first and body.get("tool_choice") not in ("auto", "none"):
        body.pop("tool_choice", None)
    return body | {"model": model, ("messages" if format == "chat" else "input"): list(items)}
