"""One record is one line: `{"seq":N,"origin":"x","time":"...","mono_ns":N,<the caller's fields>}` and a newline.

Guarantee: whatever the caller's fields hold, they cannot start a second line (C120) nor stand in for the
framing fields. The clock may run backwards: order is `seq`, never `time` (C088).
"""

from __future__ import annotations

import re
import time
from typing import Final, final

import orjson

from gateway.audit.errors import RecordRefused
from gateway.domain.instant import NS, Clock

MAX_BODY_BYTES: Final = 4 << 20  # readers hold one record at a time; effective arguments and previews are far smaller
MAX_FRAME_BYTES: Final = 192  # 45 fixed + seq 20 + origin 63 + time 27 + mono 20 + newline, rounded up
MAX_LINE_BYTES: Final = MAX_BODY_BYTES + MAX_FRAME_BYTES
RESERVED: Final = ("seq", "origin", "time", "mono_ns")
OWN_PREFIX: Final = b'{"v":'  # how our own events begin; `audit.encode` makes sure of their fields' names, once a kind
_MENTIONS_RESERVED: Final = re.compile(b'"(?:%b)"' % "|".join(RESERVED).encode()).search


def check_body(body: bytes) -> None:
    """Refuse what is not one compact JSON object on one line. Raises RecordRefused."""
    if not (body.startswith(b'{"') and body.endswith(b"}")):
        raise RecordRefused("the body is not a JSON object with at least one field")
    if b"\n" in body or b"\x00" in body:
        raise RecordRefused("the body holds a raw newline or NUL; encode it as JSON first")
    if len(body) > MAX_BODY_BYTES:
        raise RecordRefused(f"the body has {len(body)} bytes, at most {MAX_BODY_BYTES} are stored")
    if not body.startswith(OWN_PREFIX) and _MENTIONS_RESERVED(body):
        _check_top_level(body)  # a nested field or a value may carry the name, a top-level field may not


def _check_top_level(body: bytes) -> None:
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RecordRefused(f"the body is not JSON ({error})") from error
    taken = [name for name in RESERVED if name in fields]
    if taken:
        raise RecordRefused(f"the fields {', '.join(taken)} are the writer's own; nest yours")


def line_prefix(origin: str, seq: int) -> bytes:
    """How the line of record `seq` starts."""
    return b'{"seq":%d,"origin":"%s","time":"' % (seq, origin.encode())


@final
class Framer:
    """Writes the framing fields. Not thread-safe: one writer at a time owns it."""

    __slots__ = ("_clock", "_origin", "_second", "_stamp")

    def __init__(self, origin: str, clock: Clock) -> None:
        self._origin = origin.encode()
        self._clock = clock
        self._second = -1
        self._stamp = b""

    def line(self, seq: int, body: bytes) -> bytes:
        """The stored line, without its newline; times in UTC microseconds and monotonic nanoseconds."""
        second, fraction = divmod(self._clock.wall_ns(), NS)
        if second != self._second:
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
            self._second = second
        return b'{"seq":%d,"origin":"%b","time":"%b.%06dZ","mono_ns":%d,%b' % (
            seq,
            self._origin,
            self._stamp,
            fraction // 1000,
            self._clock.monotonic_ns(),
            body[1:],
        )
