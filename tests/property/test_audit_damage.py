"""C113, C114: every damage to a signed log is found, and the first bad record is the one that was touched.

Two verifiers that share no code must give the same verdict on every damaged and undamaged log.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.damage import Kind
from gateway.audit.verify import OriginReport
from tests.conformance.verify_log import verify_origin
from tests.fakes.audit_desk import Desk, body

SIGNED, TOTAL = 12, 15


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A log of 15 records of which a checkpoint covers 12, as a killed writer leaves it."""
    with tempfile.TemporaryDirectory() as name:
        desk = Desk(Path(name) / "whole")
        log = desk.open(every=SIGNED)
        for number in range(TOTAL):
            log.append(body(n=number, text="é\u2028"))
        shutil.copytree(Path(name) / "whole", Path(name) / "left")
        log.close()
        yield Path(name) / "left"


class Copy(Desk):
    """A copy of the template to damage."""

    def __init__(self, template: Path, base: Path) -> None:
        shutil.copytree(template, base, dirs_exist_ok=True)
        self.origin = "gw"
        self.audit, self.checkpoints, self.trust = base / "audit", base / "checkpoints", base / "trust"

    def judge(self) -> OriginReport:
        """Our verdict, once the independent verifier has agreed with it."""
        report = self.report()
        theirs = verify_origin(self.audit, self.checkpoints, self.trust, "gw")
        ours = (report.damage[0].kind.value, report.damage[0].seq) if report.damage else ("ok", None)
        assert tuple(theirs) == ours
        return report


@pytest.fixture
def copy(template: Path, tmp_path: Path) -> Copy:
    return Copy(template, tmp_path)


def _found(report: OriginReport) -> tuple[Kind, int | None]:
    return report.damage[0].kind, report.damage[0].seq


def test_the_undamaged_log_raises_no_alarm(copy: Copy) -> None:
    report = copy.judge()
    assert report.ok
    assert (report.records, report.covered, report.uncovered, report.warnings) == (TOTAL, SIGNED, 3, ())


