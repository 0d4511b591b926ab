"""One behaviour suite for every log: on the real disk, on a disk with a fault port, in memory."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.audit.entry import Entry
from gateway.audit.errors import NotRecorded, RecordRefused
from gateway.audit.log import AuditLog
from gateway.audit.memory import MemoryLog
from gateway.audit.port import Log
from gateway.audit.read import read_origin
from gateway.audit.tree import leaf_hash
from gateway.domain.errors import AuditUnavailable
from tests.fakes.audit_desk import Desk, body
from tests.fakes.clock import FakeClock
from tests.fakes.files import FaultyFiles

Opened = tuple[Log, Callable[[], list[bytes]]]


@pytest.fixture(params=["disk", "fault port", "memory"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    if request.param == "memory":
        memory = MemoryLog("gw", FakeClock())
        yield memory, lambda: memory.lines
        memory.close()
        return
    desk = Desk(tmp_path)
    log = desk.open(FaultyFiles() if request.param == "fault port" else None, every=5)
    yield log, desk.lines
    log.close()
    assert desk.verify().ok
    assert desk.report().uncovered == 0


def test_a_record_is_one_line_with_the_writers_fields_first(opened: Opened) -> None:
    log, lines = opened
    position = log.append(b'{"kind":"x","n":1}')
    assert lines() == [
        b'{"seq":0,"origin":"gw","time":"2027-01-15T08:00:00.000000Z","mono_ns":1000000000000,"kind":"x","n":1}'
    ]
    assert position == (0, leaf_hash(lines()[0]))


def test_c120_hostile_text_stays_on_its_line(opened: Opened) -> None:
    log, lines = opened
    hostile = 'a\nb\r\u2028\u2029\x1b[2J\u202e\x00"}{"seq":99}'
    log.append(json.dumps({"args": {"seq": 1, "origin": "evil", "text": hostile}}, ensure_ascii=False,
                          separators=(",", ":")).encode())  # fmt: skip
    log.append(body())
    assert len(lines()) == 2
    record = json.loads(lines()[0])
    assert (record["seq"], record["origin"], record["args"]["text"]) == (0, "gw", hostile)


@pytest.mark.parametrize(
    "bad",
    [b"", b"{}", b"[]", b'{"a":1}\n', b'{"a":"\n"}', b'{"a":1', b'x{"a":1}', b'{"a":"\x00"}', b'{"seq":5,"a":1}',
     b'{"a":1,"origin":"x"}', b'{"a":{"b":1},"time":0}', b'{"mono_ns" :0}', b'{"seq"}',
     b'{"a":"' + b"x" * (4 << 20) + b'"}'],
)  # fmt: skip
def test_c120_what_is_not_one_record_is_refused_before_anything_is_written(opened: Opened, bad: bytes) -> None:
    log, lines = opened
    with pytest.raises(RecordRefused):
        log.append(bad)
    with pytest.raises(RecordRefused):
        asyncio.run(log.append_async(bad))
    assert lines() == []


def test_threads_and_tasks_share_one_numbering(opened: Opened) -> None:
    log, lines = opened
    seen: list[int] = []

    def thread() -> None:
        seen.extend(log.append(body()).seq for _ in range(25))

    async def tasks() -> None:
        positions = await asyncio.gather(*(log.append_async(body()) for _ in range(100)))
        seen.extend(position.seq for position in positions)

    threads = [threading.Thread(target=thread) for _ in range(6)]
    threads += [threading.Thread(target=lambda: asyncio.run(tasks())) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(seen) == list(range(6 * 25 + 200))
    assert [json.loads(line)["seq"] for line in lines()] == list(range(6 * 25 + 200))


def test_reservation_is_used_once_or_given_back(opened: Opened) -> None:
    log, lines = opened
    with log.reserve(1000) as promise:
        log.append(body(n=1), promise)
        assert not promise.held
    with log.reserve(1000) as promise:
        assert promise.held
    assert not promise.held
    promise.release()
    with pytest.raises(RecordRefused):
        log.reserve(0)
    assert len(lines()) == 1


def test_closed_log_denies(opened: Opened) -> None:
    log, _ = opened
    log.append(body())
    log.close()
    log.close()
    for attempt in (lambda: log.append(body()), lambda: log.reserve(10), log.checkpoint,
                    lambda: asyncio.run(log.append_async(body()))):  # fmt: skip
        with pytest.raises(NotRecorded, match="closed"):
            attempt()
    assert issubclass(NotRecorded, AuditUnavailable)


def test_c088_clock_set_back_order_is_by_sequence(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with desk.open() as log:
        log.append(body())
        desk.clock.set_wall(-3600)
        log.append(body())
        desk.clock.set_wall(-(10**10))
        log.append(body())
    assert [record["seq"] for record in desk.records()] == [0, 1, 2]
    assert desk.records()[0]["time"] > desk.records()[1]["time"]
    assert desk.verify().ok


def test_cancelled_await_is_still_written(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    async def scenario(log: AuditLog) -> None:
        tasks = [asyncio.create_task(log.append_async(body(n=n))) for n in range(50)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(each, asyncio.CancelledError) for each in done) == 25
        await log.append_async(body(n="last"))

    with desk.open() as log:
        asyncio.run(scenario(log))
    assert [record["n"] for record in desk.records()] == [*range(50), "last"]
    assert desk.verify().ok


def test_loop_that_is_gone_does_not_stop_the_writer(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with desk.open() as log:
        loop = asyncio.new_event_loop()

        async def leave() -> None:
            loop.create_task(log.append_async(body(n="left")))  # noqa: RUF006
            await asyncio.sleep(0)

        loop.run_until_complete(leave())
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        log.append(body(n="after"))
        asyncio.run(asyncio.wait_for(log.append_async(body(n="awaited")), 30))
    assert [record["n"] for record in desk.records()] == ["left", "after", "awaited"]


def test_reader_beside_a_live_writer(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with desk.open() as log:
        log.append(body(n=0))
        with desk.segment.open("ab") as half:
            half.write(b'{"seq":1,"orig')
        assert [stored.record["n"] for stored in read_origin(desk.audit, "gw") if stored.record] == [0]
        assert desk.verify().ok  # the lock is held: an unfinished line is a writer at work
        desk.put(desk.lines()[:1])


def test_who_waits_for_a_record_does_not_wait_for_the_signature(tmp_path: Path) -> None:
    """The record is durable; and nothing else is written while the signature that is due is still missing."""
    files, may_sign = FaultyFiles(), threading.Event()
    desk = Desk(tmp_path)
    with desk.open(files, every=1) as log:
        real = files.replace

        def held_up(path: Path, data: bytes) -> None:
            may_sign.wait()
            real(path, data)

        files.replace = held_up  # type: ignore[method-assign]

        async def two() -> None:
            try:
                assert (await asyncio.wait_for(log.append_async(body(n=0)), 20)).seq == 0
                second = asyncio.create_task(log.append_async(body(n=1)))
                await asyncio.sleep(0)
                assert not second.done()
            finally:
                may_sign.set()
            assert (await second).seq == 1

        asyncio.run(two())
    assert [record["n"] for record in desk.records()] == [0, 1]
    assert desk.report().ok


@pytest.mark.parametrize(
    ("batches", "due"),
    [([1, 1, 1], False), ([1, 1, 1, 1], True), ([9, 9, 9], False), ([2, 1, 1, 1], True), ([31], False), ([32], True)],
)
def test_a_sync_that_many_share_counts_as_one_up_to_eight_times_the_window(
    tmp_path: Path, batches: list[int], due: bool
) -> None:
    desk = Desk(tmp_path)
    with desk.open(every=4) as log:
        store = log._store
        for records in batches:
            assert not store.full
            store.commit([Entry(body(), None) for _ in range(records)])
        assert store.full == due
        store.sign_full()
        assert not store.full
        assert desk.report().uncovered == (0 if due else sum(batches))


def test_records_found_after_the_checkpoint_count_one_by_one(tmp_path: Path) -> None:
    desk, files = Desk(tmp_path), FaultyFiles()
    with desk.open(files, every=4) as log:
        log._store.commit([Entry(body(), None) for _ in range(9)])
        files.arm("write")
        with pytest.raises(NotRecorded):
            log.append(body())
        files.heal()
        log.append(body())
        assert desk.report().uncovered == 1


def test_a_due_signature_that_fails_stops_the_next_record(tmp_path: Path) -> None:
    files = FaultyFiles()
    desk = Desk(tmp_path)
    with desk.open(files, every=2) as log:
        log.append(body(n=0))
        files.arm("replace")
        assert log.append(body(n=1)).seq == 1
        assert log.fault is not None
        with pytest.raises(NotRecorded):
            log.append(body(n=2))
        files.heal()
        assert log.append(body(n=3)).seq == 2
    assert [record["n"] for record in desk.records()] == [0, 1, 3]


def test_a_power_cut_may_take_the_side_file_of_the_last_segment(tmp_path: Path) -> None:
    """It is not waited for: the next start makes again what is missing, and every proof with it."""
    desk = Desk(tmp_path)
    with desk.open(every=4) as log:
        for number in range(10):
            log.append(body(n=number))
    whole = desk.leaves.read_bytes()
    for left in (whole[:96], whole[:-7], bytes(len(whole)), b""):
        desk.leaves.write_bytes(left)
        assert desk.report().ok
        with desk.open(every=4) as log:
            log.append(body())
        assert desk.leaves.read_bytes()[: len(whole)] == whole
        assert desk.report().warnings == ()
