"""Untrusted text made safe to print: what cannot be seen is spelled out (I9, C064; UAX #9, UAX #44, UTS #39).

Guarantee: the result holds no control, bidirectional, tag, invisible or odd blank character, is never shortened, and is
unambiguous: a backslash in the text is doubled.
"""

from __future__ import annotations

import json
import re
import unicodedata
from functools import lru_cache

# Default_Ignorable_Code_Point (DerivedCoreProperties) beyond category Cf, and letters or symbols that draw as a blank.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U00016fe4\U0001d159\U000e0000-\U000e0fff]"
)
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


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
    if not odd_space and unicodedata.category(character) not in _HIDDEN_CATEGORIES and not _BLANK.match(character):
        return character
    if character in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[character]
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
