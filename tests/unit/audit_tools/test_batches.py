"""A long log is read in a process of its own: the index is the same, and nothing is left running or half believed."""

from __future__ import annotations

import json
import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from gateway.audit_tools import fill
from gateway.audit_tools.batches import BATCH_RECORDS, Reached, aside, batches
from gateway.audit_tools.index import FILE, IndexUnavailable
from gateway.audit_tools.query import Query
from tests.unit.audit_tools.desk import Log, denied, intent, outcome

START = Reached("00000000.jsonl", 0, 0, 0, 0)


def _long(folder: Path, count: int) -> list[Path]:
    """A log of `count` small records, every tenth with the clock set back and some that are no records."""
    folder.mkdir(parents=True)
    line = '{"seq":%d,"origin":"gw","time":"2027-01-15T08:%02d:00.%06dZ","mono_ns":1,"v":1,"kind":"%s"}\n'
    text = "".join(line % (n, 5 if n % 10 else 1, n, f"kind.{n % 7}") if n % 31 else "nonsense\n" for n in range(count))
    (folder / "00000000.jsonl").write_text(text + '{"seq":')
    return [folder / "00000000.jsonl"]


def test_read_beside_or_here_the_batches_are_the_same(tmp_path: Path) -> None:
    segments = _long(tmp_path / "gw", BATCH_RECORDS + 5_000)
    here = list(batches(segments, START))
    assert [len(batch.rows) for batch in here] == [BATCH_RECORDS, 5_000]
    assert list(aside(segments, START)) == here
    assert all(batch.times == sorted(batch.times) for batch in here)
    (rest,) = aside(segments, here[0].reached)
    assert rest == here[1]
    assert multiprocessing.active_children() == []


def _dump(state: Path) -> list[tuple[object, ...]]:
    with sqlite3.connect(state / FILE) as database:
        return [
            row
            for table in ("origins", "records", "counts", "spans", "search_data")
            for row in database.execute(f"SELECT * FROM {table} ORDER BY 1, 2")
        ]


def test_the_index_of_a_long_log_is_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(tmp_path)
    log.write(*(each for n in range(40) for each in (intent(f"call_{n}"), outcome(f"call_{n}", 2 * n), denied("x"))))
    (tmp_path / "other").mkdir()
    with log.index():
        pass
    monkeypatch.setattr(fill, "_WORTH_A_PROCESS", 0)
    with log.index(tmp_path / "other") as index:
        assert len(index.newest(Query(decision="denied"), 100)) == 40
    assert _dump(tmp_path / "other") == _dump(log.state)
    log.write(denied("later"))
    with log.index(tmp_path / "other") as index:
        assert len(index.newest(Query(call_id="later"), 2)) == 1


def test_a_reader_that_is_killed_is_an_error_that_says_so(tmp_path: Path) -> None:
    ready = aside(_long(tmp_path / "gw", BATCH_RECORDS * 2), START)
    assert len(next(ready).rows) == BATCH_RECORDS
    (reader,) = multiprocessing.active_children()
    reader.kill()
    with pytest.raises(ChildProcessError, match="run the command again"):
        list(ready)
    assert multiprocessing.active_children() == []


def test_whoever_stops_early_leaves_no_reader(tmp_path: Path) -> None:
    ready = aside(_long(tmp_path / "gw", BATCH_RECORDS * 2), START)
    next(ready)
    ready.close()
    assert multiprocessing.active_children() == []


def test_what_the_reader_cannot_read_is_told_here(tmp_path: Path) -> None:
    segments = _long(tmp_path / "gw", 10)
    (tmp_path / "gw" / "00000001.jsonl").mkdir()
    with pytest.raises(IsADirectoryError):
        list(aside([*segments, tmp_path / "gw" / "00000001.jsonl"], START))


def test_an_index_whose_filling_was_cut_short_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(tmp_path)
    log.write(*(denied(f"call_{n}") for n in range(9)))

    def torn(*_: object) -> object:
        yield from list(batches(log.desk.place.segments(), START))[:1]
        raise ChildProcessError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(fill, "batches", torn)
        with pytest.raises((ChildProcessError, IndexUnavailable)):
            log.index()
    with log.index() as index:
        assert [json.loads(each.line)["seq"] for each in index.newest(Query(), 20)] == list(range(9))
