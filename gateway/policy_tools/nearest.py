"""The nearest change under which a call would have been allowed, for operators and never for a model.

Each proposal about arguments was tried: the very same stages judged the changed call. Proposals about the policy name
the line to change and are for a person to weigh: that a call was refused is no reason to allow it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from gateway.authorize.grants import Granted
from gateway.domain.decision import Provenance
from gateway.domain.errors import PolicyError, UsageError
from gateway.policy.casbin_files import POLICY, Action
from gateway.policy.text import did_you_mean
from gateway.policy_tools.dry import DryRun, Question, Verdict
from gateway.validate.contract import ContractRule

_COMPARED: Final = re.compile(
    r"args\.([A-Za-z_]\w*)\s*(<=|>=|<|>|==)\s*(-?[0-9]+(?:\.[0-9]+)?|\"[^\"\\]*\"|facts(?:\.[A-Za-z_]\w*)+)", re.ASCII
)
_ACTIONS: Final[tuple[Action, ...]] = ("call", "see")
_MOST: Final = 3  # roles named


def nearest(run: DryRun, asked: Question, verdict: Verdict) -> tuple[str, ...]:
    """What to change, the smallest first; nothing for a call that is allowed."""
    match verdict.reason:
        case "":
            found = _escalated(run, asked, verdict) if verdict.decision == "escalate" else iter(())
        case "unknown_tool":
            near = did_you_mean(asked.tool, run.policy.contracts)
            found = iter((f"write tools/{asked.tool}.yaml and grant it in {POLICY}, if there is such a tool.{near}",))
        case "not_granted":
            found = _granted(run, asked)
        case "deny_rule":
            row = verdict.rules[0]
            found = iter((f"remove the deny row {row}; allow rows count then", *_granted(run, asked)))
        case "schema" | "bad_json":
            said = verdict.refusal.message if verdict.refusal else ""
            place = _place(run, asked, "parameters") if asked.tool in run.policy.contracts else ""
            found = iter((f"the model sends other arguments. {said}", f"or the schema takes more: {place}"))
        case "guard" | "guard_found":
            said = verdict.refusal.message if verdict.refusal else ""
            found = iter((f"the model sends another value. {said}", f"or the guard takes more: {_guards(run, asked)}"))
        case "rule" | "rule_error":
            found = _ruled(run, asked, verdict)
        case "fact_unavailable":
            wanted = run.policy.contracts[asked.tool].contract.facts
            missing = [name for name in wanted if name not in (asked.facts or {})]
            found = iter((f"give the facts it asks for (--facts): {', '.join(missing)}",))
        case _:
            found = iter(())
    return tuple(found)


def _granted(run: DryRun, asked: Question) -> Iterator[str]:
    """The rows that are missing, and the roles that have them."""
    who, tool = asked.principal, asked.tool
    needed = _ACTIONS[:1] if asked.fallback else _ACTIONS
    missing = [action for action in needed if not isinstance(run.grants.decide(who, tool, action), Granted)]
    own = run.grants.roles_of(who)
    subject = f"role:{own[0]}" if own else f"user:{who}"
    if missing:
        rows = " and ".join(f"`p, {subject}, {tool}, {action}, allow`" for action in missing)
        also = f" (everybody with {subject} gets it)" if own else ""
        yield f"add {rows} to {POLICY}{also}"
    rows_of: dict[str, dict[str, int]] = {}
    for row in run.policy.access.grants:
        if row.tool == tool and row.allow and row.action in needed and row.subject.startswith("role:"):
            rows_of.setdefault(row.subject, {})[row.action] = row.line
    others = [(role, lines) for role, lines in sorted(rows_of.items()) if set(lines) == set(needed)]
    for role, lines in [each for each in others if each[0].removeprefix("role:") not in own][:_MOST]:
        yield f"or give {who} {role}, which may ({POLICY}:{min(lines.values())}): `g, user:{who}, {role}`"


def _ruled(run: DryRun, asked: Question, verdict: Verdict) -> Iterator[str]:
    for place in verdict.rules:
        rule = next((each for each in run.contracts[asked.tool].rules if each.source == place), None)
        if rule is None:
            continue
        yield from _other_values(run, asked, rule)
        yield f"or the rule asks for less: {place} requires {rule.rule.require}"


def _escalated(run: DryRun, asked: Question, verdict: Verdict) -> Iterator[str]:
    able = [who for who in run.grants.principals() if _may_approve(run, who, asked)]
    kinds = {need.partition(":")[0] for need in verdict.needs}
    if "approval" in kinds:
        yield (
            f"{' or '.join(able[:_MOST])} approves it"
            if able
            else f"grant somebody `{asked.tool}, approve` in {POLICY}"
        )
    if "confirmation" in kinds:
        yield f"{asked.principal} confirms it through the host application"
    for place in verdict.rules:
        rule = next((each for each in run.contracts[asked.tool].rules if each.source == place), None)
        if rule is not None:
            yield from _other_values(run, asked, rule)
            yield f"or the rule asks for less: {place} requires {rule.rule.require}"


def _may_approve(run: DryRun, who: str, asked: Question) -> bool:
    return who != asked.principal and isinstance(run.grants.decide(who, asked.tool, "approve"), Granted)


def _other_values(run: DryRun, asked: Question, rule: ContractRule) -> Iterator[str]:
    """For each comparison in the rule: the nearest value that meets it, if the call is decided otherwise with it."""
    arguments = _arguments(asked)
    if arguments is None:
        return
    for name, sign, text in _COMPARED.findall(rule.rule.require):
        value = _value(text, asked.facts or {})
        if name not in arguments or value is None:
            continue
        step = {"<": -1, ">": 1}.get(sign, 0)
        other = value + step if step and isinstance(value, int) else value
        if other == arguments[name]:
            continue
        try:
            tried = run.judge(replace(asked, arguments={**arguments, name: other}))
        except (PolicyError, UsageError):
            continue
        if tried.decision != "deny" and rule.source not in tried.rules:
            shown = orjson.dumps(other).decode()
            yield f"with {name} {shown} the answer is {tried.decision}"


def _arguments(asked: Question) -> dict[str, Any] | None:
    if isinstance(asked.arguments, dict):
        return asked.arguments
    try:
        found = orjson.loads(str(asked.arguments))
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _value(text: str, facts: Mapping[str, object]) -> Any:
    if not text.startswith("facts"):
        return orjson.loads(text)
    value: object = facts
    for part in text.split(".")[1:]:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else None


def _place(run: DryRun, asked: Question, *path: str) -> Provenance:
    return run.policy.contracts[asked.tool].provenance(*path)


def _guards(run: DryRun, asked: Question) -> str:
    names = run.policy.contracts[asked.tool].contract.guards
    return ", ".join(str(_place(run, asked, "guards", name)) for name in names)
