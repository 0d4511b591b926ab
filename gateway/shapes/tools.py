"""The tool list a model is shown: a principal's visible contracts, in one stable order, in either API's shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from gateway.policy.documents import Contract
from gateway.shapes.calls import Format
from gateway.shapes.strict import to_wire


@final
class ToolLists:
    """Every contract's definition, made once for a policy version."""

    def __init__(self, contracts: Mapping[str, Contract]) -> None:
        self._chat: dict[str, dict[str, Any]] = {}
        self._responses: dict[str, dict[str, Any]] = {}
        self.unstrict: dict[str, str] = {}
        for name, contract in contracts.items():
            wire = to_wire(contract.parameters)
            function = {
                "name": name,
                "description": contract.description.strip(),
                "parameters": wire.schema,
                "strict": wire.strict,
            }
            self._chat[name] = {"type": "function", "function": function}
            self._responses[name] = {"type": "function", **function}
            if not wire.strict:
                self.unstrict[name] = wire.why_not

    def render(self, names: tuple[str, ...], format: Format) -> list[dict[str, Any]]:
        """Shared dictionaries in a fresh list: they are the provider's to read and nobody's to change."""
        made = self._chat if format == "chat" else self._responses
        return [made[name] for name in names]
