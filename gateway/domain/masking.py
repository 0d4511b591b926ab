"""Taking known secrets out of JSON values and of text (I10, OWASP LLM02).

Guarantee: no string of the result holds a secret of four characters or more, as it stands or as JSON would spell it
inside a string; no scalar equals a secret of any length. Structure is kept, so that what was JSON is still JSON. A
secret that somebody transformed (encoded, split, multiplied) is beyond this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, final

import orjson

MASK = "[secret removed]"
MIN_PART_CHARS = 4  # a shorter secret is looked for as a whole value only: inside text it would mask ordinary words


def leaves(value: object) -> frozenset[str]:
    """Every string and number in a JSON value, as text."""
    found: set[str] = set()
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            todo += item.values()
        elif isinstance(item, list):
            todo += item
        elif isinstance(item, str):
            found.add(item)
        elif isinstance(item, int | float) and not isinstance(item, bool):
            found.add(orjson.dumps(item).decode())
    return frozenset(found - {""})


@final
class Masker:
    """Knows some secrets. `also` masks further text, such as credentials by their look, and counts."""

    __slots__ = ("_also", "_parts", "_wholes", "count")

    def __init__(self, secrets: Iterable[str], also: Callable[[str], tuple[str, int]] | None = None) -> None:
        self._wholes = frozenset(secrets)
        long = [each for each in self._wholes if len(each) >= MIN_PART_CHARS]
        spelled = {*long, *(_inside_json(each) for each in long)}
        self._parts = sorted(spelled, key=lambda part: (-len(part), part))  # one that holds another goes first
        self._also = also
        self.count = 0

    def value(self, value: Any) -> Any:
        """A copy of a JSON value without the secrets; `count` says how many were found so far."""
        if isinstance(value, str):
            return self._whole(value) or self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self.value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return self._whole(orjson.dumps(value).decode()) or value
        return value

    def text(self, text: str) -> str:
        """Plain text without the secrets that are long enough to be looked for inside text."""
        for part in self._parts:
            if part in text:
                self.count += text.count(part)
                text = text.replace(part, MASK)
        if self._also is not None:
            text, more = self._also(text)
            self.count += more
        return text

    def touches(self, encoded: str) -> bool:
        """False if there is surely nothing to do in this JSON text, `also` apart."""
        return any(_inside_json(each) in encoded for each in (*self._wholes, *self._parts))

    def _whole(self, text: str) -> str | None:
        if text not in self._wholes:
            return None
        self.count += 1
        return MASK


def _inside_json(text: str) -> str:
    """`text` as it stands within a JSON string."""
    return orjson.dumps(text)[1:-1].decode()
