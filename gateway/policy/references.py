"""What one policy file says about another must be true: a name that leads nowhere is an error at load.

Roots and fact providers may come from the host program, so they are checked where the gateway is put together.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.domain.errors import PolicyError
from gateway.policy.boxed import unboxable
from gateway.policy.budget_documents import Budget
from gateway.policy.documents import Contract, Settings
from gateway.policy.folder import SETTINGS
from gateway.policy.policy_set import LoadedContract
from gateway.policy.prepare import wrong_name
from gateway.policy.text import did_you_mean
from gateway.policy.versions import wrong_successor


def dangling(
    contracts: Mapping[str, LoadedContract], profiles: frozenset[str], budgets: Mapping[str, Budget]
) -> list[PolicyError]:
    """The first broken reference of each contract."""
    found = (_of_one(loaded, contracts, profiles, budgets) for loaded in contracts.values())
    return [error for error in found if error is not None]


def undeliverable(settings: Settings, contracts: Mapping[str, LoadedContract]) -> list[PolicyError]:
    """What is wrong with the tool that delivers held answers, if settings.yaml names one."""
    tool = settings.answer.deliver_with
    if tool is None:
        return []
    why = _no_delivery(tool, contracts)
    return [PolicyError(f"answer.deliver_with: {why}", file=SETTINGS)] if why else []


def _no_delivery(tool: str, contracts: Mapping[str, LoadedContract]) -> str | None:
    if tool not in contracts:
        return f"the tool {tool!r} has no contract in tools/.{did_you_mean(tool, contracts)}"
    contract = contracts[tool].contract
    if contract.prepare is not None:
        return f"{tool!r} is prepared by a model, and answers are held by the gateway: use a tool without `prepare`"
    properties = contract.parameters.get("properties")
    text = properties.get("text") if isinstance(properties, dict) else None
    if _properties(contract) != {"text"} or not isinstance(text, dict) or text.get("type") != "string":
        return f"{tool!r} needs exactly one parameter: `text`, of type string"
    if "text" not in contract.secrets:
        return f"{tool!r} must list `text` under `secrets`: a held answer belongs neither in the log nor on a screen"
    if contract.clearance.when != "always" or not contract.clearance.approvers:
        return f"{tool!r} must ask an approver every time: `approval: {{when: always}}`"
    return None


def _of_one(
    loaded: LoadedContract,
    contracts: Mapping[str, LoadedContract],
    profiles: frozenset[str],
    budgets: Mapping[str, Budget],
) -> PolicyError | None:
    for name, value in loaded.contract.charges.items():
        wrong = _bad_charge(loaded.contract, name, value, budgets)
        if wrong is not None:
            return loaded.error(wrong, "charges", name)
    execution = loaded.contract.execution
    if loaded.contract.replaces is not None:
        why = wrong_successor(loaded.contract, {tool: each.contract for tool, each in contracts.items()})
        if why is not None:
            return loaded.error(why, "replaces")
    if loaded.contract.prepare is not None:
        why = wrong_name(loaded.contract, {tool: each.contract for tool, each in contracts.items()})
        if why is not None:
            return loaded.error(why, "prepare", "tool")
    if execution.sandbox is not None and execution.sandbox not in profiles:
        near = did_you_mean(execution.sandbox, profiles)
        message = f"there is no profile sandbox/{execution.sandbox}.yaml.{near}"
        return loaded.error(message, "execution", "sandbox")
    if (unfit := unboxable(loaded.contract)) is not None:
        return loaded.error(unfit[0], *unfit[1])
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
    if fallback.prepare is not None:
        return f"the fallback {name!r} takes drafts that its user has confirmed, and a fallback waits for nobody"
    extra = _properties(contract) - _properties(fallback)
    needed = _required(fallback) - _properties(contract)
    if extra or needed:
        names = ", ".join(sorted(extra | needed))
        return f"the fallback {name!r} receives the same arguments, but it does not share these parameters: {names}"
    return None


def _bad_charge(contract: Contract, name: str, value: int | str, budgets: Mapping[str, Budget]) -> str | None:
    """Why the charge could not be counted: a budget, a fact or a parameter that is not there, or may be left out."""
    budget = budgets.get(name)
    if budget is None:
        return f"settings.yaml has no budget {name!r}.{did_you_mean(name, budgets)}"
    if isinstance(value, str) and value.startswith("args."):
        first = value.split(".")[1]
        if first in contract.secrets or first in contract.personal:
            return f"`{value}` is a secret or personal, and records say what was charged"
    for path in (*budget.per, *([value] if isinstance(value, str) else [])):
        kind, _, rest = path.partition(".")
        first = rest.partition(".")[0]
        if kind == "facts" and first not in contract.facts:
            return f"`{path}`: this contract asks for no fact {first!r}.{did_you_mean(first, contract.facts)}"
        if kind == "args" and first not in _properties(contract):
            return f"`{path}`: there is no parameter {first!r}.{did_you_mean(first, _properties(contract))}"
        if kind == "args" and first not in _required(contract) and not _has_default(contract, first):
            return f"`{path}`: a call may leave {first!r} out, and would then cost nothing: make it `required`"
    return None


def _has_default(contract: Contract, name: str) -> bool:
    found = contract.parameters.get("properties")
    schema = found.get(name) if isinstance(found, dict) else None
    return isinstance(schema, dict) and "default" in schema


def _properties(contract: Contract) -> set[str]:
    found = contract.parameters.get("properties")
    return set(found) if isinstance(found, dict) else set()


def _required(contract: Contract) -> set[str]:
    found = contract.parameters.get("required")
    return {str(name) for name in found} if isinstance(found, list) else set()
