"""I1 at step 4: `jsonschema-rs` decides as `jsonschema` does, and the one normalisation is done once and for all."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.domain.call import ShapedCall
from gateway.domain.canonical import canonical
from gateway.domain.decision import Refusal
from gateway.domain.errors import PolicyError
from gateway.parse.strict_json import decode
from gateway.validate.schema import CompiledSchema, compile_schema, is_schema
from tests.property.test_canonical import printable, said
from tests.unit.validate.world import World, contract, properties

pytestmark = pytest.mark.timeout(1_200)  # each example compiles a schema, and the soak profile makes thousands

NAMES = ["a", "b", "c", "d"]
small = st.integers(-3, 3)
numbers = small | st.sampled_from([0.0, -0.0, 0.5, 1.5, 2.0, 1e21])
words = st.sampled_from(["", "a", "b", "ab", "é", "0", "\n"])
scalars = st.none() | st.booleans() | numbers | words
instances = st.recursive(
    scalars,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.sampled_from([*NAMES, "é"]), v, max_size=4),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from([*NAMES, "é"]), instances, max_size=4)


def _maybe(**keywords: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keywords)


_leaves: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(lambda kind: {"type": kind}, st.sampled_from(["null", "boolean", "string", "number", "integer"])),
    st.builds(
        lambda kind, more: {"type": kind} | more,
        st.sampled_from(["integer", "number"]),
        _maybe(minimum=small, maximum=small, exclusiveMinimum=small, exclusiveMaximum=small, multipleOf=st.just(2)),
    ),
    st.builds(
        lambda more: {"type": "string"} | more,
        _maybe(
            minLength=st.integers(0, 2), maxLength=st.integers(0, 2), pattern=st.sampled_from(["a", "^b$", "[0-9]"])
        ),
    ),
    st.builds(
        lambda kinds: {"type": kinds}, st.sampled_from([["string", "null"], ["integer", "string"], ["number", "null"]])
    ),
    st.builds(lambda values: {"enum": values}, st.lists(scalars, min_size=1, max_size=3, unique_by=repr)),
    st.builds(lambda value: {"const": value}, instances),
)


def _objects(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    def build(named: dict[str, Any], required: list[str], defaults: list[tuple[str, Any]], rest: Any) -> dict[str, Any]:
        named = {name: dict(child) for name, child in named.items()}
        for name, value in defaults:
            if name in named:
                named[name]["default"] = value
        node = {"type": "object", "properties": named, "required": [name for name in required if name in named]}
        return node if rest is None else node | {"additionalProperties": rest}

    return st.builds(
        build,
        st.dictionaries(st.sampled_from(NAMES), inner, min_size=1, max_size=4),
        st.lists(st.sampled_from(NAMES), unique=True, max_size=2),
        st.lists(st.tuples(st.sampled_from(NAMES), instances), max_size=1),
        st.none() | inner,
    )


_nodes = st.recursive(
    _leaves | st.just({"$ref": "#/$defs/D"}),
    lambda inner: st.one_of(
        st.builds(
            lambda items, more: {"type": "array", "items": items} | more, inner, _maybe(minItems=st.integers(0, 2))
        ),
        st.builds(
            lambda first, items: {"type": "array", "prefixItems": first, "items": items},
            st.lists(inner, min_size=1, max_size=2),
            inner | st.just(False),
        ),
        _objects(inner),
        st.builds(
            lambda keyword, branches: {keyword: branches},
            st.sampled_from(["anyOf", "oneOf"]),
            st.lists(inner | st.just({"type": "null"}), min_size=1, max_size=3),
        ),
        st.builds(lambda branch: {"allOf": [branch]}, inner),
    ),
    max_leaves=6,
)
definitions = _leaves | _objects(_leaves)


@st.composite
def schemas(draw: st.DrawFn) -> CompiledSchema:
    """A schema the vocabulary accepts. Where a default does not fit its schema, the same without defaults."""
    schema = draw(_objects(_nodes)) | {"$defs": {"D": draw(definitions)}}
    schema.pop("additionalProperties", None)
    try:
        return compile_schema(schema)
    except PolicyError as error:
        if "default" not in str(error):
            raise
        return compile_schema(_without_defaults(schema))


def _without_defaults(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_defaults(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: value if key == "const" else _without_defaults(value) for key, value in node.items() if key != "default"
    }


def fitting(node: dict[str, Any], defs: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that mostly satisfy a schema: without them, hardly any random value would."""
    if "$ref" in node:
        return fitting(defs["D"], defs)
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in node:
            return st.one_of([fitting(branch, defs) for branch in node[keyword]])
    if "const" in node or "enum" in node:
        return st.sampled_from(node.get("enum") or [node["const"]])
    kinds = [node["type"]] if isinstance(node["type"], str) else node["type"]
    return st.one_of([_of_type(kind, node, defs) for kind in kinds])


