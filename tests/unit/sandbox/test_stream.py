"""The exchange is bounded in bytes and time, and a report is believed only as the supervisor signed it."""

from __future__ import annotations

import hashlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.outputs import Artifact
from sandbox.stream import Channel, End, Streams

Pair = tuple[socket.socket, socket.socket]
KEY = b"k" * 32
REPORT = b"ended 1\nexit 3\noom 0\npeak_bytes 7\ncpu_ns 5\nleft_out x: not a plain file"


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def frame(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">cI", kind, len(payload)) + payload


def docker(data: bytes, stream: int = 1) -> bytes:
    return struct.pack(">BxxxI", stream, len(data)) + data


def signed(frames: list[tuple[bytes, bytes]], report: bytes = REPORT, key: bytes = KEY) -> bytes:
    """What an honest supervisor sends."""
    mac = hashlib.blake2b(key=key, digest_size=32)
    sent = b"".join(frame(*each) for each in frames)
    head = struct.pack(">cI", b"Z", len(report) + 32)
    mac.update(sent + head + report)
    return sent + head + report + mac.digest()


def soon() -> float:
    return time.monotonic() + 20


def exchanged(pieces: list[bytes], cap: int = 1 << 20, payload: bytes = b"") -> Streams:
    """What comes of these pieces, each sent by itself, followed by a close."""
    ours, theirs = socket.socketpair()
    with ours:
        sender = threading.Thread(target=lambda: ([theirs.sendall(piece) for piece in pieces], theirs.close()))
        sender.start()
        channel = Channel(ours)
        channel.key(KEY)
        streams = channel.exchange(payload, cap=cap, until=soon())
        ours.close()
        sender.join()
    return streams


@given(
    st.lists(st.tuples(st.sampled_from([b"o", b"e"]), st.binary(max_size=300)), max_size=8),
    st.lists(st.integers(1, 50), min_size=1, max_size=20),
    st.integers(1, 60),
)
def test_streams_come_apart_however_they_are_cut(
    frames: list[tuple[bytes, bytes]], sizes: list[int], inner: int
) -> None:
    whole = signed(frames)
    wire = b"".join(docker(whole[at : at + inner]) for at in range(0, len(whole), inner))
    pieces, start, number = [], 0, 0
    while start < len(wire):
        size = sizes[number % len(sizes)]
        pieces.append(wire[start : start + size])
        start, number = start + size, number + 1
    streams = exchanged(pieces)
    assert streams.end is End.REPORTED
    assert bytes(streams.stdout) == b"".join(data for kind, data in frames if kind == b"o")
    assert bytes(streams.stderr) == b"".join(data for kind, data in frames if kind == b"e")


def test_a_report_and_files_and_a_value_are_read() -> None:
    frames = [(b"v", b"42"), (b"A", b"a.csv"), (b"D", b"x,"), (b"D", b"y"), (b"A", b"empty")]
    streams = exchanged([docker(signed(frames))])
    assert streams.value == b"42"
    assert streams.outputs.artifacts() == (
        Artifact("a.csv", "text/csv", b"x,y"),
        Artifact("empty", "application/octet-stream", b""),
    )
    report = streams.report
    assert report is not None
    assert (report.ended, report.exit_code, report.oom_kills, report.peak_bytes, report.cpu_ns) == (True, 3, 0, 7, 5)
    assert report.left_out == ("x: not a plain file",)


@given(st.integers(0, 300), st.integers(1, 255))
def test_c140_one_changed_byte_and_there_is_no_report(place: int, change: int) -> None:
    wire = bytearray(signed([(b"o", b"hello"), (b"v", b"1"), (b"A", b"name"), (b"D", b"data")]))
    wire[place % len(wire)] ^= change
    streams = exchanged([docker(bytes(wire))])
    assert streams.report is None
    assert streams.end in {End.SPOILED, End.CLOSED}


@pytest.mark.parametrize(
    "spoiled",
    [
        signed([(b"o", b"x")], key=b"g" * 32),
        frame(b"o", b"put in") + signed([(b"o", b"x")]),
        signed([(b"o", b"stolen")])[11:],
        frame(b"Z", REPORT + bytes(32)),
        frame(b"Z", b"short"),
        frame(b"?", b""),
        b"o\xff\xff\xff\xff",
        frame(b"D", b"of no file"),
        frame(b"A", b"../x"),
        frame(b"A", b"\xff"),
        frame(b"A", b"a") + frame(b"A", b"a"),
        b"".join(frame(b"A", b"f%d" % number) for number in range(33)),
        frame(b"A", b"bomb") + frame(b"D", bytes(1 << 16)) * 257,
        signed([], report=b"nonsense"),
        signed([], report=b"ended 1\nexit x\noom 0\npeak_bytes 0\ncpu_ns 0"),
    ],
    ids=["key", "added", "removed", "mac", "short", "kind", "length", "loose", "path", "bytes", "twice", "many", "bomb",
         "words", "number"],
)  # fmt: skip
def test_c107_c140_what_no_supervisor_sends_ends_the_exchange(spoiled: bytes) -> None:
    streams = exchanged([docker(spoiled[at : at + 60000]) for at in range(0, len(spoiled), 60000)])
    assert streams.report is None
    assert streams.end is End.SPOILED


