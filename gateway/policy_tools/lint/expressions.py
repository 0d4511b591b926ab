"""Rules against the contract's own parameters: types that cannot fit, and rules that decide nothing.

Loading checks a rule with every argument of any type. Here each parameter is a variable of its own type (`args.amount`
is an int), so what would be an error at every call is found beforehand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.domain.errors import PolicyError
from gateway.policy.policy_set import LoadedContract
from gateway.policy_tools.lint.finding import Finding, in_contract
from gateway.validate.rules import CompiledRule, check_types

_COMPARISON: Final = re.compile(r"\s*args\.([A-Za-z_]\w*)\s*(<=|>=)\s*(-?[0-9]+(?:\.[0-9]+)?)\s*\Z", re.ASCII)
_BARE: Final = re.compile(r"[\"'()|?!]")

Bounds = dict[str, tuple[float, float]]


def expressions(loaded: LoadedContract) -> Iterator[Finding]:
    contract = loaded.contract
    parameters: Mapping[str, Any] = contract.parameters.get("properties", {})  # type: ignore[assignment]
    definitions: Mapping[str, Any] = contract.parameters.get("$defs", {})  # type: ignore[assignment]
    limits = _of_schema(parameters)
    earlier: list[tuple[str, str, Bounds | None]] = []  # rules that deny: id, text, bounds
    for number, rule in enumerate(contract.rules):
        path = ("rules", number, "require")
        try:
            check_types(rule.require, parameters, definitions)
        except PolicyError as error:
            what = f"the rule {rule.id} does not fit its parameters: {error.message}"
            mend = "compare each parameter with its own type, as `parameters` gives it"
            yield in_contract(loaded, "error", "rule-type", what, mend, *path)
            continue
        bounds = _of_rule(rule.require)
        if not CompiledRule(rule.require).reads:
            what = f"the rule {rule.id} asks about nothing: its answer is always the same"
            yield in_contract(loaded, "warning", "rule-constant", what, "ask about args, facts or the caller", *path)
        elif bounds is not None and _implied(limits, bounds):
            what = f"the rule {rule.id} always holds: the schema bounds its parameters already"
            yield in_contract(
                loaded, "warning", "rule-idle", what, "remove the rule, or the bound that is wrong", *path
            )
        elif bounds is not None and _apart(limits, bounds):
            what = f"the rule {rule.id} never holds for what the schema takes: it denies or escalates every call"
            yield in_contract(loaded, "error", "rule-impossible", what, "correct the bound", *path)
        else:
            above = next((name for name, text, other in earlier if _covers(text, other, rule.require, bounds)), None)
            if above is not None:
                what = f"the rule {rule.id} decides nothing: whatever it would stop, {above} has denied before"
                mend = "remove it, or let it ask for less than the rule before it"
                yield in_contract(loaded, "warning", "rule-shadowed", what, mend, *path)
        if rule.otherwise == "deny":
            earlier.append((rule.id, "".join(rule.require.split()), bounds))


def _covers(text: str, other: Bounds | None, require: str, bounds: Bounds | None) -> bool:
    """Whether what satisfies the earlier rule always satisfies this one."""
    if text == "".join(require.split()):
        return True
    return other is not None and bounds is not None and _implied(other, bounds)


def _of_schema(parameters: Mapping[str, Any]) -> Bounds:
    found: Bounds = {}
    for name, node in parameters.items():
        if isinstance(node, dict) and node.get("type") in ("integer", "number"):
            low, high = node.get("minimum", float("-inf")), node.get("maximum", float("inf"))
            if isinstance(low, int | float) and isinstance(high, int | float):
                found[name] = (low, high)
    return found


def _of_rule(require: str) -> Bounds | None:
    """The interval of each parameter, for a rule that is nothing but `<=` and `>=` joined by &&; None for any other."""
    if _BARE.search(require):
        return None
    found: Bounds = {}
    for part in require.split("&&"):
        one = _COMPARISON.match(part)
        if one is None:
            return None
        low, high = found.get(one[1], (float("-inf"), float("inf")))
        value = float(one[3])
        found[one[1]] = (low, min(high, value)) if one[2] == "<=" else (max(low, value), high)
    return found


def _implied(known: Bounds, asked: Bounds) -> bool:
    return all(
        name in known and known[name][0] >= low and known[name][1] <= high for name, (low, high) in asked.items()
    )


def _apart(known: Bounds, asked: Bounds) -> bool:
    return any(
        low > high or (name in known and (known[name][1] < low or known[name][0] > high))
        for name, (low, high) in asked.items()
    )
