"""SIGKILL at every step of the writer and at random moments (C073, C123, the log's part).

What was acknowledged is there and verifies, by two verifiers; the next start goes on; rotation is among the steps.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.audit.files import OsFiles
from gateway.audit.log import AuditLog
from tests.conformance.verify_log import verify_origin
from tests.fakes.audit_desk import Desk, body

EVERY, ROTATE_BYTES = 4, 1500
STEPS = ("open_append", "write", "fdatasync", "truncate", "reserve", "close", "patch", "replace")

WRITER = """
import sys, threading
from pathlib import Path
import tests.fakes.audit_desk as desk
desk.enroll = lambda *_: None
log = desk.Desk(Path(sys.argv[1])).open(every=4, rotate_bytes=1500, seconds=0.02)
def work(name):
    while True:
        position = log.append(desk.body(who=name, pad="x" * 300))
        sys.stdout.write(f"{position.seq} {position.leaf_hash.hex()}\\n")
        sys.stdout.flush()
for name in range(3):
    threading.Thread(target=work, args=(name,)).start()
"""


class Dying:
    """The real disk, until the `at`-th operation: then SIGKILL, before it, halfway through it or after it."""

    def __init__(self, at: int, when: str) -> None:
        self._real = OsFiles()
        self._left = at
        self._when = when

    def __getattr__(self, name: str) -> object:
        real = getattr(self._real, name)
        if name not in STEPS:
            return real

        def step(*args: object, **more: object) -> object:
            self._left -= 1
            if self._left:
                return real(*args, **more)
            if self._when == "during" and name == "write":
                data = args[1]
                assert isinstance(data, bytes)
                real(args[0], data[: len(data) // 2])
            elif self._when == "during" and name == "replace":
                path = args[0]
                assert isinstance(path, Path)
                path.with_name(f".{path.name}.tmp").write_bytes(b"half")
            elif self._when == "after":
                real(*args, **more)
            os.kill(os.getpid(), signal.SIGKILL)
            return None

        return step


def _write_until_death(desk: Desk, at: int, when: str) -> dict[int, str]:
    """Fork a writer that dies at its `at`-th step; what it acknowledged."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover -- another process
        try:
            os.close(read)
            log = AuditLog(
                desk.audit, desk.checkpoints, desk.signer(), desk.clock, report=desk.report_torn,
                files=Dying(at, when), cadence=desk.cadence(EVERY, rotate_bytes=ROTATE_BYTES),
            )  # fmt: skip
            for number in range(1000):
                with log.reserve(500) as room:
                    position = log.append(body(n=number, pad="x" * (number % 7) * 40), room)
                os.write(write, f"{position.seq} {position.leaf_hash.hex()}\n".encode())
        finally:
            os._exit(1)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        heard = pipe.read().decode().splitlines()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the writer ended before its step came"
    return {int(line.split()[0]): line.split()[1] for line in heard}


def _survives(base: Path, deaths: int, seed: int) -> None:
    """`deaths` writers on one log, one after the other: at each step in turn first, then wherever chance has it."""
    desk = Desk(base)
    acknowledged: dict[int, str] = {}
    chance = random.Random(seed)
    for death in range(deaths):
        at = death // 3 + 1 if death < deaths // 2 else chance.randrange(1, 150)
        for seq, leaf in _write_until_death(desk, at, ("before", "during", "after")[death % 3]).items():
            assert seq not in acknowledged
            acknowledged[seq] = leaf
        with desk.open(every=EVERY, rotate_bytes=ROTATE_BYTES) as log:
            assert log.size > max(acknowledged, default=-1)
        report = desk.report()
        assert report.ok, report
        assert report.covered == report.records
        assert verify_origin(desk.audit, desk.checkpoints, desk.trust, "gw").kind == "ok"
    stored = b"".join(path.read_bytes() for path in desk.place.leaf_files())
    for seq, leaf in acknowledged.items():
        assert stored[seq * 32 : seq * 32 + 32].hex() == leaf
    assert len(desk.place.segments()) > 3


def test_c073_c123_kill_at_every_step_of_the_writer(tmp_path: Path) -> None:
    _survives(tmp_path, 100, seed=7)


@pytest.mark.soak
def test_soak_kill_at_every_step_of_the_writer(tmp_path: Path) -> None:
    for turn in range(10):
        _survives(tmp_path / str(turn), 100, seed=turn)


def _run_and_kill(base: Path, after: int) -> list[tuple[int, str]]:
    """Start a writer, kill it once it has acknowledged `after` records (0: at once); what it acknowledged."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(base)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    heard = [writer.stdout.readline() for _ in range(after)]
    os.kill(writer.pid, signal.SIGKILL)
    heard += writer.stdout.read().splitlines(keepends=True)
    writer.stdout.close()
    writer.wait()
    pairs = [line.decode().split() for line in heard if line.endswith(b"\n")]
    return [(int(seq), leaf) for seq, leaf in pairs]


def test_c073_kill_at_random_moments_loses_nothing_acknowledged(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    acknowledged: dict[int, str] = {}
    moments = random.Random(7)  # the kernel's scheduling adds the real randomness
    for _ in range(12):
        for seq, leaf in _run_and_kill(tmp_path, moments.randrange(40)):
            assert seq not in acknowledged
            acknowledged[seq] = leaf
        with desk.open() as log:
            size = log.size
        report = desk.report()
        assert report.ok, report
        assert report.covered == report.records == size
        assert verify_origin(desk.audit, desk.checkpoints, desk.trust, "gw").kind == "ok"
    assert acknowledged
    stored = b"".join(path.read_bytes() for path in desk.place.leaf_files())
    for seq, leaf in acknowledged.items():
        assert stored[seq * 32 : seq * 32 + 32].hex() == leaf


@pytest.mark.soak
def test_soak_many_kills(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for moment in range(300):
        _run_and_kill(tmp_path, moment % 30)
        desk.open().close()
        assert desk.verify().ok
