"""JSON Schema to OpenAI's strict mode (Structured Outputs, "Supported schemas").

In strict mode every object is closed and every property required; optional ones become nullable, and step 4 reads a
null of theirs as "left out". What the mode ignores is dropped here and enforced at step 4; what it cannot say at
all leaves the tool unstrict, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

_KEPT = frozenset(
    {
        "type", "description", "title", "enum", "const", "format", "pattern", "minimum", "maximum",
        "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems", "maxItems",
    }
)  # fmt: skip
_DROPPED = frozenset(
    {"default", "minLength", "maxLength", "uniqueItems", "minProperties", "maxProperties", "examples", "$comment",
     "$schema", "$id", "deprecated", "readOnly", "writeOnly"}
)  # fmt: skip
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)  # the formats the mode knows; others are enforced at step 4 only


class Inexpressible(Exception):
    """Strict mode has no words for this schema."""


@final
@dataclass(frozen=True, slots=True)
class Wire:
    """A schema as sent. `strict` says whether the provider enforces it; `why_not` is for people."""

    schema: dict[str, Any]
    strict: bool
    why_not: str = ""


def to_wire(schema: dict[str, Any]) -> Wire:
    """The strict form of a contract's parameters, or the schema as it is with the reason why not."""
    try:
        return Wire(_object(schema, "parameters"), True)
    except Inexpressible as reason:
        return Wire(schema, False, str(reason))


def _any(schema: dict[str, Any], where: str) -> dict[str, Any]:
    if "$ref" in schema:
        return {"$ref": schema["$ref"]}
    if schema.get("type") == "object" or "properties" in schema:
        return _object(schema, where)
    out = _common(schema, where)
    if "items" in schema:
        out["items"] = _any(schema["items"], f"{where}[]")
    elif _allows(schema, "array"):
        raise Inexpressible(f"{where}: an array without `items`")
    if "anyOf" in schema:
        out["anyOf"] = [_any(each, f"{where}|{i}") for i, each in enumerate(schema["anyOf"])]
    if _allows(schema, "object"):
        raise Inexpressible(f"{where}: an object of any shape")
    return out


def _object(schema: dict[str, Any], where: str) -> dict[str, Any]:
    if schema.get("additionalProperties") not in (None, False):
        raise Inexpressible(f"{where}: additionalProperties is not false")
    out = _common(schema, where)
    out["type"] = schema.get("type", "object")
    required = set(schema.get("required", ()))
    properties = schema.get("properties", {})
    out["properties"] = {
        name: _any(each, f"{where}.{name}") if name in required else _nullable(_any(each, f"{where}.{name}"))
        for name, each in properties.items()
    }
    out["required"] = list(properties)
    out["additionalProperties"] = False
    if "$defs" in schema:
        out["$defs"] = {name: _any(each, f"$defs.{name}") for name, each in schema["$defs"].items()}
    return out


def _common(schema: dict[str, Any], where: str) -> dict[str, Any]:
    structure = {"properties", "required", "additionalProperties", "$defs", "items", "anyOf"}
    foreign = sorted(set(schema) - _KEPT - _DROPPED - structure)
    if foreign:
        raise Inexpressible(f"{where}: {', '.join(foreign)}")
    return {
        key: value for key, value in schema.items() if key in _KEPT and not (key == "format" and value not in _FORMATS)
    }


def _allows(schema: dict[str, Any], kind: str) -> bool:
    named = schema.get("type")
    return kind == named or (isinstance(named, list) and kind in named)


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """The same, or null. A type list where that says it all, else `anyOf`."""
    kind = schema.get("type")
    if kind is None or "const" in schema or kind == "object":
        if "anyOf" in schema and {"type": "null"} not in schema["anyOf"]:
            return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
        return schema if "anyOf" in schema else {"anyOf": [schema, {"type": "null"}]}
    kinds = kind if isinstance(kind, list) else [kind]
    out = {**schema, "type": [*kinds, "null"] if "null" not in kinds else kinds}
    if "enum" in schema and None not in schema["enum"]:
        out["enum"] = [*schema["enum"], None]
    return out
