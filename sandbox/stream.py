"""The byte exchange with a running container over the hijacked attach socket.

Guarantee: bounded in bytes and in time, whatever the other side does; sending and draining go on together, so
neither side can block the other by not reading. A report is believed only with the supervisor's MAC over every
frame since the key (`sandbox/image/runner.py`): one frame that the supervisor did not send, or one byte that did
not arrive, and there is no report. Outer wire format: Docker Engine API, "Stream format" of
`POST /containers/{id}/attach` (8-byte header: stream, three zeros, uint32 length; then the payload).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import selectors
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from sandbox.outputs import Collector
from sandbox.result import Shower

_HEADER: Final = struct.Struct(">BxxxI")
_FRAME: Final = struct.Struct(">cI")
_STDOUT: Final = 1
_CHUNK: Final = 1 << 16
_MOST_FRAME: Final = 1 << 17  # the runner sends at most half of it at once
_MAC_BYTES: Final = 32
POLL_S: Final = 0.05  # how soon a cancellation is seen


class End(Enum):
    """Why the exchange is over; closed."""

    REPORTED = auto()
    CLOSED = auto()
    CAPPED = auto()
    DEADLINE = auto()
    CANCELLED = auto()
    SPOILED = auto()


@dataclass(frozen=True, slots=True)
class Report:
    """What the supervisor says of a run. `oom_kills` and `peak_bytes` are None where the kernel does not tell."""

    ended: bool
    exit_code: int
    oom_kills: int | None
    peak_bytes: int | None
    cpu_ns: int
    left_out: tuple[str, ...]


@dataclass(slots=True)
class Streams:
    """What came out, and how much went in (bytes)."""

    end: End = End.CLOSED
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    value: bytes | None = None
    outputs: Collector = field(default_factory=Collector)
    report: Report | None = None
    ready: bool = False
    sent: int = 0


class Spoiled(Exception):
    """The stream is not what the supervisor sends."""


class Channel:
    """One container's stream, from its first byte to its last; one exchange at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.setblocking(False)
        self._mac: hashlib.blake2b | None = None
        self._header = bytearray()
        self._stream, self._wanted = 0, 0
        self._inner = bytearray()
        self._streams = Streams()
        self._greeted = False
        self._left = 0
        self._shower: Shower | None = None

    def key(self, key: bytes) -> None:
        """From here on what comes is signed with `key`."""
        self._mac = hashlib.blake2b(key=key, digest_size=_MAC_BYTES)

    def half_close(self) -> None:
        """Tell the runner that no more will come. A connection that is gone needs no telling."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Neither send nor drain any more."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def silent(self) -> bool:
        """True where nothing has come, and the other side is still there."""
        try:
            self._connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False  # it ended, or says what nobody asked for

    def exchange(
        self,
        payload: bytes,
        *,
        cap: int,
        until: float,
        cancel: threading.Event | None = None,
        to_ready: bool = False,
        only_send: bool = False,
        shower: Shower | None = None,
    ) -> Streams:
        """Send `payload` and drain until the report (or readiness, or all is sent), the end of the stream, or a bound.

        `until` is on the `time.monotonic` clock, `cap` counts stdout and stderr together in bytes. A connection that
        breaks counts as closed: whether the container ended is Docker's to say. `shower` gets what is kept at once.
        """
        streams = self._streams = Streams()
        self._left, self._shower = cap, shower
        unsent = memoryview(payload)
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ | selectors.EVENT_WRITE)
            while True:
                if cancel is not None and cancel.is_set():
                    streams.end = End.CANCELLED
                    return streams
                left = until - time.monotonic()
                if left <= 0:
                    streams.end = End.DEADLINE
                    return streams
                if only_send and not unsent:
                    return streams
                for _, ready in selector.select(min(left, POLL_S)):
                    try:
                        if ready & selectors.EVENT_WRITE:
                            count = self._connection.send(unsent[:_CHUNK]) if unsent else 0
                            unsent = unsent[count:]
                            streams.sent += count
                            if not unsent:
                                selector.modify(self._connection, selectors.EVENT_READ)
                        if ready & selectors.EVENT_READ:
                            data = self._connection.recv(_CHUNK)
                            if not data:
                                return streams
                            over = self._feed(data)
                            if over is not None:
                                streams.end = over
                                return streams
                            if to_ready and streams.ready:
                                streams.end = End.REPORTED
                                return streams
                    except (BlockingIOError, InterruptedError):
                        continue
                    except (ConnectionError, OSError):
                        # A program may exit without reading: keep draining what it wrote before.
                        if not unsent:
                            return streams
                        unsent = unsent[len(unsent) :]
                        selector.modify(self._connection, selectors.EVENT_READ)

    def _feed(self, data: bytes) -> End | None:
        """Take a piece of any size; why the exchange is over, or None."""
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
            if self._stream != _STDOUT:  # not of the supervisor: the interpreter's last words, or a program's prank
                if not self._keep("stderr", part):
                    return End.CAPPED
                continue
            self._inner += part
            try:
                over = self._frames()
            except (Spoiled, ValueError, KeyError, struct.error):
                return End.SPOILED
            if over is not None:
                return over
        return None

    def _frames(self) -> End | None:
        while len(self._inner) >= _FRAME.size:
            kind, size = _FRAME.unpack_from(self._inner)
            if size > _MOST_FRAME:
                raise Spoiled
            whole = _FRAME.size + size
            if len(self._inner) < whole:
                return None
            frame = bytes(self._inner[:whole])
            del self._inner[:whole]
            over = self._take(kind, frame)
            if over is not None:
                return over
        return None

    def _take(self, kind: bytes, frame: bytes) -> End | None:
        payload = frame[_FRAME.size :]
        if kind == b"Z":
            self._streams.report = self._report(frame)
            return End.REPORTED
        if kind == b"r" and not self._greeted:
            self._greeted = self._streams.ready = True  # before the key is known, and before any code
            return None
        if self._mac is not None:
            self._mac.update(frame)
        match kind:
            case b"o" | b"e":
                stream = "stdout" if kind == b"o" else "stderr"
                return None if self._keep(stream, memoryview(payload)) else End.CAPPED
            case b"v":
                self._streams.value = payload
            case b"A":
                self._streams.outputs.begin(payload)
            case b"D":
                self._streams.outputs.add(payload)
            case _:
                raise Spoiled
        return None

    def _keep(self, stream: str, part: memoryview) -> bool:
        """False once the cap is passed."""
        kept = part[: self._left]
        target = self._streams.stdout if stream == "stdout" else self._streams.stderr
        target += kept
        if self._shower is not None:
            self._shower(stream, bytes(kept))
        fits = len(part) <= self._left
        self._left = max(0, self._left - len(part))
        return fits

    def _report(self, frame: bytes) -> Report:
        if self._mac is None:
            raise Spoiled
        self._mac.update(frame[:-_MAC_BYTES])
        if not hmac.compare_digest(self._mac.copy().digest(), frame[-_MAC_BYTES:]):
            raise Spoiled
        rows = [line.partition(" ") for line in frame[_FRAME.size : -_MAC_BYTES].decode("utf-8", "replace").split("\n")]
        facts = {word: value for word, _, value in rows if word != "left_out"}
        return Report(
            ended=facts["ended"] == "1",
            exit_code=int(facts["exit"]),
            oom_kills=_number(facts["oom"]),
            peak_bytes=_number(facts["peak_bytes"]),
            cpu_ns=int(facts["cpu_ns"]),
            left_out=tuple(value for word, _, value in rows if word == "left_out"),
        )


def _number(text: str) -> int | None:
    return None if text == "None" else int(text)
