"""I1: one value, one spelling. The fast way and RFC 8785 agree, and what is decoded back is what was meant."""

from __future__ import annotations

from decimal import Decimal

import orjson
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.canonical import MAX_SAFE_INTEGER, NotCanonical, canonical, exact_float, plain, survives
from gateway.parse.strict_json import BadJson, decode

texts = st.text(st.characters(exclude_categories=["Cs"]))
simple_keys = st.text(st.characters(max_codepoint=127))
safe = st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
simple_scalars = st.none() | st.booleans() | safe | texts
simple_values = st.recursive(simple_scalars, lambda v: st.lists(v) | st.dictionaries(simple_keys, v), max_leaves=20)
floats = st.floats(allow_nan=False, allow_infinity=False)
kept = st.floats(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER) | st.sampled_from([1e21, -1e21, 1.5e300, 5e-324, -0.0])
values = st.recursive(simple_scalars | kept, lambda v: st.lists(v) | st.dictionaries(texts, v), max_leaves=20)
printable = st.text(st.characters(exclude_categories=["Cs", "Cc"]))
said = st.recursive(
    st.none() | st.booleans() | safe | printable | kept,
    lambda v: st.lists(v) | st.dictionaries(printable, v),
    max_leaves=20,
)


@given(simple_values)
def test_i1_the_fast_way_is_rfc_8785(value: object) -> None:
    assert canonical(value, simple=True) == rfc8785.dumps(value) == canonical(value)  # type: ignore[arg-type]


@given(st.dictionaries(printable, said))
def test_i1_what_the_parser_calls_simple_has_the_fast_form(value: dict[str, object]) -> None:
    decoded = decode(orjson.dumps(value), max_bytes=10**7, max_depth=200)
    assert decoded.value == value
    assert canonical(decoded.value, simple=decoded.simple) == rfc8785.dumps(decoded.value)  # type: ignore[arg-type]


@given(st.dictionaries(printable, said))
def test_i1_the_canonical_bytes_are_accepted_and_mean_the_value(value: dict[str, object]) -> None:
    once = canonical(value)
    decoded = decode(once, max_bytes=10**7, max_depth=200)
    assert decoded.value == value
    assert canonical(decoded.value, simple=decoded.simple) == once


@given(values)
def test_i1_plain_copies_mean_the_same_and_share_nothing(value: object) -> None:
    copy = plain(value)
    assert canonical(copy) == canonical(value)
    assert copy == value
    if isinstance(value, list | dict):
        assert copy is not value


@given(floats)
def test_i1_a_float_survives_if_a_strict_reader_gets_it_back(number: float) -> None:
    text = canonical([number]).decode()[1:-1]
    try:
        back = decode(b'{"a":' + text.encode() + b"}", max_bytes=99, max_depth=2).value["a"]
    except BadJson:
        assert not survives(number)
    else:
        assert back == number
        assert survives(number)


@given(st.decimals(allow_nan=False, allow_infinity=False).map(lambda d: f"{d:e}") | floats.map(repr))
def test_i1_an_exact_float_is_what_was_written(text: str) -> None:
    number = exact_float(text)
    if number is not None:
        assert Decimal(text) == Decimal(canonical(number).decode())
    elif survives(float(text)):
        assert Decimal(text) != Decimal(repr(float(text)))


@pytest.mark.parametrize(
    "impossible", [float("nan"), float("inf"), 2**53, -(2**53), "\ud800", {"\ud800": 1}, {1: 2}, b"x", object(), {1, 2}]
)
def test_i1_what_has_no_canonical_form(impossible: object) -> None:
    for refuse in (canonical, plain):
        with pytest.raises(NotCanonical):
            refuse(impossible)
        with pytest.raises(NotCanonical):
            refuse([{"a": impossible}])
