"""Canonical JSON by known answers (RFC 8785 appendix B and section 3.2.3), and what `plain` takes."""

from __future__ import annotations

import json
import struct
from collections import OrderedDict
from enum import IntEnum

import pytest

from gateway.domain.canonical import MAX_DEPTH, NotCanonical, canonical, exact_float, plain, survives


@pytest.mark.parametrize(
    ("bits", "spelled"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
    ],
)
def test_known_spellings_of_numbers(bits: str, spelled: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical(number).decode() == spelled


def test_keys_are_sorted_by_utf_16_code_units() -> None:
    """Where UTF-8 would sort the other way round, so the fast way may not be used there."""
    value = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "\u00f6": 7}
    assert list(json.loads(canonical(value)).values()) == [2, 4, 6, 7, 1, 5, 3]


def test_strings_are_escaped_in_one_way() -> None:
    text = {"a": "\u20ac$\x0f\nA'B\"\\/\x7f\u2028"}
    for simple in (False, True):
        assert canonical(text, simple=simple) == '{"a":"€$\\u000f\\nA\'B\\"\\\\/\x7f\u2028"}'.encode()


@pytest.mark.parametrize(
    ("text", "number"),
    [("0.1", 0.1), ("1e21", 1e21), ("-0.0", 0.0), ("19.990", 19.99), ("1E2", 100.0), ("0.1000000000000000055", None)],
)
def test_exact_float(text: str, number: float | None) -> None:
    assert exact_float(text) == number


@pytest.mark.parametrize("text", ["1e400", "-1e400", "1e-400", "9007199254740993.0", "1e20", "0e" + "9" * 30])
def test_what_is_no_exact_float(text: str) -> None:
    assert exact_float(text) is None


def test_survives_at_its_edges() -> None:
    assert survives(2.0**53 - 1)
    assert not survives(2.0**53)
    assert not survives(-(2.0**53))
    assert not survives(1e20)
    assert survives(1e21)


class _Colour(IntEnum):
    RED = 1


class _List(list[int]):
    pass


@pytest.mark.parametrize("value", [_Colour.RED, _List([1]), OrderedDict(a=1), (1,), frozenset(), bytearray(b"x"), 1j])
def test_plain_takes_no_relatives(value: object) -> None:
    with pytest.raises(NotCanonical, match=type(value).__name__):
        plain({"a": value})


def test_plain_takes_no_circle_and_no_well() -> None:
    circle: list[object] = []
    circle.append(circle)
    well: object = 1
    for _ in range(MAX_DEPTH + 1):
        well = [well]
    for value in (circle, well):
        with pytest.raises(NotCanonical, match="deeper"):
            plain(value)
