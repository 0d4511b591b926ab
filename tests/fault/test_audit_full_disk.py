"""C142: on a real full disk, a call that was let run can still be accounted for."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.audit.errors import NotRecorded
from gateway.audit.log import AuditLog
from gateway.audit.origin import load_signer
from tests.fakes.audit_desk import Desk, body, repaired
from tests.fakes.files import FaultyFiles


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        if os.environ.get("CI") == "true" and os.geteuid() == 0:
            pytest.fail(f"no small file system: {done.stderr}")
        pytest.skip(f"mounting a small file system needs root: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def _open(desk: Desk, audit: Path, files: FaultyFiles | None = None) -> AuditLog:
    desk.audit = audit
    return AuditLog(
        audit, desk.checkpoints, load_signer("gw", desk.keys, desk.trust), desk.clock, report=repaired, files=files
    )


def _fill(folder: Path) -> None:
    """Another program takes all the disk that is left."""
    with pytest.raises(OSError, match="No space"), (folder / "filler").open("wb", buffering=0) as file:  # noqa: PT012
        while True:
            file.write(b"x" * 4096)


def test_c142_every_reserved_outcome_fits_on_a_full_disk(tmp_path: Path, small: Path) -> None:
    desk = Desk(tmp_path)
    with _open(desk, small) as log:
        promises = [log.reserve(3000) for _ in range(60)]
        for number in range(60):
            log.append(body(intent=number))
        _fill(small)
        with pytest.raises(NotRecorded, match="No space"):
            log.reserve(1 << 20)
        refused = 0
        for number in range(1000):
            try:
                log.append(body(intent=number, pad="x" * 2000))
            except NotRecorded:
                refused += 1
        assert refused, "the disk was not full"
        size = log.size
        for number, promise in enumerate(promises):
            log.append(body(outcome=number, pad="x" * 2900), promise)
        assert log.size == size + 60
    outcomes = [record["outcome"] for record in desk.records() if "outcome" in record]
    assert outcomes == list(range(60))


def test_c142_no_intent_is_admitted_into_the_space_of_an_outcome(tmp_path: Path, small: Path) -> None:
    desk = Desk(tmp_path)
    admitted = 0
    with _open(desk, small) as log:
        with (small / "filler").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 700_000)
        promises = []
        for number in range(10_000):
            try:
                promise = log.reserve(4000)
                log.append(body(intent=number))
            except NotRecorded:
                break
            promises.append(promise)
            admitted += 1
        assert 10 < admitted < 10_000
        for promise in promises:
            log.append(body(outcome=1, pad="x" * 3900), promise)
    assert len([record for record in desk.records() if "outcome" in record]) == admitted


def test_c142_promises_outlive_a_failed_write(tmp_path: Path, small: Path) -> None:
    desk, files = Desk(tmp_path), FaultyFiles()
    with _open(desk, small, files) as log:
        promises = [log.reserve(3000) for _ in range(60)]
        files.arm("fdatasync")
        with pytest.raises(NotRecorded):
            log.append(body(intent="lost"))
        files.heal()
        log.append(body(intent=1))
        _fill(small)
        for number, promise in enumerate(promises):
            log.append(body(outcome=number, pad="x" * 2900), promise)
    assert len([record for record in desk.records() if "outcome" in record]) == 60


def test_c142_space_given_back_is_used_again(tmp_path: Path, small: Path) -> None:
    desk = Desk(tmp_path)
    with _open(desk, small) as log:
        for number in range(200):
            with log.reserve(500_000):
                log.append(body(intent=number))
    with pytest.raises(NotRecorded), _open(desk, small) as log:  # noqa: PT012
        log.reserve(600_000)
        log.reserve(600_000)
    assert desk.verify().ok


def test_reserving_leaves_the_size_of_the_file_alone_and_closing_gives_the_rest_back(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with desk.open() as log:
        log.append(body())
        log.reserve(3 << 20)
        status = desk.segment.stat()
        assert status.st_size == len(desk.lines()[0]) + 1
        assert status.st_blocks * 512 >= 3 << 20
    assert desk.segment.stat().st_blocks * 512 < 1 << 20


def test_c142_file_system_that_cannot_reserve_is_refused_at_the_start(tmp_path: Path) -> None:
    desk, files = Desk(tmp_path), FaultyFiles()
    files.arm("reserve", errno.EOPNOTSUPP)
    with pytest.raises(NotRecorded, match="not supported"):
        desk.open(files)
    desk.open().close()
