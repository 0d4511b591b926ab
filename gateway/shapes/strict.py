"""JSON Schema to OpenAI's strict mode (Structured Outputs, "Supported schemas").

Guarantees: a schema called strict is one that the mode accepts; it accepts whatever the contract accepts once the
optional properties left out are written as null; and step 4 reads such a null as "left out". So in strict mode every
object is closed and every property required, optional ones nullable. What the mode ignores, or may refuse, is dropped
here and enforced at step 4; what it cannot say at all leaves the tool unstrict, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, final

MAX_PROPERTIES = 5_000  # the same page, "Objects have limitations on nesting depth and size"
MAX_DEPTH = 10
MAX_ENUM_VALUES = 1_000
MAX_TOTAL_CHARS = 120_000  # of all names of properties and definitions, enum and const values
LONG_ENUM = 250
MAX_ENUM_CHARS = 15_000  # of one enum with more than LONG_ENUM values
FORMATS = frozenset(("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"))

# fmt: off
_KEPT = frozenset((
    "description", "title", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems",
    "maxItems",
))
_DROPPED = frozenset((
    "default", "minLength", "maxLength", "uniqueItems", "minProperties", "maxProperties", "dependentRequired",
    "examples", "$comment", "$schema", "$id", "deprecated", "readOnly", "writeOnly",
))
_BUILT = frozenset((
    "type", "enum", "const", "format", "pattern", "properties", "required", "additionalProperties", "items",
    "$ref", "$defs", "anyOf", "oneOf", "allOf",
))
# fmt: on
# Regular expressions that mean the same everywhere: no look-around, no classes by Unicode property, no back-references.
_PLAIN_PATTERN = re.compile(r"(?:[^\\(]|\((?!\?)|\(\?:|\\[dws.\-/+*?()\[\]{}|^$\\])*\Z")
_NULL = {"type": "null"}

Node = dict[str, Any]


class Inexpressible(Exception):
    """Strict mode has no words for this schema."""


@final
@dataclass(frozen=True, slots=True)
class Wire:
    """A schema as sent. `strict` says whether the provider enforces it; `why_not` is for people."""

    schema: Node
    strict: bool
    why_not: str = ""


def to_wire(schema: Node) -> Wire:
    """The strict form of a contract's parameters, or the schema as it is with the reason why not."""
    try:
        return Wire(_Strict(schema).root(), True)
    except Inexpressible as reason:
        return Wire(schema, False, str(reason))


@final
class _Strict:
    def __init__(self, schema: Node) -> None:
        self._schema = schema
        self._definitions: Node = schema.get("$defs", {})

    def root(self) -> Node:
        if "anyOf" in self._schema or self._schema.get("type") != "object":
            _no("parameters", "not an object")
        wire = self._node(self._schema, "parameters")
        if self._definitions:
            wire["$defs"] = {name: self._node(node, f"$defs.{name}") for name, node in self._definitions.items()}
        _check_size(wire)
        return wire

    def _node(self, node: Node, where: str) -> Node:
        foreign = sorted(set(node) - _KEPT - _DROPPED - _BUILT)
        if foreign:
            _no(where, ", ".join(foreign))
        notes = {key: value for key, value in node.items() if key in ("title", "description")}
        if "$ref" in node:
            return {"anyOf": [{"$ref": node["$ref"]}], **notes} if notes else {"$ref": node["$ref"]}
        if "allOf" in node:
            if len(node["allOf"]) != 1:
                _no(where, "allOf")
            return self._node(node["allOf"][0], where) | notes
        for keyword in ("anyOf", "oneOf"):  # `oneOf` becomes the wider `anyOf`; step 4 holds the difference
            if keyword in node:
                return notes | {"anyOf": self._choice(node[keyword], where)}
        return self._typed(node, where)

    def _choice(self, branches: list[Node], where: str) -> list[Node]:
        """Step 4 leaves a null out only where it can tell which object is meant, so a choice of objects needs none."""
        named = [branch for branch in branches if branch.get("type") != "null"]
        if len(named) > 1 and any(self._makes_nullable(branch) for branch in named):
            _no(where, "a choice between schemas with optional properties")
        return [self._node(branch, f"{where}|{index}") for index, branch in enumerate(branches)]

    def _makes_nullable(self, node: Node) -> bool:
        """True if an optional property anywhere inside would have to be sent as a null it does not allow itself."""
        if "$ref" in node:
            return self._makes_nullable(self._target(node))
        required = node.get("required", ())
        return any(
            self._makes_nullable(child) or (name not in required and not self._allows_null(child))
            for name, child in node.get("properties", {}).items()
        ) or any(self._makes_nullable(child) for child in _inside(node))

    def _allows_null(self, node: Node) -> bool:
        if "$ref" in node:
            return self._allows_null(self._target(node))
        branches = [*node.get("anyOf", ()), *node.get("oneOf", ()), *node.get("allOf", ())]
        if branches:
            return any(map(self._allows_null, branches))
        if "const" in node and node["const"] is not None:
            return False
        if "enum" in node and None not in node["enum"]:
            return False
        return "type" not in node or "null" in _types(node)

    def _target(self, node: Node) -> Node:
        target: Node = self._definitions[str(node["$ref"]).removeprefix("#/$defs/")]
        return target

    def _typed(self, node: Node, where: str) -> Node:
        types = _types(node) if "type" in node else _types_of_values(node, where)
        wire: Node = {key: value for key, value in node.items() if key in _KEPT}
        wire["type"] = types if len(types) > 1 else types[0]
        wire |= {key: node[key] for key in ("enum", "const") if key in node}
        if node.get("format") in FORMATS:
            wire["format"] = node["format"]
        if "pattern" in node and _PLAIN_PATTERN.match(node["pattern"]):
            wire["pattern"] = node["pattern"]
        if "object" in types:
            wire |= self._members(node, where)
        if "array" in types:
            if not isinstance(node.get("items"), dict):
                _no(where, "an array without `items`")
            wire["items"] = self._node(node["items"], f"{where}[]")
        return wire

    def _members(self, node: Node, where: str) -> Node:
        properties = node.get("properties", {})
        if node.get("additionalProperties", False) is not False:
            _no(where, "additionalProperties is not false")
        if not properties and where != "parameters":
            _no(where, "an object of any shape")
        required = set(node.get("required", ()))
        made = {name: self._node(child, f"{where}.{name}") for name, child in properties.items()}
        return {
            "properties": {
                name: child if name in required or self._allows_null(properties[name]) else _nullable(child)
                for name, child in made.items()
            },
            "required": list(properties),
            "additionalProperties": False,
        }


