"""What a reader asks for: all given conditions at once.

Guarantee: whatever is typed is looked for as it stands: no word of it reaches FTS5 or SQL as syntax. `fits` decides on
the record itself, so that a wrong index can withhold an answer but never invent one.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, final

from gateway.audit_tools.facts import MAX_VALUE_CHARS, Facts
from gateway.audit_tools.moment import LATEST_US

_MARKS: Final = "kdpotevcur"  # one letter for each field of `Facts`, in order
_PLAIN_CHARS: Final = 40  # our own ids have 36
_REMEMBERED: Final = 20_000  # values of each field
_WORD: Final = re.compile(r"[^\W_]")


@final
@dataclass(frozen=True, slots=True)
class Query:
    """Conditions; None asks for nothing. `since` and `until` are microseconds since 1970, both inclusive.

    `principal` fits who asked and for whom. `text` is words that all occur; what is written together, such as `A-1003`,
    must stand together. `enrolled_only` leaves out origins that nobody enrolled.
    """

    principal: str | None = None
    tool: str | None = None
    decision: str | None = None
    reason: str | None = None
    conversation: str | None = None
    call_id: str | None = None
    parent_id: str | None = None
    request_id: str | None = None
    text: str | None = None
    since: int = 0
    until: int = LATEST_US
    enrolled_only: bool = False

    def expression(self) -> str:
        """For FTS5's MATCH; empty if no condition needs it."""
        parts = [
            f'fields : "{term(mark, value)}"'
            for mark, value in (
                ("t", self.tool),
                ("d", self.decision),
                ("e", self.reason),
                ("v", self.conversation),
                ("c", self.call_id),
                ("u", self.parent_id),
                ("r", self.request_id),
            )
            if value is not None
        ]
        if self.principal is not None:
            parts.append(f'fields : ("{term("p", self.principal)}" OR "{term("o", self.principal)}")')
        parts += [f'words : "{word}"' for word in words(self.text or "")]
        return " AND ".join(parts)

    def fits(self, facts: Facts) -> bool:
        """Whether a record meets every condition but time and text."""
        return (
            (self.principal is None or cut(self.principal) in (facts.principal, facts.on_behalf_of))
            and _same(self.tool, facts.tool)
            and _same(self.decision, facts.decision)
            and _same(self.reason, facts.reason)
            and _same(self.conversation, facts.conversation)
            and _same(self.call_id, facts.call_id)
            and _same(self.parent_id, facts.parent_id)
            and _same(self.request_id, facts.request_id)
        )


def _same(wanted: str | None, found: str) -> bool:
    return wanted is None or cut(wanted) == found


def cut(value: str) -> str:
    return value[:MAX_VALUE_CHARS]


def term(mark: str, value: str) -> str:
    """The index's word for one field's value: letters and digits only, whatever the value holds.

    Two values may share a word (`a_b` and `AB`): `fits` tells them apart.
    """
    plain = value.replace("_", "")
    if len(plain) <= _PLAIN_CHARS and plain.isascii() and plain.isalnum():
        return f"{mark}0{plain}"
    return mark + "1" + blake2b(cut(value).encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()


@final
class Terms:
    """The index's words for records, remembered: most values come again and again."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: tuple[tuple[str, dict[str, str]], ...] = tuple((mark, {}) for mark in _MARKS)

    def of(self, facts: Facts) -> str:
        """The words of every field that says something."""
        found = []
        for (mark, known), value in zip(self._known, facts, strict=True):
            if value:
                word = known.get(value)
                if word is None:
                    if len(known) > _REMEMBERED:
                        known.clear()
                    word = known[value] = term(mark, value)
                found.append(word)
        return " ".join(found)


def words(typed: str) -> list[str]:
    """Space-separated words, each to be quoted for FTS5 as one phrase; those without a letter or digit are left out."""
    clean = "".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in typed)
    return [word.replace('"', '""') for word in clean.split() if _WORD.search(word)]
