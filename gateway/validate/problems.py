"""What is wrong with arguments, in words a model can act on (OWASP LLM05; I10).

Guarantees: a message is made from the contract and from names, never from a value the model sent. Names the model
made up are quoted escaped and cut. For a hidden parameter neither names inside it nor the nearest allowed value are
told, since both follow from its value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Any, final

import jsonschema_rs
import orjson

from gateway.validate.vocabulary import Node, not_null

MISSING = "is required and missing"
MAX_PROBLEMS = 5
MAX_OPTIONS = 20  # allowed values listed in one message
MAX_NAME = 64  # characters of a name the model made up
MAX_COMPARED = 200  # characters of a value compared with the allowed ones
MAX_DESCRIPTION = 200  # characters of the contract's own description, repeated

_EXAMPLES = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T09:30:00Z",
    "time": "09:30:00Z",
    "duration": "P1DT2H",
    "email": "name@example.org",
    "uri": "https://example.org/path",
}


@final
@dataclass(frozen=True, slots=True)
class Problem:
    """`path` is where, such as `items[2].sku` (empty for the whole object); `expected` what should be there."""

    path: str
    expected: str
    suggestion: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.expected}" if self.path else self.expected


def explain(
    errors: Iterable[jsonschema_rs.ValidationError], schema: Node, hidden: frozenset[str] = frozenset()
) -> list[Problem]:
    """The first few errors of a validator as problems, each once."""
    found: dict[Problem, None] = {}
    for error in islice(_flat(errors, schema), MAX_PROBLEMS * 4):
        found[_problem(error, schema, hidden)] = None
        if len(found) == MAX_PROBLEMS:
            break
    return list(found)


def _flat(errors: Iterable[jsonschema_rs.ValidationError], schema: Node) -> Iterator[jsonschema_rs.ValidationError]:
    """An optional value (`anyOf` of one schema and null) is explained by that schema."""
    for error in errors:
        if error.kind.name in ("anyOf", "oneOf"):
            branches = _at(schema, error.schema_path)
            named = not_null(branches)
            context = error.kind.as_dict().get("context", [])
            inner = context[branches.index(named[0])] if len(named) == 1 and len(context) == len(branches) else ()
            if inner:
                yield from _flat(inner, schema)
                continue
        yield error


def _problem(error: jsonschema_rs.ValidationError, schema: Node, hidden: frozenset[str]) -> Problem:
    place = error.instance_path
    secret = bool(place) and place[0] in hidden
    path = _path(place[:1] if secret else place)
    node = _at(schema, error.schema_path[:-1])
    details = error.kind.as_dict()
    match error.kind.name:
        case "required":
            return _missing(path, str(details["property"]), node, secret=secret)
        case "additionalProperties" | "unevaluatedProperties":
            return Problem(path, "unknown fields") if secret else _unknown(path, details["unexpected"], node)
        case "enum" | "const":
            options = node["enum"] if error.kind.name == "enum" else [node["const"]]
            return _choice(path, options, None if secret else error.instance)
        case "type":
            return Problem(path, f"must be {_types(details['types'])}, not {_kind(error.instance)}", _by_example(node))
        case name:
            return Problem(path, _expected(name, node, details), _by_example(node))


def _missing(path: str, name: str, node: Node, *, secret: bool) -> Problem:
    if secret:
        return Problem(path, "a required field is missing")
    wanted = node.get("properties", {}).get(name, {})
    described = wanted.get("description", "")
    about = f" ({described[:MAX_DESCRIPTION].rstrip('.')})" if described else ""
    return Problem(_join(path, name), MISSING, f"Add `{name}`{about}{_such_as(wanted)}.")


def _such_as(node: Node) -> str:
    examples = node.get("examples")
    return f", such as {_spell(examples[0])}" if isinstance(examples, list) and examples else ""


def _by_example(node: Node) -> str:
    """What the contract itself says of a value: its unit or meaning, and an example."""
    described = str(node.get("description", "")).strip()[:MAX_DESCRIPTION]
    example = _such_as(node).removeprefix(", such as ")
    return " ".join(filter(None, (described, f"For example: {example}." if example else "")))


def _unknown(path: str, unexpected: list[str], node: Node) -> Problem:
    known = list(node.get("properties", {}))
    quoted = ", ".join(_quote(name) for name in unexpected[:3]) + (", ..." if len(unexpected) > 3 else "")
    close = get_close_matches(unexpected[0][:MAX_NAME], known, n=1)
    if close:
        suggestion = f"Did you mean `{close[0]}`?"
    elif known:
        suggestion = f"Leave it out. The fields are: {', '.join(known[:MAX_OPTIONS])}."
    else:
        suggestion = "Leave it out: there are no fields."
    return Problem(path, f"unknown field {quoted}", suggestion)


def _choice(path: str, options: list[Any], given: Any) -> Problem:
    listed = ", ".join(_spell(option) for option in options[:MAX_OPTIONS])
    more = f" and {len(options) - MAX_OPTIONS} more" if len(options) > MAX_OPTIONS else ""
    suggestion = ""
    if isinstance(given, str) and len(given) <= MAX_COMPARED:
        folded = {option.casefold(): option for option in options if isinstance(option, str)}
        close = get_close_matches(given.casefold(), list(folded), n=1)
        suggestion = f"Did you mean {_spell(folded[close[0]])}?" if close else ""
    return Problem(path, f"must be one of {listed}{more}", suggestion)


def _expected(keyword: str, node: Node, details: dict[str, Any]) -> str:
    """What a keyword asks for. Limits come from the contract, never from the value."""
    limit = node.get(keyword)
    match keyword:
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
            words = {
                "minimum": "at least",
                "maximum": "at most",
                "exclusiveMinimum": "more than",
                "exclusiveMaximum": "less than",
            }
            return f"must be {words[keyword]} {_spell(limit)}"
        case "multipleOf":
            return f"must be a multiple of {_spell(limit)}"
        case "minLength" | "maxLength":
            return f"must have at {keyword[:3].replace('min', 'least').replace('max', 'most')} {limit} characters"
        case "minItems" | "maxItems":
            return f"must have at {keyword[:3].replace('min', 'least').replace('max', 'most')} {limit} items"
        case "minProperties" | "maxProperties":
            return f"must have at {keyword[:3].replace('min', 'least').replace('max', 'most')} {limit} fields"
        case "uniqueItems":
            return "must not hold the same item twice"
        case "pattern":
            return f"must match the pattern {limit}"
        case "format":
            example = _EXAMPLES.get(str(limit))
            return f"must be a valid {limit}" + (f", such as {example}" if example else "")
        case "dependentRequired":
            return f"{details.get('property', 'another field')} must be given too"
        case "falseSchema":
            return "there are too many items"
        case "anyOf" | "oneOf":
            kinds = ", ".join(dict.fromkeys(_form(branch) for branch in node.get(keyword, [])))
            return f"fits {'none' if keyword == 'anyOf' else 'not exactly one'} of the accepted forms: {kinds}"
        case _:
            return f"does not satisfy `{keyword}`"


def _form(branch: Node) -> str:
    if "title" in branch:
        return str(branch["title"])
    types = branch.get("type", "a listed value" if "enum" in branch or "const" in branch else "an object")
    return types if isinstance(types, str) else "/".join(types)


def _types(types: list[str]) -> str:
    return " or ".join(("an " if name[0] in "aeio" else "a ") + name if name != "null" else name for name in types)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, list):
        return "an array"
    return "an object" if isinstance(value, dict) else "a number"


def _at(schema: Node, pointer: list[str | int]) -> Any:
    node: Any = schema
    for part in pointer:
        if isinstance(node, list):
            node = node[int(part)] if isinstance(part, int) and part < len(node) else {}
        else:
            node = node.get(part, {}) if isinstance(node, dict) else {}
    return node


def _path(place: list[str | int]) -> str:
    path = ""
    for part in place:
        path = f"{path}[{part}]" if isinstance(part, int) else _join(path, part)
    return path


def _join(path: str, name: str) -> str:
    safe = name if name.isidentifier() and name.isascii() and len(name) <= MAX_NAME else _quote(name)
    return f"{path}.{safe}" if path else safe


def _quote(name: str) -> str:
    return ascii(name if len(name) <= MAX_NAME else name[:MAX_NAME] + "...")


def _spell(value: Any) -> str:
    return orjson.dumps(value).decode()
