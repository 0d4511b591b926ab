"""The subset of JSON Schema that `strict: true` accepts, and a check that refuses the rest.

Source: OpenAI, "Structured model outputs", section "Supported schemas". Where that page and reports of users
disagree (`minLength`, `maxLength`, `default`) this check refuses: a schema that passes here passes there.
"""

from __future__ import annotations

from typing import cast

MAX_PROPERTIES = 5_000  # the same page, "Objects have limitations on nesting depth and size"
MAX_DEPTH = 10
MAX_ENUM_VALUES = 1_000
TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
KEYWORDS = frozenset(
    {"type", "properties", "required", "additionalProperties", "items", "minItems", "maxItems", "pattern"}
    | {"enum", "const", "anyOf", "$ref", "$defs", "definitions", "title", "description", "format"}
    | {"multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
)


class StrictSchemaError(ValueError):
    """The schema is outside the subset; the message names the place as the API does (`In context=(...)`)."""


def check_root(schema: object) -> None:
    """Raise StrictSchemaError unless the root is an object, which is asked of every schema."""
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise StrictSchemaError("schema must be a JSON Schema of 'type: \"object\"'.")


def check_strict(schema: object) -> None:
    """Raise StrictSchemaError unless `schema` is one that strict mode accepts."""
    check_root(schema)
    if "anyOf" in cast("dict[str, object]", schema):
        raise StrictSchemaError("schema must not have 'anyOf' at its root.")
    _Check(cast("dict[str, object]", schema)).walk(schema, (), 0)


class _Check:
    def __init__(self, root: dict[str, object]) -> None:
        self.root = root
        self.properties = 0
        self.enum_values = 0

    def walk(self, schema: object, at: tuple[str, ...], depth: int) -> None:
        if not isinstance(schema, dict):
            raise _refused(at, f"{schema!r} is not of type 'object'")
        for keyword in schema:
            if keyword not in KEYWORDS:
                raise _refused(at, f"'{keyword}' is not permitted")
        for holder in ("$defs", "definitions"):
            for name, inner in _mapping(schema.get(holder, {}), (*at, holder)).items():
                self.walk(inner, (*at, holder, name), depth)
        if "$ref" in schema:
            self._reference(schema, at)
        elif "anyOf" in schema:
            self._any_of(schema["anyOf"], at, depth)
        else:
            self._typed(schema, at, depth)

    def _reference(self, schema: dict[str, object], at: tuple[str, ...]) -> None:
        others = set(schema) - {"$ref"}
        if others:
            raise _refused(at, f"$ref cannot have keywords {sorted(others)}")
        reference = schema["$ref"]
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise _refused(at, "reference must start with '#'")
        target: object = self.root
        for step in reference.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(target, dict) or name not in target:
                raise _refused(at, f"reference can only point to definitions, but {reference!r} is absent")
            target = target[name]

    def _any_of(self, branches: object, at: tuple[str, ...], depth: int) -> None:
        if not isinstance(branches, list) or not branches:
            raise _refused(at, "'anyOf' must be an array with at least one schema")
        for index, branch in enumerate(branches):
            self.walk(branch, (*at, "anyOf", str(index)), depth)

    def _typed(self, schema: dict[str, object], at: tuple[str, ...], depth: int) -> None:
        if "type" not in schema:
            raise _refused(at, "schema must have a 'type' key")
        given = schema["type"]
        types = given if isinstance(given, list) else [given]
        if not types or any(kind not in TYPES for kind in types):
            raise _refused(at, f"{given!r} is not a supported type")
        if "format" in schema and schema["format"] not in FORMATS:
            raise _refused(at, f"{schema['format']!r} is not a valid format")
        if "enum" in schema:
            self._enum(schema["enum"], at)
        if "object" in types:
            self._object(schema, at, depth + 1)
        if "array" in types:
            if "items" not in schema:
                raise _refused(at, "array schema missing items")
            self.walk(schema["items"], (*at, "items"), depth)

    def _enum(self, values: object, at: tuple[str, ...]) -> None:
        if not isinstance(values, list) or not values:
            raise _refused(at, "'enum' must be an array with at least one value")
        self.enum_values += len(values)
        if self.enum_values > MAX_ENUM_VALUES:
            raise _refused(at, f"{self.enum_values} enum values exceed the limit of {MAX_ENUM_VALUES}")

    def _object(self, schema: dict[str, object], at: tuple[str, ...], depth: int) -> None:
        if depth > MAX_DEPTH:
            raise _refused(at, f"{depth} levels of nesting exceeds limit of {MAX_DEPTH}")
        if schema.get("additionalProperties") is not False:
            raise _refused(at, "'additionalProperties' is required to be supplied and to be false")
        properties = _mapping(schema.get("properties", {}), (*at, "properties"))
        self.properties += len(properties)
        if self.properties > MAX_PROPERTIES:
            raise _refused(at, f"{self.properties} properties exceed the limit of {MAX_PROPERTIES}")
        listed = schema.get("required", [])
        names = {name for name in listed if isinstance(name, str)} if isinstance(listed, list) else set()
        missing = [name for name in properties if name not in names]
        if missing:
            raise _refused(
                at,
                "'required' is required to be supplied and to be an array including every key in properties. "
                f"Missing '{missing[0]}'",
            )
        if names - set(properties):
            raise _refused(at, f"Extra required key '{min(names - set(properties))}' supplied")
        for name, inner in properties.items():
            self.walk(inner, (*at, "properties", name), depth)


def _mapping(value: object, at: tuple[str, ...]) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _refused(at, f"{value!r} is not of type 'object'")
    return cast("dict[str, object]", value)


def _refused(at: tuple[str, ...], why: str) -> StrictSchemaError:
    return StrictSchemaError(f"In context={at!r}, {why}.")
