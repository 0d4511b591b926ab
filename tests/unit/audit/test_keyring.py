"""C119: a key that was made, rotated, stolen after rotation, or lost has a verdict of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature

from gateway.audit.damage import Kind
from gateway.audit.errors import KeyProblem, LogDamaged, NoteInvalid
from gateway.audit.keyring import Rotation, rotation_path
from gateway.audit.log import AuditLog
from gateway.audit.note import Checkpoint, Signer
from gateway.audit.origin import load_keyrings, load_signer, load_trusted, rotate_key
from tests.conformance.verify_log import verify_origin
from tests.fakes.audit_desk import Desk, body, repaired


def _rotate(desk: Desk) -> None:
    signed = load_keyrings(desk.trust)["gw"].checkpoint(desk.checkpoint.read_bytes())
    rotate_key("gw", desk.keys, desk.trust, signed)


def _judged(desk: Desk) -> str:
    report = desk.report()
    ours = report.damage[0].kind.value if report.damage else "ok"
    assert verify_origin(desk.audit, desk.checkpoints, desk.trust, "gw").kind == ours
    return ours


def test_c119_rotated_key_goes_on_with_the_same_log(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    first = load_trusted(desk.trust)["gw"]
    for turn in range(3):
        desk.filled(5)
        _rotate(desk)
        assert _judged(desk) == "ok"
        assert desk.report().rotations == turn + 1
    desk.filled(5)
    assert _judged(desk) == "ok"
    keys = load_keyrings(desk.trust)["gw"]
    assert keys.first == first
    assert [rotation.size for rotation in keys.rotations] == [5, 10, 15]
    assert desk.report().key_id == load_trusted(desk.trust)["gw"].key_id.hex() != first.key_id.hex()
    assert sorted(path.name for path in (desk.keys / "origins").iterdir()) == ["gw.key"]


def test_c119_a_rotated_key_signs_nothing_new(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.filled(5)
    stolen = load_signer("gw", desk.keys, desk.trust)
    _rotate(desk)
    thief = AuditLog(desk.audit, desk.checkpoints, stolen, desk.clock, report=repaired)  # trusts the old key itself
    thief.append(body(n="forged"))
    thief.close()
    report = desk.report()
    assert report.damage[0].kind == Kind.CHECKPOINT_INVALID
    assert "rotated out at record 5" in report.damage[0].detail
    assert _judged(desk) == "checkpoint-invalid"
    with pytest.raises(LogDamaged, match="rotated out"):
        desk.open()


def test_c119_a_rotated_key_cannot_rewrite_what_the_rotation_pinned(tmp_path: Path) -> None:
    desk, other = Desk(tmp_path / "a"), Desk(tmp_path / "b")
    desk.filled(5)
    stolen = load_signer("gw", desk.keys, desk.trust)
    _rotate(desk)
    with AuditLog(other.audit, other.checkpoints, stolen, other.clock, report=repaired) as forged:
        for number in range(5):
            forged.append(body(n=number, forged=True))
    for source, target in (
        (other.segment, desk.segment),
        (other.leaves, desk.leaves),
        (other.checkpoint, desk.checkpoint),
    ):
        target.write_bytes(source.read_bytes())
    assert _judged(desk) == "fork"


def test_c119_rotation_cut_short_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(tmp_path)
    desk.filled(5)
    real = Path.replace
    for stop in ("before the announcement", "after the announcement"):
        with monkeypatch.context() as patch:
            if stop.startswith("before"):
                patch.setattr("gateway.audit.origin.rotation_path", lambda *_: tmp_path / "no" / "such" / "folder")
            else:
                patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("killed")))
            with pytest.raises(OSError, match=r"killed|No such"):
                _rotate(desk)
        assert Path.replace is real
        assert _judged(desk) == "ok"
        desk.open().close()
    assert load_keyrings(desk.trust)["gw"].current == load_signer("gw", desk.keys, desk.trust).verifier
    assert len(load_keyrings(desk.trust)["gw"].rotations) == 1
    assert sorted(path.name for path in (desk.keys / "origins").iterdir()) == ["gw.key"]


def test_c119_forged_rotations_are_refused(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.filled(5)
    public = desk.trust / "origins" / "gw.pub"
    old, new = load_signer("gw", desk.keys, desk.trust), Signer("gw", b"\x07" * 32)
    rotation = Rotation("gw", 5, bytes(32), new.verifier)
    for note in (
        new.sign(rotation.text()),  # without the old key
        old.sign(rotation.text()),  # without the new one
        Rotation("gw", 5, bytes(32), old.verifier).note(old, old),
        old.sign(Checkpoint("gw", 5, bytes(32)).text()),
    ):
        with pytest.raises(NoteInvalid):
            Rotation.open(note, old.verifier)
        rotation_path(public, 1).write_bytes(note)
        with pytest.raises(KeyProblem, match="no valid rotation"):
            load_keyrings(desk.trust)
        with pytest.raises((ValueError, InvalidSignature)):
            verify_origin(desk.audit, desk.checkpoints, desk.trust, "gw")


def test_c119_lost_key_stops_the_origin_and_leaves_it_provable(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.filled(5)
    (desk.keys / "origins" / "gw.key").unlink()
    with pytest.raises(KeyProblem, match="restore it, or enroll a new origin"):
        desk.open()
    assert _judged(desk) == "ok"
    assert desk.report().covered == 5
