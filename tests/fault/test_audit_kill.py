"""SIGKILL at a random moment of the writer (C073, the log's part): what was acknowledged is there and verifies."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.verify_log import verify_origin
from tests.fakes.audit_desk import Desk

WRITER = """
import sys, threading
from pathlib import Path
import tests.fakes.audit_desk as desk
desk.enroll = lambda *_: None
log = desk.Desk(Path(sys.argv[1])).open(every=4)
def work(name):
    while True:
        position = log.append(desk.body(who=name, pad="x" * 300))
        sys.stdout.write(f"{position.seq} {position.leaf_hash.hex()}\\n")
        sys.stdout.flush()
for name in range(3):
    threading.Thread(target=work, args=(name,)).start()
"""


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
    for _ in range(20):
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
    stored = desk.leaves.read_bytes()
    for seq, leaf in acknowledged.items():
        assert stored[seq * 32 : seq * 32 + 32].hex() == leaf


@pytest.mark.soak
def test_soak_many_kills(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for moment in range(300):
        _run_and_kill(tmp_path, moment % 30)
        desk.open().close()
        assert desk.verify().ok
