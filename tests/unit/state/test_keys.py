"""Keys: private or refused, old ones stay good, sealed bytes open in their own place only (I10)."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.domain.errors import SettingsError
from gateway.keys import Keys, SealBroken, check_apart, create_approver_key, load_approver_key, public_text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def test_keys_are_made_once_and_are_ours_alone(folder: Path) -> None:
    made = Keys.create(folder)
    again = Keys.create(folder)
    assert again.digest.digest(b"x") == made.digest.digest(b"x")
    assert again.unseal(made.seal(b"x", b"place"), b"place") == b"x"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert [left.name for left in folder.parent.iterdir()] == ["keys"]


def test_several_who_create_at_once_get_the_same_keys(folder: Path) -> None:
    barrier, digests = threading.Barrier(8), []

    def create() -> None:
        barrier.wait()
        digests.append(Keys.create(folder).digest.digest(b"x"))

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(digests) == 8
    assert len(set(digests)) == 1


def test_a_missing_folder_is_not_made_by_opening(folder: Path) -> None:
    with pytest.raises(SettingsError):
        Keys.open(folder)
    assert not folder.exists()


@pytest.mark.parametrize("spoil", ["folder mode", "file mode", "symlink", "short", "stray", "one missing", "fifo"])
def test_what_others_could_have_touched_is_refused(folder: Path, spoil: str) -> None:
    Keys.create(folder)
    key = folder / "digest-0001.key"
    match spoil:
        case "folder mode":
            folder.chmod(0o750)
        case "file mode":
            key.chmod(0o640)
        case "symlink":
            key.rename(folder.parent / "elsewhere")
            key.symlink_to(folder.parent / "elsewhere")
        case "short":
            key.write_bytes(b"short")
        case "stray":
            (folder / "notes.txt").touch()
        case "one missing":
            key.unlink()
        case "fifo":
            key.unlink()
            os.mkfifo(key, 0o600)
    with pytest.raises(SettingsError):
        Keys.open(folder)


def test_another_users_keys_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Keys.create(folder)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(SettingsError, match="belongs"):
        Keys.open(folder)


def test_old_keys_stay_good_after_a_rotation(folder: Path) -> None:
    old = Keys.create(folder)
    sealed, digest = old.seal(b"x", b"place"), old.digest.digest(b"x", domain=b"d")
    new = old.rotate()
    assert new.digest.id != old.digest.id
    assert new.unseal(sealed, b"place") == b"x"
    assert new.matches(b"x", digest, domain=b"d")
    assert not new.matches(b"y", digest, domain=b"d")
    assert not new.matches(b"x", "nonsense")
    with pytest.raises(SealBroken, match="not in"):
        old.unseal(new.seal(b"x", b"place"), b"place")


def test_sealed_bytes_open_whole_and_in_place_or_not_at_all(folder: Path) -> None:
    keys = Keys.create(folder)
    sealed = keys.seal(b"parked", b"place")
    assert keys.seal(b"parked", b"place") != sealed
    for index in range(len(sealed)):
        changed = bytearray(sealed)
        changed[index] ^= 1
        with pytest.raises(SealBroken):
            keys.unseal(bytes(changed), b"place")
    for spoilt, place in ((sealed, b"elsewhere"), (sealed[:-1], b"place"), (b"", b"place"), (sealed[:24], b"place")):
        with pytest.raises(SealBroken):
            keys.unseal(spoilt, place)


def test_keys_do_not_lie_beside_what_they_protect(tmp_path: Path) -> None:
    check_apart(tmp_path / "keys", [tmp_path / "state", tmp_path / "audit"])
    with pytest.raises(SettingsError):
        check_apart(tmp_path / "state" / "keys", [tmp_path / "state"])
    (tmp_path / "link").symlink_to(tmp_path / "state")
    with pytest.raises(SettingsError):
        check_apart(tmp_path / "link" / "keys", [tmp_path / "state"])


def test_a_persons_key_is_hers_alone_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "bob.key"
    public = create_approver_key(path)
    assert public_text(load_approver_key(path)) == public
    assert public.startswith("ed25519:")
    with pytest.raises(SettingsError, match="exists"):
        create_approver_key(path)
    path.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        load_approver_key(path)
    path.chmod(0o600)
    path.write_bytes(b"toolgate approver key v1\nnonsense")
    with pytest.raises(SettingsError, match="not an approver"):
        load_approver_key(path)


def test_keys_do_not_show_in_a_repr(folder: Path) -> None:
    keys = Keys.create(folder)
    secret = (folder / "sealing-0001.key").read_bytes()
    assert repr(secret)[2:-1] not in repr(keys)
    assert secret.hex() not in repr(keys)


def test_the_real_clock(tmp_path: Path) -> None:
    clock = SystemClock()
    one, two = clock.now(), clock.now()
    assert one.boot_id == two.boot_id != ""
    assert one.boot_ns <= two.boot_ns
    assert clock.monotonic_ns() <= clock.monotonic_ns()
    (tmp_path / "empty").touch()
    for missing in (tmp_path / "absent", tmp_path / "empty"):
        with pytest.raises(SettingsError):
            SystemClock(missing)
