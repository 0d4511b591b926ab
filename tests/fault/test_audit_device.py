"""C111 on a real device: its end is cut off under a mounted ext4, so that the kernel itself answers EIO."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.audit.errors import NotRecorded
from gateway.audit.log import AuditLog
from tests.conformance.verify_log import verify_origin
from tests.fakes.audit_desk import Desk, body, repaired

SIZE = 16 << 20


def _run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


class Device:
    """A loop device over a file, with ext4 on it, mounted at `folder`."""

    def __init__(self, base: Path) -> None:
        self._disk = base / "disk"
        self.folder = base / "mounted"
        self.folder.mkdir()
        with self._disk.open("wb") as file:
            file.truncate(16 << 20)
        _run("mkfs.ext4", "-q", "-F", str(self._disk))
        self._name = ""
        self._mount()

    def _mount(self) -> None:
        self._name = _run("losetup", "--show", "-f", str(self._disk))
        try:
            _run("mount", self._name, str(self.folder))
        except subprocess.CalledProcessError:
            _run("losetup", "-d", self._name)
            raise

    def fail(self) -> None:
        """From here on nothing reaches the disk, and the kernel says so."""
        self._kept = self._disk.read_bytes()
        os.truncate(self._disk, 4096)
        _run("losetup", "-c", self._name)

    def mend(self) -> None:
        """As an operator would: what the disk held is copied to another one, checked, and mounted in its place."""
        self.close()
        self._disk = self._disk.with_name("another-disk")
        self._disk.write_bytes(self._kept)
        checked = subprocess.run(["e2fsck", "-f", "-y", str(self._disk)], check=False, capture_output=True)
        assert checked.returncode in (0, 1), checked.stdout  # 1: something was corrected
        self._mount()

    def close(self) -> None:
        _run("umount", "--lazy", str(self.folder))  # a test that failed may have left a file open in it
        _run("losetup", "-d", self._name)  # once nobody uses it any more


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    if os.geteuid() != 0:
        pytest.skip("loop devices need root")
    try:
        made = Device(tmp_path)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no loop device with ext4 here: {error}")
    yield made
    made.close()


def test_c111_nothing_is_acknowledged_on_a_device_that_fails(tmp_path: Path, device: Device) -> None:
    desk = Desk(tmp_path)
    desk.audit = device.folder / "audit"

    def opened() -> AuditLog:
        return AuditLog(desk.audit, desk.checkpoints, desk.signer(), desk.clock, report=repaired)

    log = opened()
    promise = log.reserve(1000)
    for number in range(3):
        log.append(body(n=number))
    log.checkpoint()
    device.fail()
    with pytest.raises(NotRecorded, match="Input/output error"):
        log.append(body(n="lost"))
    for _ in range(3):
        with pytest.raises(NotRecorded):
            log.append(body(n="lost"))
    with pytest.raises(NotRecorded):
        log.append(body(n="lost"), promise)  # its room was kept; its device is gone
    assert promise.held
    with pytest.raises(NotRecorded):
        log.close()
    device.mend()
    with opened() as again:
        assert again.append(body(n="after")).seq == again.size - 1
    found = [record["n"] for record in desk.records() if "n" in record]
    assert found[:3] == [0, 1, 2]
    assert found[-1] == "after"
    assert "lost" not in found
    assert desk.report().ok
    assert verify_origin(desk.audit, desk.checkpoints, desk.trust, "gw").kind == "ok"
