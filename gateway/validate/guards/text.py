"""`text`: what a person sees is all there is (UAX #9, UTS #39; "Trojan Source", CVE-2021-42574).

Refused: control, bidirectional, tag, private-use and unassigned characters, and those that draw as nothing. Joiners
and variation selectors stay where writing needs them: between letters beyond Latin, and within emoji. Advisory.
"""

from __future__ import annotations

import unicodedata
from typing import final

from gateway.domain.drawn import drawn
from gateway.policy.guard_documents import TextGuard
from gateway.validate.guards.refusal import GuardRefused

_JOINERS = "\u200c\u200d"
_VARIATIONS = "\ufe0e\ufe0f"
_SOFT_HYPHEN = "\xad"
_WRITTEN = frozenset({"Lo", "Mn", "Mc"})  # letters without case and their marks: Arabic, Indic and others


@final
class TextCheck:
    """Each text of the argument."""

    def __init__(self, guard: TextGuard) -> None:
        self._lines = guard.lines

    def __call__(self, name: str, value: object) -> None:
        for text in value if isinstance(value, list) else [value]:
            if not isinstance(text, str):
                raise GuardRefused(f"{name}: must be text.", "Send a string.")
            place = hidden(text, lines=self._lines)
            if place is not None:
                raise GuardRefused(
                    f"{name}: has a hidden or control character at position {place + 1}.",
                    "Write it with visible characters only.",
                    f"{name}: U+{ord(text[place]):04X} at position {place + 1}",
                )


def hidden(text: str, *, lines: bool = True) -> int | None:
    """Where the first character stands that nobody sees, or None. `lines` lets `\\n`, `\\r\\n` and `\\t` pass."""
    if text.isprintable() and text.isascii():
        return None
    for place, character in enumerate(text):
        if character.isascii():
            if character.isprintable() or (lines and (character in "\n\t" or text[place : place + 2] == "\r\n")):
                continue
            return place
        if not drawn(character) and not _needed(text, place):
            return place
    return None


def _needed(text: str, place: int) -> bool:
    """True for one joiner, variation selector or soft hyphen where writing has it."""
    character, before, after = text[place], text[place - 1 : place], text[place + 1 : place + 2]
    if not before:
        return False
    kind = unicodedata.category(before)
    if character in _VARIATIONS:
        return kind == "So" or before in "0123456789#*\u203c\u2049\u2194\u2934\u2935" or kind == "Sm"
    if character in _JOINERS and after:
        if kind in _WRITTEN and unicodedata.category(after) in _WRITTEN:
            return True
        return (
            character == "\u200d"
            and (kind in ("So", "Sk") or before == "\ufe0f")
            and unicodedata.category(after) == "So"
        )
    return character == _SOFT_HYPHEN and before.isalpha() and after.isalpha()
