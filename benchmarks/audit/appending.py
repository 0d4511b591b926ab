"""What one record costs: the processor alone, the disk alone, one writer, sixty-four, and others beside it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from benchmarks.audit.made import KEYS, SIGNER, body, intent
from benchmarks.speed.table import Row
from benchmarks.speed.timing import Batch, medians
from gateway.audit.encode import encode
from gateway.audit.framing import Framer, check_body
from gateway.audit.log import AuditLog
from gateway.audit.tree import Frontier, leaf_hash
from gateway.clock import SystemClock

WRITERS = 64
EACH = 400


def measure(folder: Path) -> list[Row]:
    """Everything about appending. `folder` lies on a real disk."""
    line = Framer("bench", SystemClock()).line(0, body(0))
    log = _log(folder / "lone")
    loop = asyncio.new_event_loop()
    found = medians(
        {
            "disk": _raw(folder / "raw", line),
            "lone": _lone(log),
            "awaited": _awaited(log, loop),
            "sqlite": _sqlite(folder / "wal.db"),
            "structlog": _structlog(folder / "structlog.jsonl"),
        },
        batch=60,
        rounds=41,
    )
    loop.close()
    log.close()
    threads, tasks = _crowd(folder / "threads"), _tasks(folder / "tasks")
    return [
        Row(f"processor per record of {len(line)} bytes: encode, check, frame, hash", _processor(), "us", 8.0),
        Row("disk alone: write + fdatasync of that record", found["disk"], "us"),
        Row("append, one caller", found["lone"], "us", 1.5 * found["disk"]),
        Row("append, awaited", found["awaited"], "us", 2.5 * found["disk"]),
        Row(f"a durable record, {WRITERS} threads", threads, "us", 20.0, f"{1e6 / threads:,.0f} a second"),
        Row(f"a durable record, {WRITERS} tasks", tasks, "us", 20.0, f"{1e6 / tasks:,.0f} a second"),
        Row("beside it: SQLite, WAL, synchronous=FULL, a commit each", found["sqlite"], "us"),
        Row("beside it: structlog JSON to a file, never synced", found["structlog"], "us"),
    ]


def _processor() -> float:
    events = [intent(number) for number in range(2000)]
    framer, frontier = Framer("bench", SystemClock()), Frontier()
    samples = []
    for _ in range(15):
        began = time.thread_time_ns()
        for seq, event in enumerate(events):
            record = encode(event)
            check_body(record)
            frontier.append(leaf_hash(framer.line(seq, record)))
        samples.append((time.thread_time_ns() - began) / len(events) / 1000)
    return statistics.median(samples)


def _log(folder: Path) -> AuditLog:
    return AuditLog(
        folder / "audit", folder / "checkpoints", SIGNER, SystemClock(), report=lambda _: b'{"x":1}', keys=KEYS
    )


def _raw(path: Path, line: bytes) -> Batch:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.posix_fallocate(descriptor, 0, 1)

    def run(turns: int) -> None:
        for _ in range(turns):
            os.write(descriptor, line)
            os.fdatasync(descriptor)

    return run


def _lone(log: AuditLog) -> Batch:
    record = body(0)

    def run(turns: int) -> None:
        for _ in range(turns):
            log.append(record)

    return run


def _awaited(log: AuditLog, loop: asyncio.AbstractEventLoop) -> Batch:
    record = body(0)

    async def all_of(turns: int) -> None:
        for _ in range(turns):
            await log.append_async(record)

    return lambda turns: loop.run_until_complete(all_of(turns))


def _sqlite(path: Path) -> Batch:
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE records (seq INTEGER PRIMARY KEY, line BLOB)")
    record = body(0)

    def run(turns: int) -> None:
        for _ in range(turns):
            database.execute("INSERT INTO records (line) VALUES (?)", (record,))

    return run


def _structlog(path: Path) -> Batch:
    logger: Any = structlog.wrap_logger(
        structlog.WriteLogger(path.open("a", encoding="utf-8")),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
    )
    arguments = {"order": "ord-1", "amount_cents": 17, "reason": "arrived broken"}

    def run(turns: int) -> None:
        for number in range(turns):
            logger.info("call.intent", call_id=number, tool="initiate_refund", principal="ana", arguments=arguments)

    return run


def _crowd(folder: Path) -> float:
    """Microseconds a record while 64 threads append at once."""
    with _log(folder) as log:
        record = body(0)

        def work() -> None:
            for _ in range(EACH):
                log.append(record)

        return _timed(lambda: _together(work))


def _together(work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _tasks(folder: Path) -> float:
    """The same from 64 tasks of one event loop."""
    with _log(folder) as log:
        record = body(0)

        async def work() -> None:
            for _ in range(EACH):
                await log.append_async(record)

        async def crowd() -> None:
            await asyncio.gather(*(work() for _ in range(WRITERS)))

        return _timed(lambda: asyncio.run(crowd()))


def _timed(run: Callable[[], None]) -> float:
    samples = []
    for _ in range(5):
        began = time.perf_counter()
        run()
        samples.append((time.perf_counter() - began) / (WRITERS * EACH) * 1e6)
    return statistics.median(samples)
