"""What the API refuses about the tools of a request, in both of its shapes.

Chat Completions nests a tool (`{"type": "function", "function": {"name": ...}}`), Responses does not
(`{"type": "function", "name": ...}`). Source: OpenAI API reference and the error texts users have reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from examples.scripted_openai.errors import ApiError
from examples.scripted_openai.fields import as_list, as_object, required, required_text
from examples.scripted_openai.strict_schema import StrictSchemaError, check_root, check_strict

Api = Literal["chat", "responses"]

NAME = re.compile(r"[a-zA-Z0-9_-]+\Z")
LOOKS_AROUND = re.compile(r"\(\?<?[=!]|(?<!\\)[*+?}]\?")  # lookaround and lazy repeats: API guide, grammars
MAX_NAME = 64  # API reference, FunctionDefinition.name
MAX_TOOLS = 128  # API reference, tools
# Tools that the provider runs itself; Responses only. Accepted here so that tests can see them arrive.
HOSTED = frozenset(
    {"web_search", "web_search_preview", "file_search", "code_interpreter", "image_generation", "mcp"}
    | {"computer", "computer_use_preview", "local_shell", "shell", "apply_patch", "tool_search"}
)


def check_name(name: str, param: str) -> None:
    """Refuse a tool name outside `^[a-zA-Z0-9_-]{1,64}$`, in a definition as in a call sent back."""
    if len(name) > MAX_NAME:
        raise ApiError(
            f"Invalid '{param}': string too long. Expected at most {MAX_NAME} characters, got {len(name)}.",
            param=param,
            code="string_above_max_length",
        )
    if not NAME.match(name):
        raise ApiError(
            f"Invalid '{param}': string does not match pattern. Expected '^[a-zA-Z0-9_-]+$'.",
            param=param,
            code="invalid_value",
        )


def check_tools(body: dict[str, object], api: Api) -> tuple[str, ...]:
    """Check `tools` and `tool_choice`; return the names on offer (a hosted tool goes by its type)."""
    names: list[str] = []
    given = body.get("tools")
    tools = [] if given is None else as_list(given, "tools")
    if api == "chat" and given is not None and not tools:
        raise ApiError(
            "Invalid 'tools': empty array. Expected an array with minimum length 1.",
            param="tools",
            code="empty_array",
        )
    if len(tools) > MAX_TOOLS:
        raise ApiError(
            f"Invalid 'tools': array too long. Expected at most {MAX_TOOLS}, got {len(tools)}.",
            param="tools",
            code="array_above_max_length",
        )
    for index, raw in enumerate(tools):
        tool = as_object(raw, f"tools[{index}]")
        name = check_tool(tool, f"tools[{index}]", api)
        if name in names and tool["type"] not in HOSTED:
            raise ApiError(f"Invalid 'tools': the name '{name}' is used twice.", param="tools", code="invalid_value")
        names.append(name)
    _check_deferred(tools)
    _check_choice(body, names, api)
    return tuple(names)


def functions(tools: list[object]) -> Iterator[tuple[str | None, dict[str, object]]]:
    """Functions and custom tools of a Responses request, those of namespaces too, each with its namespace."""
    for tool in tools:
        if isinstance(tool, dict) and tool.get("type") == "namespace":
            yield from ((str(tool["name"]), inner) for inner in tool["tools"])
        elif isinstance(tool, dict) and tool.get("type") in ("function", "custom"):
            yield None, tool


def _check_deferred(tools: list[object]) -> None:
    """Deferred tools and the search that finds them need each other (API guide, tool search)."""
    searches = [tool for tool in tools if isinstance(tool, dict) and tool.get("type") == "tool_search"]
    deferred = [tool for _, tool in functions(tools) if tool.get("defer_loading")]
    if deferred and not searches:
        raise ApiError(
            "Invalid Value: 'tools.defer_loading'. Deferred tools require tools.tool_search.",
            param="tools",
            code="invalid_value",
        )
    if searches and not deferred and searches[0].get("execution") != "client":
        raise ApiError("Invalid 'tools': tool_search has nothing to search.", param="tools", code="invalid_value")


def check_tool(tool: dict[str, object], at: str, api: Api) -> str:
    """Check one definition; return its name, or its type where the provider runs it."""
    kind = required_text(tool, "type", f"{at}.type")
    if api == "responses" and kind in HOSTED:
        return kind
    if kind == "namespace" and api == "responses":
        name = required_text(tool, "name", f"{at}.name")
        required_text(tool, "description", f"{at}.description")
        for index, inner in enumerate(as_list(required(tool, "tools", f"{at}.tools"), f"{at}.tools")):
            check_tool(as_object(inner, f"{at}.tools[{index}]"), f"{at}.tools[{index}]", api)
        return name
    if kind not in ("function", "custom"):
        raise ApiError(f"Invalid value: '{kind}'.", param=f"{at}.type", code="invalid_value")
    if api == "chat":
        if "defer_loading" in tool:
            raise ApiError(f"Unknown parameter: '{at}.defer_loading'.", param=f"{at}.defer_loading")
        at = f"{at}.{kind}"
        tool = as_object(required(tool, kind, at), at)
    name = required_text(tool, "name", f"{at}.name")
    check_name(name, f"{at}.name")
    if kind == "function":
        _check_parameters(tool, name, at)
    elif tool.get("format") is not None:
        _check_format(as_object(tool["format"], f"{at}.format"), f"{at}.format", api)
    return name


def _check_format(given: dict[str, object], at: str, api: Api) -> None:
    """The form of a custom tool's text: any, or a grammar, which Chat Completions nests."""
    kind = required_text(given, "type", f"{at}.type")
    if kind not in ("text", "grammar"):
        raise ApiError(f"Invalid value: '{kind}'.", param=f"{at}.type", code="invalid_value")
    if kind == "text":
        return
    if api == "chat":
        at = f"{at}.grammar"
        given = as_object(required(given, "grammar", at), at)
    syntax = required_text(given, "syntax", f"{at}.syntax")
    if syntax not in ("lark", "regex"):
        raise ApiError(f"Invalid value: '{syntax}'.", param=f"{at}.syntax", code="invalid_value")
    definition = required_text(given, "definition", f"{at}.definition")
    if not definition or (syntax == "regex" and LOOKS_AROUND.search(definition)):
        raise ApiError(f"Invalid grammar in '{at}.definition'.", param=f"{at}.definition", code="invalid_grammar")


