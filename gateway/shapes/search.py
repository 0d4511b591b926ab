"""Deferred loading (Responses): definitions that the model looks for itself, with the provider's tool search.

Guarantees: a search covers the request it stands in, which holds only what this principal may see; what it found is
kept only if every definition of it is offered in this session, and goes back in the contract's words of that moment,
without the tools that were taken away since (I7). A search executes nothing: what it finds is judged when it is called.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from gateway.shapes.calls import key_name, kind_of
from gateway.shapes.tools import name_of

SEARCH = "tool_search"
SEARCH_ITEMS = ("tool_search_call", "tool_search_output")
_SPOKEN = ("type", "execution", "description", "parameters")  # of a search that the host executes itself

Item = dict[str, Any]


def defer(tools: list[Item], names: Collection[str]) -> list[Item]:
    """A Responses list with `names` deferred, and the search that finds them; unchanged if none of them is in it."""
    if not any(name_of(tool) in names for tool in tools):
        return tools
    made = [tool | {"defer_loading": True} if name_of(tool) in names else tool for tool in tools]
    return [*made, {"type": SEARCH}]


def deferred_names(tools: Iterable[Item]) -> frozenset[str]:
    """The names that a list of our own defers."""
    return frozenset(name_of(tool) for tool in tools if tool.get("defer_loading") is True)


def settle_search(tools: list[Item], search: Mapping[str, Any] | None) -> list[Item]:
    """A governed list with its search, if that has something to find; without deferring anything if there is none."""
    if search is not None and (search.get("execution") == "client" or any(map(_defers, tools))):
        return [*tools, {key: search[key] for key in _SPOKEN if key in search}]
    return tools if any(tool.get("type") == SEARCH for tool in tools) else [_whole(tool) for tool in tools]


def is_search_item(item: Mapping[str, Any]) -> bool:
    """True for a search that the provider executed, and for what it found."""
    return kind_of(item) in SEARCH_ITEMS and item.get("execution", "server") == "server"


def found(item: Mapping[str, Any]) -> Iterator[str]:
    """The names of the definitions in a `tool_search_output`; empty for one that is no tool of ours."""
    tools = item.get("tools")
    for tool in tools if isinstance(tools, list) else [None]:
        if not isinstance(tool, Mapping):
            yield ""
        elif tool.get("type") == "namespace":
            inner = tool.get("tools")
            for each in inner if isinstance(inner, list) else [None]:
                key = key_name(tool.get("name"), name_of(each)) if isinstance(each, Mapping) and name_of(each) else ""
                yield key if isinstance(key, str) else ""
        else:
            yield name_of(tool)


def refreshed(items: Iterable[Item], tools: list[Item]) -> list[Item]:
    """A conversation whose searches found no more than `tools` offers now, in its words."""
    own = {name_of(tool): tool for tool in tools if name_of(tool)}
    return [
        item | {"tools": [own[name] for name in found(item) if name in own]}
        if kind_of(item) == "tool_search_output"
        else item
        for item in items
    ]


def _defers(tool: Item) -> bool:
    return tool.get("defer_loading") is True or any(each.get("defer_loading") for each in _inside(tool))


def _whole(tool: Item) -> Item:
    """The tool with its definition loaded at once: the API refuses to defer what no search could find."""
    kept = {key: value for key, value in tool.items() if key != "defer_loading"}
    if tool.get("type") == "namespace":
        kept["tools"] = [_whole(each) for each in _inside(tool)]
    return kept


def _inside(tool: Item) -> list[Item]:
    return list(tool.get("tools", ())) if tool.get("type") == "namespace" else []
