"""Whatever a tool gives back, made into bounded JSON bytes (C081).

Never raises for a value, never calls more of it than JSON needs, and looks at its real type, never at what it claims:
circular, binary, not-a-number and hostile values are described by their type. The pieces that are not JSON are counted
in `Encoded.replaced`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple, final

import orjson

MAX_DEPTH = 64
MAX_NODES = 200_000  # values visited before the rest is described by its type
MAX_TEXT = 16 * 1024 * 1024  # characters of a result that is one text: four times what any contract lets out


@final
class Encoded(NamedTuple):
    """`body` is one JSON value. `replaced` counts values that had to be described instead of encoded."""

    body: bytes
    replaced: int


_NOTHING_KNOWN = Encoded(b'"<value>"', 1)


def encode_result(value: object) -> Encoded:
    """The JSON bytes of a tool's return value. What no contract would let out is not copied first (C080).

    Raises nothing: whoever gave a value has run, whatever the value does now.
    """
    try:
        return _encoded(value)
    except BaseException:  # of the value's own code, its type's name included, or for want of memory
        return _NOTHING_KNOWN


def _encoded(value: object) -> Encoded:
    if type(value) is str and len(value) > MAX_TEXT:
        return Encoded(_encoded(value[:MAX_TEXT]).body, 1)
    try:
        if _is_plain(value):
            return Encoded(orjson.dumps(value), 0)
    except (TypeError, RuntimeError, orjson.JSONEncodeError):
        pass  # a value orjson does not know, or that somebody changes meanwhile: described below, and counted
    walk = _Walk()
    return Encoded(orjson.dumps(walk.safe(value, 0, ())), walk.replaced)


def _is_plain(value: object) -> bool:
    """True for exact JSON types at the top, where orjson cannot loop, run foreign code or lose a value."""
    kind = type(value)
    if kind is dict:
        return all(map(_is_scalar, value.values()))  # type: ignore[attr-defined]
    if kind is list:
        return all(map(_is_scalar, value))  # type: ignore[call-overload]
    return _is_scalar(value)


def _is_scalar(value: object) -> bool:
    kind = type(value)
    if kind is float:
        return math.isfinite(value)  # type: ignore[arg-type]
    return kind is str or kind is int or kind is bool or value is None


@final
class _Walk:
    def __init__(self) -> None:
        self.replaced = 0
        self._nodes = 0

    def safe(self, value: object, depth: int, above: tuple[int, ...]) -> object:
        self._nodes += 1
        kind = type(value)
        if value is None or kind is bool:
            return value
        if issubclass(kind, str):
            return str.__str__(value).encode("utf-8", "replace").decode("utf-8")
        if issubclass(kind, int):
            number = int.__int__(value)  # type: ignore[arg-type]
            return number if -(2**63) <= number < 2**64 else _digits(number)
        if issubclass(kind, float):
            return float.__float__(value) if math.isfinite(value) else self._described(value)  # type: ignore[arg-type]
        if depth >= MAX_DEPTH or self._nodes > MAX_NODES or id(value) in above:
            return self._described(value)
        try:
            return self._inner(value, depth, (*above, id(value)))
        except BaseException:  # whatever the value's own code raises, it is described, and the description is counted
            return self._described(value)

    def _inner(self, value: object, depth: int, inside: tuple[int, ...]) -> object:
        """What holds other values: JSON's own kinds; a pydantic model, a dataclass, a date by what they give out."""
        if type(value) is dict:
            return {_key(key): self.safe(item, depth + 1, inside) for key, item in value.items()}
        if type(value) in (list, tuple):
            return [self.safe(item, depth + 1, inside) for item in value]  # type: ignore[attr-defined]
        if type(value) in (set, frozenset):
            return sorted((self.safe(item, depth + 1, inside) for item in value), key=repr)  # type: ignore[attr-defined]
        dump = getattr(value, "model_dump", None)
        if callable(dump):
            return self.safe(dump(mode="json"), depth + 1, inside)
        if issubclass(type(value), Mapping):
            items = list(islice(value.items(), MAX_NODES))  # type: ignore[attr-defined]
            if len(items) == MAX_NODES:
                return self._described(value)  # it may never end
            return {_key(key): self.safe(item, depth + 1, inside) for key, item in items}
        return orjson.loads(orjson.dumps(value))

    def _described(self, value: object) -> str:
        self.replaced += 1
        return f"<{type(value).__name__}>"


def _digits(number: int) -> str:
    """All digits; beyond what Python will spell (sys.set_int_max_str_digits), in hexadecimal."""
    try:
        return str(number)
    except ValueError:
        return hex(number)


def _key(key: object) -> str:
    if issubclass(type(key), str):
        return str.__str__(key).encode("utf-8", "replace").decode("utf-8")
    return f"{key}" if type(key) in (int, float, bool) or key is None else f"<{type(key).__name__}>"