def _of_type(kind: str, node: dict[str, Any], defs: dict[str, Any]) -> st.SearchStrategy[Any]:
    match kind:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "string":
            return words
        case "integer":
            return small | st.sampled_from([0.0, -1.0, 2.0])
        case "number":
            return numbers
        case "array":
            rest = st.lists(fitting(node["items"], defs), max_size=3) if node["items"] else st.just([])
            first = [fitting(item, defs) for item in node.get("prefixItems", ())]
            return st.tuples(*first, rest).map(lambda parts: [*parts[:-1], *parts[-1]])
        case _:
            named = {name: fitting(child, defs) for name, child in node["properties"].items()}
            required = {name: named[name] for name in node["required"]}
            optional = {name: value | st.none() for name, value in named.items() if name not in required}
            return st.fixed_dictionaries(required, optional=optional)


@st.composite
def accepted(draw: st.DrawFn) -> tuple[CompiledSchema, bytes]:
    """A schema and the effective bytes of arguments that satisfy it."""
    schema = draw(schemas())
    effective, spelled = shaped(schema, draw(fitting(schema.closed, schema.closed["$defs"])))
    assume(schema.accepts(effective))
    return schema, spelled


def shaped(schema: CompiledSchema, value: dict[str, Any]) -> tuple[Any, bytes]:
    effective, simple = schema.effective(value, simple=False)
    return effective, canonical(effective, simple=simple)


@given(st.data(), schemas(), objects)
def test_i1_both_libraries_decide_alike(data: st.DataObject, schema: CompiledSchema, value: dict[str, Any]) -> None:
    oracle = jsonschema.Draft202012Validator(schema.closed)
    near = data.draw(fitting(schema.closed, schema.closed["$defs"]))
    for candidate in (value, near, schema.effective(near, simple=False)[0]):
        assert schema.accepts(candidate) is oracle.is_valid(candidate)
        assert bool(schema.problems(candidate)) is not schema.accepts(candidate)


@given(schemas(), objects)
def test_i1_normalising_twice_is_normalising_once(schema: CompiledSchema, value: dict[str, Any]) -> None:
    effective, spelled = shaped(schema, value)
    assert shaped(schema, effective)[1] == spelled
    decoded = decode(spelled, max_bytes=10**6, max_depth=200)
    assert shaped(schema, decoded.value)[1] == spelled


@given(schemas(), objects)
def test_i1_normalising_changes_nothing_of_what_it_is_given(schema: CompiledSchema, value: dict[str, Any]) -> None:
    before = repr(value)
    shaped(schema, value)
    assert repr(value) == before


@given(accepted())
def test_i1_what_is_executed_is_what_was_hashed(call: tuple[CompiledSchema, bytes]) -> None:
    """Whatever types a fresh decode has, its canonical spelling is the one that was judged."""
    schema, spelled = call
    first, second = schema.fresh(spelled), schema.fresh(spelled)
    assert canonical(first) == spelled
    assert first == second
    assert schema.accepts(first)
    assert first is not second


@given(accepted())
def test_i1_a_number_field_is_a_float_and_an_integer_field_an_int(call: tuple[CompiledSchema, bytes]) -> None:
    schema, spelled = call
    for name, item in schema.fresh(spelled).items():
        kind = schema.properties[name].get("type")
        if kind == "number":
            assert type(item) is float
        if kind == "integer":
            assert type(item) is int


@given(st.dictionaries(printable, said, max_size=6))
def test_i1_shaping_ends_in_one_spelling_or_a_refusal(arguments: dict[str, object]) -> None:
    world = World(contract(properties(m={"type": "object", "additionalProperties": _ANY})))
    result = world.shape({"m": arguments})
    if isinstance(result, Refusal):
        return
    assert isinstance(result, ShapedCall)
    again = world.shape(result.effective)
    assert isinstance(again, ShapedCall)
    assert (again.effective, again.digest) == (result.effective, result.digest)
    assert canonical(world.compiled.fresh(result.effective)) == result.effective


_ANY = {
    "anyOf": [
        {"type": ["string", "null", "boolean"]},
        {"type": "number"},
        {"type": "array", "items": {"type": ["number", "string", "null"]}},
        {"type": "object", "additionalProperties": {"type": ["integer", "string"]}},
    ]
}


_odd = st.sampled_from([None, True, 0, -1, 1.5, "", "string", "(", "http://x/y", [], ["a", "a"], {}, {"type": "strin"}])


@given(_objects(_nodes), st.sampled_from(["type", "properties", "required", "items", "minLength", "minimum", "enum",
    "pattern", "anyOf", "allOf", "$ref", "$defs", "additionalProperties", "uniqueItems", "$id", "$schema"]), _odd,
    st.booleans())  # fmt: skip
def test_both_libraries_take_the_same_for_a_schema(node: dict[str, Any], keyword: str, odd: Any, inside: bool) -> None:
    schema = node | {"properties": {**node["properties"], "z": {keyword: odd}}} if inside else node | {keyword: odd}
    try:
        jsonschema.Draft202012Validator.check_schema(schema, format_checker=None)  # a pattern is judged when compiled
        taken = True
    except jsonschema.SchemaError:
        taken = False
    assert is_schema(schema) is taken
