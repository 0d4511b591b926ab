"""Enrolment: keys are private, never overwritten, and belong together (C119, the explicit verdicts)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gateway.audit.errors import KeyProblem
from gateway.audit.origin import enroll, load_signer, load_trusted


def test_enrolled_key_signs_and_is_trusted(tmp_path: Path) -> None:
    verifier = enroll("gw-1", tmp_path / "k", tmp_path / "t")
    assert load_signer("gw-1", tmp_path / "k", tmp_path / "t").verifier == verifier
    assert load_trusted(tmp_path / "t") == {"gw-1": verifier}
    assert stat.S_IMODE((tmp_path / "k/origins/gw-1.key").stat().st_mode) == 0o600
    assert sorted(os.listdir(tmp_path / "k/origins")) == ["gw-1.key"]


def test_never_overwritten(tmp_path: Path) -> None:
    enroll("gw", tmp_path, tmp_path)
    before = (tmp_path / "origins/gw.key").read_bytes()
    with pytest.raises(KeyProblem, match="already enrolled"):
        enroll("gw", tmp_path, tmp_path)
    assert (tmp_path / "origins/gw.key").read_bytes() == before


def test_interrupted_enrolment_is_finished_with_the_same_key(tmp_path: Path) -> None:
    first = enroll("gw", tmp_path / "k", tmp_path / "t")
    (tmp_path / "t/origins/gw.pub").unlink()
    assert enroll("gw", tmp_path / "k", tmp_path / "t") == first


@pytest.mark.parametrize("name", ["", "../x", "A", "a b", "a/b", "-a", ".a", "a" * 64, "a\n", "ä"])
def test_names_that_are_no_origin(name: str, tmp_path: Path) -> None:
    with pytest.raises(KeyProblem):
        enroll(name, tmp_path, tmp_path)


def test_c119_lost_exposed_or_swapped_keys_have_their_own_verdict(tmp_path: Path) -> None:
    enroll("gw", tmp_path / "k", tmp_path / "t")
    enroll("other", tmp_path / "k", tmp_path / "t")
    key, other = tmp_path / "k/origins/gw.key", tmp_path / "k/origins/other.key"
    original = key.read_bytes()
    key.chmod(0o640)
    with pytest.raises(KeyProblem, match="others can read"):
        load_signer("gw", tmp_path / "k", tmp_path / "t")
    key.chmod(0o600)
    key.write_bytes(other.read_bytes())
    with pytest.raises(KeyProblem, match="not a private key of origin"):
        load_signer("gw", tmp_path / "k", tmp_path / "t")
    key.unlink()
    with pytest.raises(KeyProblem, match="missing"):
        load_signer("gw", tmp_path / "k", tmp_path / "t")
    (tmp_path / "t/origins/gw.pub").unlink()
    enroll("gw", tmp_path / "k", tmp_path / "t")
    key.write_bytes(original)
    with pytest.raises(KeyProblem, match="not the key enrolled"):
        load_signer("gw", tmp_path / "k", tmp_path / "t")
    key.unlink()
    key.symlink_to(other)
    with pytest.raises(KeyProblem, match="unreadable"):
        load_signer("gw", tmp_path / "k", tmp_path / "t")


def test_public_key_under_another_name_is_refused(tmp_path: Path) -> None:
    enroll("gw", tmp_path / "k", tmp_path / "t")
    (tmp_path / "t/origins/gw.pub").rename(tmp_path / "t/origins/boss.pub")
    with pytest.raises(KeyProblem, match="named 'gw'"):
        load_trusted(tmp_path / "t")