def _check_parameters(function: dict[str, object], name: str, at: str) -> None:
    schema = function.get("parameters")
    strict = function.get("strict")
    if strict not in (None, True, False):
        raise ApiError(f"Invalid type for '{at}.strict'.", param=f"{at}.strict", code="invalid_type")
    try:
        if strict is True:
            check_strict(schema)
        elif schema is not None:
            check_root(schema)
    except StrictSchemaError as error:
        raise ApiError(
            f"Invalid schema for function '{name}': {error}",
            param=f"{at}.parameters",
            code="invalid_function_parameters",
        ) from error


def _check_choice(body: dict[str, object], names: list[str], api: Api) -> None:
    if api == "chat" and not names:
        for param in ("tool_choice", "parallel_tool_calls"):
            if body.get(param) is not None:
                raise ApiError(
                    f"Invalid value for '{param}': '{param}' is only allowed when 'tools' are specified.",
                    param=param,
                )
    choice = body.get("tool_choice")
    if choice is None or choice in ("none", "auto"):
        return
    if choice == "required":
        wanted = names[:1] or ["(any)"]
    elif isinstance(choice, str):
        raise ApiError(f"Invalid value: '{choice}'.", param="tool_choice", code="invalid_value")
    else:
        wanted = _chosen(as_object(choice, "tool_choice"), api)
    for name in wanted:
        if name not in names:
            raise ApiError(
                f"Tool choice '{name}' not found in 'tools' parameter.",
                param="tool_choice",
                code="invalid_value",
            )


def _chosen(choice: dict[str, object], api: Api) -> list[str]:
    """The names that a `tool_choice` object refers to."""
    kind = required_text(choice, "type", "tool_choice.type")
    if kind == "allowed_tools":
        at = "tool_choice"
        if api == "chat":
            at = "tool_choice.allowed_tools"
            choice = as_object(required(choice, "allowed_tools", at), at)
        mode = required_text(choice, "mode", f"{at}.mode")
        if mode not in ("auto", "required"):
            raise ApiError(f"Invalid value: '{mode}'.", param=f"{at}.mode", code="invalid_value")
        tools = as_list(required(choice, "tools", f"{at}.tools"), f"{at}.tools")
        return [_named(as_object(tool, f"{at}.tools[{i}]"), f"{at}.tools[{i}]", api) for i, tool in enumerate(tools)]
    return [_named(choice, "tool_choice", api)]


def _named(tool: dict[str, object], at: str, api: Api) -> str:
    kind = required_text(tool, "type", f"{at}.type")
    if api == "responses" and kind in HOSTED:
        return kind
    if kind not in ("function", "custom"):
        raise ApiError(f"Invalid value: '{kind}'.", param=f"{at}.type", code="invalid_value")
    if api == "chat":
        at = f"{at}.{kind}"
        tool = as_object(required(tool, kind, at), at)
    return required_text(tool, "name", f"{at}.name")
