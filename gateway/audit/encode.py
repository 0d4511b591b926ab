"""Events to bytes: one JSON object on one line, whatever stands in it (docs/audit-format.md).

Hostile text stays inside its string: JSON escapes newlines and control characters, and U+2028 and its like are legal
inside a JSON string and never a line end for a reader of JSON Lines. A value that cannot be encoded is replaced by
its type's name, so a record is written in any case (C120, C121).
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass

import orjson

from gateway.audit.errors import RecordRefused
from gateway.audit.framing import OWN_PREFIX, RESERVED
from gateway.domain.event import FORMAT_VERSION, Event

_PREFIXES: dict[type, bytes] = {}
OBSERVE = b'"observe":true,'
MAX_DEPTH = 100  # of what an event holds; deeper values are named by their type
MAX_TEXT = 512  # characters of untrusted text (tool names asked for, details) that a record keeps


def encode(event: Event, *, observe: bool = False) -> bytes:
    """`{"v":1,"kind":...,<the fields of the event>}` without a newline. With `"observe":true` in observe mode."""
    prefix = _PREFIXES.get(type(event)) or _prefix(type(event))
    return (prefix + OBSERVE if observe else prefix) + written(event)[1:]


def written(value: object) -> bytes:
    """JSON of an event or of some fields of one, whatever they hold."""
    try:
        return orjson.dumps(value, default=_placeholder, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:  # half a character, a huge integer, a cycle: rare, so found only when it has failed
        return orjson.dumps(_writable(value, 0), default=_placeholder)


def _prefix(kind: type[Event]) -> bytes:
    """How every event of this kind begins. Raises RecordRefused if a field has one of the framing's names."""
    taken = [field.name for field in fields(kind) if field.name in RESERVED]
    if taken:
        raise RecordRefused(f"{kind.__name__} has the fields {', '.join(taken)}, which are the log's own; rename them")
    prefix = _PREFIXES[kind] = OWN_PREFIX + b'%d,"kind":"%b",' % (FORMAT_VERSION, kind.kind.encode())
    return prefix


def clip(text: str, most: int = MAX_TEXT) -> str:
    """At most `most` characters, with a mark where something was cut; lone surrogates replaced so that it encodes."""
    whole = text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
    return whole if len(whole) <= most else whole[:most] + f"... [{len(whole) - most} more]"


def _writable(value: object, depth: int) -> object:
    """A copy that orjson can write."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value) if abs(value) < 2**63 else hex(value)
    if depth >= MAX_DEPTH:
        return _placeholder(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _writable(getattr(value, field.name), depth + 1) for field in fields(value)}
    if isinstance(value, dict):
        return {str(_writable(str(key), depth)): _writable(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_writable(item, depth + 1) for item in value]
    return value


def _placeholder(value: object) -> str:
    return f"<{type(value).__name__}>"
