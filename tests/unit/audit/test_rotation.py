"""Segments: rotation by size and age, opening from a kept frontier, retirement that keeps the root provable (C114)."""

from __future__ import annotations

import base64
import errno
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.damage import Kind
from gateway.audit.errors import LogDamaged, NotRecorded
from gateway.audit.files import OsFiles
from gateway.audit.note import Signer
from gateway.audit.origin import load_keyrings, load_signer, rotate_key
from gateway.audit.proofs import inclusion
from gateway.audit.read import read_origin
from gateway.audit.resume import EVERY_BYTES, TITLE
from gateway.audit.retention import Retired, read_retired, retire, stored_leaves
from gateway.audit.tree import leaf_hash, verify_inclusion
from gateway.audit.verify import verify
from tests.conformance.verify_log import verify_origin
from tests.fakes.audit_desk import Desk, body
from tests.fakes.files import FaultyFiles

SMALL = {"every": 4, "rotate_bytes": 600}


def _names(desk: Desk) -> list[str]:
    return [path.name for path in desk.place.segments()]


def _judged(desk: Desk) -> tuple[str, int | None]:
    """Our verdict, once the independent verifier has agreed with it."""
    report = desk.report()
    ours = (report.damage[0].kind.value, report.damage[0].seq) if report.damage else ("ok", None)
    assert tuple(verify_origin(desk.audit, desk.checkpoints, desk.trust, "gw")) == ours
    return ours


def _retire(desk: Desk, first: str) -> Retired:
    keys = load_keyrings(desk.trust)["gw"]
    signer = load_signer("gw", desk.keys, desk.trust)
    return retire(desk.place, keys, signer, OsFiles(), first, "2027-02-01T00:00:00.000000Z")


