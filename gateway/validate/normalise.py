"""The one normalisation, and its way back (I1; catalogue C014, C049, C052).

From what the model sent to the *effective* value:

1. a number that is an integer is one: `1.0` and `1e0` become `1`, `-0.0` becomes `0`;
2. `null` for an optional property whose own schema does not allow null is left out (strict-mode schemas make every
   optional field nullable), at every depth;
3. the default of an optional property that is absent then is put in, at every depth.

The effective value is validated, and its canonical bytes are hashed, shown and stored. `Fresh` decodes those bytes
for a rule or a tool: each time a new object, `number` as float, `integer` as int; where the schema names neither
(`enum`, `const`) a number is what it is spelled. In a choice of schemas the first that accepts the value decides.
Nothing here changes its argument.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import orjson

from gateway.domain.canonical import settle
from gateway.validate.vocabulary import Node, not_null

Step = Callable[[Any], Any]
Accepts = Callable[[Node], Callable[[Any], bool]]
"""Compiles a schema that may refer to the root's `$defs` and says whether it accepts a value."""


@final
class Plans:
    """Compiles the schema-directed steps. `None` instead of a step means there is nothing to do."""

    def __init__(self, definitions: Node, accepts: Accepts) -> None:
        self._definitions = definitions
        self._accepts = accepts
        self._fills: dict[str, Step | None] = {}
        self._coercions: dict[str, Step | None] = {}

    def fill(self, node: Node) -> Step | None:
        """The step that leaves nulls out (2) and puts defaults in (3)."""
        if "$ref" in node:
            return self._named(self._fills, self.fill, node)
        for keyword in ("anyOf", "oneOf", "allOf"):
            if keyword in node:
                named = not_null(node[keyword])
                return self.fill(named[0]) if len(named) == 1 else None
        of_object = self._fill_object(node) if "properties" in node else None
        of_array = self._over_array(node, self.fill)
        return _by_type(of_object, of_array)

    def coercion(self, node: Node) -> Step | None:
        """The step that turns the integers in `number` positions of a freshly decoded value into floats, in place."""
        if "$ref" in node:
            return self._named(self._coercions, self.coercion, node)
        for keyword in ("anyOf", "oneOf", "allOf"):
            if keyword in node:
                return self._coerce_choice(not_null(node[keyword]))
        types = node.get("type", ())
        if types == "number" or (isinstance(types, list) and "number" in types):
            of_number: Step | None = _to_float
        else:
            of_number = None
        of_object = self._coerce_object(node) if "properties" in node else None
        of_array = self._over_array(node, self.coercion)
        containers = _by_type(of_object, of_array)
        if of_number is None or containers is None:
            return of_number or containers
        return lambda value: containers(_to_float(value))

    def _named(self, known: dict[str, Step | None], compile_: Callable[[Node], Step | None], node: Node) -> Step | None:
        name = node["$ref"].removeprefix("#/$defs/")
        if name not in known:
            known[name] = compile_(self._definitions[name])
        return known[name]

    def _fill_object(self, node: Node) -> Step | None:
        required = frozenset(node.get("required", ()))
        inside, rest = self._inside(node, self.fill)
        optional = {name: child for name, child in node["properties"].items() if name not in required}
        droppable = frozenset(name for name, child in optional.items() if not self._accepts(child)(None))
        defaults = [
            (name, _filled(inside.get(name), child["default"]))
            for name, child in optional.items()
            if "default" in child
        ]
        if not (droppable or inside or rest or defaults):
            return None

        def fill(value: dict[str, Any]) -> dict[str, Any]:
            if droppable and None in value.values():
                value = {key: item for key, item in value.items() if item is not None or key not in droppable}
            elif inside or rest or defaults:
                value = dict(value)
            _apply(value, inside, rest)
            for name, default in defaults:
                if name not in value:
                    value[name] = default
            return value

        return fill

    def _coerce_object(self, node: Node) -> Step | None:
        inside, rest = self._inside(node, self.coercion)
        if not (inside or rest):
            return None

        def coerce(value: dict[str, Any]) -> dict[str, Any]:
            _apply(value, inside, rest)
            return value

        return coerce

    def _inside(self, node: Node, compile_: Callable[[Node], Step | None]) -> tuple[dict[str, Step], _Rest | None]:
        properties = node["properties"]
        inside = {name: step for name, child in properties.items() if (step := compile_(child)) is not None}
        others = node["additionalProperties"]
        step = compile_(others) if isinstance(others, dict) else None
        return inside, None if step is None else (frozenset(properties), step)

    def _over_array(self, node: Node, compile_: Callable[[Node], Step | None]) -> Step | None:
        items = node.get("items")
        rest = compile_(items) if isinstance(items, dict) else None
        first = [compile_(child) for child in node.get("prefixItems", ())]
        if rest is None and not any(first):
            return None
        count = len(first)

        def over(value: list[Any]) -> list[Any]:
            steps = [*first[: len(value)], *[rest] * (len(value) - count)]
            return [item if step is None else step(item) for item, step in zip(value, steps, strict=True)]

        return over

    def _coerce_choice(self, branches: list[Node]) -> Step | None:
        steps = [(self._accepts(branch), self.coercion(branch)) for branch in branches]
        if all(step is None for _, step in steps):
            return None
        if len(steps) == 1:
            return steps[0][1]

        def coerce(value: Any) -> Any:
            for accepts, step in steps:
                if accepts(value):
                    return value if step is None else step(value)
            return value

        return coerce


_Rest = tuple[frozenset[str], Step]


@final
class Fresh:
    """Decodes effective bytes. Every call gives a new object that nobody else holds (C084, C139)."""

    __slots__ = ("_coerce",)

    def __init__(self, coerce: Step | None) -> None:
        self._coerce = coerce

    def __call__(self, effective: bytes) -> dict[str, Any]:
        value: dict[str, Any] = orjson.loads(effective)
        if self._coerce is not None:
            self._coerce(value)
        return value


def _by_type(of_object: Step | None, of_array: Step | None) -> Step | None:
    """A value of another type is left as it is: the schema says what is wrong with it."""
    if of_object is None and of_array is None:
        return None

    def by_type(value: Any) -> Any:
        if of_object is not None and type(value) is dict:
            return of_object(value)
        if of_array is not None and type(value) is list:
            return of_array(value)
        return value

    return by_type


def _apply(value: dict[str, Any], inside: dict[str, Step], rest: _Rest | None) -> None:
    for name, step in inside.items():
        if name in value:
            value[name] = step(value[name])
    if rest is not None:
        named, step = rest
        for name in value:
            if name not in named:
                value[name] = step(value[name])


def _filled(step: Step | None, default: Any) -> Any:
    settled, _ = settle(default)
    return settled if step is None else step(settled)


def _to_float(value: Any) -> Any:
    return float(value) if type(value) is int else value
