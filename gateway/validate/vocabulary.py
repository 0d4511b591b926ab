"""The JSON Schema that contracts may use: a closed part of 2020-12 in which everything written has an effect.

Guarantees: a misspelt keyword, a schema that says nothing, a reference out of the file or in a circle, an unchecked
format or a default that would never be applied is an error when the contract is loaded (C040-C043, C046), not a hole
when it is used. Each schema is exactly one of: typed (`type`), a choice (`enum`, `const`), a reference (`$ref` into
`$defs`), or a combination (`anyOf`, `oneOf`, or `allOf` of one). Objects are closed (C039). What cannot be said in
here is said as a rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, NoReturn, final

from gateway.domain.canonical import MAX_SAFE_INTEGER
from gateway.domain.errors import PolicyError

FORMATS = frozenset(
    ("date", "date-time", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid")
)  # those jsonschema-rs checks itself, and of these the ones with one meaning
MAX_NODES = 10_000  # subschemas once every reference is written out: a schema bomb is an error, not a wait

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_DEFINITION = re.compile(r"#/\$defs/([A-Za-z0-9_.-]+)")

_NOTES = frozenset(("title", "description", "default", "examples", "deprecated", "$comment"))
_ROOT = frozenset(("$schema", "$defs"))
_NUMERIC = frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"))
_OF_TYPE: dict[str, frozenset[str]] = {
    "null": frozenset(),
    "boolean": frozenset(),
    "integer": _NUMERIC,
    "number": _NUMERIC,
    "string": frozenset(("minLength", "maxLength", "pattern", "format")),
    "array": frozenset(("items", "prefixItems", "minItems", "maxItems", "uniqueItems")),
    "object": frozenset(
        ("properties", "required", "additionalProperties", "minProperties", "maxProperties", "dependentRequired")
    ),
}
_CHOICES = frozenset(("enum", "const"))
_COMBINERS = ("anyOf", "oneOf", "allOf")
_KNOWN = frozenset.union(_NOTES, _CHOICES, _COMBINERS, ("type", "$ref"), *_OF_TYPE.values())
_NO_BOOLEAN = "a schema is a mapping; `true` and `false` are not accepted here"

Node = dict[str, Any]


@final
class Vocabulary:
    """Checks one schema and gives a closed copy of it. Raises PolicyError naming the place as a JSON Pointer."""

    def __init__(self, *, file: str = "", line: int = 0) -> None:
        self._file = file
        self._line = line
        self._root = ""
        self._definitions: Node = {}

    def close(self, schema: Node, where: str, *, root_object: bool) -> Node:
        """The schema with `additionalProperties: false` where nothing is said, and integers bounded to 2^53 - 1."""
        dialect = schema.get("$schema", _DIALECT)
        if not isinstance(dialect, str) or dialect.removesuffix("#") != _DIALECT:
            self._fail(f"{where}/$schema", f"only JSON Schema 2020-12 is accepted ({_DIALECT})")
        definitions = schema.get("$defs", {})
        for name, node in definitions.items():
            if not _DEFINITION.fullmatch(f"#/$defs/{name}"):
                self._fail(f"{where}/$defs", f"the name {name!r} may hold only letters, digits and _ . -")
            if not isinstance(node, dict):
                self._fail(f"{where}/$defs/{name}", _NO_BOOLEAN)
            if "default" in node:
                self._fail(f"{where}/$defs/{name}", "a default stands beside a property's `$ref`, not in `$defs`")
        self._definitions = definitions
        self._root = where
        self._check_circles(schema, where)
        root = {key: value for key, value in schema.items() if key not in _ROOT}
        if root_object and root.get("type") != "object":
            self._fail(where, "the arguments of a call are an object: say `type: object`")
        if root_object and isinstance(root.get("additionalProperties"), dict):
            self._fail(f"{where}/additionalProperties", "every parameter is named in `properties`")
        if "default" in root:
            self._fail(f"{where}/default", "a default belongs to one property")
        closed = self._close(root, where, optional_default=False)
        if definitions:
            closed["$defs"] = {
                name: self._close(node, f"{where}/$defs/{name}", optional_default=False)
                for name, node in definitions.items()
            }
        return closed

    def _close(self, node: object, where: str, *, optional_default: bool) -> Node:
        if not isinstance(node, dict):
            self._fail(where, _NO_BOOLEAN)
        for keyword in node:
            if keyword not in _KNOWN:
                self._unknown(keyword, where)
        if "default" in node and not optional_default:
            self._fail(f"{where}/default", "a default counts only directly under `properties`")
        kinds = [key for key in ("$ref", *_COMBINERS) if key in node]
        if kinds:
            extra = set(node) - _NOTES - {kinds[0]}
            if extra:
                self._fail(where, f"`{kinds[0]}` stands alone; move `{min(extra)}` into the schema it names")
            return self._close_reference(node, where) if kinds[0] == "$ref" else self._combine(node, kinds[0], where)
        if "type" in node:
            return self._close_typed(node, where)
        if not _CHOICES & set(node):
            self._fail(where, "say `type` (or `enum`, `const`, `$ref`, `anyOf`): without one, anything is accepted")
        extra = set(node) - _NOTES - _CHOICES
        if extra:
            self._fail(f"{where}/{min(extra)}", "say `type` too, or this keyword has no effect on other types")
        return dict(node)

    def _close_reference(self, node: Node, where: str) -> Node:
        self._target(node["$ref"], where)
        return dict(node)

    def _combine(self, node: Node, keyword: str, where: str) -> Node:
        branches = node[keyword]
        if keyword == "allOf" and len(branches) != 1:
            self._fail(f"{where}/allOf", "closed objects cannot be added up: merge the schemas into one")
        closed = [
            self._close(branch, f"{where}/{keyword}/{index}", optional_default=False)
            for index, branch in enumerate(branches)
        ]
        if len(not_null(branches)) > 1 and any(self._has_default(branch) for branch in branches):
            self._fail(f"{where}/{keyword}", "a default inside a choice of schemas is never applied: leave it out")
        return node | {keyword: closed}

    def _close_typed(self, node: Node, where: str) -> Node:
        types = [node["type"]] if isinstance(node["type"], str) else node["type"]
        allowed = frozenset.union(_NOTES, _CHOICES, ("type",), *(_OF_TYPE[name] for name in types))
        extra = set(node) - allowed
        if extra:
            self._fail(f"{where}/{min(extra)}", f"this keyword has no effect on type {' or '.join(types)}")
        closed = dict(node)
        if node.get("format", "date") not in FORMATS:
            checked = ", ".join(sorted(FORMATS))
            self._fail(f"{where}/format", f"{node['format']!r} is not checked here; use one of {checked}")
        if "integer" in types and "number" not in types:
            closed["minimum"] = max(node.get("minimum", -MAX_SAFE_INTEGER), -MAX_SAFE_INTEGER)
            closed["maximum"] = min(node.get("maximum", MAX_SAFE_INTEGER), MAX_SAFE_INTEGER)
        if "array" in types:
            self._close_array(node, closed, where)
        if "object" in types:
            self._close_object(node, closed, where)
        return closed

    def _close_array(self, node: Node, closed: Node, where: str) -> None:
        if "items" not in node:
            self._fail(where, "say what `items` are (`false` after `prefixItems`)")
        if "prefixItems" in node:
            closed["prefixItems"] = [
                self._close(item, f"{where}/prefixItems/{index}", optional_default=False)
                for index, item in enumerate(node["prefixItems"])
            ]
        if node["items"] is not False or "prefixItems" not in node:
            closed["items"] = self._close(node["items"], f"{where}/items", optional_default=False)

    def _close_object(self, node: Node, closed: Node, where: str) -> None:
        properties = node.get("properties", {})
        rest = node.get("additionalProperties", False)
        if rest is True:
            self._fail(f"{where}/additionalProperties", "name the properties, or give the schema of the others")
        if not properties and rest is False and where != self._root:
            self._fail(where, "an object without `properties` accepts nothing; name them")
        for listed in [node.get("required", []), *node.get("dependentRequired", {}).values()]:
            for name in listed:
                if name not in properties:
                    self._fail(f"{where}/required", f"{name!r} is not among the properties{_meant(name, properties)}")
        closed["properties"] = {
            name: self._close(child, f"{where}/properties/{name}", optional_default=True)
            for name, child in properties.items()
        }
        closed["additionalProperties"] = (
            False if rest is False else self._close(rest, f"{where}/additionalProperties", optional_default=False)
        )

    def _check_circles(self, schema: Node, where: str) -> None:
        """Refuse reference circles (C043) and schemas that would be enormous once written out."""
        sizes: dict[str, int] = {}

        def size(node: Node, path: tuple[str, ...]) -> int:
            total = 1 + sum(size(child, path) for child in children(node))
            if "$ref" in node:
                name = self._target(node["$ref"], where)
                if name in path:
                    self._fail(where, f"`$defs/{name}` refers to itself; arguments have a bounded depth, write it out")
                if name not in sizes:
                    sizes[name] = size(self._definitions[name], (*path, name))
                total += sizes[name]
            if total > MAX_NODES:
                self._fail(where, f"more than {MAX_NODES} schemas once every `$ref` is written out")
            return total

        size(schema, ())
        for name, node in self._definitions.items():
            size(node, (name,))

    def _target(self, reference: object, where: str) -> str:
        found = _DEFINITION.fullmatch(reference) if isinstance(reference, str) else None
        if found is None:
            self._fail(f"{where}/$ref", f"{reference!r}: only `#/$defs/...` of the same contract; nothing is fetched")
        if found[1] not in self._definitions:
            self._fail(f"{where}/$ref", f"there is no `$defs/{found[1]}`{_meant(found[1], self._definitions)}")
        return found[1]

    def _has_default(self, node: Node) -> bool:
        if any("default" in child for child in node.get("properties", {}).values()):
            return True
        if "$ref" in node and self._has_default(self._definitions[self._target(node["$ref"], "")]):
            return True
        return any(self._has_default(child) for child in children(node))

    def _unknown(self, keyword: str, where: str) -> None:
        if keyword in ("if", "then", "else", "not", "dependentSchemas"):
            self._fail(f"{where}/{keyword}", "not accepted in a contract: say it as a rule")
        self._fail(f"{where}/{keyword}", f"unknown keyword{_meant(keyword, _KNOWN)}")

    def _fail(self, where: str, message: str) -> NoReturn:
        raise PolicyError(f"{where}: {message}", file=self._file, line=self._line)


def children(node: Node) -> Iterator[Node]:
    """The schemas directly inside a schema, `$defs` and references left out."""
    inside = [*node.get("properties", {}).values(), node.get("items"), node.get("additionalProperties")]
    for keyword in ("prefixItems", *_COMBINERS):
        inside += node.get(keyword, ())
    yield from (child for child in inside if isinstance(child, dict))


def not_null(branches: list[Node]) -> list[Node]:
    """The branches of a choice that accept more than null: where there is one, the choice is an optional value."""
    return [branch for branch in branches if branch.get("type") != "null"]


def _meant(name: str, known: Any) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""
