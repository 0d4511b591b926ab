"""Strict schemas: accepted by the API's rules, no narrower than the contract, and read back by step 4."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from examples.scripted_openai.strict_schema import check_strict
from gateway.domain.errors import PolicyError
from gateway.policy.loader import load
from gateway.shapes.strict import MAX_DEPTH, MAX_ENUM_VALUES, to_wire
from gateway.validate.schema import CompiledSchema, compile_schema
from tests.architecture.source import ROOT
from tests.unit.shapes.schemas import Node, instances, parameters

pytestmark = pytest.mark.timeout(600)  # the long counts compile some thousand schemas twice


def compiled(schema: Node) -> CompiledSchema:
    try:
        return compile_schema(schema)
    except PolicyError:
        assume(False)
        raise


def accepts(schema: Node, value: object) -> bool:
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True, offline=True).is_valid(value)


def with_nulls(node: Node, value: Any, definitions: Node) -> Any:
    """The value as strict mode has it: every property that is left out is there, as null."""
    if "$ref" in node:
        return with_nulls(definitions[node["$ref"].removeprefix("#/$defs/")], value, definitions)
    for keyword in ("anyOf", "oneOf", "allOf"):
        for branch in node.get(keyword, ()):
            if accepts(branch | {"$defs": definitions}, value):
                return with_nulls(branch, value, definitions)
    if isinstance(value, dict):
        properties = node.get("properties", {})
        filled = {name: with_nulls(properties[name], item, definitions) for name, item in value.items()}
        return dict.fromkeys(properties) | filled
    if isinstance(value, list) and "items" in node:
        return [with_nulls(node["items"], item, definitions) for item in value]
    return value


@given(parameters(loose=True))
def test_what_is_called_strict_is_what_the_api_accepts(schema: Node) -> None:
    compiled(schema)
    wire = to_wire(schema)
    event(f"strict: {wire.strict}")
    if wire.strict:
        check_strict(wire.schema)
    else:
        assert wire.why_not
        assert wire.schema is schema


@given(st.data(), parameters(loose=True))
def test_a_strict_schema_is_no_narrower_than_the_contract(data: st.DataObject, schema: Node) -> None:
    own, wire = compiled(schema), to_wire(schema)
    assume(wire.strict)
    value = data.draw(instances(schema, schema["$defs"]))
    assume(own.accepts(own.effective(value, simple=False)[0]))
    assert accepts(wire.schema, with_nulls(own.closed, value, own.closed["$defs"]))


@given(st.data(), parameters(loose=False))
def test_what_a_strict_schema_accepts_the_contract_accepts(data: st.DataObject, schema: Node) -> None:
    own, wire = compiled(schema), to_wire(schema)
    assume(wire.strict)
    value = data.draw(instances(wire.schema, wire.schema["$defs"]))
    assume(accepts(wire.schema, value))
    assert own.accepts(own.effective(value, simple=False)[0])


def test_the_shipped_contracts_are_strict() -> None:
    for tool, loaded in load(ROOT / "policies").contracts.items():
        wire = to_wire(loaded.contract.parameters)
        assert wire.strict, (tool, wire.why_not)
        check_strict(wire.schema)


def of(**properties: Any) -> Node:
    return {"type": "object", "properties": properties, "required": []}


def test_an_optional_property_becomes_required_and_nullable() -> None:
    wire = to_wire(
        of(
            a={"type": "integer", "default": 3},
            b={"type": "string", "enum": ["x"]},
            c={"const": 1},
            d={"anyOf": [{"type": "string"}, {"type": "null"}]},
        )
    )
    assert wire.schema == {
        "type": "object",
        "properties": {
            "a": {"type": ["integer", "null"]},
            "b": {"type": ["string", "null"], "enum": ["x", None]},
            "c": {"anyOf": [{"type": "integer", "const": 1}, {"type": "null"}]},
            "d": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
        "required": ["a", "b", "c", "d"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("dropped", "kept"),
    [
        ({"minLength": 1}, {}),
        ({"format": "uri"}, {}),
        ({"format": "email"}, {"format": "email"}),
        ({"pattern": r"^\p{L}+$"}, {}),
        ({"pattern": "(?i)yes"}, {}),
        ({"pattern": r"^A-\d{4}$"}, {"pattern": r"^A-\d{4}$"}),
        ({"pattern": "^(?:a|b)[(]$"}, {"pattern": "^(?:a|b)[(]$"}),
    ],
)
def test_what_the_mode_ignores_or_may_refuse_is_left_to_step_4(dropped: Node, kept: Node) -> None:
    wire = to_wire(of(a={"type": "string"} | dropped) | {"required": ["a"]})
    assert wire.strict
    assert wire.schema["properties"]["a"] == {"type": "string"} | kept


def nested(depth: int) -> Node:
    return of(a={"type": "string"}) if depth == 1 else of(a=nested(depth - 1))


@pytest.mark.parametrize(
    "schema",
    [
        of(a={"type": "object", "additionalProperties": {"type": "string"}}),
        of(a={"type": "array", "prefixItems": [{"type": "string"}], "items": False}),
        of(a={"type": "array"}),
        of(a={"type": "object"}),
        of(a={"anyOf": [of(b={"type": "string"}), of(c={"type": "string"})]}),
        of(a={"if": {}, "type": "string"}),
        of(a={"enum": [[1], {}]}),
        of(a={"enum": [str(n) for n in range(MAX_ENUM_VALUES + 1)]}),
        of(a={"enum": [f"{n:0100}" for n in range(300)]}),
        nested(MAX_DEPTH + 1),
        {"type": "array", "items": {"type": "string"}},
    ],
    ids=lambda schema: str(schema)[:60],
)
def test_what_the_mode_cannot_say_leaves_the_tool_unstrict(schema: Node) -> None:
    wire = to_wire(schema)
    assert not wire.strict
    assert wire.schema == schema
    assert wire.why_not


def test_the_deepest_schema_the_mode_takes_is_strict() -> None:
    wire = to_wire(nested(MAX_DEPTH))
    assert wire.strict, wire.why_not
    check_strict(wire.schema)
