"""The exchange is bounded in bytes and time, whatever the other side sends."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.stream import End, Streams, exchange

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def framed(stream: int, data: bytes) -> bytes:
    return struct.pack(">BxxxI", stream, len(data)) + data


def soon() -> float:
    return time.monotonic() + 20


def drained(pieces: list[bytes], cap: int = 1 << 20) -> Streams:
    """What `exchange` makes of these pieces, each sent by itself, followed by a close."""
    ours, theirs = socket.socketpair()
    with ours:
        sender = threading.Thread(target=lambda: ([theirs.sendall(piece) for piece in pieces], theirs.close()))
        sender.start()
        streams = exchange(ours, b"", cap=cap, until=soon())
        ours.close()
        sender.join()
    return streams


@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=300)), max_size=8),
    st.lists(st.integers(1, 50), min_size=1, max_size=20),
)
def test_streams_come_apart_however_they_are_cut(frames: list[tuple[int, bytes]], sizes: list[int]) -> None:
    wire = b"".join(framed(stream, data) for stream, data in frames)
    pieces, start, number = [], 0, 0
    while start < len(wire):
        size = sizes[number % len(sizes)]
        pieces.append(wire[start : start + size])
        start, number = start + size, number + 1
    streams = drained(pieces)
    assert streams.end is End.CLOSED
    assert bytes(streams.stdout) == b"".join(data for stream, data in frames if stream == 1)
    assert bytes(streams.stderr) == b"".join(data for stream, data in frames if stream == 2)


@pytest.mark.parametrize(("size", "end"), [(99, End.CLOSED), (100, End.CLOSED), (101, End.CAPPED)])
def test_the_cap_counts_both_streams_to_the_byte(size: int, end: End) -> None:
    streams = drained([framed(1, b"o" * 60) + framed(2, b"e" * (size - 60))], cap=100)
    assert streams.end is end
    assert len(streams.stdout) + len(streams.stderr) == min(size, 100)


def test_silence_ends_at_the_deadline(pair: Pair) -> None:
    assert exchange(pair[0], b"", cap=10, until=time.monotonic() + 0.1).end is End.DEADLINE


def test_a_side_that_never_reads_ends_at_the_deadline(pair: Pair) -> None:
    streams = exchange(pair[0], b"x" * (1 << 24), cap=10, until=time.monotonic() + 0.1)
    assert streams.end is End.DEADLINE
    assert 0 < streams.sent < 1 << 24


def test_cancellation_is_seen(pair: Pair) -> None:
    cancel = threading.Event()
    cancel.set()
    assert exchange(pair[0], b"", cap=10, until=soon(), cancel=cancel).end is End.CANCELLED


def test_output_before_input_does_not_block_either_side(pair: Pair) -> None:
    """Both sides have more to send than the socket holds."""
    ours, theirs = pair
    got = bytearray()

    def program() -> None:
        theirs.sendall(framed(1, b"o" * (1 << 22)))
        while part := theirs.recv(1 << 16):
            got.extend(part)
        theirs.close()

    other = threading.Thread(target=program)
    other.start()
    streams = exchange(ours, b"i" * (1 << 22), cap=1 << 23, until=soon())
    other.join()
    assert streams.end is End.CLOSED
    assert len(streams.stdout) == len(got) == streams.sent == 1 << 22


def test_a_reader_that_leaves_early_still_has_its_output_drained(pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(framed(1, b"said before leaving"))
    theirs.shutdown(socket.SHUT_RD)
    leave = threading.Timer(0.2, theirs.close)
    leave.start()
    streams = exchange(ours, b"x" * (1 << 24), cap=1000, until=soon())
    leave.join()
    assert streams.end is End.CLOSED
    assert bytes(streams.stdout) == b"said before leaving"
    assert streams.sent < 1 << 24
