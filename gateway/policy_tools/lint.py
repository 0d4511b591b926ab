"""What is legal in a policy and probably not meant: `toolgate policy lint`.

A finding is an `error` where a safety mechanism does nothing or a wall has a hole, a `warning` where people or models
will stumble. Every finding has a stable code, a place and a mend. Loading has already refused what can never be right.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Final, Literal, final

from gateway.authorize.grants import Granted, Grants
from gateway.domain.decision import Provenance
from gateway.policy.casbin_files import POLICY
from gateway.policy.documents import Contract, EmailGuard
from gateway.policy.policy_set import LoadedContract, PolicySet
from gateway.policy.versions import lines
from gateway.policy_tools.dry import DryRun
from gateway.shapes.strict import to_wire

Level = Literal["error", "warning"]

MOST_TOOLS: Final = 10  # visible to one principal; models choose worse among more (OpenAI's function calling guide)
SHORTEST_DESCRIPTION: Final = 40  # characters; fewer cannot say when to use a tool and when not
_NESTED: Final = re.compile(r"\([^)]*[+*][^)]*\)[+*]")
ALIKE: Final = 0.9  # similarity of two descriptions (difflib ratio) from which a model confuses them


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to look at. `code` is stable; `mend` says what to do."""

    level: Level
    code: str
    place: Provenance
    what: str
    mend: str


def lint(policy: PolicySet) -> list[Finding]:
    """Every finding, errors first, then by place. Raises PolicyError where the policy cannot be compiled at all."""
    with DryRun(policy) as run:  # compiling is a check of its own
        grants = run.grants
    found = [
        *_access(policy, grants),
        *_versions(policy, grants),
        *_lists(policy, grants),
        *_alike(policy),
        *_settings(policy),
    ]
    for loaded in policy.contracts.values():
        for check in _OF_ONE_CONTRACT:
            found += check(loaded)
    return sorted(found, key=lambda each: (each.level != "error", each.place.file, each.place.line, each.code))


# who may do what


def _access(policy: PolicySet, grants: Grants) -> Iterator[Finding]:
    rows = policy.access.grants
    above = _closure({(link.member, link.role) for link in policy.access.roles})
    reached = {role for member, role in above if member.startswith("user:")}
    granted = {row.subject for row in rows}
    for subject in sorted(granted):
        if subject.startswith("role:") and subject not in reached:
            line = next(row.line for row in rows if row.subject == subject)
            yield _at(
                line, "role-unheld", "warning", f"nobody holds {subject}", "give it to somebody (g), or remove it"
            )
    for link in policy.access.roles:
        if not {link.role, *(role for member, role in above if member == link.role)} & granted:
            yield _at(link.line, "role-empty", "warning", f"{link.role} is granted nothing", "grant it something")
    principals = grants.principals()
    for row in rows:
        if row.allow and row.subject.startswith("user:"):
            own = row.subject.removeprefix("user:")
            if not isinstance(grants.decide(own, row.tool, row.action), Granted):
                what = f"{row.subject} is allowed to {row.action} {row.tool}, and a deny row always wins"
                yield _at(row.line, "row-shadowed", "warning", what, "remove this row or the deny row")
    used = {row.tool for row in rows if row.allow}
    for tool, loaded in policy.contracts.items():
        place = loaded.provenance("tool")
        if tool not in used:
            yield Finding("warning", "tool-ungranted", place, f"nobody may use {tool}", "grant it in policy.csv")
        clearance = loaded.contract.clearance
        asks = clearance.when == "always" or any(rule.otherwise == "escalate" for rule in loaded.contract.rules)
        if asks and clearance.approvers:
            people = [one.id for one in policy.approvers.approvers if _may(grants, one.id, tool)]
            able = {who for who in principals if _may(grants, who, tool)}
            if not able:
                what = f"calls of {tool} wait for {clearance.approvers} approver(s), and nobody may approve"
                yield Finding("error", "approval-impossible", place, what, f"grant somebody `{tool}, approve`")
            elif len(people) < clearance.approvers:
                what = f"{tool} needs {clearance.approvers} approver(s), and {len(people)} with the right are enrolled"
                yield Finding("warning", "approvers-missing", place, what, "toolgate approvers add PERSON")


