"""Wrong calls, made from a tool's own parameter model: each differs from a legal call in exactly one thing.

Values are chosen so that a validator that converts (pydantic's default) would accept them: "1" for an integer,
"yes" for a boolean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

_LEGAL: dict[str, Any] = {"string": "x", "integer": 1, "number": 1.5, "boolean": True, "object": {}}
_WRONG: dict[str, Any] = {"string": 7, "integer": "1", "number": "1.5", "boolean": "yes", "array": "x", "object": "x"}


@dataclass(frozen=True)
class Probe:
    """A call that must be refused: `arguments` as a model would have decoded them, `fault` for people."""

    tool: str
    fault: str
    arguments: object


def legal(parameters: type[BaseModel]) -> dict[str, Any]:
    """Arguments that satisfy the model, every optional one included."""
    schema = parameters.model_json_schema()
    return {name: _example(one) for name, one in schema.get("properties", {}).items()}


def wrong_types(tool: str, parameters: type[BaseModel]) -> Iterator[Probe]:
    """One probe a parameter; for a tool without any, the arguments themselves are of the wrong type."""
    good = legal(parameters)
    if not good:
        yield Probe(tool, "arguments are an array", [])
    for name, one in parameters.model_json_schema().get("properties", {}).items():
        kind = _type(one)
        yield Probe(tool, f"{name} is not of type {kind}", good | {name: _WRONG[kind]})


def extra_argument(tool: str, parameters: type[BaseModel]) -> Probe:
    """A legal call and one argument nobody declared."""
    return Probe(tool, "an argument too many", legal(parameters) | {"as_admin": True})


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return next(_type(one) for one in schema["anyOf"] if one.get("type") != "null")
    return str(schema["type"])


def _example(schema: dict[str, Any]) -> Any:
    if "anyOf" in schema:
        return next(_example(one) for one in schema["anyOf"] if one.get("type") != "null")
    if schema["type"] == "array":
        return [_example(schema["items"])]
    return _LEGAL[schema["type"]]
