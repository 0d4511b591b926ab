"""The tool list a model is shown: a principal's visible contracts, in one stable order, in either API's shape."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, final

import orjson

from gateway.alarm import alarm
from gateway.policy.documents import Contract
from gateway.policy.prepare import DRAFT_PARAMETERS
from gateway.policy.versions import lines
from gateway.shapes.calls import Format
from gateway.shapes.readonly import read_only
from gateway.shapes.strict import to_wire

MANY_TOOLS = 10  # beyond it models choose worse (OpenAI, "Function calling": aim for fewer than 20)
CHARS_A_TOKEN = 4  # of English and of JSON, roughly; nobody's tokenizer is asked
MAX_LISTS = 1_000  # kept ready


@final
@dataclass(frozen=True, slots=True)
class ToolCost:
    """Estimated tokens (a quarter of the characters, within about a third of the truth) by tool, and of the list."""

    tools: dict[str, int]
    total: int


def tool_cost(tools: list[dict[str, Any]]) -> ToolCost:
    """What a rendered list costs in every request that carries it."""
    each = {name_of(tool) or str(tool["type"]): -(-len(orjson.dumps(tool)) // CHARS_A_TOKEN) for tool in tools}
    return ToolCost(each, sum(each.values()))


def name_of(tool: Mapping[str, Any]) -> str:
    """The name of a function or free-text tool in either API's shape; empty for anything else."""
    kind = tool.get("type")
    body = tool.get(kind) if isinstance(kind, str) and kind in ("function", "custom") else None
    name = (body if isinstance(body, Mapping) else tool).get("name")
    return name if isinstance(name, str) and kind in ("function", "custom") else ""


@final
class ToolLists:
    """Every contract's definition, made once for a policy version."""

    def __init__(self, contracts: Mapping[str, Contract]) -> None:
        self._chat: dict[str, dict[str, Any]] = {}
        self._responses: dict[str, dict[str, Any]] = {}
        self._tags = {name: frozenset(contract.tags) for name, contract in contracts.items()}
        self._lines = lines(contracts)
        self._faces: dict[str, tuple[str, ...]] = {}
        self._warned: set[tuple[str, ...]] = set()
        self.unstrict: dict[str, str] = {}
        for name, contract in contracts.items():
            if contract.free_text:
                self._free_text(name, contract)
            elif contract.prepare is not None:
                prepare = contract.prepare
                self._function(prepare.tool, prepare.description, contract.parameters)
                self._function(name, contract.description, DRAFT_PARAMETERS)
                self._tags[prepare.tool] = self._tags[name]
                self._faces[name] = (prepare.tool, name)
            else:
                self._function(name, contract.description, contract.parameters)

    def _function(self, name: str, description: str, parameters: dict[str, object]) -> None:
        wire = to_wire(parameters)
        function = {
            "name": name,
            "description": description.strip(),
            "parameters": wire.schema,
            "strict": wire.strict,
        }
        self._chat[name] = read_only({"type": "function", "function": function})
        self._responses[name] = read_only({"type": "function", **function})
        if not wire.strict:
            self.unstrict[name] = wire.why_not

    def _free_text(self, name: str, contract: Contract) -> None:
        """A custom tool. Its grammar, or its pattern as one, is written in the two ways of the two APIs."""
        custom: dict[str, Any] = {"name": name, "description": contract.description.strip()}
        field: Any = contract.parameters["properties"]
        pattern = field["input"].get("pattern")
        chat: dict[str, Any] = {"type": "text"}
        responses = chat
        if contract.grammar is not None or pattern is not None:
            grammar = {"syntax": "lark", "definition": contract.grammar}
            if contract.grammar is None:
                grammar = {"syntax": "regex", "definition": pattern[1:-1]}
            chat, responses = {"type": "grammar", "grammar": grammar}, {"type": "grammar", **grammar}
        self._chat[name] = read_only({"type": "custom", "custom": custom | {"format": chat}})
        self._responses[name] = read_only({"type": "custom", **custom, "format": responses})

    def faces(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """`names`, and before each tool that is prepared the name it is prepared by."""
        return tuple(face for name in names for face in self._faces.get(name, (name,))) if self._faces else names

    def subset(
        self,
        names: tuple[str, ...],
        tags: Collection[str] = (),
        only: Collection[str] | None = None,
        called: Collection[str] = (),
        deferred: Collection[str] = (),
    ) -> tuple[str, ...]:
        """Those of `names` that have one of the tags and stand in `only`, in the same order.

        Of versions of one tool it is the newest, or the newest of those that the conversation has called. What has one
        of the tags `deferred` does not make the list long.
        """
        if only is not None:
            names = tuple(name for name in names if name in only)
        if self._lines:
            names = self.offered(names, called)
        if tags:
            names = self.tagged(names, tags)
        many = len(names) - (len(self.tagged(names, deferred)) if deferred else 0)
        if many > MANY_TOOLS and names not in self._warned and len(self._warned) < MAX_LISTS:
            self._warned.add(names)
            alarm().warning("many_tools", tools=many, advice="models choose worse; use tags=, only= or deferred=")
        return names

    def tagged(self, names: tuple[str, ...], tags: Collection[str]) -> tuple[str, ...]:
        """Those of `names` that have one of the tags."""
        return tuple(name for name in names if not self._tags[name].isdisjoint(tags))

    def offered(self, names: tuple[str, ...], called: Collection[str] = ()) -> tuple[str, ...]:
        """`names` with one version of each tool: the newest, or the newest of those that were `called`."""
        present, left_out = frozenset(names), set[str]()
        for line in self._lines.values():
            here = [version for version in line if version in present]
            kept = [version for version in here if version in called][:1] or here[:1]
            left_out.update(version for version in here if version not in kept)
        return tuple([name for name in names if name not in left_out]) if left_out else names

    def render(self, names: tuple[str, ...], format: Format) -> list[dict[str, Any]]:
        """Read-only definitions, shared, in a fresh list: nobody can change anybody else's (C084)."""
        made = self._chat if format == "chat" else self._responses
        return [made[name] for name in names]
