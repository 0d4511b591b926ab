"""C124: verifying takes the same memory however long the log is."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.audit.made import make
from benchmarks.audit.verifying import measure

SLACK_MIB = 24  # allocator noise between two interpreters


def _memory(folder: Path, records: int) -> list[float]:
    """MiB at most, of one process and of the largest of two."""
    folder.mkdir()
    make(folder, records)
    return [row.value for row in measure(folder, records) if row.unit == "MiB" and row.value is not None]


def test_c124_memory_of_verify_does_not_grow_with_the_log(tmp_path: Path) -> None:
    short = _memory(tmp_path / "short", 30_000)
    long = _memory(tmp_path / "long", 300_000)
    for few, many in zip(short, long, strict=True):
        assert many < few + SLACK_MIB


@pytest.mark.soak
def test_soak_c124_ten_million_records(tmp_path: Path) -> None:
    assert max(_memory(tmp_path / "log", 10_000_000)) < 300
