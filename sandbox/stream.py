"""The byte exchange with a running container over the hijacked attach socket.

Guarantee: bounded in bytes and in time, whatever the other side does. Sending and draining go on together,
so neither side can block the other by not reading. Wire format: Docker Engine API, "Stream format" of
`POST /containers/{id}/attach` (8-byte header: stream, three zeros, uint32 length; then the payload).
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

_HEADER: Final = struct.Struct(">BxxxI")
_STDOUT, _STDERR = 1, 2
_CHUNK: Final = 1 << 16
POLL_S: Final = 0.05  # how soon a cancellation is seen


class End(Enum):
    """Why the exchange is over; closed."""

    CLOSED = auto()
    CAPPED = auto()
    DEADLINE = auto()
    CANCELLED = auto()


@dataclass(slots=True)
class Streams:
    """What came out, and how much went in (bytes)."""

    end: End = End.CLOSED
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    sent: int = 0


class _Demultiplexer:
    """Takes the attach stream in pieces of any size; keeps at most `cap` payload bytes."""

    def __init__(self, streams: Streams, cap: int) -> None:
        self._streams, self._left = streams, cap
        self._header = bytearray()
        self._stream, self._wanted = 0, 0

    def feed(self, data: bytes) -> bool:
        """Take `data`; False once the cap is passed."""
        view = memoryview(data)
        while view:
            if self._wanted == 0:
                needed = _HEADER.size - len(self._header)
                self._header += view[:needed]
                view = view[needed:]
                if len(self._header) == _HEADER.size:
                    self._stream, self._wanted = _HEADER.unpack(self._header)
                    self._header.clear()
                continue
            part = view[: self._wanted]
            view = view[len(part) :]
            self._wanted -= len(part)
            target = self._streams.stdout if self._stream == _STDOUT else self._streams.stderr
            target += part[: self._left]
            if len(part) > self._left:
                self._left = 0
                return False
            self._left -= len(part)
        return True


def exchange(
    connection: socket.socket, payload: bytes, *, cap: int, until: float, cancel: threading.Event | None = None
) -> Streams:
    """Send `payload`, half-close, and drain until the other side closes or a bound is met.

    `until` is on the `time.monotonic` clock, `cap` counts stdout and stderr together in bytes. A connection
    that breaks counts as closed: whether the container ended is Docker's to say.
    """
    streams = Streams()
    output = _Demultiplexer(streams, cap)
    unsent = memoryview(payload)
    connection.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while True:
            if cancel is not None and cancel.is_set():
                streams.end = End.CANCELLED
                return streams
            left = until - time.monotonic()
            if left <= 0:
                streams.end = End.DEADLINE
                return streams
            for _, ready in selector.select(min(left, POLL_S)):
                try:
                    if ready & selectors.EVENT_READ:
                        data = connection.recv(_CHUNK)
                        if not data:
                            return streams
                        if not output.feed(data):
                            streams.end = End.CAPPED
                            return streams
                    if ready & selectors.EVENT_WRITE:
                        count = connection.send(unsent[:_CHUNK]) if unsent else 0
                        unsent = unsent[count:]
                        streams.sent += count
                        if not unsent:
                            selector.modify(connection, selectors.EVENT_READ)
                            connection.shutdown(socket.SHUT_WR)
                except (BlockingIOError, InterruptedError):
                    continue
                except (ConnectionError, OSError):
                    # A program may exit without reading: keep draining what it wrote before.
                    if not unsent or streams.sent == len(payload):
                        return streams
                    unsent = unsent[len(unsent) :]
                    selector.modify(connection, selectors.EVENT_READ)