@given(at=st.integers(0, SIGNED - 1), place=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_c113_any_changed_byte_names_its_record(template: Path, at: int, place: int, flip: int) -> None:
    with tempfile.TemporaryDirectory() as base:
        copy = Copy(template, Path(base))
        data = bytearray(copy.segment.read_bytes())
        start = sum(len(line) + 1 for line in copy.lines()[:at])
        where = start + place % len(copy.lines()[at])
        data[where] ^= flip
        copy.segment.write_bytes(data)
        report = copy.judge()
        assert not report.ok
        assert report.damage[0].seq == at


@given(at=st.integers(0, SIGNED - 1))
def test_c113_deleted(template: Path, at: int) -> None:
    with tempfile.TemporaryDirectory() as base:
        copy = Copy(template, Path(base))
        lines = copy.lines()
        copy.put(lines[:at] + lines[at + 1 :])
        assert _found(copy.judge()) == (Kind.DELETED, at)


@given(at=st.integers(0, SIGNED - 1), source=st.integers(0, TOTAL - 1), fresh=st.booleans())
def test_c113_inserted_or_spliced(template: Path, at: int, source: int, fresh: bool) -> None:
    with tempfile.TemporaryDirectory() as base:
        copy = Copy(template, Path(base))
        lines = copy.lines()
        added = lines[0].replace(b'"seq":0', b'"seq":%d' % at).replace(b'"n":0', b'"n":99') if fresh else lines[source]
        copy.put([*lines[:at], added, *lines[at:]])
        report = copy.judge()
        first = next(
            n for n, (a, b) in enumerate(zip([*lines[:at], added, *lines[at:]], lines, strict=False)) if a != b
        )
        assert report.damage[0].seq == first
        if fresh or source < at:
            assert _found(report) == (Kind.INSERTED, at)


@given(st.integers(0, SIGNED - 1), st.integers(0, SIGNED - 1))
def test_c113_reordered(template: Path, a: int, b: int) -> None:
    with tempfile.TemporaryDirectory() as base:
        copy = Copy(template, Path(base))
        lines = copy.lines()
        lines[a], lines[b] = lines[b], lines[a]
        copy.put(lines)
        report = copy.judge()
        assert report.ok if a == b else _found(report) == (Kind.REORDERED, min(a, b))


@given(left=st.integers(0, SIGNED - 1), half=st.integers(0, 40))
def test_c114_tail_cut(template: Path, left: int, half: int) -> None:
    with tempfile.TemporaryDirectory() as base:
        copy = Copy(template, Path(base))
        lines = copy.lines()
        copy.put(lines[:left], lines[left][:half])
        assert _found(copy.judge()) == (Kind.TRUNCATED, left)


@given(st.data())
def test_c113_any_damage_to_the_log_and_its_side_file_is_found(template: Path, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as base:
        copy = Copy(template, Path(base))
        for path in data.draw(st.sampled_from([[copy.segment], [copy.leaves], [copy.segment, copy.leaves]])):
            _corrupt(path, data)
        before = b"".join(line + b"\n" for line in Copy.lines(_Whole(template))[:SIGNED])
        report = copy.judge()
        assert report.ok or copy.segment.read_bytes() != _Whole(template).segment.read_bytes()
        if not copy.segment.read_bytes().startswith(before):
            assert not report.ok


class _Whole(Copy):
    def __init__(self, base: Path) -> None:
        self.origin, self.audit = "gw", base / "audit"
        self.checkpoints, self.trust = base / "checkpoints", base / "trust"


def _corrupt(path: Path, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        content = path.read_bytes()
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, min(len(content), start + 300)))
        path.write_bytes(content[:start] + data.draw(st.binary(max_size=40)) + content[end:])


def _relabel(lines: list[bytes]) -> list[bytes]:
    return [line.replace(b'"n":', b'"m":') for line in lines]


def test_a_rewritten_history_with_a_matching_side_file_is_a_fork(copy: Copy) -> None:
    with tempfile.TemporaryDirectory() as other:
        forger = Desk(Path(other))
        forger.filled(SIGNED)
        copy.segment.write_bytes(forger.segment.read_bytes())
        copy.leaves.write_bytes(forger.leaves.read_bytes())
    assert _found(copy.judge()) == (Kind.FORK, None)


def test_rewritten_without_a_side_file(copy: Copy) -> None:
    copy.put(_relabel(copy.lines()))
    copy.leaves.unlink()
    assert _found(copy.judge()) == (Kind.FORK, None)


def test_c114_whole_file_deleted_or_emptied(copy: Copy) -> None:
    copy.segment.write_bytes(b"")
    assert _found(copy.judge()) == (Kind.TRUNCATED, 0)
    copy.segment.unlink()
    assert not copy.judge().ok
    copy.leaves.unlink()
    copy.place.lock.unlink()
    copy.place.folder.rmdir()
    assert _found(copy.judge()) == (Kind.TRUNCATED, 0)


def test_c114_checkpoint_gone_or_not_ours(copy: Copy) -> None:
    note = copy.checkpoint.read_bytes()
    copy.checkpoint.write_bytes(note.replace(b"\n12\n", b"\n11\n"))
    assert _found(copy.judge()) == (Kind.CHECKPOINT_INVALID, None)
    with tempfile.TemporaryDirectory() as other:
        forger = Desk(Path(other))
        forger.filled(TOTAL)
        copy.checkpoint.write_bytes(forger.checkpoint.read_bytes())
    assert _found(copy.judge()) == (Kind.CHECKPOINT_INVALID, None)
    copy.checkpoint.unlink()
    assert _found(copy.judge()) == (Kind.CHECKPOINT_MISSING, None)


def test_origin_nobody_enrolled_is_reported(copy: Copy) -> None:
    (copy.trust / "origins/gw.pub").unlink()
    assert _found(copy.judge()) == (Kind.UNKNOWN_ORIGIN, None)


def test_torn_line_after_the_checkpoint(copy: Copy) -> None:
    copy.put(copy.lines(), b'{"seq":15,"or')
    assert _found(copy.judge()) == (Kind.TORN, TOTAL)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ([12, 14], (Kind.DELETED, 13)),
        ([12, 12, 13, 14], (Kind.INSERTED, 13)),
        ([13, 12, 14], (Kind.REORDERED, 12)),
        ([12, 3, 14], (Kind.EDITED, 13)),
    ],
)
def test_after_the_checkpoint_the_numbering_is_held(copy: Copy, order: list[int], expected: tuple[Kind, int]) -> None:
    lines = copy.lines()
    copy.put(lines[:SIGNED] + [lines[n] for n in order])
    assert _found(copy.judge()) == expected


def test_spliced_from_another_origin(copy: Copy) -> None:
    lines = copy.lines()
    copy.put([*lines, lines[14].replace(b'"seq":14', b'"seq":15').replace(b'"gw"', b'"xx"')])
    assert _found(copy.judge()) == (Kind.EDITED, TOTAL)


def test_log_in_two_segments_is_one_tree(copy: Copy) -> None:
    lines, leaves = copy.lines(), copy.leaves.read_bytes()
    copy.put(lines[:7])
    copy.leaves.write_bytes(leaves[: 7 * 32])
    second = copy.place.folder / "00000001.jsonl"
    second.write_bytes(b"".join(line + b"\n" for line in lines[7:]))
    second.with_suffix(".leaves").write_bytes(leaves[7 * 32 :])
    assert copy.judge().ok
    second.write_bytes(b"".join(line + b"\n" for line in [*lines[7:9], *lines[10:]]))
    assert _found(copy.judge()) == (Kind.DELETED, 9)
    second.write_bytes(b"")
    assert _found(copy.judge()) == (Kind.TRUNCATED, 7)
