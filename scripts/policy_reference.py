"""Renders docs/policy-reference.md from the models that read the policy files: what may be written, and what it means.

Keys, types, bounds and defaults come from the models; words come from their descriptions and, where a model says none,
from `WORDS` below. A key without words, or words for a key that is gone, stops the rendering.

    python -m scripts.policy_reference          # docs/policy-reference.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from gateway.domain.decision import ReasonCode, StopReason, public_code
from gateway.policy.casbin_files import ACTIONS, MAX_ROLE_LINKS
from gateway.policy.documents import Approvers, Contract, Settings
from gateway.validate.rules import MAX_ITERATIONS
from gateway.validate.vocabulary import FORMATS
from sandbox import SandboxProfile

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "policy-reference.md"
COMMAND = "python -m scripts.policy_reference"

# What the models leave unsaid, by model and key.
WORDS: dict[str, dict[str, str]] = {
    "Rule": {
        "id": "Stands in records and messages. Unique in one contract.",
        "otherwise": "What happens if it is false: `deny`, or `escalate` to a person.",
    },
    "Fact": {
        "provider": "A name given to `gateway.register_fact`.",
        "deadline_s": "Seconds to wait for it; after that the call is denied.",
    },
    "Approval": {
        "expires_s": "Seconds until the request expires, which denies.",
        "show_facts": "Show approvers what the rules asked the host's systems.",
    },
    "Limits": {
        "per_minute": "Calls of one principal in any 60 seconds.",
        "per_conversation": "Calls in one conversation.",
        "repeats": "How often the very same call may be made; default: the setting `loop.repeats`.",
    },
    "PathGuard": {
        "kind": "Open the file beneath `root`, link by link.",
        "max_bytes": "A larger file is refused.",
    },
    "EmailGuard": {"kind": "One plain address, no list, no display name."},
    "Execution": {"deadline_s": "Seconds the tool may take."},
    "Result": {
        "schema": "JSON Schema of the result. What does not fit is not handed on.",
        "max_bytes": "A longer result is cut and marked as truncated.",
        "labels": 'What a part of the result is: `/text: untrusted`. With `"": trusted` the whole is not marked.',
    },
    "Contract": {
        "tool": "The name the model calls, and the file's: `tools/<tool>.yaml`.",
        "version": "Yours, for people. Recorded.",
        "description": "What the model reads: what it does, when to use it, when not.",
        "risk": "`high` needs an approver for every call unless `approval` says otherwise. The others are recorded.",
        "effect": "`none`: changes nothing. `internal`, `external`: whose world it changes.",
        "tags": "Your own words. A request may be narrowed to the tools of some tags; they give no right.",
        "idempotent": "Running twice is the same as once. Only then may it be retried.",
        "facts": "Facts that the rules may name as `facts.<key>`.",
        "rules": "Each must hold.",
        "guards": "By parameter: `{path: {kind: path, root: reports}}`.",
        "limits": "How often.",
        "approval": "Who must agree. Left out: nobody, or one approver if `risk: high` or a rule escalates.",
        "execution": "How it is run.",
        "result": "What may come back.",
    },
    "Settings": {
        "loop": "Limits of conversations.",
        "arguments": "Limits of the parser.",
        "audit": "The log.",
        "answer": "The check of final answers.",
    },
    "LoopLimits": {
        "calls_per_conversation": "Then every further call is denied, and `run()` stops.",
        "turns_per_run": "Answers of the model in one `run()`.",
        "repeats": "How often the very same call may be made in one conversation.",
        "consecutive_denials": "So many in a row, and the conversation is refused for a while.",
        "concurrent_calls": "Calls at once in one process; more are denied, not queued.",
        "depth": "How deep tools may call tools.",
        "pending_requests": "Requests of one conversation that may wait for people.",
    },
    "ArgumentLimits": {
        "max_bytes": "Arguments of one call.",
        "max_depth": "Lists and objects in each other.",
    },
    "AuditSettings": {
        "checkpoint_every": "Records between two signed checkpoints; up to 8 times as many where calls come at once.",
        "checkpoint_seconds": "A record waits no longer for its signature.",
        "rotate_mb": "A segment this long is closed at the next checkpoint, and a new one begun.",
        "rotate_hours": "A segment whose first record is this old is closed at the next checkpoint.",
        "witness": "A second place that remembers the last checkpoint.",
        "preview_chars": "Characters of each released result kept in the log.",
    },
    "WitnessSettings": {
        "folder": "A folder on another volume; or",
        "url": "the address of a witness that speaks C2SP tlog-witness.",
        "timeout_s": "The longest single wait for its network.",
        "required": "Deny new calls while it does not agree. A witness that contradicts always denies.",
    },
    "AnswerCheck": {"on_secret": "Hold a final answer with a secret back, or mask the secret."},
    "Approver": {
        "id": "As in policy.csv after `user:`.",
        "key": "The public key: `ed25519:` and base64. `toolgate approvers add` writes it.",
    },
    "Approvers": {"approvers": "Everybody who may vote."},
    "SandboxProfile": {
        "name": "The profile's name.",
        "image": "Name of an image whose id the sandbox lock pins.",
        "deadline_s": "Seconds the code may run.",
        "memory_mib": "Memory, tmpfs included; there is no swap.",
        "cpus": "Share of processors.",
        "processes": "Processes and threads.",
        "open_files": "Open files of each process.",
        "tmp_mib": "Size of `/tmp`, the only place that can be written.",
        "input_mib": "Input files together.",
        "output_kib": "Standard output and error together.",
        "runtime": "`runc` or `runsc` (gVisor). Never replaced by the other.",
        "preload": "Modules imported before the code arrives.",
    },
}

_HEAD = f"""\
# Policy reference