def test_a_report_before_the_key_is_none(pair: Pair) -> None:
    pair[1].sendall(docker(signed([], key=bytes(32))))
    streams = Channel(pair[0]).exchange(b"", cap=10, until=soon())
    assert (streams.end, streams.report) == (End.SPOILED, None)


def test_a_session_goes_on_under_one_mac(pair: Pair) -> None:
    ours, theirs = pair
    mac = hashlib.blake2b(key=KEY, digest_size=32)
    channel = Channel(ours)
    channel.key(KEY)
    for number in range(3):
        head = struct.pack(">cI", b"Z", len(REPORT) + 32)
        body = frame(b"o", b"%d" % number) + head + REPORT
        mac.update(body)
        theirs.sendall(docker(body + mac.copy().digest()))
        streams = channel.exchange(b"next", cap=10, until=soon())
        assert (streams.end, bytes(streams.stdout)) == (End.REPORTED, b"%d" % number)
    theirs.sendall(docker(body + mac.digest()))  # played again
    assert channel.exchange(b"next", cap=10, until=soon()).end is End.SPOILED


def test_readiness_is_told_before_the_key(pair: Pair) -> None:
    pair[1].sendall(docker(frame(b"r", b"")))
    channel = Channel(pair[0])
    assert not channel.silent()
    assert channel.exchange(b"", cap=10, until=soon(), to_ready=True).ready
    assert channel.silent()
    channel.key(KEY)
    pair[1].sendall(docker(frame(b"r", b"")))
    assert channel.exchange(b"", cap=10, until=soon()).end is End.SPOILED


def test_the_other_side_is_seen_to_have_gone(pair: Pair) -> None:
    channel = Channel(pair[0])
    assert channel.silent()
    pair[1].close()
    assert not channel.silent()


@pytest.mark.parametrize(("size", "end"), [(99, End.CLOSED), (100, End.CLOSED), (101, End.CAPPED)])
def test_the_cap_counts_every_stream_to_the_byte(size: int, end: End) -> None:
    wire = [docker(frame(b"o", b"o" * 40) + frame(b"e", b"e" * 20)), docker(b"r" * (size - 60), 2)]
    streams = exchanged(wire, cap=100)
    assert streams.end is end
    assert len(streams.stdout) + len(streams.stderr) == min(size, 100)


def test_silence_ends_at_the_deadline(pair: Pair) -> None:
    assert Channel(pair[0]).exchange(b"", cap=10, until=time.monotonic() + 0.1).end is End.DEADLINE


def test_a_side_that_never_reads_ends_at_the_deadline(pair: Pair) -> None:
    streams = Channel(pair[0]).exchange(b"x" * (1 << 24), cap=10, until=time.monotonic() + 0.1)
    assert streams.end is End.DEADLINE
    assert 0 < streams.sent < 1 << 24


def test_cancellation_is_seen(pair: Pair) -> None:
    cancel = threading.Event()
    cancel.set()
    assert Channel(pair[0]).exchange(b"", cap=10, until=soon(), cancel=cancel).end is End.CANCELLED


def test_output_before_input_does_not_block_either_side(pair: Pair) -> None:
    """Both sides have more to send than the socket holds."""
    ours, theirs = pair
    got = bytearray()
    frames = [(b"o", b"o" * (1 << 16))] * 64

    def program() -> None:
        whole = signed(frames)
        theirs.sendall(docker(whole[:-10]))
        while len(got) < 1 << 22:
            got.extend(theirs.recv(1 << 16))
        theirs.sendall(docker(whole[-10:]))

    other = threading.Thread(target=program)
    other.start()
    channel = Channel(ours)
    channel.key(KEY)
    streams = channel.exchange(b"i" * (1 << 22), cap=1 << 23, until=soon())
    other.join()
    assert streams.end is End.REPORTED
    assert len(streams.stdout) == len(got) == streams.sent == 1 << 22


def test_a_reader_that_leaves_early_still_has_its_output_drained(pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(docker(frame(b"o", b"said before leaving")))
    theirs.shutdown(socket.SHUT_RD)
    leave = threading.Timer(0.2, theirs.close)
    leave.start()
    streams = Channel(ours).exchange(b"x" * (1 << 24), cap=1000, until=soon())
    leave.join()
    assert streams.end is End.CLOSED
    assert bytes(streams.stdout) == b"said before leaving"
    assert streams.sent < 1 << 24
