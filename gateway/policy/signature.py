"""A contract and the Python function behind it must agree, or the tool is refused at registration.

The function is called by keyword with plain JSON values: str, int, float, bool, None, list, dict. A parameter annotated
as anything else (a `datetime`, a model) would receive what it does not expect, so that is a mismatch too. An argument
that a guard replaces (an open file, a client) is compared by name only.
"""

from __future__ import annotations

import collections.abc
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from pydantic import EmailStr

from gateway.domain.errors import UsageError
from gateway.policy.documents import Contract

_ARRAY = (list, collections.abc.Sequence, collections.abc.Iterable)
_OBJECT = (dict, collections.abc.Mapping)
_JSON_TYPES: Final[dict[object, frozenset[str]]] = {
    str: frozenset({"string"}),
    EmailStr: frozenset({"string"}),  # a str to the function
    bool: frozenset({"boolean"}),
    int: frozenset({"integer"}),
    float: frozenset({"number", "integer"}),
    types.NoneType: frozenset({"null"}),
    **dict.fromkeys(_ARRAY, frozenset({"array"})),
    **dict.fromkeys(_OBJECT, frozenset({"object"})),
}
_ANYTHING: Final = frozenset().union(*_JSON_TYPES.values())


def signature_mismatches(contract: Contract, function: Callable[..., Any]) -> list[str]:
    """What contract and function disagree about, one sentence each; empty if they agree."""
    try:
        parameters = inspect.signature(function).parameters
        hints = parameter_types(function)
    except (UsageError, TypeError, ValueError) as error:
        return [f"the signature cannot be read: {error}"]
    offered = contract.parameters.get("properties")
    properties: dict[str, Any] = offered if isinstance(offered, dict) else {}
    required = contract.parameters.get("required")
    always = set(required) if isinstance(required, list) else set()
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    found: list[str] = []
    for name, schema in properties.items():
        one = parameters.get(name)
        if one is None or one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            if not takes_any:
                found.append(f"the contract has {name!r}, which the function does not take")
            continue
        sub = schema if isinstance(schema, dict) else {}
        found += _default_mismatch(name, one, sub, name in always)
        if one.kind is one.POSITIONAL_ONLY:
            found.append(f"{name!r} is positional-only, but tools are called by keyword")
        guard = contract.guards.get(name)
        if name in hints and (guard is None or guard.advisory()):
            found += _type_mismatch(name, hints[name], sub)
    for name, one in parameters.items():
        named = one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        if named and name not in properties and one.default is one.empty:
            found.append(f"the function needs {name!r}, which the contract does not have")
    return found


def parameter_types(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotated parameters' types, strings resolved. Raises UsageError for one that cannot be."""
    plain = inspect.unwrap(function)
    scope = getattr(getattr(plain, "__func__", plain), "__globals__", {})
    found: dict[str, Any] = {}
    for one in inspect.signature(function).parameters.values():
        if one.annotation is one.empty:
            continue
        holder = types.SimpleNamespace(__annotations__={one.name: one.annotation})
        try:
            found.update(get_type_hints(holder, globalns=scope, include_extras=True))
        except NameError as error:
            message = f"the annotation of {one.name!r} cannot be resolved ({error}). Import it where it is used"
            raise UsageError(message) from error
    return found


def _default_mismatch(name: str, one: inspect.Parameter, schema: Mapping[str, Any], always: bool) -> list[str]:
    has_default = one.default is not one.empty
    if not has_default and not always and "default" not in schema:
        return [f"the contract lets {name!r} be left out, but the function needs it. Add a default, or require it"]
    if has_default and "default" in schema and schema["default"] != one.default:
        return [f"{name!r} defaults to {schema['default']!r} in the contract and to {one.default!r} in the function"]
    return []


def _type_mismatch(name: str, hint: Any, schema: Mapping[str, Any]) -> list[str]:
    try:
        accepted, values = _accepted(hint)
    except TypeError:
        shown = getattr(hint, "__name__", str(hint))
        return [f"{name!r} is annotated {shown}, but a tool receives plain JSON values: convert it in the function"]
    passed = _passed(schema)
    if passed is not None and (surplus := sorted(passed - accepted)):
        return [f"the contract lets {name!r} be {' or '.join(surplus)}, the function takes {_join(accepted)}"]
    if values is not None:
        offered = _values(schema)
        if offered is None:
            return [f"the function takes only some values of {name!r}: list them under `enum` in the contract"]
        if unknown := [value for value in offered if not any(_same(value, known) for known in values)]:
            return [f"the contract lets {name!r} be {_join(map(repr, unknown))}, which the function does not know"]
    return []


def _accepted(hint: Any) -> tuple[frozenset[str], list[object] | None]:
    """JSON types that a parameter takes, and its values where they are listed. Raises TypeError for other types."""
    origin = get_origin(hint)
    if hint is Any or hint is object:
        return _ANYTHING, None
    if hint is None:
        return _JSON_TYPES[types.NoneType], None
    if origin is Annotated:
        return _accepted(get_args(hint)[0])
    if origin is Literal:
        values = list(get_args(hint))
        return frozenset[str]().union(*(_JSON_TYPES[type(value)] for value in values)), values
    if origin is Union or origin is types.UnionType:
        parts = [_accepted(part) for part in get_args(hint)]
        listed = [part for part in parts if part[0] != _JSON_TYPES[types.NoneType]]
        values = [value for _, known in listed for value in known or ()]
        every = bool(listed) and all(known is not None for _, known in listed)
        return frozenset[str]().union(*(part[0] for part in parts)), [*values, None] if every else None
    if is_typeddict(hint):
        return _JSON_TYPES[dict], None
    for part in get_args(hint):
        _accepted(part)  # what stands inside a list or dict is as plain as the rest
    try:
        return _JSON_TYPES[origin or hint], None
    except KeyError as error:
        raise TypeError(hint) from error


def _passed(schema: Mapping[str, Any]) -> frozenset[str] | None:
    """JSON types that the contract lets through, or None where only its schema can tell."""
    kinds = schema.get("type")
    if isinstance(kinds, str):
        return frozenset({kinds})
    if isinstance(kinds, list):
        return frozenset(kinds)
    listed = _values(schema)
    if listed is not None:
        return frozenset(kind for value in listed for kind in _JSON_TYPES.get(type(value), ()))
    several = schema.get("anyOf") or schema.get("oneOf")
    if not isinstance(several, list):
        return None
    parts = [_passed(part) for part in several]
    return None if None in parts else frozenset[str]().union(*(part for part in parts if part is not None))


def _values(schema: Mapping[str, Any]) -> list[object] | None:
    """Every value that the contract lets through, where it lists them."""
    if "const" in schema:
        return [schema["const"]]
    listed = schema.get("enum")
    if isinstance(listed, list):
        return listed
    several = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(several, list):
        parts = [_values(part) if part.get("type") != "null" else [None] for part in several]
        if None not in parts:
            return [value for part in parts for value in part or ()]
    return None


def _same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


def _join(names: collections.abc.Iterable[str]) -> str:
    return " or ".join(sorted(names))
