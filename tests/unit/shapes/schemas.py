"""Random contract schemas within the vocabulary of contracts, and instances of any such schema."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Node = dict[str, Any]

_NAMES = st.sampled_from(["a", "b", "c", "long name", "ü", "$odd/~"])
_STRINGS: dict[str, list[str]] = {
    "": ["", "x", "longer text", "ü\n"],
    "^[a-z]{1,3}$": ["a", "xyz"],
    r"^(?:\d|[A-F]){2}$": ["1F", "99"],
    r"^\p{L}+$": ["Ünder", "a"],
    "(?i)yes": ["Yes", "so yes"],
    "date": ["2026-01-31"],
    "uri": ["https://example.org/x"],
    "email": ["a@example.org"],
}
_KEYWORD = {"date": "format", "uri": "format", "email": "format"}


def _string(loose: bool) -> st.SearchStrategy[Node]:
    kinds = st.sampled_from([name for name in _STRINGS if name]).map(
        lambda name: {"type": "string", _KEYWORD.get(name, "pattern"): name}
    )
    plain = st.just({"type": "string"})
    bounded = st.just({"type": "string", "minLength": 1, "maxLength": 400})
    return st.one_of(plain, kinds, bounded) if loose else plain | st.just({"type": "string", "pattern": "^[a-z]{1,3}$"})


def _leaf(loose: bool) -> st.SearchStrategy[Node]:
    return st.one_of(
        _string(loose),
        st.sampled_from(
            [
                {"type": "integer"},
                {"type": "integer", "minimum": 1, "maximum": 9},
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "boolean"},
                {"type": ["string", "null"]},
                {"type": ["integer", "boolean"]},
                {"enum": ["a", "b"]},
                {"enum": ["a", None, 3]},
                {"enum": [1, 2.5]},
                {"const": "only"},
                {"const": None},
                {"type": "string", "enum": ["a", "b"], "description": "One of two."},
                {"$ref": "#/$defs/point"},
                {"$ref": "#/$defs/mood", "description": "How."},
            ]
        ),
    )


def _composed(inner: st.SearchStrategy[Node], loose: bool) -> st.SearchStrategy[Node]:
    choices = [
        objects(inner),
        st.builds(lambda items: {"type": "array", "items": items}, inner),
        st.builds(lambda items: {"type": ["array", "null"], "items": items, "maxItems": 3}, inner),
        st.builds(lambda branches: {"anyOf": branches}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda one: {"anyOf": [one, {"type": "null"}]}, inner),
        st.builds(lambda one: {"allOf": [one]}, inner),
    ]
    if loose:
        choices += [
            st.builds(lambda branches: {"oneOf": branches}, st.lists(inner, min_size=1, max_size=3)),
            st.builds(lambda items: {"type": "array", "items": items, "uniqueItems": True}, inner),
            st.builds(lambda first: {"type": "array", "prefixItems": [first], "items": False}, inner),
            st.builds(lambda rest: {"type": "object", "additionalProperties": rest}, inner),
        ]
    return st.one_of(choices)


def objects(inner: st.SearchStrategy[Node], least: int = 1) -> st.SearchStrategy[Node]:
    def made(properties: Node, chosen: list[bool]) -> Node:
        required = [name for name, wanted in zip(properties, chosen, strict=False) if wanted]
        return {"type": "object", "properties": properties, "required": required}

    return st.builds(
        made,
        st.dictionaries(_NAMES, inner, min_size=least, max_size=3),
        st.lists(st.booleans(), min_size=3, max_size=3),
    )


def parameters(*, loose: bool) -> st.SearchStrategy[Node]:
    """Schemas of a contract's parameters. `loose` ones use what strict mode ignores or cannot say, too."""
    inner = st.recursive(_leaf(loose), lambda inner: _composed(inner, loose), max_leaves=8)
    definitions = {
        "point": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
        "mood": {"type": "string", "enum": ["good", "bad"]},
    }
    optional = definitions | {"point": {"type": "object", "properties": {"x": {"type": "integer"}}}}
    return st.builds(
        lambda node, more: node | {"$defs": more}, objects(inner, 0), st.sampled_from([definitions, optional])
    )


def instances(node: Node, definitions: Node) -> st.SearchStrategy[Any]:
    """Values that satisfy `node`, or nearly so."""
    if "$ref" in node:
        return instances(definitions[node["$ref"].removeprefix("#/$defs/")], definitions)
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in node:
            return st.one_of([instances(branch, definitions) for branch in node[keyword]])
    if "enum" in node:
        return st.sampled_from(node["enum"])
    if "const" in node:
        return st.just(node["const"])
    types = node["type"] if isinstance(node["type"], list) else [node["type"]]
    return st.one_of([_of_type(kind, node, definitions) for kind in types])


def _of_type(kind: str, node: Node, definitions: Node) -> st.SearchStrategy[Any]:
    match kind:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(node.get("minimum", -(2**53) + 1), node.get("maximum", 2**53 - 1))
        case "number":
            return st.sampled_from([1, 2.5, 1e-3, 4.0])
        case "string":
            return st.sampled_from(_STRINGS[node.get("pattern", node.get("format", ""))])
        case "array":
            first = [instances(item, definitions) for item in node.get("prefixItems", ())]
            if first:
                return st.tuples(*first).map(list)
            return st.lists(instances(node["items"], definitions), max_size=3)
    inside = {name: instances(child, definitions) for name, child in node.get("properties", {}).items()}
    required = {name: values for name, values in inside.items() if name in node.get("required", ())}
    optional = {name: values for name, values in inside.items() if name not in required}
    fixed = st.fixed_dictionaries(required, optional=optional)
    rest = node.get("additionalProperties")
    if not isinstance(rest, dict):
        return fixed
    more = st.dictionaries(st.sampled_from(["p", "q"]), instances(rest, definitions), max_size=2)
    return st.builds(lambda known, others: others | known, fixed, more)
