"""The subset of JSON Schema that strict mode accepts."""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal

import pydantic
import pytest
from openai import pydantic_function_tool

from examples.scripted_openai.strict_schema import StrictSchemaError, check_strict


def strict_object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


class Line(pydantic.BaseModel):
    sku: str
    size: Size | None
    children: list[Line]


class Order(pydantic.BaseModel):
    """An order."""

    lines: list[Line]
    kind: Literal["gift", "own"]
    note: str | None = pydantic.Field(description="free text")


def test_what_the_official_helper_generates_is_accepted() -> None:
    check_strict(pydantic_function_tool(Order)["function"]["parameters"])


@pytest.mark.parametrize(
    "inner",
    [
        {"type": "string", "format": "date", "pattern": "^a"},
        {"type": ["integer", "null"], "minimum": 0, "maximum": 9, "multipleOf": 3},
        {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 4},
        {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "either"},
        {"type": "string", "enum": ["a", "b"]},
        {"$ref": "#"},
    ],
)
def test_supported_schemas(inner: dict[str, Any]) -> None:
    check_strict(strict_object(x=inner))


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "object"}, "In context=(), 'additionalProperties'"),
        ({**strict_object(), "additionalProperties": True}, "'additionalProperties'"),
        ({**strict_object(a={"type": "string"}), "required": []}, "Missing 'a'"),
        ({**strict_object(), "required": ["ghost"]}, "Extra required key 'ghost'"),
        ({**strict_object(), "anyOf": [strict_object()]}, "'anyOf' at its root"),
        ({"type": "array", "items": strict_object()}, "'type: \"object\"'"),
        (None, "'type: \"object\"'"),
    ],
)
def test_roots_that_are_refused(schema: object, says: str) -> None:
    with pytest.raises(StrictSchemaError) as caught:
        check_strict(schema)
    assert says in str(caught.value)


WRAPPERS = {
    "property": lambda inner: strict_object(x=inner),
    "item": lambda inner: strict_object(x={"type": "array", "items": inner}),
    "branch": lambda inner: strict_object(x={"anyOf": [{"type": "null"}, inner]}),
    "definition": lambda inner: {**strict_object(x={"$ref": "#/$defs/d"}), "$defs": {"d": inner}},
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize(
    ("inner", "says"),
    [
        ({"type": "object", "properties": {}}, "'additionalProperties'"),
        ({"type": ["object", "null"], "properties": {}}, "'additionalProperties'"),
        ({**strict_object(a={"type": "string"}), "required": []}, "Missing 'a'"),
        ({"oneOf": [{"type": "string"}]}, "'oneOf' is not permitted"),
        ({"allOf": [{"type": "string"}]}, "'allOf' is not permitted"),
        ({"not": {"type": "string"}}, "'not' is not permitted"),
        ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, "'uniqueItems' is not permitted"),
        ({"type": "string", "minLength": 1}, "'minLength' is not permitted"),
        ({"type": "string", "default": "x"}, "'default' is not permitted"),
        ({"type": "string", "format": "uri"}, "'uri' is not a valid format"),
        ({"type": "array"}, "array schema missing items"),
        ({}, "must have a 'type' key"),
        ({"type": "text"}, "'text' is not a supported type"),
        ({"type": "string", "enum": []}, "'enum' must be"),
        ({"$ref": "#/$defs/ghost"}, "is absent"),
        ({"$ref": "https://example.com/s"}, "must start with '#'"),
        ({"$ref": "#", "description": "x"}, "$ref cannot have keywords"),
        (True, "is not of type 'object'"),
    ],
)
def test_a_fault_is_found_at_any_depth(wrapper: str, inner: Any, says: str) -> None:
    with pytest.raises(StrictSchemaError) as caught:
        check_strict(WRAPPERS[wrapper](inner))
    assert says in str(caught.value)
    assert "In context=('" in str(caught.value)


def test_limits_of_depth_properties_and_enum_values() -> None:
    deep: dict[str, Any] = strict_object()
    for _ in range(9):
        deep = strict_object(x=deep)
    check_strict(deep)
    with pytest.raises(StrictSchemaError, match="11 levels of nesting exceeds limit of 10"):
        check_strict(strict_object(x=deep))
    with pytest.raises(StrictSchemaError, match="5001 properties"):
        check_strict(strict_object(**{f"p{i}": {"type": "null"} for i in range(5001)}))
    with pytest.raises(StrictSchemaError, match="1001 enum values"):
        check_strict(strict_object(x={"type": "integer", "enum": list(range(1001))}))
