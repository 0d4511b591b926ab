"""A value said by its JSON types and keyed digests, where nobody has said what in it is secret (I10).

Guarantee: no string, number or truth value of it can be read off, nor guessed without the deployment's key; the whole
is bounded, however large the value is. Names of properties stand as they were sent (docs/audit-format.md).
"""

from __future__ import annotations

from typing import Any, Final, final

from gateway.domain.canonical import NotCanonical, canonical
from gateway.domain.keyed import Digests

MAX_ITEMS: Final = 32
MAX_PROPERTIES: Final = 64
MAX_VALUES: Final = 512
MAX_NAME: Final = 128
MAX_DEPTH: Final = 16
_TYPES: Final = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def described(value: object, key: Digests) -> dict[str, Any]:
    """The description of one JSON value, at most about 100 KB of it."""
    return _Describer(key).describe(value, 0)


@final
class _Describer:
    def __init__(self, key: Digests) -> None:
        self._key = key
        self._left = MAX_VALUES

    def describe(self, value: object, depth: int) -> dict[str, Any]:
        self._left -= 1
        if isinstance(value, dict):
            return self._object(value, depth)
        if isinstance(value, list):
            taken = value[: self._room(MAX_ITEMS, depth)]
            items = [self.describe(item, depth + 1) for item in taken if self._left > 0]
            return {"type": "array", "count": len(value), "items": items, **_cut(len(items) < len(value))}
        try:
            said: dict[str, Any] = {"digest": self._key.digest(canonical(value), domain=b"argument")}
        except NotCanonical:  # an integer that no canonical form has: its type is all there is to say
            said = {}
        chars = {"chars": len(value)} if isinstance(value, str) else {}
        return {"type": _TYPES.get(type(value), "unknown"), **chars, **said}

    def _object(self, value: dict[str, object], depth: int) -> dict[str, Any]:
        properties: dict[str, object] = {}
        for name in list(value)[: self._room(MAX_PROPERTIES, depth)]:
            if self._left > 0 and name[:MAX_NAME] not in properties:
                properties[name[:MAX_NAME]] = self.describe(value[name], depth + 1)
        return {"type": "object", "properties": properties, **_cut(len(properties) < len(value))}

    def _room(self, most: int, depth: int) -> int:
        return min(most, max(0, self._left)) if depth < MAX_DEPTH else 0


def _cut(cut: bool) -> dict[str, bool]:
    return {"cut": True} if cut else {}
