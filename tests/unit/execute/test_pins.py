"""The lock that chooses the image is believed only where nobody else could have written it (C035, C103)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gateway.execute.pins import MOST_BYTES, pinned_image
from sandbox import ImageNotPinned
from sandbox.image import lock

IMAGE_ID = "sha256:" + "a" * 64


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "above" / "cache"
    monkeypatch.setenv("TOOLGATE_SANDBOX_CACHE", str(folder))
    lock.pin(folder / lock.LOCK_NAME, "python", IMAGE_ID)
    return folder / lock.LOCK_NAME


def refused() -> str:
    with pytest.raises(ImageNotPinned) as caught:
        pinned_image("python")
    return str(caught.value)


def test_what_the_build_writes_is_believed(file: Path) -> None:
    assert pinned_image("python") == IMAGE_ID


@pytest.mark.parametrize("place", ["sandbox-image.lock", ".", ".."])
def test_c035_a_lock_that_others_could_write_or_replace_is_not_believed(file: Path, place: str) -> None:
    open_one = file.parent / place
    open_one.chmod(stat.S_IMODE(open_one.stat().st_mode) | stat.S_IWOTH)
    assert "can be written by anybody. Run: chmod o-w" in refused()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_c035_a_lock_of_somebody_else_is_not_believed(file: Path) -> None:
    os.chown(file, 12345, -1)
    assert "belongs to the user with id 12345. Give it to root or to the owner of its folder" in refused()


def test_c035_a_lock_elsewhere_is_not_followed(file: Path, tmp_path: Path) -> None:
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert "a symbolic link leads out of the folder" in refused()


def test_c103_no_lock_no_folder_and_no_text_are_no_pin(file: Path) -> None:
    file.write_bytes(b" " * MOST_BYTES + b"{}")
    assert "unreadable lock file" in refused()
    file.unlink()
    assert "no lock file" in refused()
    file.parent.rmdir()
    assert "python -m sandbox.image.build" in refused()
