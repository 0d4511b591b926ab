"""Versions of one tool that stand side by side: `replaces` in a contract names the version before (ADR 12).

A version is a tool of its own: name, contract, grants and function. What versions share is said here: they are one
line. A conversation is offered one of it, limits are counted together, and the switch of an older one stops the newer.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.policy.documents import Contract
from gateway.policy.text import did_you_mean


def lines(contracts: Mapping[str, Contract]) -> dict[str, tuple[str, ...]]:
    """Tool -> its line from this version back to the oldest, for tools that replace another. Contracts are loaded."""
    found: dict[str, tuple[str, ...]] = {}
    for tool in contracts:
        line = [tool]
        while (before := contracts[line[-1]].replaces) is not None:
            line.append(before)
        if len(line) > 1:
            found[tool] = tuple(line)
    return found


def wrong_successor(contract: Contract, contracts: Mapping[str, Contract]) -> str | None:
    """Why `replaces` of a contract cannot stand, or None."""
    before = contract.replaces
    if before is None:
        return None
    if before not in contracts:
        near = did_you_mean(before, contracts)
        return f"{before!r} has no contract in tools/.{near} Remove the key once the older version is retired"
    seen = [contract.tool]
    following: str | None = before
    while following is not None and following in contracts:
        if following in seen:
            return f"versions go in a circle: {' -> '.join([*seen, following])}"
        seen.append(following)
        following = contracts[following].replaces
    others = sorted(each.tool for each in contracts.values() if each.replaces == before and each is not contract)
    if others:
        return f"{before!r} is replaced by {others[0]!r} already: let one of them replace the other"
    if contracts[before].prepare is not None:
        return f"{before!r} has `prepare`, and its drafts are its own: give it no versions"
    if contracts[before].version == contract.version:
        return f"{contract.tool!r} and {before!r} both have version {contract.version!r}: records must tell them apart"
    return None
