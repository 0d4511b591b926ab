"""What is known about families of models, and what the policy says about requests to any of them.

The table is small on purpose and only about `parallel_tool_calls`: reasoning models of the o-series reject the
parameter ("Unsupported parameter"), fine-tuned models lose strict mode when they call in parallel, and
gpt-4.1-nano may make the same call twice (OpenAI, "Function calling", section on parallel calls; the API's error).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

from gateway.policy.documents import Contract, Settings

Parallel = Literal["on", "off", "omit"]

FAMILIES: tuple[tuple[str, Parallel], ...] = (
    ("ft:*", "off"),
    ("gpt-4.1-nano*", "off"),
    ("o1*", "omit"),
    ("o3*", "omit"),
    ("o4-mini*", "omit"),
)


@final
@dataclass(frozen=True, slots=True)
class RequestRules:
    """The policy as far as it concerns requests to a model."""

    provider_tools: frozenset[str] = frozenset()
    parallel: tuple[tuple[str, Parallel], ...] = ()
    destructive: frozenset[str] = frozenset()  # tools; empty where they may be called in parallel
    hands_over: frozenset[str] = frozenset()
    truncated_retries: int = 0
    parameters: frozenset[str] = frozenset()  # of requests, beyond those of OpenAI's API

    def provides(self, kind: str) -> bool:
        """Whether the provider may execute a tool of that kind: for `mcp`, on any server."""
        return kind in self.provider_tools or (kind == "mcp" and any(n.startswith("mcp:") for n in self.provider_tools))

    def parallel_for(self, model: object) -> Parallel:
        """The deployment's own lines first, then the table; "on" for a family nobody knows anything about."""
        name = model if isinstance(model, str) else ""
        for pattern, handling in (*self.parallel, *FAMILIES):
            if name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1])):
                return handling
        return "on"

    def settle_parallel(self, body: dict[str, Any], tools: tuple[str, ...]) -> None:
        """Set, keep or take out `parallel_tool_calls` for a request that offers `tools`. Only ever narrows."""
        handling = self.parallel_for(body.get("model"))
        if handling == "omit" or not body.get("tools"):
            body.pop("parallel_tool_calls", None)
        elif handling == "off" or not self.destructive.isdisjoint(tools):
            body["parallel_tool_calls"] = False


def request_rules(settings: Settings, contracts: Mapping[str, Contract]) -> RequestRules:
    """The rules of one policy version; the longest pattern is looked at first, so `o3-mini` beats `o3*`.

    Destructive is what has `risk: high` and an effect: one at a time, unless the policy relaxes it.
    """
    parallel = tuple(sorted(settings.openai.parallel.items(), key=lambda line: -len(line[0])))
    risky = (name for name, each in contracts.items() if each.risk == "high" and each.effect != "none")
    return RequestRules(
        frozenset(settings.provider_tools),
        parallel,
        frozenset() if settings.openai.destructive_in_parallel else frozenset(risky),
        frozenset(name for name, each in contracts.items() if each.hands_over),
        settings.loop.truncated_retries,
        frozenset(settings.openai.parameters),
    )
