"""What one policy file says about another must be true: a name that leads nowhere is an error at load.

Roots and fact providers may come from the host program, so they are checked where the gateway is put together.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.domain.errors import PolicyError
from gateway.policy.documents import Contract
from gateway.policy.policy_set import LoadedContract
from gateway.policy.text import did_you_mean
from gateway.policy.versions import wrong_successor


def dangling(contracts: Mapping[str, LoadedContract], profiles: frozenset[str]) -> list[PolicyError]:
    """The first broken reference of each contract."""
    found = (_of_one(loaded, contracts, profiles) for loaded in contracts.values())
    return [error for error in found if error is not None]


def _of_one(
    loaded: LoadedContract, contracts: Mapping[str, LoadedContract], profiles: frozenset[str]
) -> PolicyError | None:
    execution = loaded.contract.execution
    if loaded.contract.replaces is not None:
        why = wrong_successor(loaded.contract, {tool: each.contract for tool, each in contracts.items()})
        if why is not None:
            return loaded.error(why, "replaces")
    if execution.sandbox is not None and execution.sandbox not in profiles:
        near = did_you_mean(execution.sandbox, profiles)
        message = f"there is no profile sandbox/{execution.sandbox}.yaml.{near}"
        return loaded.error(message, "execution", "sandbox")
    if execution.fallback is None:
        return None
    why = _bad_fallback(loaded.contract, contracts)
    return loaded.error(why, "execution", "fallback") if why else None


def _bad_fallback(contract: Contract, contracts: Mapping[str, LoadedContract]) -> str | None:
    name = contract.execution.fallback or ""
    if name not in contracts:
        return f"the fallback {name!r} has no contract in tools/.{did_you_mean(name, contracts)}"
    seen = [contract.tool]
    following: str | None = name
    while following is not None and following in contracts:
        if following in seen:
            return f"fallbacks go in a circle: {' -> '.join([*seen, following])}"
        seen.append(following)
        following = contracts[following].contract.execution.fallback
    fallback = contracts[name].contract
    extra = _properties(contract) - _properties(fallback)
    needed = _required(fallback) - _properties(contract)
    if extra or needed:
        names = ", ".join(sorted(extra | needed))
        return f"the fallback {name!r} receives the same arguments, but it does not share these parameters: {names}"
    return None


def _properties(contract: Contract) -> set[str]:
    found = contract.parameters.get("properties")
    return set(found) if isinstance(found, dict) else set()


def _required(contract: Contract) -> set[str]:
    found = contract.parameters.get("required")
    return {str(name) for name in found} if isinstance(found, list) else set()
