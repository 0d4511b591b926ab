"""A proposal from what was seen: who called which tool with what, as the audit log has it.

The schema of a tool is as wide as the calls were and no wider: the types seen, the fields always there required,
texts bounded at some room above the longest. What a record does not hold (a secret, personal data) is not made up:
such a call still grants its tool, and stands in no table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gateway.audit.errors import LogDamaged
from gateway.audit.intents import origins_of_log
from gateway.audit.read import read_origin
from gateway.domain.errors import UsageError
from gateway.policy.casbin_files import can_be_written
from gateway.policy.documents import Contract, Rule
from gateway.policy.generate import contract_from_schema
from gateway.policy_tools.guesses import guess, secret_parameters
from gateway.policy_tools.proposal import TODO, Proposal, Seen

SHORTEST: Final = 64  # characters any text may have, whatever was seen
MOST_VALUES: Final = 20  # texts that a proposed rule lists; more are no list that somebody reads
_PLAIN: Final = re.compile(r"[A-Za-z0-9 ._@:/+-]{1,128}")  # texts that CEL and a reader take as they stand


def seen_in(audit_root: Path, origins: Iterable[str] | None = None) -> Iterator[Seen]:
    """The calls in `origins` (None: all there are) that ran, observed ones too; what was refused is no example.

    Raises LogDamaged for a record of a call that is none.
    """
    for origin in origins_of_log(audit_root) if origins is None else origins:
        for stored in read_origin(audit_root, origin):
            if stored.record is None or stored.record.get("kind") != "call.intent":
                continue
            try:
                seen = _seen(stored.record)
            except (KeyError, TypeError, AttributeError) as error:
                raise LogDamaged(origin, f"a record lacks what its kind must have ({error})", stored.seq) from error
            if seen is not None:
                yield seen


def _seen(record: Mapping[str, Any]) -> Seen | None:
    """None for another attempt, for what the gateway called in place of a tool that failed, for what was not kept."""
    about, described = record["call"], (record.get("observed") or {}).get("arguments")
    shown = record["arguments"] or (sample(described) if described is not None else {})
    if record["attempt"] != 1 or about["parent_id"] is not None:
        return None
    if not isinstance(shown, dict) or record["personal"] is not None:
        return None
    whole = shown == record["arguments"] and not any(map(is_mask, shown.values()))
    return Seen(about["principal"], about["on_behalf_of"], about["tool"], shown, whole)


def sample(described: Mapping[str, Any]) -> object:
    """Some value of the shape that stands in a record in place of a value nothing vouched for."""
    match described["type"]:
        case "object":
            return {name: sample(inner) for name, inner in described.get("properties", {}).items()}
        case "array":
            return [sample(inner) for inner in described.get("items", ())]
        case "string":
            return "x" * int(described["chars"])
        case kind:
            return {"integer": 0, "number": 0.5, "boolean": True}.get(kind)


def from_calls(calls: Iterable[Seen], known: Proposal | None = None) -> Proposal:
    """Contracts of `known` where it has them, made from the calls where it has not; grants and tables from the calls.

    A tool that was called under a name no contract can have, and a principal policy.csv cannot write, are left out.
    """
    proposal = known or Proposal()
    by_tool: dict[str, list[Seen]] = {}
    strange: set[str] = set()
    for call in calls:
        if can_be_written(call.principal):
            by_tool.setdefault(call.tool, []).append(call)
        elif call.principal not in strange:
            strange.add(call.principal)
            proposal.left_out.append((call.principal, "policy.csv has no way to write this principal"))
    for tool, seen in by_tool.items():
        if tool not in proposal.contracts:
            try:
                proposal.add(_contract(tool, seen))
            except UsageError as error:
                proposal.left_out.append((tool, str(error)))
                continue
        proposal.seen += seen
    return proposal


def _contract(tool: str, calls: Sequence[Seen]) -> Contract:
    masked = sorted({name for call in calls for name, value in call.arguments.items() if is_mask(value)})
    shown = [{name: "" if name in masked else value for name, value in call.arguments.items()} for call in calls]
    risk, effect = guess(tool)
    schema = schema_of(shown) if any(shown) else {"properties": {}}
    made = contract_from_schema(schema, tool=tool, risk=risk, effect=effect, description=TODO)
    secrets = tuple(dict.fromkeys((*masked, *secret_parameters(schema["properties"]))))
    exact = effect == "external" and all(call.whole for call in calls)
    rules = _as_seen(schema, shown, secrets) if exact else ()
    return made.model_copy(update={"secrets": secrets, "rules": rules})


def _as_seen(schema: Mapping[str, Any], calls: Sequence[Mapping[str, Any]], secrets: Sequence[str]) -> tuple[Rule, ...]:
    """For what acts outside: no number above those seen; without a number, the first text is one of those seen."""
    rules = []
    texts = []
    for name, parameter in schema["properties"].items():
        values = [call[name] for call in calls if name in call]
        absent = "" if name in schema["required"] else f"!has(args.{name}) || "
        if not name.isidentifier() or name in secrets:
            continue
        if parameter.get("type") in ("integer", "number"):
            most = max(values) if parameter["type"] == "integer" else float(max(values))
            said = f"{name} is more than any call so far asked for."
            rules.append(Rule(id=f"{_slug(name)}_as_seen", require=f"{absent}args.{name} <= {most}", tell_model=said))
        elif parameter.get("type") == "string" and name in schema["required"]:
            texts.append((name, sorted(set(values))))
    for name, known in texts[:1] if not rules else ():
        listed = ", ".join(f'"{value}"' for value in known)
        if len(known) <= MOST_VALUES and all(_PLAIN.fullmatch(value) for value in known):
            said = f"{name} is none of those that calls so far named."
            rules.append(Rule(id=f"{_slug(name)}_as_seen", require=f"args.{name} in [{listed}]", tell_model=said))
    return tuple(rules)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9_]", "_", name.lower())


def is_mask(value: object) -> bool:
    """True for what stands in a record in place of a secret."""
    return isinstance(value, dict) and "$hmac" in value


def schema_of(values: Sequence[Any]) -> dict[str, Any]:
    """The JSON Schema of all `values`: every one of them is valid, and nothing of a kind that was not seen."""
    groups: dict[str, list[Any]] = {}
    for value in values:
        groups.setdefault(_kind(value), []).append(value)
    if "number" in groups:
        groups.pop("integer", None)  # in JSON Schema every integer is a number
    schemas = [_of_kind(kind, group) for kind, group in sorted(groups.items())]
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _of_kind(kind: str, group: list[Any]) -> dict[str, Any]:
    if kind == "string":
        longest = max(map(len, group))
        return {"type": "string", "maxLength": max(SHORTEST, 1 << (2 * longest).bit_length())}
    if kind == "array":
        items = [item for value in group for item in value]
        return {"type": "array", "items": schema_of(items)} if items else {"const": []}
    if kind == "object":
        names = {name: None for value in group for name in value}
        if not names:
            return {"const": {}}
        return {
            "type": "object",
            "properties": {name: schema_of([value[name] for value in group if name in value]) for name in names},
            "required": [name for name in names if all(name in value for value in group)],
            "additionalProperties": False,
        }
    return {"type": kind}
