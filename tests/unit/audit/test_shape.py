"""The quick decoder of readers takes and refuses the very lines that the decoder of `verify` does."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.shape import decode, decode_quickly

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
_BROKEN = (b"", b"[1]", b'{"a":NaN}', b'{"a":1}x', b"\xef\xbb\xbf{}", b'{"a":"\xff"}', b'{"a":01}', b"\x0b{}", b"null")
_ODD = (b'{"a":1,"a":2}', b'{"a":"\\ud800"}', b'{"a":1e999}', b' {"a":-0.0}\r', b'{"a":18446744073709551615}')


@given(st.dictionaries(st.text(max_size=4), _VALUES, max_size=4), st.booleans())
def test_both_decoders_read_the_same(value: dict[str, object], ascii_only: bool) -> None:
    line = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert _of(decode_quickly, line) == _of(decode, line)


@given(st.binary(max_size=12).map(lambda middle: b'{"a":' + middle + b"}"))
def test_both_decoders_refuse_the_same(line: bytes) -> None:
    assert _of(decode_quickly, line) == _of(decode, line)


@pytest.mark.parametrize("line", [*_ODD, b'{"a":' + b"[" * 400 + b"]" * 400 + b"}"])
def test_odd_lines_are_read_alike(line: bytes) -> None:
    assert _of(decode_quickly, line) == _of(decode, line) is not None


@pytest.mark.parametrize("line", [*_BROKEN, b'{"a":' + b"[" * 99_999])
def test_damaged_lines_are_no_records(line: bytes) -> None:
    assert _of(decode_quickly, line) is _of(decode, line) is None


def _of(read: object, line: bytes) -> str | None:
    try:
        return repr(read(line))  # type: ignore[operator]
    except ValueError:
        return None
