"""A request as a host program means to send it, made into one that may be sent; or refused (C136, C137).

Guarantees: what leaves offers only tools this principal may see and call, each in its contract's own words; nothing
that the provider would execute by itself leaves unless the policy allows it by name; and `tool_choice` can force or
allow nothing that is not offered. What was taken out is reported, so that it can be recorded. What this cannot see is
what the provider keeps for itself (a stored prompt, an older response): the first is refused, the second can only make
the model ask, and asking is judged at dispatch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

from gateway.domain.errors import UsageError
from gateway.shapes.calls import Format, key_name
from gateway.shapes.known import ITEMS, ITEMS_WITH_RIGHTS, ITEMS_WITH_TOOLS, PARAMETERS, input_kind
from gateway.shapes.models import RequestRules
from gateway.shapes.search import SEARCH, settle_search
from gateway.shapes.tools import ToolLists, name_of

Item = dict[str, Any]

_REFUSED: dict[str, str] = {
    "functions": "this is the legacy form of `tools`: use that",
    "function_call": "this is the legacy form of `tool_choice`: use that",
    "prompt": "a stored prompt can bring tools of its own: send its text instead",
    "plugins": "plugins run at the provider: leave this out",
    "mcp_servers": "these run at the provider: leave this out",
    "tool_resources": "these belong to tools that run at the provider: leave this out",
    "multi_agent": "its agents run at the provider: leave this out",
    "data_sources": "these are searched at the provider: leave this out",
}
_VERSIONED = re.compile(r"(_preview)?(_\d{4}_?\d{2}_?\d{2})?\Z")  # web_search_preview_2025_03_11 is web_search
_SEARCHES = re.compile(r"-search-(?:preview|api)\b")  # models that search the web at every request
_SILENT = frozenset(("none", "auto", "required"))


class RequestRefused(UsageError):
    """A request to the model that may not be sent, and was not. The message says what to change."""


@final
@dataclass(slots=True)
class Governed:
    """What may be sent. `stripped` and `allowed` name tools taken out, and provider-executed ones let through."""

    body: Item
    stripped: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)


def provider_name(tool: Mapping[str, Any]) -> str:
    """How the policy names a tool that the provider runs: its type without a date; `mcp:` with where it leads."""
    kind = tool.get("type")
    if not isinstance(kind, str) or not kind:
        return "(no type)"
    if kind == "mcp":
        return f"mcp:{tool.get('server_url') or tool.get('connector_id') or '(nowhere)'}"
    return _VERSIONED.sub("", kind, count=1)


def govern_request(
    format: Format, body: Mapping[str, Any], visible: tuple[str, ...], lists: ToolLists, rules: RequestRules
) -> Governed:
    """The body to send instead of `body`, which is not changed. Raises RequestRefused."""
    for name, why in _REFUSED.items():
        if body.get(name) is not None:
            raise RequestRefused(f"`{name}` may not be sent: {why}")
    check_parameters((name for name, value in body.items() if value is not None), rules)
    request = _Request(format, visible, lists, rules, Governed(dict(body)))
    request.searching()
    request.items()
    request.tools()
    return request.out


def check_parameters(names: Iterable[str], rules: RequestRules) -> None:
    """Parameters of a request that nobody here knows may bring tools. Raises RequestRefused."""
    for name in names:
        if name not in PARAMETERS and name not in rules.parameters:
            raise RequestRefused(
                f"`{name}` is no parameter of OpenAI's API that the gateway knows: leave it out, or, if it brings no "
                "tool, name it in settings.yaml under `openai: {parameters: [...]}`"
            )


def check_input_item(item: object, rules: RequestRules) -> None:
    """One input item of Responses. Raises RequestRefused where it would let the provider run what no policy allows."""
    kind = input_kind(item)
    needs = ITEMS_WITH_RIGHTS.get(kind)
    if needs is not None and not rules.provides(needs):
        raise RequestRefused(f"a `{kind}` lets the provider go on with a tool, `{needs}`, that no policy allows")
    if needs is None and kind not in ITEMS and kind not in ITEMS_WITH_TOOLS:
        raise RequestRefused(f"an input item is of a kind that the gateway does not know: {kind[:64]!a}")


def check_choice(format: Format, choice: object, may_name: Callable[[Mapping[str, Any]], bool]) -> object:
    """`tool_choice` without what may not be named in it. Raises RequestRefused where it forces such a thing."""
    if choice is None or (isinstance(choice, str) and choice in _SILENT):
        return choice
    if not isinstance(choice, Mapping):
        raise RequestRefused("`tool_choice` is not one of the forms that the gateway knows")
    if choice.get("type") != "allowed_tools":
        if not may_name(choice):
            raise RequestRefused("`tool_choice` forces a tool that is not available in this session")
        return dict(choice)
    inner = choice.get("allowed_tools") if format == "chat" else choice
    listed = inner.get("tools") if isinstance(inner, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(listed, list):
        raise RequestRefused("`tool_choice` is not one of the forms that the gateway knows")
    kept = [tool for tool in listed if isinstance(tool, Mapping) and may_name(tool)]
    if not kept:
        if inner.get("mode") == "required":
            raise RequestRefused("`tool_choice` requires one of some tools, and none is available in this session")
        return "none"
    narrowed = dict(inner) | {"tools": kept}
    return {"type": "allowed_tools", "allowed_tools": narrowed} if format == "chat" else narrowed


@final
@dataclass(slots=True)
class _Request:
    format: Format
    visible: tuple[str, ...]
    lists: ToolLists
    rules: RequestRules
    out: Governed

    def searching(self) -> None:
        """The web search of Chat Completions: a parameter, or a model that cannot do without."""
        body = self.out.body
        allowed = "web_search" in self.rules.provider_tools
        if isinstance(model := body.get("model"), str) and _SEARCHES.search(model):
            if not allowed:
                raise RequestRefused(
                    f"the model {model!a} searches the web by itself; allow `web_search` in the policy"
                )
            self.out.allowed.append("web_search")
        elif body.get("web_search_options") is not None:
            (self.out.allowed if allowed else self.out.stripped).append("web_search")
            if not allowed:
                del body["web_search_options"]

    def items(self) -> None:
        """Responses input items that would bring tools or rights of their own."""
        if self.format != "responses":
            return
        for name in ("input", "items"):  # the latter of a conversation
            given = self.out.body.get(name)
            if isinstance(given, list):
                self.out.body[name] = list(map(self._item, given))
            elif given is not None and not isinstance(given, str):
                raise RequestRefused(f"`{name}` is text or a list of items")

    def _item(self, item: Any) -> Any:
        check_input_item(item, self.rules)
        if input_kind(item) not in ITEMS_WITH_TOOLS:
            return item
        inner = item.get("tools")
        return {**item, "tools": self._filtered(inner if isinstance(inner, list) else [])}

    def tools(self) -> None:
        body = self.out.body
        given = body.pop("tools", None)
        if given is not None and not isinstance(given, list):
            raise RequestRefused("`tools` is a list")
        search = None
        if self.format == "responses" and SEARCH not in self.rules.provider_tools:
            search = next(
                (tool for tool in given or () if isinstance(tool, Mapping) and tool.get("type") == SEARCH), None
            )
        tools = self._filtered([tool for tool in given or () if tool is not search])
        offered, tools = tools, settle_search(tools, search)
        if search is not None and len(tools) == len(offered):
            self.out.stripped.append(SEARCH)
        choice = body.pop("tool_choice", None)
        if tools:
            body["tools"] = tools
        choice = check_choice(self.format, choice, self._offered(tools))
        if choice == "required" and given and not tools:
            raise RequestRefused("`tool_choice` requires a call, and none of the tools is available in this session")
        if choice is not None and (tools or (self.format == "responses" and given is None)):
            body["tool_choice"] = choice
        self.rules.settle_parallel(body, tuple(filter(None, map(name_of, tools))))

    def _filtered(self, given: list[Any]) -> list[Item]:
        """Ours in the session's order and the contract's words, then namespaces and what the provider runs."""
        ours: dict[str, Item] = {}
        others: list[Item] = []
        for tool in given:
            if not isinstance(tool, Mapping):
                raise RequestRefused("a tool is an object")
            kind = tool.get("type")
            if kind in ("function", "custom"):
                self._take(name_of(tool), tool, ours)
            elif kind == "namespace" and self.format == "responses":
                others += self._namespace(tool)
            elif provider_name(tool) in self.rules.provider_tools:
                self.out.allowed.append(provider_name(tool))
                others.append(dict(tool))
            else:
                self.out.stripped.append(provider_name(tool))
        return [ours[name] for name in self.visible if name in ours] + others

    def _take(self, name: str, tool: Mapping[str, Any], into: dict[str, Item]) -> None:
        if name not in self.visible:
            self.out.stripped.append(name or "(no name)")
            return
        [own] = self.lists.render((name,), self.format)
        deferred = tool.get("defer_loading") is True and self.format == "responses"
        into[name] = own | {"defer_loading": True} if deferred else own

    def _namespace(self, tool: Mapping[str, Any]) -> list[Item]:
        """A namespace holds the tools whose contracts are called `<namespace>__<name>`."""
        space, inner = tool.get("name"), tool.get("tools")
        kept: list[Item] = []
        for each in inner if isinstance(inner, list) else ():
            name = name_of(each) if isinstance(each, Mapping) else ""
            key = key_name(space, name)
            taken: dict[str, Item] = {}
            self._take(key if isinstance(key, str) and name else "", each, taken)
            kept += ({**own, "name": name} for own in taken.values())
        return [{**tool, "tools": kept}] if kept else []

    def _offered(self, tools: list[Item]) -> Callable[[Mapping[str, Any]], bool]:
        names = {name_of(tool) for tool in tools} | set(self.visible)
        provided = set(self.out.allowed)

        def offered(named: Mapping[str, Any]) -> bool:
            if named.get("type") in ("function", "custom"):
                return name_of(named) in names
            if named.get("type") == "mcp":  # names its server by a label only: one of those in this request
                return any(tool.get("server_label") == named.get("server_label") for tool in tools)
            return provider_name(named) in provided

        return offered
