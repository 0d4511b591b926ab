"""What a change of policy means: for the model, for rights, for words, and for prompt caches (`toolgate policy diff`).

`breaks`   a call that was legal may be refused, or a tool is gone: the model and its prompts must learn of it
`widens`   somebody may do more, or less stands before it
`narrows`  somebody may do less, or more stands before it
`rewords`  only what is said has changed
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import orjson

from gateway.authorize.grants import Granted, Grants, compile_grants
from gateway.policy.documents import Approval, Contract
from gateway.policy.policy_set import PolicySet
from gateway.policy_tools.diff_rest import Meaning, rest
from gateway.shapes.tools import ToolLists

_ORDER: Final = ("widens", "breaks", "narrows", "rewords")
_BOUNDS: Final = {"minimum": 1, "minLength": 1, "minItems": 1, "maximum": -1, "maxLength": -1, "maxItems": -1}
_KEYWORDS_SPOKEN_OF: Final = {*_BOUNDS, "type", "enum", "description", "properties", "required"}
_SPOKEN_OF: Final = {
    "tool", "parameters", "rules", "approval", "guards", "facts", "secrets", "personal", "effect_key", "serialize_by",
    "authority", "ordered", "limits", "risk", "effect", "idempotent", "execution", "result", "replaces", "description",
    "version", "code_version", "ask_user",
}  # fmt: skip
_ACTIONS: Final = ("see", "call", "approve")
_ORDER_OF_WHEN: Final = {"never": 0, "rules": 1, "always": 2}


@final
@dataclass(frozen=True, slots=True)
class Difference:
    """One change. `subject` is a tool, or a principal and a tool."""

    meaning: Meaning
    subject: str
    what: str


@final
@dataclass(frozen=True, slots=True)
class PolicyDiff:
    """Every difference, the riskiest first, and the principals whose tool list has other bytes now."""

    differences: tuple[Difference, ...]
    lists_changed: tuple[str, ...]


def diff(before: PolicySet, after: PolicySet) -> PolicyDiff:
    """Compare two policy sets by what they mean, not by their text."""
    old, new = compile_grants(before.access), compile_grants(after.access)
    found = [*_rights(before, after, old, new), *_contracts(before, after)]
    found += [Difference(*line) for line in rest(before, after)]
    lists = [ToolLists({t: c.contract for t, c in each.contracts.items()}) for each in (before, after)]
    people = sorted({*old.principals(), *new.principals()})
    changed = [who for who in people if _bytes(lists[0], old, who) != _bytes(lists[1], new, who)]
    found.sort(key=lambda each: (_ORDER.index(each.meaning), each.subject, each.what))
    return PolicyDiff(tuple(found), tuple(changed))


def _bytes(lists: ToolLists, grants: Grants, who: str) -> bytes:
    return orjson.dumps(lists.render(lists.faces(lists.offered(grants.visible(who))), "chat"))


def _rights(before: PolicySet, after: PolicySet, old: Grants, new: Grants) -> Iterator[Difference]:
    tools = sorted({*before.contracts, *after.contracts})
    for who in sorted({*old.principals(), *new.principals()}):
        for tool in tools:
            for action in _ACTIONS:
                had = isinstance(old.decide(who, tool, action), Granted)
                has = isinstance(new.decide(who, tool, action), Granted)
                if had != has:
                    word = "may now" if has else "may no longer"
                    yield Difference("widens" if has else "narrows", f"{who} {tool}", f"{word} {action} it")


def _contracts(before: PolicySet, after: PolicySet) -> Iterator[Difference]:
    for tool in sorted({*before.contracts, *after.contracts}):
        if tool not in after.contracts:
            own = before.contracts[tool].contract
            new = (name for name in after.contracts if name not in before.contracts)
            named = [name for name in new if _same_but_name(own, after.contracts[name].contract)]
            yield Difference("breaks", tool, f"the tool is now called {named[0]}" if named else "the tool is gone")
        elif tool not in before.contracts:
            older = after.contracts[tool].contract.replaces
            if older is not None and older in before.contracts:
                yield Difference("rewords", tool, f"the next version of {older}: new conversations are offered it")
                for each in _contract(tool, before.contracts[older].contract, after.contracts[tool].contract):
                    yield Difference(each.meaning, tool, f"against {older}: {each.what}")
        else:
            yield from _contract(tool, before.contracts[tool].contract, after.contracts[tool].contract)


def _same_but_name(one: Contract, other: Contract) -> bool:
    return one.model_copy(update={"tool": other.tool, "version": other.version}) == other


def _contract(tool: str, old: Contract, new: Contract) -> Iterator[Difference]:
    """Every field is spoken of: those without words of their own at the end, the careful way."""
    yield from _object(tool, "", old.parameters, new.parameters)
    if old.parameters.get("$defs") != new.parameters.get("$defs"):
        yield Difference("breaks", tool, "other $defs: what refers to them may take less")
    before, after = {rule.id: rule for rule in old.rules}, {rule.id: rule for rule in new.rules}
    for rule in sorted({*before, *after}):
        if rule not in after:
            yield Difference("widens", tool, f"the rule {rule} is gone")
        elif rule not in before:
            yield Difference("narrows", tool, f"the rule {rule} is new")
        elif before[rule].require != after[rule].require:
            what = f"the rule {rule} asks otherwise: {after[rule].require}"
            yield Difference("widens", tool, what)  # which way, only `impact` can tell: so the careful way
        elif before[rule].otherwise != after[rule].otherwise:
            softer = after[rule].otherwise == "escalate"
            yield Difference(
                "widens" if softer else "narrows", tool, f"the rule {rule} now says {after[rule].otherwise}"
            )
        elif before[rule] != after[rule]:
            yield Difference("rewords", tool, f"the rule {rule}")
    yield from _clearance(tool, old.clearance, new.clearance)
    for field, word in (("guards", "guard"), ("facts", "fact")):
        lost = sorted(set(getattr(old, field)) - set(getattr(new, field)))
        yield from (Difference("widens", tool, f"the {word} {name} is gone") for name in lost)
        for name, now in getattr(new, field).items():
            was = getattr(old, field).get(name)
            if was is None and field == "guards":
                yield Difference("narrows", tool, f"the guard {name} is new")
            elif was != now:
                yield Difference("widens", tool, f"the {word} {name} is another")
    for field in ("secrets", "personal", "effect_key", "serialize_by", "authority"):
        lost = sorted(set(getattr(old, field)) - set(getattr(new, field)))
        yield from (Difference("widens", tool, f"{name} is no longer in {field}") for name in lost)
        more = sorted(set(getattr(new, field)) - set(getattr(old, field)))
        yield from (Difference("narrows", tool, f"{name} is now in {field}") for name in more)
    if old.ordered != new.ordered:
        what = "its calls keep the model's order" if new.ordered else "its calls no longer keep the model's order"
        yield Difference("narrows" if new.ordered else "widens", tool, what)
    if old.limits != new.limits:
        yield Difference("widens" if _more(old, new) else "narrows", tool, "other limits")
    for field in ("risk", "effect", "idempotent", "execution", "result"):
        if getattr(old, field) != getattr(new, field):
            yield Difference("widens", tool, f"another {field}")
    if old.replaces is not None and new.replaces is None:
        yield Difference("rewords", tool, f"no longer the next version of {old.replaces}")
    if old.description != new.description:
        yield Difference("rewords", tool, "the description")
    for field in ("version", "code_version", "ask_user"):
        if getattr(old, field) != getattr(new, field):
            yield Difference("rewords", tool, f"another {field}")
    for field in sorted(set(Contract.model_fields) - _SPOKEN_OF):
        if getattr(old, field) != getattr(new, field):
            yield Difference("widens", tool, f"another {field.removesuffix('_')}")


def _more(old: Contract, new: Contract) -> bool:
    for field in ("per_minute", "per_conversation", "repeats"):
        a, b = getattr(old.limits, field), getattr(new.limits, field)
        if a is not None and (b is None or b > a):
            return True
    return False


def _clearance(tool: str, old: Approval, new: Approval) -> Iterator[Difference]:
    if (a := _ORDER_OF_WHEN[old.when]) != (b := _ORDER_OF_WHEN[new.when]):
        yield Difference("widens" if b < a else "narrows", tool, f"approval is asked {new.when}, not {old.when}")
    if old.approvers != new.approvers:
        word = "widens" if new.approvers < old.approvers else "narrows"
        yield Difference(word, tool, f"{new.approvers} approver(s) instead of {old.approvers}")  # type: ignore[arg-type]
    if old.confirm != new.confirm:
        yield Difference("narrows" if new.confirm else "widens", tool, "the requester's confirmation")
    if (old.expires_s, old.show_facts) != (new.expires_s, new.show_facts):
        longer = new.expires_s > old.expires_s or new.show_facts < old.show_facts
        what = f"a request lasts {new.expires_s} s and shows its facts: {new.show_facts}"
        yield Difference("widens" if longer else "narrows", tool, what)


def _object(tool: str, where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    before, after = old.get("properties", {}), new.get("properties", {})
    needed, needs = set(old.get("required", ())), set(new.get("required", ()))
    for name in sorted({*before, *after}):
        path = f"{where}{name}"
        if name not in after:
            named = [other for other in after if other not in before and after[other] == before[name]]
            said = f"now called {where}{named[0]}" if named else "gone"
            yield Difference("breaks", tool, f"the parameter {path} is {said}")
        elif name not in before:
            yield Difference("breaks" if name in needs else "widens", tool, f"the parameter {path} is new")
        else:
            if name in needs - needed:
                yield Difference("breaks", tool, f"the parameter {path} is required now")
            yield from _value(tool, path, before[name], after[name])


def _other_keywords(old: Mapping[str, Any], new: Mapping[str, Any]) -> set[str]:
    """Those without words of their own. `items` are looked into, if both are schemas."""
    inside = {"items"} if isinstance(old.get("items"), dict) and isinstance(new.get("items"), dict) else set()
    return {*old, *new} - _KEYWORDS_SPOKEN_OF - inside


def _value(tool: str, path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    if old.get("type") != new.get("type"):
        yield Difference("breaks", tool, f"{path} is {new.get('type')}, not {old.get('type')}")
        return
    if "enum" in old or "enum" in new:
        a, b = list(old.get("enum") or ()), list(new.get("enum") or ())
        gone = [value for value in a if b and value not in b]
        if gone or ("enum" not in old):
            yield Difference("breaks", tool, f"{path} no longer takes {gone or 'every value'}")
        if "enum" not in new or any(value not in a for value in b if a):
            yield Difference("widens", tool, f"{path} takes more values")
    for bound, sign in _BOUNDS.items():
        low, high = old.get(bound), new.get(bound)
        if low != high:
            tighter = low is None or (high is not None and (high - low) * sign > 0)
            yield Difference("breaks" if tighter else "widens", tool, f"{path}: {bound} {low} -> {high}")
    for keyword in sorted(_other_keywords(old, new)):
        if old.get(keyword) != new.get(keyword):
            yield Difference("breaks", tool, f"{path} has another {keyword}")
    if old.get("description") != new.get("description"):
        yield Difference("rewords", tool, f"the description of {path}")
    if new.get("type") == "object":
        yield from _object(tool, f"{path}.", old, new)
    if isinstance(old.get("items"), dict) and isinstance(new.get("items"), dict):
        yield from _value(tool, f"{path}[]", old["items"], new["items"])
