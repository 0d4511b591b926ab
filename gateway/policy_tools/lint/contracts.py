"""One contract: what stands before its effect, what its results let through, what a model is told of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.policy.documents import Contract
from gateway.policy.policy_set import LoadedContract, PolicySet
from gateway.policy_tools.lint.finding import Finding, in_contract
from gateway.policy_tools.lint.patterns import at_setting
from gateway.shapes.strict import to_wire
from gateway.validate.schema import compile_schema

SHORTEST_DESCRIPTION: Final = 40  # characters; fewer cannot say when to use a tool and when not
_WHEN: Final = re.compile(
    r"\b(when|whenever|once|if|use (it|this)|used? (for|to)|called|before|after)\b", re.IGNORECASE
)
_WHEN_NOT: Final = re.compile(r"\b(not|no|never|nothing|only|instead|unless|without)\b", re.IGNORECASE)


def safety(loaded: LoadedContract) -> Iterator[Finding]:
    """Effects nobody judges, and outcomes nobody can settle."""
    contract = loaded.contract
    tool, acts = contract.tool, contract.effect != "none"
    if _is_risky(contract) and not _is_judged(contract):
        risky = f"{tool} is risky (risk: {contract.risk}, effect: {contract.effect})"
        what = f"{risky}; neither a rule nor an approval stands before it"
        mend = "write a rule, or an approval block that asks somebody"
        yield in_contract(loaded, "error", "effect-unguarded", what, mend, "risk", key=True)
    elif acts and contract.risk != "low" and not _is_judged(contract):
        what = f"{tool} acts within (risk: {contract.risk}); neither a rule nor an approval stands before it"
        mend = "write a rule, or say risk: low if a grant is enough"
        yield in_contract(loaded, "warning", "effect-unjudged", what, mend, "risk", key=True)
    if acts and not contract.idempotent and not contract.effect_key:
        what = f"{tool} may not be repeated, and an unknown outcome holds nothing"
        mend = "name what it acts on in effect_key, or say idempotent: true if it is"
        yield in_contract(loaded, "warning", "effect-key-missing", what, mend, "effect", key=True)
    if contract.serialize_by and not contract.effect_key:
        what = f"serialize_by of {tool} holds within one process only"
        mend = "name the same in effect_key"
        yield in_contract(loaded, "warning", "serialize-per-process", what, mend, "serialize_by", key=True)
    if acts and not contract.authority:
        what = f"{tool} acts, and no parameter is named as saying who, where or how much"
        mend = "list such parameters under authority"
        yield in_contract(loaded, "warning", "authority-missing", what, mend, "effect", key=True)
    for name, guard in contract.guards.items():
        bounded = bool(getattr(guard, "domains", ())) or any(f"args.{name}" in rule.require for rule in contract.rules)
        if guard.advisory() and not bounded:
            what = f"the guard of {name} is advisory: the tool still receives the text the model wrote"
            mend = f"write a rule about args.{name}, or use a guard that hands the tool something"
            yield in_contract(loaded, "warning", "guard-advisory", what, mend, "guards", name, key=True)


def _is_risky(contract: Contract) -> bool:
    return contract.effect == "external" or contract.risk == "high"


def _is_judged(contract: Contract) -> bool:
    clearance = contract.clearance
    return bool(contract.rules) or clearance.confirm or clearance.when == "always"


def pointers(loaded: LoadedContract) -> Iterator[Finding]:
    """Paths into the result that lead nowhere: they redact nothing."""
    result = loaded.contract.result
    named = [(pointer, ("result", "secrets", number)) for number, pointer in enumerate(result.secrets)]
    named += [(pointer, ("result", "labels", pointer)) for pointer in result.labels]  # type: ignore[misc]
    for pointer, path in named:
        if pointer and not pointer.startswith("/"):
            what = f"{pointer!a} is no JSON Pointer: it matches nothing"
            yield in_contract(loaded, "error", "pointer-matches-nothing", what, "begin it with /", *path, key=True)
        elif result.schema_ is None:
            if pointer and path[1] == "secrets":
                what = f"whether {pointer!a} matches anything cannot be told: the result has no schema"
                mend = "write result.schema; it is enforced too"
                yield in_contract(loaded, "warning", "pointer-unchecked", what, mend, *path, key=True)
        elif not _leads(result.schema_, result.schema_, _parts(pointer)):
            what = f"{pointer!a} points at nothing in the result's schema, so it masks nothing"
            mend = "correct the pointer, or the schema"
            yield in_contract(loaded, "error", "pointer-matches-nothing", what, mend, *path, key=True)


def _parts(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _leads(root: Mapping[str, Any], node: object, way: list[str]) -> bool:
    """Whether some value the schema accepts has something at `way`; `*` stands for every key or item."""
    if not isinstance(node, dict):
        return False
    if "$ref" in node:
        return _leads(root, root.get("$defs", {}).get(str(node["$ref"]).removeprefix("#/$defs/")), way)
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in node:
            return any(_leads(root, branch, way) for branch in node[keyword])
    if not way:
        return True
    first, *rest = way
    properties = node.get("properties", {})
    below = [properties[first]] if first in properties else [*properties.values()] if first == "*" else []
    if first == "*" or first.isdecimal():
        below += [*node.get("prefixItems", ()), node.get("items")]
    if first not in properties:
        below.append(node.get("additionalProperties"))
    return any(_leads(root, each, rest) for each in below)


def words(loaded: LoadedContract) -> Iterator[Finding]:
    """What a model is told: when to use the tool, when not, what each parameter is, and what strict mode cannot say."""
    contract = loaded.contract
    text, tool = contract.description, contract.tool
    if len(text) < SHORTEST_DESCRIPTION:
        what = f"the description of {tool} has {len(text)} characters: a model must guess when to use it"
        mend = "say when to use it and when not"
        yield in_contract(loaded, "warning", "description-vague", what, mend, "description")
    else:
        if not _WHEN.search(text):
            what = f"the description of {tool} does not say when to use it"
            yield in_contract(loaded, "warning", "description-no-when", what, "add `Use it when ...`", "description")
        if not _WHEN_NOT.search(text):
            what = f"the description of {tool} does not say when not to use it"
            yield in_contract(loaded, "warning", "description-no-limit", what, "add `Not for ...`", "description")
    yield from _undescribed(loaded, contract.parameters, ("parameters",))
    wire = to_wire(dict(contract.parameters))
    if not wire.strict:
        what = (
            f"OpenAI's strict mode cannot say this schema ({wire.why_not}), so only the gateway holds the model to it"
        )
        yield in_contract(loaded, "warning", "not-strict", what, "write it without that, if you can", "parameters")


def _undescribed(loaded: LoadedContract, node: object, path: tuple[str | int, ...]) -> Iterator[Finding]:
    """Parameters, and fields inside them, that nothing is said about. Listed values speak for themselves."""
    if not isinstance(node, dict):
        return
    for name, schema in node.get("properties", {}).items():
        where = (*path, "properties", name)
        if isinstance(schema, dict) and not {"description", "enum", "const", "$ref"} & set(schema):
            what = f"the parameter {name} of {loaded.contract.tool} is not described"
            mend = "describe it, with an example"
            yield in_contract(loaded, "warning", "parameter-undescribed", what, mend, *where, key=True)
        if isinstance(schema, dict) and not _examples_fit(schema, loaded.contract.parameters.get("$defs")):
            what = f"an example of {name} of {loaded.contract.tool} does not satisfy its own schema"
            mend = "correct it: models are shown the first one when their value does not fit"
            yield in_contract(loaded, "error", "example-does-not-fit", what, mend, *where, key=True)
        yield from _undescribed(loaded, schema, where)
    yield from _undescribed(loaded, node.get("items"), (*path, "items"))


def parallel(policy: PolicySet) -> Iterator[Finding]:
    """Parallel calls left on although a destructive tool is in the list (gateway/shapes/models.py)."""
    risky = sorted(
        tool
        for tool, each in policy.contracts.items()
        if each.contract.risk == "high" and each.contract.effect != "none"
    )
    if policy.settings.openai.destructive_in_parallel and risky:
        what = f"models may call {', '.join(risky[:3])} several times at once, before any result is seen"
        place = at_setting(policy, "openai", "destructive_in_parallel")
        mend = "take destructive_in_parallel out, or name serialize_by and ordered in those contracts"
        yield Finding("warning", "parallel-destructive", place, what, mend)


def _examples_fit(schema: Mapping[str, Any], definitions: object) -> bool:
    alone = {name: value for name, value in schema.items() if name != "default"}  # a default belongs to a property
    shape = alone | ({"$defs": definitions} if isinstance(definitions, dict) else {})
    examples = schema.get("examples", ())
    return not examples or all(map(compile_schema(shape, root_object=False).accepts, examples))
