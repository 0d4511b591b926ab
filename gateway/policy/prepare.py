"""`prepare` in a contract: two faces of one tool, one that drafts a call and one that carries a confirmed draft out.

The contract governs the call itself: its parameters, rules, budgets and grants are those of what will be done. What the
first face drafts is a parked request, and the second redeems it by its id and by nothing else (ADR 16).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field, StringConstraints

from gateway.policy.model import Document, Misplaced, ToolName

if TYPE_CHECKING:
    from gateway.policy.documents import Contract

DRAFT_PARAMETERS: Final[dict[str, object]] = {
    "type": "object",
    "properties": {
        "draft": {"type": "string", "maxLength": 256, "description": "The id of the draft, as preparing gave it."}
    },
    "required": ["draft"],
    "additionalProperties": False,
}


class Prepare(Document):
    """The face that drafts. It is granted with the tool itself, and its calls are judged as calls of the tool."""

    tool: ToolName = Field(description="What the model calls with the contract's parameters. It needs no grant.")
    description: Annotated[str, StringConstraints(min_length=1, max_length=4096)] = Field(
        description="What the model reads of it: what it drafts, when to use it, when not."
    )


def check_prepare(contract: Contract) -> None:
    """Raises Misplaced for a contract with `prepare` that could not be prepared, confirmed and carried out."""
    prepare, approval = contract.prepare, contract.approval
    if prepare is None:
        return
    if prepare.tool == contract.tool:
        raise Misplaced("the two faces of a tool need two names", "prepare", "tool")
    if approval is None or approval.when != "always" or not approval.confirm:
        message = "`prepare` needs `approval: {when: always, confirm: true}`: every draft is confirmed by its user"
        raise Misplaced(message, *(("approval",) if approval is not None else ("prepare",)))
    excluded = {
        "free_text": contract.free_text,
        "replaces": contract.replaces is not None,
        "ordered": contract.ordered,
        "sandbox": contract.execution.sandbox is not None,
        "fallback": contract.execution.fallback is not None,
    }
    for name, there in excluded.items():
        if there:
            path = ("execution", name) if name in ("sandbox", "fallback") else (name,)
            raise Misplaced(f"`prepare` and `{name}` exclude each other. Remove one", *path)


def wrong_name(contract: Contract, contracts: Mapping[str, Contract]) -> str | None:
    """Why the name of its first face cannot stand, or None: two tools of one name could not be told apart."""
    if contract.prepare is None:
        return None
    name = contract.prepare.tool
    others = [each.prepare.tool for each in contracts.values() if each.prepare is not None and each is not contract]
    if name in contracts or name in others:
        return f"another contract has the name {name!r} already: give the draft of {contract.tool} its own"
    return None


def faces(contracts: Mapping[str, Contract]) -> dict[str, tuple[str, bool]]:
    """What a model may call -> the tool that governs it, and whether the call names a draft; for such tools only."""
    found: dict[str, tuple[str, bool]] = {}
    for tool, contract in contracts.items():
        if contract.prepare is not None:
            found |= {contract.prepare.tool: (tool, False), tool: (tool, True)}
    return found
