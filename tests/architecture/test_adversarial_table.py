"""The adversarial table is whole and fresh: no entry without a test or a reason, no number nobody knows."""

from __future__ import annotations

from pathlib import Path

from scripts.adversarial_table import TABLE, Entry, entries, named_tests, problems, render

HELD = Entry("C001", "Parse", "duplicate key", "reject", "")
WAITING = Entry("C002", "Parse", "NaN", "reject", "comes later")


def test_every_entry_has_its_test_or_its_reason() -> None:
    assert problems(entries(), named_tests()) == []


def test_the_table_is_fresh() -> None:
    assert TABLE.read_text(encoding="utf-8") == render(entries(), named_tests()), "run `make table`"


def test_numbers_are_stable() -> None:
    assert [entry.number for entry in entries()] == [f"C{number:03d}" for number in range(1, len(entries()) + 1)]


def test_one_name_may_hold_several_entries(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text(
        "def test_c001_c002_both(): ...\nclass TestX:\n    async def test_c001(self): ...\ndef test_c0011_no(): ...\n"
    )
    assert named_tests(tmp_path) == {
        "C001": ["test_x.py::test_c001_c002_both", "test_x.py::test_c001"],
        "C002": ["test_x.py::test_c001_c002_both"],
    }


def test_a_gap_a_stale_reason_and_an_unknown_number_are_found() -> None:
    assert problems([HELD, WAITING], {"C001": ["a::b"]}) == []
    assert problems([HELD, WAITING], {"C002": ["a::b"], "C900": ["a::c"]}) == [
        "C001 (duplicate key) has no test: write one",
        "C002 has a test now: delete its `waits`",
        "a::c names C900, which is not in catalogue.toml",
    ]
    assert "**no test**" in render([HELD], {})
    assert "waits: comes later" in render([WAITING], {})
