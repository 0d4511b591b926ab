"""Where two things are wrong at once the document says which one is named; both verifiers name the same (C114-C116)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.audit.cosignature import Cosigner
from gateway.audit.errors import NoteInvalid
from gateway.audit.files import OsFiles
from gateway.audit.origin import load_keyrings, rotate_key
from gateway.audit.retention import retire
from gateway.audit.verify import Pin, verify
from tests.conformance.verify_log import read_key, verify_origin
from tests.fakes.audit_desk import Desk

WITNESS = Cosigner("second.example/w", b"\x05" * 32)


def _judged(desk: Desk, *pins: bytes) -> tuple[str, int | None]:
    """Our verdict, once the independent verifier has agreed with it."""
    kept = {"gw": [Pin(pin, "you") for pin in pins]} if pins else None
    report = verify(desk.audit, desk.checkpoints, load_keyrings(desk.trust), pins=kept).origins[0]
    ours = (report.damage[0].kind.value, report.damage[0].seq) if report.damage else ("ok", None)
    assert tuple(verify_origin(desk.audit, desk.checkpoints, desk.trust, "gw", pins)) == ours
    return ours


def test_c115_an_unfinished_line_does_not_hide_a_roll_back(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.filled(6)
    kept = {path: path.read_bytes() for path in (desk.segment, desk.leaves, desk.checkpoint)}
    with desk.open() as log:
        log.append(b'{"kind":"later"}')
    newest = desk.checkpoint.read_bytes()
    for path, content in kept.items():
        path.write_bytes(content)
    desk.segment.write_bytes(kept[desk.segment] + b'{"seq":6,"or')
    assert _judged(desk) == ("torn", 6)
    assert _judged(desk, newest) == ("rolled-back", 6)


def test_c115_all_deleted_shows_by_a_rotation_that_is_left(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.filled(6)
    rotate_key("gw", desk.keys, desk.trust, load_keyrings(desk.trust)["gw"].checkpoint(desk.checkpoint.read_bytes()))
    shutil.rmtree(desk.audit)
    assert _judged(desk) == ("truncated", 0)
    shutil.rmtree(desk.checkpoints)
    assert _judged(desk) == ("rolled-back", 0)


def test_a_new_origin_of_which_nothing_was_written_is_whole(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert _judged(desk) == ("ok", None)
    desk.open().close()
    empty = desk.checkpoint.read_bytes()
    shutil.rmtree(desk.audit)
    shutil.rmtree(desk.checkpoints)
    assert _judged(desk, empty) == ("ok", None)


def test_a_bad_checkpoint_is_named_before_a_bad_retirement(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.filled(30, every=4, rotate_bytes=600)
    names = [path.name for path in desk.place.segments()]
    retire(
        desk.place, load_keyrings(desk.trust)["gw"], desk.signer(), OsFiles(), names[1], "2027-02-01T00:00:00.000000Z"
    )
    assert _judged(desk) == ("ok", None)
    note = desk.place.retired.read_bytes()
    desk.place.retired.write_bytes(note.replace(b"gw\n", b"gx\n", 1))
    assert _judged(desk) == ("retirement-invalid", None)
    desk.place.retired.write_bytes(desk.signer().sign(note.split(b"\n\n")[0].decode().replace("jsonl", "JSONL") + "\n"))
    assert _judged(desk) == ("retirement-invalid", None)
    desk.checkpoint.write_bytes(b"nothing")
    assert _judged(desk) == ("checkpoint-invalid", None)


def test_the_newline_that_ends_a_closed_segment_is_part_of_the_evidence(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.filled(30, every=4, rotate_bytes=600)
    records = -1
    for segment in desk.place.segments()[:-1]:
        whole = segment.read_bytes()
        records += len(whole.splitlines())
        segment.write_bytes(whole[:-1])
        assert _judged(desk) == ("edited" if records < 29 else "truncated", records)  # the segment after it is empty
        segment.write_bytes(whole)
    assert _judged(desk) == ("ok", None)


def test_a_stray_byte_in_a_side_file_shifts_nothing_in_the_next(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.filled(30, every=4, rotate_bytes=600)
    desk.leaves.write_bytes(desk.leaves.read_bytes() + b"x")
    assert _judged(desk) == ("ok", None)
    last = desk.place.segments()[-2]
    lines = last.read_bytes().splitlines(keepends=True)
    last.write_bytes(b"".join(lines[1:]))
    at = len(b"".join(p.read_bytes() for p in desk.place.segments()[:-2]).splitlines())
    assert _judged(desk) == ("deleted", at)


def test_both_read_a_witness_signature_alike(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.filled(3)
    note = desk.checkpoint.read_bytes()
    text = note.split(b"\n\n")[0].decode() + "\n"
    key = read_key(str(WITNESS.key), kind=4)

    def theirs(pin: bytes) -> str:
        return verify_origin(desk.audit, desk.checkpoints, desk.trust, "gw", (pin,), key).kind

    good = note + WITNESS.line(text, 1_800_000_000)
    assert WITNESS.key.time(good) == 1_800_000_000
    assert theirs(good) == "ok"
    imposter = Cosigner(WITNESS.key.name, b"\x06" * 32)
    for bad in (note, note + imposter.line(text, 9), note + WITNESS.line(text + "x\n", 9)):
        with pytest.raises(NoteInvalid):
            WITNESS.key.time(bad)
        assert theirs(bad) == "checkpoint-invalid"
    unsigned = text.encode() + b"\n" + WITNESS.line(text, 9)  # the witness alone is not the origin
    assert theirs(unsigned) == "checkpoint-invalid"
    assert _judged(desk, unsigned) == ("checkpoint-invalid", None)