def _versions(policy: PolicySet, grants: Grants) -> Iterator[Finding]:
    """Whoever may call an older version and not the newer stays behind, or was forgotten."""
    for tool, loaded in policy.contracts.items():
        older = loaded.contract.replaces
        if older is None:
            continue
        able = [who for who in grants.principals() if isinstance(grants.decide(who, older, "call"), Granted)]
        left = sorted(who for who in able if not isinstance(grants.decide(who, tool, "call"), Granted))
        if left:
            what = f"{left[0]} and {len(left) - 1} more may call {older} and not {tool}" if left[1:] else ""
            what = what or f"{left[0]} may call {older} and not {tool}"
            yield _of(loaded, "warning", "version-ungranted", what, f"grant {tool} beside {older}", "replaces")


def _may(grants: Grants, who: str, tool: str) -> bool:
    return isinstance(grants.decide(who, tool, "approve"), Granted)


def _closure(pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    closed = set(pairs)
    while True:
        more = {(a, d) for a, b in closed for c, d in pairs if b == c} - closed
        if not more:
            return closed
        closed |= more


def _lists(policy: PolicySet, grants: Grants) -> Iterator[Finding]:
    """How long the tool lists are that models are shown."""
    sizes = Counter({who: len(grants.visible(who)) for who in grants.principals()})
    for who, size in sizes.items():
        if size > MOST_TOOLS:
            line = min(row.line for row in policy.access.grants)
            what = f"{who} is shown {size} tools; models choose worse among more than {MOST_TOOLS}"
            yield _at(line, "list-long", "warning", what, "split the role, or open sessions with fewer tools")


def _alike(policy: PolicySet) -> Iterator[Finding]:
    items = sorted(policy.contracts.items())
    older = lines({tool: loaded.contract for tool, loaded in items})
    for number, (one, loaded) in enumerate(items):
        for other, second in items[number + 1 :]:
            if other in older.get(one, ()) or one in older.get(other, ()):
                continue  # versions of one tool: nobody is offered both
            a, b = loaded.contract.description, second.contract.description
            match = SequenceMatcher(None, a, b)
            long_enough = min(len(a), len(b)) >= SHORTEST_DESCRIPTION
            if long_enough and match.quick_ratio() > ALIKE and match.ratio() > ALIKE:
                what = f"{one} and {other} are described nearly alike"
                yield _of(second, "warning", "descriptions-alike", what, "say what tells them apart", "description")


def _settings(policy: PolicySet) -> Iterator[Finding]:
    for pattern in policy.settings.secret_patterns:
        if _NESTED.search(pattern):
            what = f"the pattern {pattern!r} repeats a repetition: a tool's output could keep release busy for ever"
            place = Provenance("settings.yaml", 1)
            yield Finding("error", "regex-exponential", place, what, "take one of the repetitions away")


# one contract


def _safety(loaded: LoadedContract) -> Iterator[Finding]:
    contract = loaded.contract
    guarded = contract.rules or contract.approval is not None or contract.risk == "high"
    if contract.effect == "external" and not guarded:
        what = f"{contract.tool} acts outside, and neither a rule nor an approval stands before it"
        yield _of(loaded, "error", "effect-unguarded", what, "write a rule, or an approval block", "effect")
    if contract.effect != "none" and not contract.idempotent and not contract.effect_key:
        what = f"{contract.tool} may not be repeated, and an unknown outcome holds nothing"
        yield _of(loaded, "warning", "effect-key-missing", what, "name what it acts on in effect_key", "effect")
    if contract.serialize_by and not contract.effect_key:
        what = f"serialize_by of {contract.tool} holds within one process only"
        yield _of(loaded, "warning", "serialize-per-process", what, "name the same in effect_key", "serialize_by")
    if contract.effect != "none" and not contract.authority:
        what = f"{contract.tool} acts, and no parameter is named as saying who, where or how much"
        yield _of(loaded, "warning", "authority-missing", what, "list such parameters under authority", "effect")
    for name, guard in contract.guards.items():
        ruled = any(f"args.{name}" in rule.require for rule in contract.rules)
        if isinstance(guard, EmailGuard) and not guard.domains and not ruled:
            what = f"the guard of {name} is advisory: the tool still receives the text"
            yield _of(loaded, "warning", "guard-advisory", what, "add a rule about where it may go", "guards", name)
    for pointer in (*contract.result.secrets, *contract.result.labels):
        schema = contract.result.schema_
        if schema is not None and pointer and not _leads(schema, pointer.split("/")[1:]):
            what = f"{pointer} points at nothing in the result's schema"
            yield _of(loaded, "error", "pointer-matches-nothing", what, "correct the pointer", "result")
        if pointer and not pointer.startswith("/"):
            what = f"{pointer!r} is no JSON Pointer: it masks nothing"
            yield _of(loaded, "error", "pointer-matches-nothing", what, "begin it with /", "result")


def _leads(schema: Mapping[str, Any], way: list[str]) -> bool:
    if not way:
        return True
    first, *rest = way
    properties, items = schema.get("properties", {}), schema.get("items")
    if first == "*" or first.isdecimal():
        inner = [*properties.values()] if first == "*" else []
        return any(_leads(each, rest) for each in [*inner, *([items] if isinstance(items, dict) else [])])
    return first in properties and _leads(properties[first], rest)


def _words(loaded: LoadedContract) -> Iterator[Finding]:
    contract = loaded.contract
    text = contract.description
    if len(text) < SHORTEST_DESCRIPTION:
        what = f"the description of {contract.tool} has {len(text)} characters: a model must guess when to use it"
        yield _of(loaded, "warning", "description-vague", what, "say when to use it and when not", "description")
    elif not re.search(r"\b(not|no|never|nothing|only|instead|unless|without)\b", text, re.IGNORECASE):
        what = f"the description of {contract.tool} does not say when not to use it"
        yield _of(loaded, "warning", "description-no-limit", what, "add when not to use it", "description")
    properties: Mapping[str, Any] = contract.parameters.get("properties", {})  # type: ignore[assignment]
    for name, schema in properties.items():
        if isinstance(schema, dict) and "description" not in schema and "enum" not in schema:
            what = f"the parameter {name} of {contract.tool} is not described"
            mend = "describe it, with an example"
            yield _of(loaded, "warning", "parameter-undescribed", what, mend, "parameters", "properties", name)
    wire = to_wire(dict(contract.parameters))
    if not wire.strict:
        what = f"OpenAI's strict mode cannot say this schema ({wire.why_not}); only the gateway enforces it"
        yield _of(loaded, "warning", "not-strict", what, "simplify it if you can", "parameters")


def _patterns(loaded: LoadedContract) -> Iterator[Finding]:
    for path, pattern in _found_patterns(loaded.contract):
        what = f"the pattern {pattern!r}"
        if not (pattern.startswith("^") and pattern.endswith("$")):
            yield _of(
                loaded, "warning", "regex-unanchored", f"{what} may match in the middle of a text", "use ^...$", *path
            )
        if re.search(r"(?<!\\)\\[dws]", pattern):
            what_else = f"{what} uses \\d, \\w or \\s, which mean more than ASCII here"
            yield _of(loaded, "warning", "regex-unicode", what_else, "write [0-9] or [A-Za-z0-9_]", *path)
        if _NESTED.search(pattern):
            what_else = f"{what} repeats a repetition: linear here, exponential where another program runs it in Python"
            yield _of(loaded, "warning", "regex-exponential", what_else, "take one of the repetitions away", *path)


def _found_patterns(contract: Contract) -> Iterator[tuple[tuple[str | int, ...], str]]:
    def walk(node: object, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
        if isinstance(node, dict):
            if isinstance(node.get("pattern"), str):
                yield (*path, "pattern"), node["pattern"]
            for key, item in node.items():
                yield from walk(item, (*path, key))
        elif isinstance(node, list):
            for number, item in enumerate(node):
                yield from walk(item, (*path, number))

    yield from walk(contract.parameters, ("parameters",))


_OF_ONE_CONTRACT: tuple[Callable[[LoadedContract], Iterator[Finding]], ...] = (_safety, _words, _patterns)


def _of(loaded: LoadedContract, level: Level, code: str, what: str, mend: str, *path: str | int) -> Finding:
    return Finding(level, code, loaded.provenance(*path), what, mend)


def _at(line: int, code: str, level: Level, what: str, mend: str) -> Finding:
    return Finding(level, code, Provenance(POLICY, line), what, mend)
