"""Events to bytes: one JSON object on one line, whatever stands in it (docs/audit-format.md).

Hostile text stays inside its string: JSON escapes newlines and control characters, and U+2028 and its like are legal
inside a JSON string and never a line end for a reader of JSON Lines. A value that cannot be encoded is replaced by
its type's name, so a record is written in any case (C120, C121).
"""

from __future__ import annotations

import orjson

from gateway.domain.event import FORMAT_VERSION, Event

_PREFIXES: dict[type, bytes] = {}
MAX_TEXT = 512  # characters of untrusted text (tool names asked for, details) that a record keeps


def encode(event: Event) -> bytes:
    """`{"v":1,"kind":...,<the fields of the event>}` without a newline."""
    prefix = _PREFIXES.get(type(event))
    if prefix is None:
        prefix = _PREFIXES[type(event)] = b'{"v":%d,"kind":"%s",' % (FORMAT_VERSION, event.kind.encode())
    return prefix + orjson.dumps(event, default=_placeholder, option=orjson.OPT_NON_STR_KEYS)[1:]


def clip(text: str, most: int = MAX_TEXT) -> str:
    """At most `most` characters, with a mark where something was cut; lone surrogates replaced so that it encodes."""
    whole = text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
    return whole if len(whole) <= most else whole[:most] + f"... [{len(whole) - most} more]"


def _placeholder(value: object) -> str:
    return f"<{type(value).__name__}>"
