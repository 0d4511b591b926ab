"""A disk that lies, hands that pull a segment away, faults beside a rotation, racing processes (C111, C118, C123)."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.audit.errors import LogDamaged, NotRecorded
from gateway.audit.files import OsFiles
from tests.fakes.audit_desk import Desk, body
from tests.fakes.files import FaultyFiles


def _pull_away(desk: Desk, how: str) -> None:
    segment = desk.segment
    match how:
        case "unlink":
            segment.unlink()
        case "rename":
            segment.rename(segment.with_suffix(".old"))
        case "replace":
            segment.with_suffix(".new").write_bytes(segment.read_bytes())
            segment.with_suffix(".new").replace(segment)
        case "copytruncate":
            segment.with_suffix(".old").write_bytes(segment.read_bytes())
            os.truncate(segment, 0)
        case "cut":
            os.truncate(segment, segment.stat().st_size - 1)
        case "append":
            with segment.open("ab") as file:
                file.write(b"{}\n")


@pytest.mark.parametrize("how", ["unlink", "rename", "replace", "copytruncate", "cut", "append"])
def test_c123_segment_pulled_away_is_noticed_at_the_next_checkpoint(tmp_path: Path, how: str) -> None:
    desk = Desk(tmp_path)
    log = desk.open()
    for number in range(3):
        log.append(body(n=number))
    _pull_away(desk, how)
    with pytest.raises(NotRecorded, match="changed by somebody else"):
        log.checkpoint()
    with pytest.raises(NotRecorded):
        log.close()


@pytest.mark.parametrize("how", ["copytruncate", "cut"])
def test_c123_segment_cut_under_the_writer_is_noticed_before_the_next_record_is_acknowledged(
    tmp_path: Path, how: str
) -> None:
    desk = Desk(tmp_path)
    log = desk.open()
    for number in range(3):
        log.append(body(n=number))
    _pull_away(desk, how)
    for _ in range(3):
        with pytest.raises(NotRecorded, match=r"changed by somebody else|gone or changed|not this record|broken"):
            log.append(body(n="after"))
    with pytest.raises(NotRecorded):
        log.close()
    assert b'"after"' not in b"".join(path.read_bytes() for path in desk.place.segments()) or not desk.verify().ok


def test_c123_lines_somebody_else_wrote_are_set_aside_before_the_next_record(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with desk.open() as log:
        log.append(body(n=0))
        _pull_away(desk, "append")
        with pytest.raises(NotRecorded, match="changed by somebody else"):
            log.append(body(n="denied"))
        log.append(body(n=1))
    assert [record["n"] for record in desk.records() if "n" in record] == [0, 1]
    assert desk.place.torn()[0].read_bytes().startswith(b"{}\n")
    assert desk.verify().ok


class Lying(OsFiles):
    """A disk that says it has synced and keeps the bytes in a cache; `lose_power` shows what it really had."""

    def __init__(self) -> None:
        self.durable: dict[str, int] = {}

    def fdatasync(self, descriptor: int) -> None:
        """It has not."""

    def lose_power(self, segment: Path) -> None:
        os.truncate(segment, self.durable.get(segment.name, 0))


@pytest.mark.parametrize("signed", [True, False], ids=["under a checkpoint", "after it"])
def test_c111_what_a_lying_disk_lost_shows_as_far_as_the_checkpoint_reaches(tmp_path: Path, signed: bool) -> None:
    desk, files = Desk(tmp_path), Lying()
    log = desk.open(files)
    for number in range(5):
        log.append(body(n=number))
    if signed:
        log.checkpoint()
    log._store.drop()  # the process is gone with the power
    log._keeper.close(0)
    files.lose_power(desk.segment)
    if signed:
        assert desk.report().damage[0].kind == "truncated"
        with pytest.raises(LogDamaged, match="0 records are left of the 5"):
            desk.open()
    else:  # the limit that docs/audit-format.md states: nothing signed says they were there
        assert desk.report().ok
        desk.open().close()


def test_c118_two_processes_that_race_for_one_origin(tmp_path: Path) -> None:
    Desk(tmp_path)
    program = (
        "import sys; from pathlib import Path; from tests.fakes.audit_desk import Desk, body\n"
        "import tests.fakes.audit_desk as d; d.enroll = lambda *a: None\n"
        "from gateway.audit.errors import OriginBusy\n"
        "try:\n    log = Desk(Path(sys.argv[1])).open()\n"
        "except OriginBusy:\n    print('busy', flush=True)\n"
        "else:\n    print('held', flush=True); sys.stdin.read(); log.append(body(n=1)); log.close()\n"
    )
    racers = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    said = [racer.stdout.readline() for racer in racers if racer.stdout is not None]
    for racer in racers:
        racer.communicate()
    assert sorted(said) == [b"busy\n"] * 3 + [b"held\n"]


@pytest.mark.parametrize(("method", "code"), [("write", errno.EIO), ("fdatasync", errno.EIO), ("replace", errno.EIO)])
def test_c111_a_fault_right_after_a_new_segment_was_begun(tmp_path: Path, method: str, code: int) -> None:
    desk, files = Desk(tmp_path), FaultyFiles()
    with desk.open(files, every=4, rotate_bytes=1) as log:
        for number in range(4):
            log.append(body(n=number))
        assert len(desk.place.segments()) == 2
        files.lands = 10
        files.arm(method, code)
        if method == "replace":
            for number in range(4, 8):
                log.append(body(n=number))
        with pytest.raises(NotRecorded):
            log.append(body(n="lost"))
        files.heal()
        for number in range(8, 20):
            log.append(body(n=number))
    assert "lost" not in [record.get("n") for record in desk.records()]
    assert desk.verify().ok
