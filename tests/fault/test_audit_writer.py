"""The log's writer when the disk fails (C111, C112, C117), its origin is taken (C118), or it is forked (C090)."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.audit.errors import ForkedWriter, LogDamaged, NotRecorded, OriginBusy
from tests.fakes.audit_desk import Desk, body
from tests.fakes.files import FaultyFiles

FAULTS = [("write", errno.ENOSPC), ("write", errno.EIO), ("fdatasync", errno.EIO), ("fdatasync", errno.ENOSPC)]


@pytest.mark.parametrize(("method", "code"), FAULTS)
@pytest.mark.parametrize("lands", [0, 1, 40, 100_000])
def test_c111_failed_batch_is_not_recorded_and_never_retried_on_its_descriptor(
    tmp_path: Path, method: str, code: int, lands: int
) -> None:
    desk, files = Desk(tmp_path), FaultyFiles()
    with desk.open(files) as log:
        log.append(body(n=0))
        files.lands = lands
        files.arm(method, code)
        with pytest.raises(NotRecorded, match=os.strerror(code)):
            log.append(body(n="lost"))
        assert log.fault is not None
        assert len(files.descriptors) == 1
        files.heal()
        assert log.append(body(n=1)).seq == log.size - 1
        assert len(files.descriptors) == 2
        assert log.fault is None
    left = [record["n"] for record in desk.records() if "n" in record]
    assert left == [0, 1]
    landed = method == "fdatasync" or lands > 0
    assert len(desk.place.torn()) == landed
    assert [record["at"] for record in desk.records() if "repaired" in record] == [1] * landed
    assert desk.verify().ok


def test_c111_short_write_is_an_error(tmp_path: Path) -> None:
    desk, files = Desk(tmp_path), FaultyFiles()
    with desk.open(files) as log:
        files.short = True
        with pytest.raises(NotRecorded, match="short write"):
            log.append(body())
        files.heal()
        log.append(body())
    assert desk.verify().ok


@pytest.mark.parametrize("method", ["open_append", "reserve", "truncate", "patch", "fdatasync", "replace"])
def test_c112_nothing_is_recorded_until_the_disk_is_proved_again(tmp_path: Path, method: str) -> None:
    desk, files = Desk(tmp_path), FaultyFiles()
    with desk.open(files) as log:
        log.append(body(n=0))
        files.lands = 10
        files.arm("write")
        files.arm(method)
        for _ in range(3):
            with pytest.raises(NotRecorded):
                log.append(body(n="lost"))
        files.heal()
        log.append(body(n=1))
    assert [record["n"] for record in desk.records() if "n" in record] == [0, 1]
    assert desk.verify().ok
    assert [record["at"] for record in desk.records() if "repaired" in record]


def test_c111_whole_queue_behind_a_failing_batch_is_denied(tmp_path: Path) -> None:
    desk, files = Desk(tmp_path), FaultyFiles()
    denied = threading.Barrier(9)
    errors: list[BaseException] = []

    def attempt() -> None:
        denied.wait()
        try:
            log.append(body(n="lost"))
        except NotRecorded as error:
            errors.append(error)

    with desk.open(files) as log:
        files.arm("fdatasync")
        threads = [threading.Thread(target=attempt) for _ in range(8)]
        for thread in threads:
            thread.start()
        denied.wait()
        for thread in threads:
            thread.join()

        async def awaited() -> list[object]:
            return await asyncio.gather(*(log.append_async(body()) for _ in range(20)), return_exceptions=True)

        errors += [each for each in asyncio.run(awaited()) if isinstance(each, NotRecorded)]
        assert len(errors) == 28
        assert len({id(error) for error in errors}) == 28
        files.heal()
        log.append(body(n="kept"))
    assert [record["n"] for record in desk.records() if "n" in record] == ["kept"]
    assert desk.verify().ok


def test_checkpoint_that_cannot_be_signed_stops_calls_but_not_promised_outcomes(tmp_path: Path) -> None:
    desk, files = Desk(tmp_path), FaultyFiles()
    with desk.open(files, every=3) as log:
        promise = log.reserve(500)
        files.arm("replace", errno.ENOSPC)
        for number in range(3):
            log.append(body(n=number))
        with pytest.raises(NotRecorded, match="No space"):
            log.append(body(n="refused"))
        assert log.append(body(n="outcome"), promise).seq == 3
        assert log.fault is not None
        files.heal()
        log.append(body(n="after"))
        assert log.fault is None
    assert [record["n"] for record in desk.records()] == [0, 1, 2, "outcome", "after"]
    assert desk.verify().ok


def test_close_that_cannot_sign_says_so_and_lets_the_origin_go(tmp_path: Path) -> None:
    desk, files = Desk(tmp_path), FaultyFiles()
    log = desk.open(files)
    log.append(body())
    files.arm("replace")
    with pytest.raises(NotRecorded, match="Input/output"):
        log.close()
    with desk.open() as again:
        assert again.size == 1


def test_acknowledged_records_gone_while_open_stop_the_log(tmp_path: Path) -> None:
    desk, files = Desk(tmp_path), FaultyFiles()
    log = desk.open(files)
    for number in range(3):
        log.append(body(n=number))
    desk.put(desk.lines()[:2])
    files.arm("write")
    with pytest.raises(NotRecorded):
        log.append(body())
    files.heal()
    with pytest.raises(NotRecorded, match="gone or changed"):
        log.append(body())
    with pytest.raises(NotRecorded):
        log.close()


@pytest.mark.parametrize("torn", [b'{"seq":5,"ori', b"\x00" * 700, b"\x00\x00\n{}\n", b"x" * (5 << 20)])
def test_c117_torn_last_line_is_set_aside_and_reported_never_a_new_genesis(tmp_path: Path, torn: bytes) -> None:
    desk = Desk(tmp_path)
    lines = desk.filled(5)
    desk.put(lines, torn)
    assert not desk.verify().ok
    with desk.open() as log:
        assert [(aside.seq, aside.size) for aside in log.quarantined] == [(5, len(torn))]
        assert log.append(body()).seq == 6
    assert desk.lines()[:5] == lines
    assert desk.records()[5]["repaired"] == desk.place.torn()[0].name
    assert desk.place.torn()[0].read_bytes() == torn
    assert desk.verify().ok


def test_c117_log_with_only_a_torn_line_goes_on_from_its_signed_start(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.open().close()
    desk.segment.write_bytes(b'{"seq":0,"or')
    with desk.open() as log:
        assert log.size == 1
    assert desk.verify().ok


def _cut_line(desk: Desk) -> None:
    desk.put(desk.lines()[:4], desk.lines()[4][:20])


def _cut(desk: Desk) -> None:
    desk.put(desk.lines()[:4])


def _edit(desk: Desk) -> None:
    desk.segment.write_bytes(desk.segment.read_bytes().replace(b'"n":2', b'"n":7'))


def _no_log(desk: Desk) -> None:
    desk.segment.unlink()
    desk.leaves.unlink()


def _no_checkpoint(desk: Desk) -> None:
    desk.checkpoint.unlink()


def _foreign_checkpoint(desk: Desk) -> None:
    desk.checkpoint.write_bytes(desk.checkpoint.read_bytes().replace(b"\n5\n", b"\n4\n"))


def _foreign_line(desk: Desk) -> None:
    with desk.segment.open("ab") as file:
        file.write(b'{"seq":5,"origin":"other","time":"2027-01-15T08:00:00.000000Z","mono_ns":1}\n')


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_cut, "4 records are left of the 5"),
        (_cut_line, "record 4: a broken line"),
        (_edit, "not the ones that were signed"),
        (_no_log, "0 records are left of the 5"),
        (_no_checkpoint, "missing"),
        (_foreign_checkpoint, "does not verify"),
        (_foreign_line, "record 5: a line that is not this record"),
    ],
)
def test_c114_damaged_log_is_not_opened_and_not_touched(
    tmp_path: Path, damage: Callable[[Desk], None], said: str
) -> None:
    desk = Desk(tmp_path)
    desk.filled(5)
    damage(desk)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock"}
    with pytest.raises(LogDamaged, match=said):
        desk.open()
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock"}
    assert before == after


def test_lost_leaves_are_rebuilt(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.filled(5)
    stored = desk.leaves.read_bytes()
    desk.leaves.write_bytes(b"\x01" + stored[1:90])
    assert desk.report().ok
    assert desk.report().warnings
    with desk.open() as log:
        log.append(body())
    assert desk.leaves.read_bytes()[:-32] == stored
    assert desk.report().warnings == ()


def test_c118_second_gateway_is_told_who_holds_the_origin(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with desk.open() as log:
        with pytest.raises(OriginBusy, match=f"process {os.getpid()}"):
            desk.open()
        log.append(body())
    desk.open().close()
    assert desk.verify().ok


def test_c090_forked_child_has_no_key_no_descriptor_and_cannot_append(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with desk.open() as log:
        log.append(body(n=0))
        asyncio.run(log.append_async(body(n=1)))
        read, write = os.pipe()
        child = os.fork()
        if child == 0:  # pragma: no cover -- another process
            said = []
            for attempt in (lambda: log.append(body()), lambda: log.reserve(9), log.checkpoint,
                            lambda: asyncio.run(log.append_async(body()))):  # fmt: skip
                try:
                    attempt()
                    said.append("appended")
                except ForkedWriter:
                    said.append("refused")
            open_files = {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}
            said.append("leak" if any(name.startswith(str(desk.audit)) for name in open_files) else "clean")
            said.append("key" if log._store._signer is not None else "none")
            log.close()
            os.write(write, " ".join(said).encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            assert pipe.read() == b"refused refused refused refused clean none"
        os.waitpid(child, 0)
        with pytest.raises(OriginBusy):
            desk.open()
        log.append(body(n=2))
    assert desk.verify().ok
    assert len(desk.lines()) == 3


def test_c090_a_child_that_outlives_its_parent_does_not_keep_the_origin(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    log = desk.open()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover -- another process
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    log.close()
    desk.open().close()
    os.close(write)
    os.waitpid(child, 0)


def test_c090_a_copied_lock_descriptor_does_not_keep_the_origin(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    log = desk.open()
    lock = next(
        fd for fd in os.listdir("/proc/self/fd") if os.path.realpath(f"/proc/self/fd/{fd}") == str(desk.place.lock)
    )
    copy = os.dup(int(lock))  # as in a child between fork and exec, where no hook runs
    log.close()
    desk.open().close()
    os.close(copy)


def test_c090_started_programs_inherit_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with desk.open() as log:
        log.append(body())
        listing = subprocess.run(
            [sys.executable, "-c", "import os; print([os.path.realpath(f'/proc/self/fd/{n}') for n in range(3, 64)])"],
            capture_output=True, text=True, check=True, close_fds=False,
        )  # fmt: skip
    assert str(desk.audit) not in listing.stdout


def test_interrupted_leader_denies_and_the_next_append_goes_on(tmp_path: Path) -> None:
    desk, files = Desk(tmp_path), FaultyFiles()
    with desk.open(files) as log:
        real = files.fdatasync

        def interrupted(descriptor: int) -> None:
            raise KeyboardInterrupt

        files.fdatasync = interrupted  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            log.append(body(n="lost"))
        files.fdatasync = real  # type: ignore[method-assign]
        log.append(body(n=1))
    assert [record["n"] for record in desk.records() if "n" in record] == [1]
    assert desk.verify().ok


def test_process_exit_signs(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    program = (
        "import sys; from pathlib import Path; from tests.fakes.audit_desk import Desk, body\n"
        "import tests.fakes.audit_desk as d; d.enroll = lambda *a: None\n"
        "log = Desk(Path(sys.argv[1])).open(); log.append(body(n=1))\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    assert desk.report().ok
    assert desk.report().covered == 1