def test_rotation_by_size_is_one_tree(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    lines = desk.filled(50, **SMALL)
    assert len(_names(desk)) > 5
    assert [record["n"] for record in desk.records()] == list(range(50))
    assert all(path.stat().st_blocks * 512 < 1 << 16 for path in desk.place.segments()), "disk ahead was not given back"
    assert _judged(desk) == ("ok", None)
    with desk.open(**SMALL) as log:
        assert log.append(body(n=50)).seq == 50
    assert desk.lines()[:50] == lines
    assert _judged(desk) == ("ok", None)


@pytest.mark.parametrize("count", range(1, 12))
def test_rotation_on_closing(tmp_path: Path, count: int) -> None:
    desk = Desk(tmp_path)
    for _ in range(3):
        desk.filled(count, every=100, rotate_bytes=1)
    assert len(_names(desk)) == 4
    assert desk.place.segments()[-1].stat().st_size == 0
    assert _judged(desk) == ("ok", None)


def test_rotation_by_age_at_the_next_checkpoint(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with desk.open(every=2, rotate_seconds=3600) as log:
        log.append(body())
        log.append(body())
        assert len(_names(desk)) == 1
        desk.clock.advance(3601)
        log.append(body())
        assert len(_names(desk)) == 1
        log.append(body())
        assert len(_names(desk)) == 2
        log.append(body())
    assert _judged(desk) == ("ok", None)


def test_age_counts_from_the_first_record_over_a_restart(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.filled(2, rotate_seconds=3600)
    desk.clock.advance(3601)
    with desk.open(rotate_seconds=3600) as log:
        log.append(body())
        log.checkpoint()
        assert len(_names(desk)) == 2
    assert _judged(desk) == ("ok", None)


def test_promised_outcomes_move_along(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with desk.open(**SMALL) as log:
        promises = [log.reserve(300) for _ in range(10)]
        for number in range(20):
            log.append(body(n=number, pad="x" * 100))
        for promise in promises:
            log.append(body(outcome=1), promise)
    assert len(_names(desk)) > 2
    assert _judged(desk) == ("ok", None)


@pytest.mark.parametrize("method", ["open_append", "reserve"])
def test_segment_that_cannot_be_begun_leaves_the_log_where_it_is(tmp_path: Path, method: str) -> None:
    desk, files = Desk(tmp_path), FaultyFiles()
    with desk.open(files, **SMALL) as log:
        for number in range(7):
            log.append(body(n=number))
        files.arm(method, errno.EMFILE)
        log.append(body(n=7))
        assert any("Too many open files" in concern for concern in log.concerns)
        files.heal()
        for number in range(8, 16):
            log.append(body(n=number))
        assert log.concerns == ()
    assert len(_names(desk)) > 1
    assert [record["n"] for record in desk.records()] == list(range(16))
    assert _judged(desk) == ("ok", None)
    with desk.open(**SMALL) as log:
        assert log.size == 16


def test_start_reads_only_behind_the_kept_frontier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(tmp_path)
    desk.filled(60, **SMALL)
    read: list[int] = []
    monkeypatch.setattr("gateway.audit.scan.leaf_hash", lambda line: read.append(1) or leaf_hash(line))
    with desk.open(**SMALL) as log:
        assert log.size == 60
    assert len(read) < 12
    desk.place.frontier.unlink()
    read.clear()
    with desk.open(**SMALL) as log:
        assert log.size == 60
    assert len(read) == 60
    assert _judged(desk) == ("ok", None)


def test_frontier_is_kept_within_a_long_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.audit.store.EVERY_BYTES", 1000)
    assert EVERY_BYTES > 1 << 20
    desk = Desk(tmp_path)
    desk.filled(60, every=4)
    assert _names(desk) == ["00000000.jsonl"]
    read: list[int] = []
    monkeypatch.setattr("gateway.audit.scan.leaf_hash", lambda line: read.append(1) or leaf_hash(line))
    with desk.open(every=4) as log:
        assert log.size == 60
        log.append(body())
    assert len(read) < 20
    assert _judged(desk) == ("ok", None)


def _stored(desk: Desk) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(desk.place.frontier.read_bytes().partition(b"\n")[0])
    return found


def _kept(desk: Desk, stored: dict[str, Any], signer: Signer | None = None) -> None:
    """Put `stored` there under a signature: the worst that whoever holds a key could do."""
    line = json.dumps(stored).encode()
    text = f"{TITLE}\n{desk.origin}\n{sha256(line).hexdigest()}\n"
    desk.place.frontier.write_bytes(line + b"\n" + (signer or desk.signer()).sign(text))


def _other_peaks(desk: Desk) -> None:
    stored = _stored(desk)
    stored["peaks"][0] = base64.b64encode(bytes(32)).decode()
    _kept(desk, stored)


def _other_offset(desk: Desk) -> None:
    _kept(desk, _stored(desk) | {"offset": 3})


def _other_key(desk: Desk) -> None:
    _kept(desk, _stored(desk), Signer("gw", bytes(32)))


def _unsigned(desk: Desk) -> None:
    desk.place.frontier.write_bytes(desk.place.frontier.read_bytes().partition(b"\n")[0])


def _edited(desk: Desk) -> None:
    kept = desk.place.frontier.read_bytes()
    desk.place.frontier.write_bytes(kept.replace(b'"settled":[]', b'"settled":[["gw","call_1","did_not_happen"]]'))


def _of_another_origin(desk: Desk) -> None:
    signer = desk.signer()
    line, _, _ = desk.place.frontier.read_bytes().partition(b"\n")
    text = f"{TITLE}\nother\n{sha256(line).hexdigest()}\n"
    desk.place.frontier.write_bytes(line + b"\n" + signer.sign(text))


def _nonsense(desk: Desk) -> None:
    desk.place.frontier.write_bytes(b'{"v":1,"size":"x"')


FORGERIES = [_other_peaks, _other_offset, _other_key, _unsigned, _edited, _of_another_origin, _nonsense]


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__.strip("_"))
def test_a_wrong_frontier_costs_time_and_nothing_else(
    tmp_path: Path, forge: Callable[[Desk], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path)
    lines = desk.filled(60, **SMALL)
    forge(desk)
    read: list[int] = []
    monkeypatch.setattr("gateway.audit.scan.leaf_hash", lambda line: read.append(1) or leaf_hash(line))
    with desk.open(**SMALL) as log:
        assert len(read) >= 60
        assert log.ledger.settled == {}
        assert log.append(body()).seq == 60
    assert desk.lines()[:60] == lines
    assert _judged(desk) == ("ok", None)


def test_an_older_frontier_is_no_lie(tmp_path: Path) -> None:
    """Whoever puts back one that was true once only makes the start read more."""
    desk = Desk(tmp_path)
    desk.filled(30, **SMALL)
    older = desk.place.frontier.read_bytes()
    with desk.open(**SMALL) as log:
        log.append(body(v=1, kind="call.settled", intent_origin="gw", call_id="call_1", finding="happened"))
        for number in range(30):
            log.append(body(n=number))
    desk.place.frontier.write_bytes(older)
    with desk.open(**SMALL) as log:
        assert log.size == 61
        assert log.ledger.settled == {("gw", "call_1"): "happened"}


def test_a_rotated_out_key_vouches_for_no_ledger(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.filled(60, **SMALL)
    old = desk.signer()
    keys = load_keyrings(desk.trust)["gw"]
    rotate_key("gw", desk.keys, desk.trust, keys.checkpoint(desk.checkpoint.read_bytes()))
    stored = _stored(desk)
    stored["ledger"]["settled"] = [["gw", "call_1", "did_not_happen"]]
    _kept(desk, stored, old)
    with desk.open(**SMALL) as log:
        assert log.ledger.settled == {}


@pytest.mark.parametrize("at", [0, 2, -2, -1])
@pytest.mark.parametrize("how", ["deleted", "emptied", "deleted with its leaves"])
def test_c114_a_segment_that_is_gone_is_found_at_the_start_and_by_verify(tmp_path: Path, at: int, how: str) -> None:
    desk = Desk(tmp_path)
    desk.filled(50, **SMALL)
    full = [path for path in desk.place.segments() if path.stat().st_size]
    first_lost = sum(path.read_bytes().count(b"\n") for path in full[: full.index(full[at])])
    if how == "emptied":
        full[at].write_bytes(b"")
    else:
        full[at].unlink()
    if how == "deleted with its leaves":
        full[at].with_suffix(".leaves").unlink()
    kind, seq = _judged(desk)
    assert kind in ("deleted", "truncated")
    assert seq == first_lost
    with pytest.raises(LogDamaged):
        desk.open(**SMALL)


def test_retired_segments_are_gone_and_everything_left_keeps_its_proof(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    lines = desk.filled(50, **SMALL)
    first = _names(desk)[3]
    retired = _retire(desk, first)
    assert _names(desk)[0] == first
    assert 0 < retired.size < 50
    assert _judged(desk) == ("ok", None)
    report = desk.report()
    assert (report.records, report.retired, report.warnings) == (50, retired.size, ())
    assert [stored.seq for stored in read_origin(desk.audit, "gw")] == list(range(retired.size, 50))
    checkpoint = load_keyrings(desk.trust)["gw"].checkpoint(desk.checkpoint.read_bytes())
    leaves = stored_leaves(desk.place, retired)
    for index in (0, retired.size, 49):
        proof = inclusion(index, 50, leaves.root)
        assert verify_inclusion(checkpoint.root, 50, index, leaf_hash(lines[index]), proof)
    with desk.open(**SMALL) as log:
        assert log.append(body()).seq == 50
    assert _judged(desk) == ("ok", None)
    again = _retire(desk, _names(desk)[2])
    assert again.size > retired.size
    assert _judged(desk) == ("ok", None)
    for path in desk.place.leaf_files()[:3]:
        path.unlink()  # what is left needs none of them
    desk.place.frontier.unlink()
    assert _judged(desk) == ("ok", None)
    with desk.open(**SMALL) as log:
        assert log.size == 51


def test_retirement_that_was_cut_short_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(tmp_path)
    desk.filled(50, **SMALL)
    first = _names(desk)[3]
    monkeypatch.setattr("gateway.audit.retention._remove", lambda *_: None)
    _retire(desk, first)
    assert _judged(desk) == ("ok", None)
    desk.open(**SMALL).close()
    monkeypatch.undo()
    _retire(desk, first)
    assert _names(desk)[0] == first
    assert _judged(desk) == ("ok", None)


def test_a_live_writer_goes_on_beside_retirement_and_starts_again_after_a_fault(tmp_path: Path) -> None:
    desk, files = Desk(tmp_path), FaultyFiles()
    with desk.open(files, **SMALL) as log:
        for number in range(30):
            log.append(body(n=number))
        _retire(desk, _names(desk)[3])
        files.arm("fdatasync")
        with pytest.raises(NotRecorded):
            log.append(body(n="lost"))
        files.heal()
        for number in range(30, 40):
            log.append(body(n=number))
    assert _judged(desk) == ("ok", None)


def test_what_retires_without_the_key_is_damage(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.filled(50, **SMALL)
    _retire(desk, _names(desk)[2])
    genuine = desk.place.retired.read_bytes()
    size = read_retired(desk.place, load_keyrings(desk.trust)["gw"]).size
    desk.place.retired.write_bytes(genuine.replace(b"\n%d\n" % size, b"\n%d\n" % (size + 1)))
    assert _judged(desk)[0] == Kind.RETIREMENT_INVALID
    with pytest.raises(LogDamaged):
        desk.open(**SMALL)
    desk.place.retired.write_bytes(genuine)
    desk.place.segments()[0].unlink()
    assert _judged(desk) == ("deleted", size)
    desk.place.retired.unlink()
    assert _judged(desk)[1] == 0


def test_nothing_unsigned_and_nothing_damaged_is_retired(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.filled(50, **SMALL)
    names = _names(desk)
    with pytest.raises(LogDamaged, match="no signed record"):
        _retire(desk, "00000099.jsonl")
    leaves = desk.place.leaf_files()[1]
    leaves.write_bytes(b"\x01" + leaves.read_bytes()[1:])
    with pytest.raises(LogDamaged, match="signed root"):
        _retire(desk, names[3])
    assert _names(desk) == names


def test_segments_hashed_side_by_side_give_the_same_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.audit.sweep._WORTH_A_PROCESS", 0)
    desk = Desk(tmp_path)
    desk.filled(50, **SMALL)
    seen: list[tuple[int, int, int]] = []
    report = verify(
        desk.audit, desk.checkpoints, load_keyrings(desk.trust), jobs=2, progress=lambda *at: seen.append(at)
    )
    assert report == desk.verify()
    assert report.ok
    assert seen[-1][0] == seen[-1][1] > 0
    assert seen[-1][2] == 50