A policy folder holds `model.conf`, `policy.csv`, `settings.yaml`, `approvers.yaml`, `tools/*.yaml` and
`sandbox/*.yaml`. The first two are needed. `policy.lock` is written by `toolgate policy apply`: from then on only files
that match it are ever loaded. A file of any other name that looks like policy is an error, and so is an
unknown key, a file that somebody else could write, and a folder that changes while it is read. All errors are reported
at once, with file and line, and nothing is loaded unless everything is right.

Made by `{COMMAND}` from the models in `gateway/policy/documents.py`: edit those, not this page.
"""

_ACCESS = f"""
## model.conf

Casbin's language, one fixed model: roles, inheritance, allow and deny rows, deny wins. Toolgate compiles exactly this
one; anything else is refused. `toolgate init` writes it.

## policy.csv

    p, user:ID | role:NAME, tool, {" | ".join(ACTIONS)}, allow | deny
    g, user:ID | role:NAME, role:NAME

A `p` row lets the first do something with a tool, a `g` row gives the first the second's rights. A deny row always
wins. A comment is a line that begins with `#`. No quotes, no patterns, no row twice, no circle, at most
{MAX_ROLE_LINKS} roles above each other.

| action | meaning |
|---|---|
| `see` | the tool stands in the tool list, if it may be called too |
| `call` | the tool may be called. Without `see` only the gateway calls it, as another tool's fallback |
| `approve` | may vote on other people's calls; the person must be in `approvers.yaml` too |
"""

_YAML = """
## YAML here

YAML 1.2's plain data: `no` and `on` are text, `012` and `1_000` must be quoted. Refused: a key twice, anchors and
aliases, tags, merge keys, several documents, a value left out, an integer beyond 2^53 - 1.
"""

_RULES = f"""
## Rules

CEL, of type bool. Regular expressions are RE2; comprehensions stop after {MAX_ITERATIONS:,} iterations. Anything but
the boolean true means that the rule does not hold; an error denies.

| variable | holds |
|---|---|
| `args` | the effective arguments; `number` is a double, `integer` an int. An absent optional one: `has(args.x)` |
| `principal` | `id`, `on_behalf_of` (empty if nobody), `roles` (without `role:`) |
| `session` | `conversation`, `calls` (made so far, this one included) |
| `facts` | what the contract's `facts` name |
| `now` | a timestamp |

## JSON Schema

