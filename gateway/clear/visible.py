"""Untrusted text made safe to print: what cannot be seen is spelled out (I9, C064; UAX #9, UAX #44, UTS #39).

Guarantee: the result holds no control, bidirectional, tag, invisible or odd blank character, is never shortened, and is
unambiguous: a backslash in the text is doubled.
"""

from __future__ import annotations

import json
import unicodedata
from functools import lru_cache

from gateway.domain.drawn import drawn


def visible(text: str) -> str:
    """`text` on one line: hidden characters as `\\n`, `\\u202e` or `\\U000e0041`, and a backslash as two."""
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(_spelled(character) for character in text)


def visible_json(value: object) -> str:
    """A decoded JSON value, in full, on one line, hidden characters as `\\uXXXX` in its strings."""
    spelled = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return "".join(c if c == "\\" else _spelled(c) for c in spelled)  # JSON has escaped its backslashes already


@lru_cache(maxsize=4096)
def _spelled(character: str) -> str:
    if character == "\\":
        return "\\\\"
    odd_space = unicodedata.category(character) == "Zs" and character != " "
    if not odd_space and drawn(character):
        return character
    if character in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[character]
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
