"""What a program writes is safe to print."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from sandbox.result import shown


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_c108_no_control_format_or_surrogate_character_is_left(raw: bytes) -> None:
    text = shown(raw)
    assert all(unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in text if c not in "\n\t")
    assert len(text) <= 10 * max(len(raw), 1)
    text.encode("utf-8")


def test_c108_every_unsafe_character_of_unicode_is_shown() -> None:
    unsafe = [chr(point) for point in range(0x110000) if unicodedata.category(chr(point)) in {"Cc", "Cf", "Zl", "Zp"}]
    left = set(shown("".join(unsafe).encode()))
    assert left & set(unsafe) == {"\n", "\t"}


@given(st.text(alphabet=st.characters(codec="utf-8", categories=["Ll", "Lu", "Nd", "Po", "Sm"])))
def test_plain_text_is_unchanged(text: str) -> None:
    assert shown(text.encode()) == text


def test_c108_hostile_bytes_are_shown() -> None:
    hostile = b"\x1b[31m\xff\xe2\x80\xae\xe2\x80\x8b\r\n\xc2\x9b\xf3\xa0\x81\x81"
    assert shown(hostile) == "\\x1b[31m\\xff\\u202e\\u200b\\x0d\n\\x9b\\U000e0041"