def _no(where: str, why: str) -> NoReturn:
    raise Inexpressible(f"{where}: {why}")


def _types(node: Node) -> list[str]:
    named = node["type"]
    return list(named) if isinstance(named, list) else [named]


def _types_of_values(node: Node, where: str) -> list[str]:
    """The type that strict mode wants beside every `enum` and `const`."""
    values = node["enum"] if "enum" in node else [node["const"]] if "const" in node else []
    kinds = {type(value): None for value in values}  # a dict keeps the order
    names = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    if not kinds or not kinds.keys() <= names.keys():
        _no(where, "no type")
    return [names[kind] for kind in kinds]


def _inside(node: Node) -> Iterator[Node]:
    if isinstance(node.get("items"), dict):
        yield node["items"]
    for keyword in ("anyOf", "oneOf", "allOf"):
        yield from node.get(keyword, ())


def _nullable(node: Node) -> Node:
    """The same, or null. A type list where that says it all, else `anyOf`."""
    if "anyOf" in node:
        return {**node, "anyOf": [*node["anyOf"], _NULL]}
    if "$ref" in node or "const" in node or node.get("type") == "object":
        return {"anyOf": [node, _NULL]}
    out = {**node, "type": [*_types(node), "null"]} if "null" not in _types(node) else dict(node)
    if "enum" in node:
        out["enum"] = [*node["enum"], None]
    return out


def _check_size(wire: Node) -> None:
    """Refuse what is larger than the mode takes. The contract's references run in no circle (validate.vocabulary)."""
    definitions = wire.get("$defs", {})

    def depth(node: Node) -> int:
        if "$ref" in node:
            return depth(definitions[node["$ref"].removeprefix("#/$defs/")])
        inside = [depth(child) for child in (*node.get("properties", {}).values(), *_inside(node))]
        return max(inside, default=0) + ("properties" in node)

    properties = values = 0
    chars = sum(map(len, definitions))
    todo = [wire, *definitions.values()]
    while todo:
        node = todo.pop()
        members, listed = node.get("properties", {}), node.get("enum", ())
        in_enum = sum(len(value) for value in listed if isinstance(value, str))
        if len(listed) > LONG_ENUM and in_enum > MAX_ENUM_CHARS:
            _no("parameters", f"an enum of more than {MAX_ENUM_CHARS} characters")
        properties += len(members)
        values += len(listed)
        chars += sum(map(len, members)) + in_enum + len(str(node.get("const", "")))
        todo += [*members.values(), *_inside(node)]
    if depth(wire) > MAX_DEPTH:
        _no("parameters", f"objects nested deeper than {MAX_DEPTH} levels")
    if properties > MAX_PROPERTIES or values > MAX_ENUM_VALUES or chars > MAX_TOTAL_CHARS:
        _no("parameters", "more properties, enum values or characters than strict mode takes")