JSON Schema 2020-12, of which a closed part is accepted: `type` (`integer`, `number`, `string`, `boolean`, `null`,
`array`, `object`), `enum`, `const`, bounds, `pattern`, `format`, `items`, `prefixItems`, `properties`, `required`,
`additionalProperties`, `dependentRequired`, `$ref` into `$defs`, `anyOf`, `oneOf`, and `allOf` of one. A misspelt
keyword and a schema that accepts anything are errors. Objects are closed unless they say otherwise.
Formats: {", ".join(f"`{name}`" for name in sorted(FORMATS))}.
"""


def page() -> str:
    """The whole page. Raises LookupError where a key has no words or words have no key."""
    parts = [_HEAD, _ACCESS, _YAML]
    used: set[str] = set()
    for heading, model in (
        ("tools/*.yaml: contracts", Contract),
        ("settings.yaml", Settings),
        ("approvers.yaml", Approvers),
    ):
        schema = model.model_json_schema(by_alias=True)
        parts.append(f"\n## {heading}\n")
        for name, node in _models(model, schema):
            used.add(name)
            parts.append(_section(name, node, first=name == model.__name__))
        if model is Contract:
            parts.append(_RULES)
    parts.append(_sandbox())
    used.add("SandboxProfile")
    parts.append(_codes())
    if gone := sorted(set(WORDS) - used):
        raise LookupError(f"WORDS describes models that are gone: {', '.join(gone)}")
    return "".join(parts)


def _models(model: type[BaseModel], schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield model.__name__, schema
    yield from sorted(schema.get("$defs", {}).items())


def _section(name: str, node: dict[str, Any], *, first: bool) -> str:
    head = "" if first else f"\n### {name}\n"
    lines = [head, f"\n{' '.join(str(node.get('description', '')).split())}\n", "\n| key | type | default | meaning |"]
    lines.append("\n|---|---|---|---|\n")
    properties: dict[str, Any] = node.get("properties", {})
    required = node.get("required", ())
    own = WORDS.get(name, {})
    if stale := sorted(key for key in own if key not in properties or "description" in properties[key]):
        raise LookupError(f"WORDS[{name!r}] describes what the model says itself, or has no more: {', '.join(stale)}")
    for key, value in properties.items():
        said = value.get("description") or own.get(key)
        if not said:
            raise LookupError(f"nothing says what {name}.{key} means: describe it in the model, or in WORDS")
        default = "*needed*" if key in required else _default(value)
        lines.append(f"| `{key}` | {_type(value)} | {default} | {_cell(said)} |\n")
    return "".join(lines)


def _default(value: dict[str, Any]) -> str:
    default = value.get("default")
    if default is None or default == [] or default == {} or isinstance(default, dict):
        return "" if "const" not in value else "*needed*"
    return f"`{json.dumps(default) if not isinstance(default, str) else default}`"


def _type(value: dict[str, Any]) -> str:
    """The type in words, with its bounds."""
    if "$ref" in value:
        name = value["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return ", ".join(f"`{each}`" for each in value["enum"])
    for keyword in ("anyOf", "oneOf"):
        if keyword in value:
            return " or ".join(_type(each) for each in value[keyword] if each != {"type": "null"})
    kind = value.get("type", "anything")
    if kind == "array":
        return f"list of {_type(value['items'])}" if "items" in value else "list"
    if kind == "object":
        inner = [*value.get("patternProperties", {}).values(), value.get("additionalProperties")]
        return next((f"mapping to {_type(each)}" for each in inner if isinstance(each, dict) and each), "mapping")
    return _bounds({"string": "text"}.get(kind, kind), value)


def _bounds(kind: str, value: dict[str, Any]) -> str:
    low, high = value.get("minimum"), value.get("maximum")
    above = value.get("exclusiveMinimum")
    if "maxLength" in value and value.get("maxLength"):
        return f"{kind}, {value.get('minLength', 0)} to {value['maxLength']:,} characters"
    if "pattern" in value:
        return f"{kind} like `{_cell(value['pattern'])}`"
    if above is not None:
        return f"{kind} above {above:g}" + (f", at most {high:,}" if high is not None else "")
    if low is not None:
        return f"{kind}, {low:,} to {high:,}" if high is not None else f"{kind}, at least {low:,}"
    return kind


def _sandbox() -> str:
    import dataclasses

    from sandbox.spec import _CEILINGS  # the bounds are the module's own business everywhere else

    lines = ["\n## sandbox/*.yaml\n\nAmounts only: a profile cannot give code a network, a device or a privilege.\n"]
    lines.append("\n| key | type | default | meaning |\n|---|---|---|---|\n")
    kinds = {"str": "text", "int": "integer", "float": "number", "tuple[str, ...]": "list of text"}
    for field in dataclasses.fields(SandboxProfile):
        low_high = _CEILINGS.get(field.name)
        bounds = f", {low_high[0]:g} to {low_high[1]:g}" if low_high else ""
        default = "*needed*" if field.default is dataclasses.MISSING else f"`{field.default}`" if field.default else ""
        said = WORDS["SandboxProfile"][field.name]
        lines.append(f"| `{field.name}` | {kinds[str(field.type)]}{bounds} | {default} | {said} |\n")
    return "".join(lines)


def _codes() -> str:
    lines = [
        "\n## Reason codes\n\nThe log holds the first, a model reads the second: forbidden and unknown read alike.\n"
    ]
    lines.append("\n| in the log | to the model |\n|---|---|\n")
    lines += [f"| `{code.value}` | `{public_code(code)}` |\n" for code in ReasonCode]
    lines.append("\nWhy `run()` stops before an answer: ")
    lines.append(", ".join(f"`{reason.value}`" for reason in StopReason))
    return "".join(lines) + ".\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
