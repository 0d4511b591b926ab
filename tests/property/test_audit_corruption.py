"""C113, C114 in numbers: random bytes and lines of a log in segments are damaged. None missed, no false alarm.

The log is damaged in memory and written over and over: what counts is the number of corruptions, and every verdict is
compared with the independent verifier's. `make test` does 1,200 of them, `make soak` 10,000.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.audit.origin import load_keyrings
from gateway.audit.verify import verify_origin
from tests.conformance.verify_log import verify_origin as independent
from tests.fakes.audit_desk import Desk, body

RECORDS, UNSIGNED = 60, 3
Files = dict[str, bytes]


class Field:
    """One log in several segments, signed up to `signed`, and a place to damage copies of it."""

    def __init__(self, base: Path) -> None:
        self.desk = Desk(base)
        log = self.desk.open(every=6, rotate_bytes=1200)
        for number in range(RECORDS):
            log.append(body(n=number, text="é\u2028", pad="x" * (number % 5) * 20))
        log.checkpoint()
        for number in range(UNSIGNED):
            log.append(body(n=number, last=True))
        shutil.copytree(base / "audit", base / "kept")
        note = self.desk.checkpoint.read_bytes()
        log.close()
        self.desk.checkpoint.write_bytes(note)
        folder = base / "kept" / "gw"
        self.whole: Files = {
            path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".jsonl", ".leaves")
        }
        self.keys = load_keyrings(self.desk.trust)["gw"]
        self.signed = b"".join(self.content(self.whole).splitlines(keepends=True)[:RECORDS])
        self.side_files = sum(name.endswith(".leaves") for name in self.whole)
        self._there = dict[str, bytes]()

    @staticmethod
    def content(files: Files) -> bytes:
        return b"".join(files[name] for name in sorted(files) if name.endswith(".jsonl"))

    def judge(self, files: Files) -> tuple[str, int | None]:
        """Our verdict on the log made of `files`, once the independent verifier agrees."""
        folder = self.desk.place.folder
        for name in self._there.keys() - files.keys():
            (folder / name).unlink()
        for name, data in files.items():
            if self._there.get(name) != data:
                (folder / name).write_bytes(data)
        if not self._there:
            for path in folder.iterdir():
                if path.name not in files:
                    path.unlink()
        self._there = dict(files)
        report = verify_origin(self.desk.place, self.keys)
        ours = (report.damage[0].kind.value, report.damage[0].seq) if report.damage else ("ok", None)
        theirs = independent(self.desk.audit, self.desk.checkpoints, self.desk.trust, "gw")
        assert tuple(theirs) == ours
        return ours


def _some(chance: random.Random, files: Files, suffix: str = ".jsonl") -> str:
    return chance.choice(sorted(name for name in files if name.endswith(suffix) and files[name]))


def flip(chance: random.Random, files: Files) -> None:
    name = _some(chance, files)
    data = bytearray(files[name])
    data[chance.randrange(len(data))] ^= chance.randrange(1, 256)
    files[name] = bytes(data)


def flip_leaf(chance: random.Random, files: Files) -> None:
    name = _some(chance, files, ".leaves")
    data = bytearray(files[name])
    data[chance.randrange(len(data))] ^= chance.randrange(1, 256)
    files[name] = bytes(data)


def cut(chance: random.Random, files: Files) -> None:
    name = _some(chance, files)
    files[name] = files[name][: chance.randrange(len(files[name]))]


def shave(chance: random.Random, files: Files) -> None:
    name = _some(chance, files)
    files[name] = files[name][:-1]  # the newline, which no leaf hash covers


def splice(chance: random.Random, files: Files) -> None:
    name, other = _some(chance, files), _some(chance, files)
    at, start = chance.randrange(len(files[name])), chance.randrange(len(files[other]))
    files[name] = files[name][:at] + files[other][start : start + chance.randrange(1, 300)] + files[name][at:]


def take_out(chance: random.Random, files: Files) -> None:
    name = _some(chance, files)
    lines = files[name].splitlines(keepends=True)
    del lines[chance.randrange(len(lines))]
    files[name] = b"".join(lines)


def double(chance: random.Random, files: Files) -> None:
    name = _some(chance, files)
    lines = files[name].splitlines(keepends=True)
    lines.insert(chance.randrange(len(lines) + 1), chance.choice(lines))
    files[name] = b"".join(lines)


def swap(chance: random.Random, files: Files) -> None:
    name = _some(chance, files)
    lines = files[name].splitlines(keepends=True)
    a, b = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]
    files[name] = b"".join(lines)


def move(chance: random.Random, files: Files) -> None:
    source, target = _some(chance, files), _some(chance, files)
    lines = files[source].splitlines(keepends=True)
    line = lines.pop(chance.randrange(len(lines)))
    files[source] = b"".join(lines)
    there = files[target].splitlines(keepends=True)
    there.insert(chance.randrange(len(there) + 1), line)
    files[target] = b"".join(there)


def renumber(chance: random.Random, files: Files) -> None:
    name = _some(chance, files)
    lines = files[name].splitlines(keepends=True)
    at = chance.randrange(len(lines))
    lines[at] = lines[at].replace(b'{"seq":', b'{"seq":%d' % chance.randrange(10), 1)
    files[name] = b"".join(lines)


def lose(chance: random.Random, files: Files) -> None:
    del files[_some(chance, files)]


def lose_both(chance: random.Random, files: Files) -> None:
    name = _some(chance, files)
    del files[name]
    files.pop(name.replace(".jsonl", ".leaves"), None)


def empty(chance: random.Random, files: Files) -> None:
    files[_some(chance, files)] = b""


def exchange(chance: random.Random, files: Files) -> None:
    a, b = _some(chance, files), _some(chance, files)
    files[a], files[b] = files[b], files[a]


def zeros(chance: random.Random, files: Files) -> None:
    name = _some(chance, files)
    at = chance.randrange(len(files[name]))
    files[name] = files[name][:at] + bytes(chance.randrange(1, 200)) + files[name][at:]


KINDS: list[Callable[[random.Random, Files], None]] = [
    flip, flip, flip, flip_leaf, cut, shave, splice, take_out, double, swap, move, renumber, lose, lose_both, empty,
    exchange, zeros,
]  # fmt: skip


def _first_difference(signed: bytes, content: bytes) -> int:
    wanted, there = signed.split(b"\n")[:-1], content.split(b"\n")[:-1]
    return next(
        (n for n, (a, b) in enumerate(zip(wanted, there, strict=False)) if a != b), min(len(wanted), len(there))
    )


def _many(base: Path, count: int, seed: int) -> None:
    field, chance = Field(base), random.Random(seed)
    assert field.judge(field.whole) == ("ok", None)
    harmless = 0
    for number in range(count):
        files = dict(field.whole)
        for _ in range(1 + (number % 4 == 3)):
            chance.choice(KINDS)(chance, files)
        verdict, seq = field.judge(files)
        content = field.content(files)
        if content == field.content(field.whole):
            harmless += 1  # lines swapped with themselves, or only a side file touched
            assert verdict == "ok", f"false alarm at {number}: {verdict}"
        elif not content.startswith(field.signed):
            assert verdict != "ok", f"missed at {number}"
            first = _first_difference(field.signed, content)
            side = {name: data for name, data in files.items() if name.endswith(".leaves")}
            if all(field.whole[name] == data for name, data in side.items()) and len(side) == field.side_files:
                assert seq == first, f"another place was named at {number}"
    assert harmless < count / 3


def test_c113_c114_a_thousand_corruptions(tmp_path: Path) -> None:
    _many(tmp_path, 1200, seed=20)


@pytest.mark.soak
def test_soak_ten_thousand_corruptions(tmp_path: Path) -> None:
    for seed in range(5):
        _many(tmp_path / str(seed), 2000, seed)
