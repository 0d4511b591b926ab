"""Canonical JSON (RFC 8785): one value, one spelling, so one digest (I1).

`orjson` with sorted keys gives the very same bytes when a value holds no float and only ASCII keys (RFC 8785 sorts
by UTF-16 code units, orjson by UTF-8), at a fiftieth of the cost; everything else goes through `rfc8785`. That
both agree is a property test.

Numbers are equal when their canonical spellings are: `1`, `1.0` and `1e0` are one number, written `1`. An integer
beyond 2^53 - 1 has no canonical spelling here (RFC 7493, I-JSON, section 2.2), whichever way it was written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson
import rfc8785

from gateway.domain.errors import ToolgateError

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]

MAX_SAFE_INTEGER = 2**53 - 1  # RFC 7493 (I-JSON) section 2.2
MAX_DEPTH = 200  # below the recursion limits of every encoder and validator used (orjson: 254)
EXPONENT_FROM = 1e21  # ECMA-262 Number::toString: from here on a float is spelled with an exponent


class NotCanonical(ToolgateError, ValueError):
    """The value has no canonical form."""


def canonical(value: object, *, simple: bool = False) -> bytes:
    """The RFC 8785 bytes of `value`.

    `simple=True` promises that no float, no non-ASCII key and no integer beyond 2^53 - 1 stands in it (the strict
    parser knows).
    """
    try:
        if simple:
            return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        return rfc8785.dumps(value)  # type: ignore[arg-type]
    except (rfc8785.CanonicalizationError, orjson.JSONEncodeError, UnicodeEncodeError, RecursionError) as error:
        raise NotCanonical(f"no canonical form: {error}") from error


def settle(value: Any) -> tuple[Any, bool]:
    """The value with its integral numbers as integers, and whether its canonical form is cheap now (`simple`)."""
    kind = type(value)
    if kind is float:
        if value.is_integer() and -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
            return int(value), True
        return value, False
    simple = True
    if kind is dict:
        settled = {}
        for key, item in value.items():
            settled[key], easy = settle(item)
            simple = simple and easy and key.isascii()
        return settled, simple
    if kind is list:
        items = []
        for item in value:
            done, easy = settle(item)
            items.append(done)
            simple = simple and easy
        return items, simple
    return value, kind is not int or -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER


def survives(number: float) -> bool:
    """True if a strict reader of `number`'s canonical spelling gets `number` back.

    An integral float from 2^53 to 1e21 does not: it is spelled as an integer that is refused.
    """
    return math.isfinite(number) and not (MAX_SAFE_INTEGER < abs(number) < EXPONENT_FROM)


def exact_float(text: str) -> float | None:
    """The float that `text`, a JSON number, says exactly, or None if a float can only come near it (I1).

    `0.1` is exact in this sense: the shortest spelling of its float is `0.1` again. `0.10000000000000000001` is not,
    so what is executed would not be what was written and shown.
    """
    number = float(text)
    if not survives(number):
        return None
    if len(text) <= 15 and "e" not in text and "E" not in text:
        return number  # at most 15 significant digits always come back (IEEE 754 binary64)
    try:
        return number if Decimal(text) == Decimal(repr(number)) else None
    except InvalidOperation:  # an exponent beyond what any decimal has, such as 0e9999999999999999999
        return None


def plain(value: object, depth: int = 0) -> Json:
    """A copy of `value` made of JSON's own types only, which nobody else can change. Raises NotCanonical.

    For what Python code hands in: subclasses, tuples, bytes, NaN, keys that are no strings, lone surrogates, cycles
    and integers beyond 2^53 - 1 are refused, not converted. Floats stay floats.
    """
    kind = type(value)
    if value is None or kind is bool:
        return value  # type: ignore[return-value]
    if kind is str:
        return _encodable(value)  # type: ignore[arg-type]
    if kind is int:
        if abs(value) > MAX_SAFE_INTEGER:  # type: ignore[arg-type]
            raise NotCanonical("an integer beyond 2^53 - 1; hand it in as a string")
        return value  # type: ignore[return-value]
    if kind is float:
        if not survives(value):  # type: ignore[arg-type]
            raise NotCanonical("a float that is not finite or is an integer beyond 2^53 - 1")
        return value  # type: ignore[return-value]
    if depth >= MAX_DEPTH:
        raise NotCanonical(f"nested deeper than {MAX_DEPTH} levels, or in itself")
    if kind is list:
        return [plain(item, depth + 1) for item in value]  # type: ignore[attr-defined]
    if kind is dict:
        copy: dict[str, Json] = {}
        for key, item in value.items():  # type: ignore[attr-defined]
            if type(key) is not str:
                raise NotCanonical(f"a key of type {type(key).__name__}; keys are strings")
            copy[_encodable(key)] = plain(item, depth + 1)
        return copy
    raise NotCanonical(f"a value of type {kind.__name__}; JSON has null, bool, number, string, list and dict")


def _encodable(text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise NotCanonical("a string with a lone surrogate, which is no character") from None
    return text
